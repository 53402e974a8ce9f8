#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ctrl-C while a job is awaited: the first asks to cancel it, the second leaves."""

import signal
import subprocess

from gi.repository import GLib

import ctl
import fixture
import mocksys
from fixture import wait_until


class Interrupt(ctl.CtlTest):
    def setUp(self):
        super().setUp()
        self.run_as(self.alice, 'create', 'vm', '--gpu', mocksys.GPU)

    def start_vm(self, *options):
        """vmkitctl start, which waits for the device. Returns it and the path of its job."""
        before = set(self.root.get(fixture.MANAGER, 'Manager', 'Jobs'))
        client = self.alice.start(ctl.CtlTest.PROGRAM, 'start', 'vm', *options, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, client)
        job = wait_until(lambda: set(self.root.get(fixture.MANAGER, 'Manager', 'Jobs')) - before, 'the job').pop()
        wait_until(lambda: self.root.get(job, 'Job', 'Phase') == 'binding the devices', 'it to bind')
        return client, job

    def end(self, client):
        client.kill()
        client.communicate()

    def output(self, client):
        out, err = client.communicate(timeout=fixture.TIMEOUT)
        return client.returncode, out, err

    def test_cancelled(self):
        with self.held():
            client, job = self.start_vm()
            client.send_signal(signal.SIGINT)
            wait_until(self.cancel_was_asked, 'the service to be asked')
            self.assertIsNone(client.poll())
        self.assertEqual(self.alice.finish(job)['State'], 'cancelled')
        code, out, err = self.output(client)
        self.assertEqual((code, out), (130, ''))
        self.assertIn('cancelled', err)
        self.assertEqual(self.state_of('vm'), 'stopped')

    def test_forged_end(self):
        """Anybody can send a signal to one connection; only the service says how its jobs end."""
        with self.held():
            client, job = self.start_vm()
            name = self.bus.connection_of(client.pid)
            for path, interface, member, signature, values in (
                    (job, 'org.vmkit.Job', 'Completed', '(bss)', (False, 'org.example.Forged', 'forged')),
                    (job, 'org.freedesktop.DBus.Properties', 'PropertiesChanged', '(sa{sv}as)',
                     ('org.vmkit.Job', {'State': GLib.Variant('s', 'failed')}, [])),
                    ('/org/freedesktop/DBus', 'org.freedesktop.DBus', 'NameOwnerChanged', '(sss)',
                     (fixture.NAME, ':1.0', self.bob.connection.get_unique_name())),
                    (job, 'org.vmkit.Job', 'Completed', '(bss)', (False, 'org.example.Forged', 'forged'))):
                self.bob.connection.emit_signal(name, path, interface, member, GLib.Variant(signature, values))
            self.bob.connection.flush_sync(None)
            self.bob.manager('ListVMs')  # what was sent before has been passed on
        self.assertEqual(self.output(client), (0, f'vm is running, with {mocksys.GPU}, {mocksys.GPU_AUDIO}\n', ''))

    def cancel_was_asked(self):
        return 'Job.Cancel' in self.bus.log('vmkitd')[self.log_start:]

    def test_twice(self):
        """The job goes on to its end without us, and we say which one it is."""
        with self.held():
            client, job = self.start_vm()
            client.send_signal(signal.SIGINT)
            wait_until(self.cancel_was_asked, 'the service to be asked')
            client.send_signal(signal.SIGINT)
            code, out, err = self.output(client)
            self.assertEqual((code, out), (130, ''))
            self.assertIn(f'vmkitctl cancel {job.rsplit("/", 1)[1]}', ' '.join(err.split()))
            self.assertEqual(self.root.get(job, 'Job', 'State'), 'running')
        self.assertEqual(self.alice.finish(job)['State'], 'cancelled')

    def test_json(self):
        with self.held():
            client, job = self.start_vm('--json')
            client.send_signal(signal.SIGINT)
            wait_until(self.cancel_was_asked, 'the service to be asked')
        self.alice.finish(job)
        code, out, err = self.output(client)
        self.assertEqual((code, out), (130, ''))
        self.assertIn('org.vmkit.Error.Cancelled', err)


if __name__ == '__main__':
    fixture.main()
