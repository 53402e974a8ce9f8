#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Users without any right who mean harm: what they do costs them, and not the others."""

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

import fixture
from fixture import MANAGER, Descriptor, Gio, GLib, wait_until

KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8f1k0wVJ0y2o3t4u5v6w7x8y9z0A1B2C3D4E5F6G7H'
DESCRIPTORS = 16        # as many as dbus-daemon lets one message have


class RawConnection:
    """A connection that sends what it is given, and waits for nothing: a library would hold it up."""

    def __init__(self, bus, uid):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with fixture.acting_as(effective=uid):
            self.socket.connect(bus.path('bus'))
            identity = str(uid).encode().hex().encode()
            self.socket.sendall(b'\0AUTH EXTERNAL ' + identity + b'\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n')
            for answer in (b'OK ', b'AGREE_UNIX_FD'):
                assert self._line().startswith(answer)
        self.serial = 0
        self.send(Gio.DBusMessage.new_method_call('org.freedesktop.DBus', '/org/freedesktop/DBus',
                                                  'org.freedesktop.DBus', 'Hello'))

    def _line(self):
        line = b''
        while not line.endswith(b'\r\n'):
            line += self.socket.recv(1)
        return line

    def send(self, message, fds=()):
        self.serial += 1
        message.set_serial(self.serial)
        if fds:
            message.set_unix_fd_list(Gio.UnixFDList.new_from_array(list(map(os.dup, fds))))
        data = message.to_blob(Gio.DBusCapabilityFlags.UNIX_FD_PASSING)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b''.join(fd.to_bytes(4, 'little') for fd in fds))]
        self.socket.sendmsg([data], ancillary if fds else [])

    def close(self):
        self.socket.close()


def method_call(member, parameters):
    message = Gio.DBusMessage.new_method_call(fixture.NAME, MANAGER, 'org.vmkit.Manager', member)
    message.set_body(parameters)
    return message


