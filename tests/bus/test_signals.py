#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the service tells by itself: of every change once, and of nothing else."""

import json
import os

import fixture
import mocksys
from fixture import MANAGER
from fixture import device_path as path

RIGHTS = '''polkit.addRule(function(action, subject) {
    if (["org.vmkit.create-vm", "org.vmkit.use-device"].indexOf(action.id) >= 0)
        return polkit.Result.YES; });'''

EMITS = 'org.freedesktop.DBus.Property.EmitsChangedSignal'
PORT, NEW = '0000:00:1a.0', '0000:06:00.0'


class Watch:
    """Everything that is told, and what a client that believes it must know."""

    def __init__(self, caller):
        self.caller = caller
        self.added = caller.signals('InterfacesAdded')
        self.removed = caller.signals('InterfacesRemoved')
        self.changed = caller.signals('PropertiesChanged')
        self.known = caller.objects()

    def settle(self):
        """Whatever was sent before the answer is here after it."""
        self.caller.manager('ListVMs')
        while fixture.GLib.MainContext.default().iteration(False):
            pass

    def forget(self):
        self.settle()
        for signals in (self.added, self.removed, self.changed):
            signals.clear()

    def device_changes(self):
        return [(object_path, sorted(changed)) for object_path, (_, changed, _) in self.changed
                if '/device/' in object_path]

    def lists(self):
        return [name for object_path, (_, _, invalidated) in self.changed if object_path == MANAGER
                for name in invalidated]


class SignalsTest(fixture.BusTest):
    RULES = RIGHTS

    def setUp(self):
        super().setUp()
        self.addCleanup(self.restore)
        self.host = self.bus.host
        self.look()
        self.watch = Watch(self.bob)

    def restore(self):
        for _name, vm, _state, _owner in self.root.manager('ListVMs'):
            self.root.succeed(self.root.vm(vm, 'Destroy', {'force': True}))

    def look(self):
        """Files have no events of their own: the service looks at a test's tree when it is asked."""
        self.root.manager('ListDevices', {})

    def quiet(self):
        """Nothing is told of what has not changed."""
        self.watch.forget()
        self.look()
        self.root.objects()
        self.watch.settle()
        self.assertEqual((self.watch.added, self.watch.removed, self.watch.changed), ([], [], []))


