#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Displays: a descriptor for each connection of a viewer, and the installed viewer on a private socket."""

import os
import socket
import struct

import machine
import fixture
from fixture import u64

# What stands in for a viewer: it connects to the socket that it is given, twice, and says what it finds.
VIEWER = '''#!/usr/bin/python3
import os, socket, stat, sys
path = sys.argv[1].removeprefix('spice+unix://')
directory = os.path.dirname(path)
print(oct(stat.S_IMODE(os.stat(directory).st_mode)), os.stat(directory).st_uid)
connections = [socket.socket(socket.AF_UNIX) for _ in range(2)]
for connection in connections:
    connection.connect(path)
    {hello}
print(*[connection.recv(4) for connection in connections])
'''

# magic, major, minor, size; connection ID, channel type (main), channel ID, capabilities: none, at the end
SPICE_HELLO = struct.pack('<4sIIIIBBIII', b'REDQ', 2, 2, 18, 0, 1, 0, 0, 0, 18)


class Display(machine.VMTest):
    def setUp(self):
        super().setUp()
        self.vms = []

    def tearDown(self):
        for vm in self.vms:
            self.succeed('Destroy', vm, {'force': True})
        super().tearDown()

    def started(self, graphics):
        vm = self.create(graphics, graphics=graphics, firmware='bios', memory=u64(128 << 20))
        self.vms.append(vm)
        self.refused('WrongState', self.alice.vm, vm, 'OpenDisplay', {})
        self.succeed('Start', vm, {})
        return vm

    def nothing_listens(self):
        """Who is not given a descriptor finds no way in."""
        for table in ('tcp', 'tcp6'):
            with open(f'/proc/net/{table}', encoding='ascii') as file:
                self.assertEqual(len(file.readlines()), 1, 'somebody listens')

    def connect(self, vm, expected):
        kind, fd = self.alice.vm(vm, 'OpenDisplay', {})
        self.assertEqual(kind, expected)
        connection = socket.socket(fileno=fd)
        self.addCleanup(connection.close)
        connection.settimeout(machine.GUEST_TIMEOUT)
        return connection

    def show(self, name, viewer, hello, *options):
        """What the viewer that vmkitctl starts has seen."""
        programs = self.bus.path(f'bin-{name}')
        os.makedirs(programs, 0o755, exist_ok=True)
        self.write_ssh(f'{programs}/ssh')
        with open(f'{programs}/{viewer}', 'w', encoding='ascii') as file:
            file.write(VIEWER.format(hello=hello))
        os.chmod(file.name, 0o755)
        shown = self.alice.spawn('env', f'PATH={programs}:/usr/bin:/bin', f'{fixture.BUILD}/client/vmkitctl',
                                 *options, 'display', name)
        self.assertEqual((shown.returncode, shown.stderr), (0, ''))
        return shown.stdout.split('\n')

    @staticmethod
    def write_ssh(path):
        """One that runs the command here, by a shell as over there."""
        with open(path, 'w', encoding='ascii') as file:
            file.write('#!/bin/sh\nshift 3\n'
                       f'exec /bin/sh -c "PATH={fixture.BUILD}/client:/usr/bin:/bin; $*"\n')
        os.chmod(path, 0o755)

    def test_vnc(self):
        vm = self.started('vnc')
        self.nothing_listens()
        first, second = self.connect(vm, 'vnc'), self.connect(vm, 'vnc')
        self.assertEqual(first.recv(4), b'RFB ')
        self.assertEqual(second.recv(4), b'RFB ')
        self.refused(fixture.REFUSALS, self.bob.vm, vm, 'OpenDisplay', {})
        self.assertEqual(self.show('vnc', 'vncviewer', 'pass'),
                         [f'0o700 {fixture.ALICE}', "b'RFB ' b'RFB '", ''])
        self.assertEqual(self.show('vnc', 'vncviewer', 'pass', '-H', 'box'),
                         [f'0o700 {fixture.ALICE}', "b'RFB ' b'RFB '", ''])

    def test_spice(self):
        vm = self.started('spice')
        self.nothing_listens()
        for connection in (self.connect(vm, 'spice'), self.connect(vm, 'spice')):
            connection.sendall(SPICE_HELLO)
            self.assertEqual(connection.recv(4), b'REDQ')
        self.assertEqual(self.show('spice', 'remote-viewer', f'connection.sendall({SPICE_HELLO!r})'),
                         [f'0o700 {fixture.ALICE}', "b'REDQ' b'REDQ'", ''])


if __name__ == '__main__':
    machine.main()