class Hostile(fixture.BusTest):
    """alice does harm, bob wants to work meanwhile."""

    def setUp(self):
        super().setUp()
        self.pid = self.bus.processes['vmkitd'].pid

    def connections(self, n, uid=fixture.ALICE):
        opened = [RawConnection(self.bus, uid) for _ in range(n)]
        for connection in opened:
            self.addCleanup(connection.close)
        return opened

    def n_descriptors(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def plan(self, caller, **options):
        """While one user floods a service with descriptors, dbus-daemon turns others' messages to it away now and
        then, as one that is full; and where this machine allows few open files, so may vmkitd do with those who are
        new. Either answers at once, and trying again helps."""
        deadline = time.monotonic() + 20
        while True:
            try:
                return caller.manager('PlanVM', 'work', options)
            except fixture.Refused as error:
                if error.code not in ('LimitExceeded', 'org.freedesktop.DBus.Error.LimitsExceeded'):
                    raise
                self.assertLess(time.monotonic(), deadline, error)

    def others_are_served(self):
        """One who is known, one who comes now, and one with a descriptor."""
        self.assertIsNone(self.bus.processes['vmkitd'].poll(), 'vmkitd has ended')
        self.assertTrue(self.plan(self.bob)[0])
        newcomer = self.bus.connect(fixture.CAROL)
        self.addCleanup(newcomer.close)
        self.assertTrue(self.plan(newcomer)[0])
        with tempfile.TemporaryFile() as image:
            image.write(b'\0' * 4096)
            image.flush()
            ready, findings, _ = self.plan(self.bob, image=Descriptor(image))
            self.assertTrue(ready, findings)


class Descriptors(Hostile):
    """Messages full of descriptors, in a flood."""

    def flood(self, connections, rounds):
        with open('/dev/null', 'rb') as file:
            call = GLib.Variant('(sa{sv})', ('flood', {}))
            for _ in range(rounds):
                for connection in connections:
                    connection.send(method_call('CreateVM', call), [file.fileno()] * DESCRIPTORS)

    def test_nobody_can_use_up_those_of_the_service(self):
        """32 connections with 32 calls of 16 each are 16,384. polkitd does not answer, so that none ends early."""
        before = self.n_descriptors()
        polkitd = self.bus.processes['polkitd']
        polkitd.send_signal(signal.SIGSTOP)
        try:
            connections = self.connections(32)
            self.flood(connections, 32)
            self.others_are_served()
            # As many as 64 calls have, and as many copies of them.
            wait_until(lambda: self.n_descriptors() - before < 2 * 64 * DESCRIPTORS + 64,
                       'alice to have no more than one user may')
        finally:
            polkitd.send_signal(signal.SIGCONT)
        self.others_are_served()
        wait_until(lambda: self.n_descriptors() <= before + 8, 'vmkitd to close what it was sent')

    def test_connections_that_leave(self):
        before = self.n_descriptors()
        for _ in range(8):
            connections = self.connections(16)
            self.flood(connections, 8)
            for connection in connections:
                connection.close()
        self.others_are_served()
        wait_until(lambda: self.n_descriptors() <= before + 8, 'vmkitd to close what it was sent')


class Prompts(Hostile):
    """Users who ask for passwords and do not answer."""

    RULES = '''polkit.addRule(function(action, subject) {
        if (action.id == "org.vmkit.create-vm" && action.lookup("vm") == subject.user + "s") return polkit.Result.YES;
        });'''

    CONNECTIONS = 4

    def prompter(self, uid):
        """Its process, and how many of its calls are prompted for and refused."""
        process = subprocess.Popen([sys.executable, f'{fixture.SOURCE}/tests/bus/prompts.py', self.bus.address, str(uid),
                                    str(self.CONNECTIONS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end, process)
        return process, tuple(map(int, process.stdout.readline().split()))

    @staticmethod
    def end(process):
        process.stdin.close()
        process.stdout.close()
        process.wait(fixture.TIMEOUT)

    def test_they_lock_out_nobody(self):
        owners = ((self.bob, self.bob.create('bobs')), (self.alice, self.alice.create('alices')))
        outcomes = [self.prompter(uid)[1] for uid in (fixture.ALICE, fixture.CAROL)]
        self.assertEqual(outcomes, [(3, 24 * self.CONNECTIONS - 3)] * 2)

        for owner, vm in owners:
            for member in ('Start', 'Pause', 'Resume', 'Stop'):
                owner.succeed(owner.vm(vm, member, {}))
            self.refused(fixture.REFUSALS, owner.manager, 'CreateVM', 'another', {})

    def test_those_of_one_who_has_left_are_gone(self):
        for _ in range(3):
            process, outcome = self.prompter(fixture.ALICE)
            self.assertEqual(outcome[0], 3)
            self.end(process)
            log = self.bus.log('vmkitd')
            wait_until(lambda: not self.open_prompts(), 'polkit to take the prompts back')
            self.assertNotIn('ended without an answer', log[self.log_start:])

    def open_prompts(self):
        """Whether a prompt of alice's is open: she has a place for one more where none is."""
        caller = self.bus.connect(fixture.ALICE)
        try:
            agent = fixture.Agent(self.bus, caller, answer=False)
            replies = [caller.call_async(MANAGER, 'org.vmkit.Manager.CreateVM', 'x', {}, interactive=True)
                       for _ in range(3)]
            wait_until(lambda: all(replies), 'the answers')
            return len(agent.prompts) < 3
        finally:
            caller.close()

    def test_a_prompt_goes_with_its_caller(self):
        """The agent is told, while it is there itself."""
        desktop, caller = self.bus.connect(fixture.BOB), self.bus.connect(fixture.BOB)
        agent = fixture.Agent(self.bus, desktop, answer=None)
        caller.call_async('/org/vmkit/device/0000_03_00_0', 'org.vmkit.Device.Reset', {}, interactive=True)
        wait_until(lambda: agent.open, 'the prompt')
        caller.close()
        wait_until(lambda: not agent.open, 'the prompt to be taken back')
        desktop.close()


class PromptsThatLast(Hostile):
    """Nobody answers: a prompt is over after a while, here a short one."""

    @classmethod
    def setUpClass(cls):
        fixture.VMKITD_ENVIRONMENT['VMKIT_PROMPT_SECONDS'] = '1'
        cls.addClassCleanup(fixture.VMKITD_ENVIRONMENT.pop, 'VMKIT_PROMPT_SECONDS')
        super().setUpClass()

    def test_a_prompt_is_taken_back(self):
        caller = self.bus.connect(fixture.BOB)
        self.addCleanup(caller.close)
        agent = fixture.Agent(self.bus, caller, answer=None)
        for _ in range(4):
            error = self.refused(fixture.ACCESS_DENIED, agent.call, '/org/vmkit/device/0000_03_00_0',
                                 'org.vmkit.Device.Reset', {})
            self.assertIn('nobody has answered', error.message)
            wait_until(lambda: not agent.open, 'the agent to be told')
        self.assertEqual(len(agent.prompts), 4)


class Lengths(Hostile):
    """Messages as long as the bus lets them be."""

    def test_long_arguments_are_refused(self):
        options = {'passthrough': ['x' * 32768 for _ in range(200)]}
        for member in ('CreateVM', 'PlanVM'):
            error = self.refused('LimitExceeded', self.alice.manager, member, 'long', options)
            self.assertIn(member, error.message)
        self.refused('LimitExceeded', self.alice.manager, 'GetVM', 'x' * 2_000_000)
        self.others_are_served()

    def test_what_is_nested_counts(self):
        def nest(depth):
            return GLib.Variant('v', nest(depth - 1)) if depth else GLib.Variant('s', 'x' * 2_000_000)
        error = self.refused('LimitExceeded', self.alice.manager, 'PlanVM', 'x', {'image-name': nest(10)})
        self.assertIn('PlanVM', error.message)

    def test_numbers_count(self):
        numbers = GLib.Variant('at', [0] * 200_000)
        self.refused('LimitExceeded', self.alice.manager, 'PlanVM', 'x', {'numbers': numbers})
        self.refused('InvalidOption', self.alice.manager, 'PlanVM', 'x', {'numbers': GLib.Variant('at', [0])})

    def test_calls_that_wait_count_with_what_they_hold(self):
        """Each is short enough; together they are more than one user may keep the service waiting with."""
        polkitd = self.bus.processes['polkitd']
        callers = [self.bus.connect(fixture.ALICE) for _ in range(4)]
        options = {'cloud-init': {'ssh-keys': [f'{KEY} {"x" * 16000}'] * 60}}
        polkitd.send_signal(signal.SIGSTOP)
        try:
            replies = [caller.call_async(MANAGER, 'org.vmkit.Manager.CreateVM', 'waits', options)
                       for caller in callers for _ in range(4)]
            wait_until(lambda: sum(map(len, replies)) >= 12, 'those that are too many to be refused')
            self.assertEqual({r[0].code for r in replies if r}, {'LimitExceeded'})
            self.others_are_served()
        finally:
            polkitd.send_signal(signal.SIGCONT)
        wait_until(lambda: all(replies), 'the others to be answered')


class BusThatDoesNotTell(fixture.BusTest):
    """The bus refuses to say whose a connection is, which is not the same as that it has gone: whoever calls is told."""

    POLICY = '''<policy user="root">
      <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"
            send_member="GetConnectionUnixUser"/></policy>'''

    def test_every_call_is_answered(self):
        replies = [self.alice.call_async(MANAGER, f'org.vmkit.Manager.{member}', *arguments) for member, arguments in (
            ('CreateVM', ('x', {})), ('PlanVM', ('x', {})), ('ListImages', ()), ('RemoveImage', ('x', {})))]
        wait_until(lambda: all(replies), 'all calls to be answered', timeout=15)
        for reply in replies:
            self.assertEqual(reply[0].code, 'Busy')
            self.assertIn('whose call', reply[0].message)
        self.assertEqual(self.root.manager('ListVMs'), [])


if __name__ == '__main__':
    # The test sends more descriptors than most programs may have.
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    fixture.main()