class HotPlug(SignalsTest):
    # Of a subsystem like no other here: what is gone must not be taken for what has moved.
    def plug(self, address=NEW, **kwargs):
        self.host.function(address, 0x010802, 0x144d, 0xa808, subsystem=(0x144d, 0xa8ff),
                           **{'parent': PORT, 'group': 31, 'driver': 'nvme', **kwargs})

    def setUp(self):
        super().setUp()
        self.host.port(PORT, group=30)
        self.addCleanup(self.unplug_all)
        self.look()
        self.watch.forget()

    def unplug_all(self):
        for address in sorted(self.host.functions, reverse=True):
            if address.startswith('0000:06:') or address == PORT:
                self.host.remove(address)
        self.look()

    def test_add_and_remove(self):
        self.plug()
        self.look()
        self.watch.settle()
        (_, (added, interfaces)), = self.watch.added
        self.assertEqual(added, path(NEW))
        self.assertEqual(set(interfaces['org.vmkit.Device']),
                         {p.name for p in fixture.interfaces()['org.vmkit.Device'].properties})
        self.assertEqual(interfaces['org.vmkit.Device']['Driver'], 'nvme')
        self.assertEqual(self.watch.removed, [])
        self.assertEqual(self.watch.device_changes(), [])
        self.assertEqual(self.watch.lists(), ['Devices'])
        self.quiet()

        self.host.remove(NEW)
        self.look()
        self.watch.settle()
        self.assertEqual([r[1][0] for r in self.watch.removed], [path(NEW)])
        self.assertEqual(self.watch.added, [])
        self.assertEqual(self.watch.device_changes(), [])
        self.assertEqual(self.watch.lists(), ['Devices'])
        self.assertNotIn(path(NEW), self.bob.objects())
        self.quiet()

    def test_many_at_once(self):
        """The list changes once, however many come."""
        addresses = [f'0000:06:00.{function}' for function in range(8)]
        for number, address in enumerate(addresses):
            self.plug(address, group=31 + number)
        self.look()
        self.watch.settle()
        self.assertEqual([a[1][0] for a in self.watch.added], [path(a) for a in addresses])
        self.assertEqual(self.watch.lists(), ['Devices'])
        self.quiet()

    def test_a_neighbour_in_the_group(self):
        """Who shares the IOMMU group has another group and another unit now, and nobody else has."""
        self.plug()
        self.look()
        self.watch.forget()
        self.plug('0000:06:00.1')
        self.look()
        self.watch.settle()
        self.assertEqual(self.watch.device_changes(), [(path(NEW), ['Group', 'Unit'])])
        self.assertEqual(self.bob.get(path(NEW), 'Device', 'Unit'), [path(NEW), path('0000:06:00.1')])
        self.quiet()

    def test_another_driver(self):
        self.plug()
        self.look()
        self.watch.forget()
        self.host.bind(NEW, 'vfio-pci')
        self.look()
        self.watch.settle()
        self.assertEqual(self.watch.device_changes(), [(path(NEW), ['Driver', 'OriginalDriver'])])
        self.assertEqual((self.watch.added, self.watch.removed, self.watch.lists()), ([], [], []))
        self.quiet()

    def test_another_card_in_the_slot(self):
        """Between two looks: it is another object under the same name."""
        self.plug()
        self.look()
        self.watch.forget()
        self.host.remove(NEW)
        self.host.function(NEW, 0x020000, 0x8086, 0x1572, parent=PORT, group=31, driver='i40e')
        self.look()
        self.watch.settle()
        self.assertEqual([r[1][0] for r in self.watch.removed], [path(NEW)])
        self.assertEqual([a[1][0] for a in self.watch.added], [path(NEW)])
        self.assertEqual(self.bob.get(path(NEW), 'Device', 'Kind'), 'network')
        self.assertEqual(self.watch.lists(), ['Devices'])
        self.quiet()

    def record(self, state):
        """As the device helper leaves it for a device that is on vfio-pci. Returns its file."""
        with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as file:
            boot = file.read().strip()
        record = self.bus.path('state/claims', NEW)
        with open(record, 'w', encoding='utf-8') as file:
            json.dump({'version': 1, 'address': NEW, 'vendor_id': 0x144d, 'device_id': 0xa808, 'vm': None,
                       'boot_id': boot, 'state': state, 'driver': 'nvme', 'driver_override': None,
                       'power_control': None, 'd3cold_allowed': None, 'reason': 'It did not come back',
                       'helper': 0, 'helper_start': 0}, file)
        self.addCleanup(lambda: os.path.exists(record) and os.unlink(record))
        return record

    def test_a_claimed_device_is_taken_away(self):
        """There is nothing to restore any more; what is plugged in there next begins anew."""
        record = self.record('bound')
        self.plug(driver='vfio-pci')
        self.look()
        self.assertEqual(self.bob.get(path(NEW), 'Device', 'OriginalDriver'), 'nvme')
        self.host.remove(NEW)
        self.look()
        self.assertFalse(os.path.exists(record))
        self.assertIn(f'{NEW} is gone', self.bus.log('vmkitd'))
        self.plug()
        self.look()
        self.assertEqual(self.bob.get(path(NEW), 'Device', 'OriginalDriver'), 'nvme')

    def test_a_quarantine_outlasts_it(self):
        """A device that falls off the bus and returns is no better for it."""
        record = self.record('quarantined')
        self.plug()
        self.look()
        self.assertEqual(self.bob.get(path(NEW), 'Device', 'Health'), 'quarantined')
        self.host.remove(NEW)
        self.look()
        self.assertTrue(os.path.exists(record))
        self.plug()
        self.look()
        self.assertEqual(self.bob.get(path(NEW), 'Device', 'Health'), 'quarantined')

    def test_taken_away_while_the_service_was_away(self):
        record = self.record('bound')
        self.bus.stop('vmkitd', fixture.signal.SIGKILL)
        fixture.wait_until(lambda: not self.root.owner(fixture.NAME), 'the name to be free')
        self.bus.start_vmkitd()
        fixture.wait_until(lambda: not os.path.exists(record), 'the record to be dropped')

    def test_a_vm_whose_device_is_gone(self):
        """It says so when it is started, and nothing else of it changes."""
        self.plug()
        self.host.nvme(NEW, 9)
        self.addCleanup(self.host.remove_nvme, 9)
        self.look()
        vm = self.root.create('bereft', nvme=[NEW])
        self.watch.forget()
        self.host.remove(NEW)
        self.look()
        self.watch.settle()
        self.assertEqual([c for c in self.watch.changed if c[0] == vm], [])
        self.assertEqual(self.bob.get(vm, 'VM', 'Devices'), [path(NEW)])
        done = self.bob.spawn(f'{fixture.BUILD}/client/vmkitctl', 'info', 'bereft')
        self.assertIn(f'{NEW} is gone', done.stdout)
        job = self.root.finish(self.root.vm(vm, 'Start', {}))
        self.assertEqual(job['Error'][0], fixture.PREFIX + 'NoSuchDevice')
        self.assertIn(NEW, job['Error'][1])
        self.assertEqual(self.bob.get(vm, 'VM', 'State'), 'stopped')

        self.plug()
        self.look()
        self.assertEqual(self.bob.get(path(NEW), 'Device', 'AssignedTo'), [vm])


