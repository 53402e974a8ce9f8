#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host with thousands of functions: nothing is left out or mixed up, and a change is told for itself alone."""

import fixture
import largehost
from fixture import device_path as path

FUNCTIONS = 2000


class Large(fixture.BusTest):
    HOST = staticmethod(lambda root: largehost.build(root, FUNCTIONS))

    def test_everything_is_listed(self):
        rows = self.root.manager('ListDevices', {})
        self.assertEqual(len(rows), FUNCTIONS)
        self.assertEqual(len({row[0] for row in rows}), FUNCTIONS)
        self.assertEqual([row[0] for row in rows], sorted(row[0] for row in rows))
        objects = self.root.objects()
        self.assertEqual({p for p in objects if '/device/' in p}, {row[1] for row in rows})
        self.assertEqual(set(self.root.get(fixture.MANAGER, 'Manager', 'Devices')), {row[1] for row in rows})

    def test_each_has_its_own(self):
        """The same by all ways, for cards and virtual functions of the first bus and the last."""
        objects = self.root.objects()
        cards = FUNCTIONS // largehost.PER_CARD
        for card in (0, cards - 1):
            for index in (0, 1, 4, 200):
                address = largehost.address_of(card, index)
                found = objects[path(address)]['org.vmkit.Device']
                self.assertEqual(found, self.root.get_all(path(address), 'Device'))
                physical = path(largehost.address_of(card, 0))
                self.assertEqual(found['PhysicalFunction'], physical if index else '/')
                self.assertEqual(found['IOMMUGroup'], 1000 + card * largehost.PER_CARD + index)
                self.assertEqual(found['Unit'], [path(address)])
                codes = [code for code, _ in found['InUse']]
                if index == 0:
                    self.assertEqual(codes, ['has-vfs', 'network-up'])
                else:
                    self.assertEqual(codes, ['network-up'] if index % 4 == 0 else [])
                self.assertEqual(found['Available'], index % 4 != 0)

    def test_what_is_available(self):
        rows = self.root.manager('ListDevices', {'available': True})
        busy = sum(1 for row in self.root.manager('ListDevices', {}) if row[3] in ('i40e', 'iavf', 'pcieport'))
        self.assertEqual(len(rows), FUNCTIONS - busy)

    def test_one_changes(self):
        """A virtual function comes up: it is told of, and of none of its thousands of neighbours."""
        address = largehost.address_of(3, 2)
        base = self.bus.path('host/sys/bus/pci/devices', address)
        changed = self.bob.signals('PropertiesChanged')
        fixture.os.symlink('../../../../bus/pci/drivers/iavf', f'{base}/driver')
        self.addCleanup(fixture.os.unlink, f'{base}/driver')
        self.root.manager('ListDevices', {})
        self.bob.manager('ListVMs')
        while fixture.GLib.MainContext.default().iteration(False):
            pass
        self.assertEqual([(object_path, sorted(values)) for object_path, (_, values, _) in changed],
                         [(path(address), ['Driver', 'OriginalDriver'])])


if __name__ == '__main__':
    fixture.main()
