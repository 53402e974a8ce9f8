#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""When the host goes down or to sleep: all VMs are stopped by one call, and logind keeps the host awake while a
VM has a device."""

import json
import os

from gi.repository import Gio, GLib

import fixture
import mocksys
from fixture import u64, wait_until

RIGHTS = '''polkit.addRule(function(action, subject) {
    if (["org.vmkit.create-vm", "org.vmkit.use-device"].indexOf(action.id) >= 0)
        return polkit.Result.YES; });'''


class HostTest(fixture.BusTest):
    RULES = RIGHTS

    def setUp(self):
        super().setUp()
        self.addCleanup(self.destroy_all)

    def states(self):
        return {name: state for name, _, state, _ in self.root.manager('ListVMs')}


class StopAll(HostTest):
    CONFIG = '[Manager]\nShutdownTimeout=30\n'

    def create_some(self):
        self.alice.create('alices', start=True)
        self.bob.create('bobs', start=True)
        self.alice.create('idle')

    def test_of_everyone(self):
        self.create_some()
        job = self.root.manager('StopAllVMs', {'force': True})
        found = self.root.succeed(job)
        self.assertEqual((found['Operation'], found['Target']), ('stop-all', fixture.MANAGER))
        self.assertEqual(set(self.states().values()), {'stopped'})

    def test_nothing_to_stop(self):
        self.root.succeed(self.root.manager('StopAllVMs', {}))

    def test_a_start_under_way_does_not_survive_it(self):
        """Whichever comes first: in the end nothing runs, or the start was refused or undone."""
        vm = self.alice.create('racing')
        replies = [self.root.call_async(vm, 'org.vmkit.VM.Start', {}),
                   self.root.call_async(fixture.MANAGER, 'org.vmkit.Manager.StopAllVMs', {'force': True})]
        wait_until(lambda: all(replies), 'the replies')
        self.root.succeed(replies[1][0][0])
        start = self.root.finish(replies[0][0][0])
        self.assertIn(start['State'], ('done', 'cancelled', 'failed'))
        self.assertEqual(self.states(), {'racing': 'stopped'})
        self.alice.succeed(self.alice.vm(vm, 'Start', {}))

    def test_options(self):
        self.refused('InvalidOption', self.root.manager, 'StopAllVMs', {'timeout': u64(1 << 60)})
        self.refused('InvalidOption', self.root.manager, 'StopAllVMs', {'hurry': True})

    def test_only_for_whom_may_control_any_vm(self):
        self.create_some()
        error = self.refused(fixture.REFUSALS, self.alice.manager, 'StopAllVMs', {})
        self.assertIn('org.vmkit.control-any-vm', error.message)
        self.assertEqual(self.states()['alices'], 'running')

    def test_without_polkit(self):
        """It stops early when a host goes down; root needs no answer of it."""
        self.create_some()
        self.bus.stop_polkit()
        try:
            self.root.succeed(self.root.manager('StopAllVMs', {'force': True}))
            self.assertEqual(set(self.states().values()), {'stopped'})
        finally:
            self.bus.start_polkit(RIGHTS)

    def test_the_command_of_the_unit(self):
        with open(f'{fixture.SOURCE}/systemd/vmkit-guests.service.in', encoding='utf-8') as file:
            command, = [line.split('=', 1)[1].split() for line in file if line.startswith('ExecStop=')]
        self.assertEqual(command[0], '@bindir@/vmkitctl')
        self.create_some()
        done = self.root.spawn(f'{fixture.BUILD}/client/vmkitctl', '--json', *command[1:])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({vm['name']: vm['state'] for vm in json.loads(done.stdout)},
                         {'alices': 'stopped', 'bobs': 'stopped', 'idle': 'stopped'})

    def test_usage(self):
        for argv in (('stop',), ('stop', 'x', '--all')):
            done = self.root.spawn(f'{fixture.BUILD}/client/vmkitctl', *argv)
            self.assertEqual(done.returncode, 2, done.stderr)


class Login:
    """logind, as far as its locks go."""

    XML = '''<node><interface name="org.freedesktop.login1.Manager"><method name="Inhibit">
      <arg type="s" name="what" direction="in"/><arg type="s" name="who" direction="in"/>
      <arg type="s" name="why" direction="in"/><arg type="s" name="mode" direction="in"/>
      <arg type="h" name="pipe_fd" direction="out"/></method></interface></node>'''

    def __init__(self, caller):
        self.locks = []
        caller.connection.register_object('/org/freedesktop/login1',
                                          Gio.DBusNodeInfo.new_for_xml(self.XML).interfaces[0], self._called)
        caller.call_raw('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'RequestName',
                        GLib.Variant('(su)', ('org.freedesktop.login1', 0)))

    def _called(self, _connection, _sender, _path, _interface, _method, parameters, invocation):
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        fds = Gio.UnixFDList.new()
        handle = fds.append(writer)
        os.close(writer)
        self.locks.append((parameters.unpack(), reader))
        invocation.return_value_with_unix_fd_list(GLib.Variant('(h)', (handle,)), fds)

    @staticmethod
    def is_held(reader):
        try:
            return os.read(reader, 1) != b''
        except BlockingIOError:
            return True


class Sleep(HostTest):
    def test_a_lease_locks(self):
        """The tree is made of files, so the start fails after the lease: the lock is taken and given back."""
        login = Login(self.root)
        vm = self.alice.create('sleepless', nvme=[mocksys.NVME_FREE])
        for count in (1, 2):
            self.alice.finish(self.alice.vm(vm, 'Start', {}))
            wait_until(lambda: len(login.locks) == count and not login.is_held(login.locks[-1][1]),
                       'the lock to be taken and given back')
        (what, who, why, mode), _ = login.locks[0]
        self.assertEqual((set(what.split(':')), who, mode), ({'sleep', 'handle-lid-switch'}, 'vmkitd', 'block'))
        self.assertIn('device', why)
        self.assertIn('The host may sleep again', self.bus.log('vmkitd'))

        plain = self.alice.create('plain', start=True)
        self.assertEqual(self.states()['plain'], 'running')
        self.alice.succeed(self.alice.vm(plain, 'Stop', {}))
        self.assertEqual(len(login.locks), 2, 'a VM without devices needs no lock')


class WithoutLogin(HostTest):
    def test_it_is_said_once_and_nothing_fails_for_it(self):
        vm = self.alice.create('sleepless', nvme=[mocksys.NVME_FREE])
        job = self.alice.finish(self.alice.vm(vm, 'Start', {}))
        self.assertEqual(job['Error'][0].removeprefix(fixture.PREFIX), 'BindFailed')
        wait_until(lambda: 'logind does not keep the host from sleeping' in self.bus.log('vmkitd'), 'the warning')


if __name__ == '__main__':
    fixture.main()
