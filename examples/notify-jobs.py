#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells the desktop when a job of one's own has ended: put it among the programs that start with the session.

The service sends the signal Completed of org.vmkit.Job on the system bus; a notification is a call of
org.freedesktop.Notifications on the session's. Needs python3-gi and nothing of vmkit's.
"""

import argparse
import os
import sys
import time

import gi

gi.require_version('Gio', '2.0')
from gi.repository import Gio, GLib  # noqa: E402

NAME = 'org.vmkit.Manager'
CRITICAL, NORMAL = 2, 1


def call(connection, name, path, method, parameters):
    interface, member = method.rsplit('.', 1)
    return connection.call_sync(name, path, interface, member, parameters, None, Gio.DBusCallFlags.NONE, -1,
                                None).unpack()


class Notifier:
    """From the signals of one bus to the notifications of the other."""

    def __init__(self, system, session, after):
        self.system = system
        self.session = session
        self.after = after
        self.names = {}         # of VMs by their paths: one that was destroyed can no longer be asked
        system.signal_subscribe(NAME, 'org.vmkit.Job', 'Completed', None, None, Gio.DBusSignalFlags.NONE,
                                self.completed)
        self.learn_names()

    def learn_names(self):
        try:
            vms, = call(self.system, NAME, '/org/vmkit/Manager', 'org.vmkit.Manager.ListVMs', None)
        except GLib.Error:      # no service, so no VMs; it may come later
            return
        self.names.update({path: name for name, path, *_ in vms})

    def completed(self, _connection, _sender, path, _interface, _member, arguments):
        success, _, message = arguments.unpack()
        try:
            job, = call(self.system, NAME, path, 'org.freedesktop.DBus.Properties.GetAll',
                        GLib.Variant('(s)', ('org.vmkit.Job',)))
        except GLib.Error as error:
            print(f'{path} cannot be read: {error.message}', file=sys.stderr)
            return
        self.learn_names()
        took = time.time() - job['StartedAt'] / 1e6
        if job['StartedBy'] == os.getuid() and (took >= self.after or not success):
            self.notify(job, success, message)

    def notify(self, job, success, message):
        target = self.names.get(job['Target'], job['Target'].rsplit('/', 1)[1])
        summary = f'{target}: {job["Operation"]} {"is done" if success else "failed"}'
        body = '' if success else GLib.markup_escape_text(f'{message}\n{job["Remedy"]}'.strip())
        hints = {'urgency': GLib.Variant('y', NORMAL if success else CRITICAL)}
        parameters = GLib.Variant('(susssasa{sv}i)', ('vmkit', 0, 'computer', summary, body, [], hints, -1))
        try:
            call(self.session, 'org.freedesktop.Notifications', '/org/freedesktop/Notifications',
                 'org.freedesktop.Notifications.Notify', parameters)
        except GLib.Error as error:
            print(f'{summary}: the desktop cannot be told: {error.message}', file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--after', type=float, default=3.0, metavar='SECONDS',
                        help='say nothing of what went well and took no longer (default 3)')
    args = parser.parse_args()
    # Both end this program with them, by GDBus's own rule for a process's connections.
    notifier = Notifier(Gio.bus_get_sync(Gio.BusType.SYSTEM), Gio.bus_get_sync(Gio.BusType.SESSION), args.after)
    print('Following the jobs of', NAME, flush=True)
    try:
        GLib.MainLoop().run()
    except KeyboardInterrupt:
        pass
    return notifier


if __name__ == '__main__':
    main()
