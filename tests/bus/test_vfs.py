#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual functions: how they are listed, and setting their number on a kernel made of files."""

import os
import tempfile

import fixture
import mocksys
from fixture import BUILD
from fixture import device_path as path

PF, VFS = '0000:00:19.0', ('0000:00:19.1', '0000:00:19.2')


def add_network_card(host):
    """A card with two virtual functions of the eight it can have."""
    physical = host.function(PF, 0x020000, 0x8086, 0x1563, group=40, driver='ixgbe')
    host.write(f'{physical.path}/sriov_totalvfs', '8\n')
    host.write(f'{physical.path}/sriov_numvfs', '2\n')
    for index, address in enumerate(VFS):
        function = host.function(address, 0x020000, 0x8086, 0x1565, group=41 + index)
        host.link(f'{function.path}/physfn', physical.path)
        host.link(f'{physical.path}/virtfn{index}', function.path)


def host(directory):
    found = mocksys.desktop(directory)
    add_network_card(found)
    return found


class VirtualFunctions(fixture.BusTest):
    HOST = staticmethod(host)

    def attribute(self):
        return self.bus.host.path(self.bus.host.functions[PF].path, 'sriov_numvfs')

    def count(self):
        with open(self.attribute(), encoding='ascii') as file:
            return int(file.read())

    def set(self, count, address=PF):
        return self.root.succeed(self.root.device(path(address), 'SetVirtualFunctions', count, {}))

    def test_listed(self):
        self.assertEqual(self.alice.get(path(VFS[1]), 'Device', 'PhysicalFunction'), path(PF))
        self.assertIn('has-vfs', dict(self.alice.get(path(PF), 'Device', 'InUse')))
        self.assertTrue(self.alice.get(path(VFS[1]), 'Device', 'Available'))
        self.assertEqual(self.alice.get(path(VFS[1]), 'Device', 'Unit'), [path(VFS[1])])

    def test_in_the_table(self):
        lines = self.alice.spawn(f'{BUILD}/client/vmkitctl', 'devices', '--all').stdout.splitlines()
        first = next(i for i, line in enumerate(lines) if PF in line)
        self.assertIn(f'    {VFS[0]}', lines[first + 1])
        self.assertIn(f'    {VFS[1]}', lines[first + 2])

    def test_not_offered(self):
        self.refused('NotSupported', self.set, 1, mocksys.GPU)
        self.refused('LimitExceeded', self.set, 9)
        self.assertEqual(self.count(), 2)

    def test_without_driver(self):
        link = self.bus.host.path(self.bus.host.functions[PF].path, 'driver')
        os.unlink(link)
        self.addCleanup(self.bus.host.bind, PF, 'ixgbe')
        self.assertIn('driver', self.refused('NotSupported', self.set, 0).message)

    def test_as_many_as_there_are(self):
        self.set(2)
        self.assertEqual(self.count(), 2)

    def test_other_number(self):
        """The kernel of files makes no third function: what was written is undone."""
        self.refused('Internal', self.set, 3)
        self.assertEqual(self.count(), 2)

    def test_driver_without_callback(self):
        attribute = self.attribute()
        with tempfile.TemporaryDirectory(dir=self.bus.directory) as directory:
            os.rename(attribute, os.path.join(directory, 'kept'))
            try:
                self.refused('NotSupported', self.set, 1)
            finally:
                os.rename(os.path.join(directory, 'kept'), attribute)

    def test_used_by_the_host(self):
        self.bus.host.network(VFS[0], 'ens25v0', default_route=False)
        try:
            refusal = self.refused('DeviceInUse', self.set, 0)
            self.assertIn('has-vfs', refusal.message)
            self.assertIn('ens25v0', refusal.message)
            self.assertIn(VFS[0], refusal.message)
        finally:
            os.unlink(self.bus.host.path('sys/class/net/ens25v0'))
        self.assertEqual(self.count(), 2)

    def test_assigned(self):
        vm = self.root.create('has-a-vf', passthrough=[VFS[1]])
        try:
            refusal = self.refused('DeviceInUse', self.set, 0)
            self.assertIn('has-a-vf', refusal.message)
            self.assertIn('has-vfs', refusal.message)
        finally:
            self.root.succeed(self.root.vm(vm, 'Destroy', {'force': True}))
        self.assertEqual(self.count(), 2)

    def test_the_physical_function_cannot_be_claimed(self):
        self.refused('DeviceInUse', self.root.device, path(PF), 'Bind', {})


class Quiet(fixture.BusTest):
    """The marks that keep the host from activating what is on an assigned drive."""

    def marks(self):
        return sorted(os.listdir(self.bus.path('state', 'quiet')))

    def uevent(self):
        with open(self.bus.host.path('sys/block/nvme1n1/uevent'), encoding='ascii') as file:
            return file.read()

    def test_while_assigned(self):
        self.assertEqual(self.marks(), [])
        before = self.uevent()
        first = self.root.create('first', nvme=[mocksys.NVME_FREE], gpu=[mocksys.GPU])
        second = self.root.create('second', nvme=[mocksys.NVME_FREE])
        assigned = sorted([mocksys.NVME_FREE, mocksys.GPU, mocksys.GPU_AUDIO])
        self.assertEqual(self.marks(), assigned)
        self.root.succeed(self.root.vm(first, 'Destroy', {}))
        self.assertEqual(self.marks(), [mocksys.NVME_FREE])
        self.assertEqual(self.uevent(), before)
        self.root.succeed(self.root.vm(second, 'Destroy', {}))
        self.assertEqual(self.marks(), [])
        self.assertTrue(self.uevent().startswith('add'))

    def test_after_a_restart(self):
        """One whose VM went away meanwhile."""
        with open(self.bus.path('state', 'quiet', mocksys.NVME_FREE), 'w', encoding='ascii'):
            pass
        self.bus.restart_vmkitd()
        fixture.wait_until(lambda: self.marks() == [], 'the mark to go')
        self.assertTrue(self.uevent().startswith('add'))


if __name__ == '__main__':
    fixture.main()