class Minimal(SignalsTest):
    """A client that starts from GetManagedObjects and believes every signal knows everything, and no signal
    tells it what it knew."""

    def check(self):
        for object_path, (interface, changed, _) in self.watch.changed:
            if not interface.startswith('org.vmkit.') or object_path == MANAGER:
                continue
            self.assertTrue(changed, object_path)
            known = self.model[object_path][interface]
            for name, value in changed.items():
                self.assertNotEqual(known[name], value, f'{object_path} {name} was told again')
                known[name] = value

    def follow(self):
        self.watch.settle()
        self.model = self.watch.known
        for _, (object_path, interfaces) in self.watch.added:
            self.assertNotIn(object_path, self.model, 'added twice')
            self.model[object_path] = interfaces
        self.check()
        found = self.bob.objects()
        for object_path, interfaces in self.model.items():
            for name, properties in interfaces.items():
                if object_path not in found or not name.startswith('org.vmkit.'):
                    continue
                announced = [p.name for p in fixture.interfaces()[name].properties
                             if {a.key: a.value for a in p.annotations}.get(EMITS, 'true') == 'true']
                for key in announced:
                    self.assertEqual(properties[key], found[object_path][name][key], f'{object_path} {key}')

    def test_the_life_of_a_vm(self):
        vm = self.alice.create('watched', nvme=[mocksys.NVME_FREE])
        plain = self.alice.create('plain')
        for method in ('Start', 'Pause', 'Resume', 'Stop'):
            self.alice.succeed(self.alice.vm(plain, method, {}))
        self.alice.vm(vm, 'SetAutostart', True, {})
        self.alice.vm(vm, 'SetAutostart', True, {})
        failed = self.alice.finish(self.alice.vm(vm, 'Start', {}))
        self.assertEqual(failed['State'], 'failed')
        self.follow()
        states = [c[1][1]['State'] for c in self.watch.changed if c[0] == plain and 'State' in c[1][1]]
        self.assertEqual(states[states.index('stopped'):],
                         ['stopped', 'starting', 'running', 'paused', 'running', 'stopping', 'stopped'])
        autostart = [c[1][1]['Autostart'] for c in self.watch.changed
                     if c[0] == vm and 'Autostart' in c[1][1]]
        self.assertEqual(autostart, [True])

    def test_nothing_at_the_start(self):
        """Whoever waits for the name is not flooded with objects that were there before it."""
        self.bus.stop('vmkitd')
        self.watch.added.clear()
        fixture.wait_until(lambda: not self.root.owner(fixture.NAME), 'the name to be free')
        self.bus.start_vmkitd()
        self.watch.settle()
        self.assertEqual((self.watch.added, self.watch.changed), ([], []))
        self.quiet()


if __name__ == '__main__':
    fixture.main()
