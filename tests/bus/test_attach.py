#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices given to VMs that are there, taken back, and found again where they moved.

libvirt's test driver has no hot-plug, so of a running VM only what leads up to it, and its undoing, is
seen here; the rest is the lab's."""

import os

import fixture
import mocksys
from fixture import MANAGER, Refused, wait_until
from fixture import device_path as path

GPU, AUDIO, FREE, FREE_2 = mocksys.GPU, mocksys.GPU_AUDIO, mocksys.NVME_FREE, mocksys.NVME_FREE_2

RULES = '''polkit.addRule(function(action, subject) {
    if (["org.vmkit.create-vm", "org.vmkit.use-device"].indexOf(action.id) >= 0)
        return polkit.Result.YES; });'''


class AttachTest(fixture.BusTest):
    RULES = RULES

    def setUp(self):
        super().setUp()
        self.addCleanup(self.destroy_all)

    def attach(self, vm, address, options=None, caller=None):
        caller = caller or self.alice
        return caller.succeed(caller.vm(vm, 'AttachDevice', address, options or {}))

    def detach(self, vm, address):
        return self.alice.succeed(self.alice.vm(vm, 'DetachDevice', address, {}))

    def devices(self, vm):
        return self.alice.get(vm, 'VM', 'Devices')

    def claims(self):
        return os.listdir(self.bus.path('state', 'claims'))


class Stopped(AttachTest):
    def test_the_whole_unit(self):
        vm = self.alice.create('changing')
        self.attach(vm, GPU)
        self.assertEqual(self.devices(vm), [path(GPU), path(AUDIO)])
        self.attach(vm, FREE)
        self.assertEqual(self.devices(vm), [path(GPU), path(AUDIO), path(FREE)])
        for address in (GPU, AUDIO, FREE):
            device = self.alice.get_all(path(address), 'Device')
            self.assertEqual((device['AssignedTo'], device['VM']), ([vm], '/'))
        self.assertEqual(self.alice.get(path(GPU), 'Device', 'Driver'), 'nouveau')
        self.detach(vm, AUDIO)
        self.assertEqual(self.devices(vm), [path(FREE)])
        self.assertEqual(self.alice.get(path(GPU), 'Device', 'AssignedTo'), [])
        self.assertEqual(self.claims(), [])

    def test_the_host_leaves_it_alone(self):
        """While it is assigned the host activates nothing on it, and no longer."""
        vm = self.alice.create('quiet')
        marks = self.bus.path('state', 'quiet')
        self.attach(vm, FREE)
        self.assertEqual(os.listdir(marks), [FREE])
        self.detach(vm, FREE)
        self.assertEqual(os.listdir(marks), [])

    def test_signals(self):
        vm = self.alice.create('signalled')
        device = self.bob.signals('PropertiesChanged', path=path(FREE))
        machine = self.bob.signals('PropertiesChanged', path=vm)
        self.attach(vm, FREE)
        wait_until(lambda: any(c[1][1].get('AssignedTo') == [vm] for c in device), 'the new AssignedTo')
        wait_until(lambda: any(c[1][1].get('Devices') == [path(FREE)] for c in machine), 'the new Devices')
        self.detach(vm, FREE)
        wait_until(lambda: any(c[1][1].get('AssignedTo') == [] for c in device), 'the empty AssignedTo')
        wait_until(lambda: any(c[1][1].get('Devices') == [] for c in machine), 'the empty Devices')

    def test_refused_as_in_create(self):
        vm = self.alice.create('refused', nvme=[FREE])
        before = self.state()
        attach = (self.alice.vm, vm, 'AttachDevice')
        error = self.refused('DeviceInUse', *attach, mocksys.NVME_DATA, {})
        self.assertIn('/srv/films', error.message)
        self.refused('DeviceInUse', *attach, mocksys.NVME_ROOT, {})
        self.refused('NoSuchDevice', *attach, '0000:77:00.0', {})
        self.refused('InvalidAddress', *attach, 'auto', {})
        self.refused(('DeviceInUse', 'NotSupported', 'InvalidOption', 'GroupNotViable'), *attach,
                     mocksys.PORT, {})
        self.refused('InvalidOption', *attach, FREE_2, {'allow': ['mounted']})
        self.refused('InvalidOption', *attach, FREE_2, {'force': True})
        self.refused('WrongState', *attach, FREE, {})
        self.refused('NoSuchDevice', self.alice.vm, vm, 'DetachDevice', FREE_2, {})
        self.refused('InvalidOption', self.alice.vm, vm, 'DetachDevice', FREE, {'allow': []})
        self.assertEqual(self.state(), before)

    def test_rights(self):
        vm = self.alice.create('mine', nvme=[FREE])
        before = self.state()
        denied = ('org.freedesktop.DBus.Error.AccessDenied',
                  'org.freedesktop.DBus.Error.InteractiveAuthorizationRequired')
        self.refused(denied, self.bob.vm, vm, 'AttachDevice', FREE_2, {})
        self.refused(denied, self.bob.vm, vm, 'DetachDevice', FREE, {})
        error = self.refused(denied, self.alice.vm, vm, 'AttachDevice', FREE_2, {'allow': ['has-data']})
        self.assertIn('org.vmkit.override-device', error.message)
        self.assertEqual(self.state(), before)

    def test_two_stopped_vms_may_name_one(self):
        first, second = self.alice.create('first'), self.alice.create('second')
        self.attach(first, FREE)
        self.attach(second, FREE)
        self.assertEqual(set(self.alice.get(path(FREE), 'Device', 'AssignedTo')), {first, second})
        self.assertEqual(self.alice.manager('FindDevice', 'nvme', {})[0], path(FREE_2))

    def test_many_times(self):
        vm = self.alice.create('again')
        for _ in range(6):
            self.attach(vm, GPU)
            self.attach(vm, FREE)
            self.detach(vm, GPU)
            self.attach(vm, FREE_2)
            self.detach(vm, FREE)
            self.detach(vm, FREE_2)
        self.assertEqual(self.devices(vm), [])

    def test_it_is_as_if_created_with_it(self):
        created = self.alice.create('created', nvme=[FREE])
        attached = self.alice.create('attached')
        self.attach(attached, FREE)
        for vm in (created, attached):
            job = self.alice.finish(self.alice.vm(vm, 'Start', {}))
            self.assertEqual((job['State'], job['Error'][0]), ('failed', fixture.PREFIX + 'BindFailed'))
        self.assertEqual(self.claims(), [])

    def test_one_at_a_time(self):
        vm = self.alice.create('busy')
        replies = [self.alice.call_async(vm, 'org.vmkit.VM.AttachDevice', address, {})
                   for address in (FREE, FREE_2, GPU)]
        wait_until(lambda: all(replies), 'the replies')
        refused = [r[0].code for r in replies if isinstance(r[0], Refused)]
        self.assertEqual(set(refused) | {'Busy'}, {'Busy'})
        for reply in replies:
            if not isinstance(reply[0], Refused):
                self.alice.succeed(reply[0][0])
        found = set(self.devices(vm))
        self.assertEqual(len(found - {path(AUDIO)}), len(replies) - len(refused))


class WithLimits(AttachTest):
    CONFIG = '[Limits]\nMaxDevices=2\n'

    def test_devices(self):
        vm = self.alice.create('full', nvme=[FREE])
        error = self.refused('LimitExceeded', self.alice.vm, vm, 'AttachDevice', GPU, {})
        self.assertIn('3', error.message)
        self.attach(vm, FREE_2)
        self.detach(vm, FREE)
        self.detach(vm, FREE_2)
        self.attach(vm, GPU)
        # An administrator may; the VM's owner has them on account.
        self.attach(vm, FREE, caller=self.root)
        self.assertEqual(len(self.devices(vm)), 3)
        self.refused('LimitExceeded', self.alice.create, 'more', nvme=[FREE_2])


def waiting(root):
    """The desktop, with the second free drive on vfio-pci as an administrator may keep it."""
    host = mocksys.desktop(root)
    os.unlink(host.path('sys/bus/pci/drivers/nvme', FREE_2))
    host.bind(FREE_2, 'vfio-pci')
    return host


class Running(AttachTest):
    HOST = staticmethod(waiting)

    def test_a_failure_is_undone(self):
        vm = self.alice.create('running', start=True)
        changes = self.bob.signals('PropertiesChanged', path=path(FREE_2))
        job = self.alice.finish(self.alice.vm(vm, 'AttachDevice', FREE_2, {}))
        self.assertEqual((job['State'], job['Error'][0]), ('failed', fixture.PREFIX + 'NotSupported'))
        wait_until(lambda: any(c[1][1].get('VM') == vm for c in changes), 'the lease')
        wait_until(lambda: [c[1][1]['VM'] for c in changes if 'VM' in c[1][1]][-1] == '/', 'its end')
        device = self.alice.get_all(path(FREE_2), 'Device')
        self.assertEqual((device['VM'], device['AssignedTo'], device['Driver'], device['Health']),
                         ('/', [], 'vfio-pci', 'ready'))
        self.assertEqual(self.devices(vm), [])
        self.assertEqual(self.claims(), [])
        self.alice.succeed(self.alice.vm(vm, 'Stop', {'force': True, 'timeout': fixture.u64(0)}))
        self.assertEqual(self.devices(vm), [])

    def test_it_cannot_be_bound(self):
        vm = self.alice.create('running', start=True)
        job = self.alice.finish(self.alice.vm(vm, 'AttachDevice', FREE, {}))
        self.assertEqual((job['State'], job['Error'][0]), ('failed', fixture.PREFIX + 'BindFailed'))
        device = self.alice.get_all(path(FREE), 'Device')
        self.assertEqual((device['VM'], device['AssignedTo'], device['Driver']), ('/', [], 'nvme'))
        self.assertEqual((self.devices(vm), self.claims()), ([], []))
        self.assertEqual(self.alice.get(vm, 'VM', 'State'), 'running')

    def test_functions_that_stay_together(self):
        vm = self.alice.create('running', start=True)
        before = self.state()
        error = self.refused('NotSupported', self.alice.vm, vm, 'AttachDevice', GPU, {})
        self.assertIn('Stop the VM', error.message)
        self.assertEqual(self.state(), before)

    def test_detached_from_a_vm_that_is_paused(self):
        vm = self.alice.create('paused')
        self.attach(vm, FREE_2)
        self.alice.succeed(self.alice.vm(vm, 'Start', {}))
        self.assertEqual(self.alice.get(path(FREE_2), 'Device', 'VM'), vm)
        self.refused('DeviceClaimed', self.alice.vm, self.alice.create('other', start=True), 'AttachDevice',
                     FREE_2, {})
        self.alice.succeed(self.alice.vm(vm, 'Pause', {}))
        self.refused('WrongState', self.alice.vm, vm, 'DetachDevice', FREE_2, {})

        # What libvirt cannot do costs nothing.
        self.alice.succeed(self.alice.vm(vm, 'Resume', {}))
        job = self.alice.finish(self.alice.vm(vm, 'DetachDevice', FREE_2, {}))
        self.assertEqual((job['State'], job['Error'][0]), ('failed', fixture.PREFIX + 'NotSupported'))
        self.assertEqual(self.devices(vm), [path(FREE_2)])
        self.assertEqual(self.alice.get(path(FREE_2), 'Device', 'VM'), vm)
        self.alice.succeed(self.alice.vm(vm, 'Stop', {'force': True, 'timeout': fixture.u64(0)}))
        self.assertEqual(self.devices(vm), [path(FREE_2)])

    def test_what_waits_for_it_comes_home(self):
        vm = self.alice.create('holding', nvme=[FREE_2], start=True)
        self.assertEqual(len(self.claims()), 1)
        self.alice.succeed(self.alice.vm(vm, 'Stop', {'force': True, 'timeout': fixture.u64(0)}))
        self.assertEqual(len(self.claims()), 1)  # held
        self.detach(vm, FREE_2)
        self.assertEqual(self.claims(), [])
        self.assertEqual(self.alice.get(path(FREE_2), 'Device', 'VM'), '/')


class Moved(AttachTest):
    """The drive that the VM was given is in another slot when it starts."""

    def move(self, source, port, address, serial, group):
        host = self.bus.host
        host.remove(source)
        host.function(address, 0x010802, 0x144d, 0xa808, parent=port, group=group, driver='nvme',
                      subsystem=(0x144d, 0xa801), revision=0)
        host.nvme(address, 7, serial=serial)

    def test_it_is_found(self):
        vm = self.alice.create('moving', nvme=[FREE_2])
        port = '0000:00:1a.0'
        self.bus.host.port(port, group=30)
        self.move(FREE_2, port, '0000:06:00.0', 'S5H9NS0N000003', 31)
        job = self.alice.finish(self.alice.vm(vm, 'Start', {}))
        self.assertEqual(job['Note'], f'{FREE_2} has moved to 0000:06:00.0')
        # In a tree of files nothing is bound; the definition names it where it is all the same.
        self.assertEqual(job['Error'][0], fixture.PREFIX + 'BindFailed')
        self.assertEqual(self.devices(vm), [path('0000:06:00.0')])
        self.assertEqual(self.alice.get(path('0000:06:00.0'), 'Device', 'AssignedTo'), [vm])

        job = self.alice.finish(self.alice.vm(vm, 'Start', {}))
        self.assertEqual(job['Note'], '')

        # Another drive of the same model is not it.
        self.move('0000:06:00.0', port, '0000:06:00.0', 'SOMEOTHER', 31)
        job = self.alice.finish(self.alice.vm(vm, 'Start', {}))
        self.assertEqual(job['Error'][0], fixture.PREFIX + 'IdentityChanged')
        self.assertIn('S5H9NS0N000003', job['Error'][1])
        self.assertIn('SOMEOTHER', job['Error'][1])
        self.assertEqual(self.devices(vm), [path('0000:06:00.0')])

        self.bus.host.remove('0000:06:00.0')
        job = self.alice.finish(self.alice.vm(vm, 'Start', {}))
        self.assertEqual(job['Error'][0], fixture.PREFIX + 'NoSuchDevice')


class Race(AttachTest):
    def test_two_creates_for_the_last_device(self):
        for attempt in range(10):
            replies = [caller.call_async(MANAGER, 'org.vmkit.Manager.CreateVM', f'{name}-{attempt}',
                                         {'gpu': ['auto']})
                       for name, caller in (('alice', self.alice), ('bob', self.bob))]
            wait_until(lambda: all(replies), 'two replies')
            good = [r[0] for r in replies if not isinstance(r[0], Refused)]
            bad = [r[0].code for r in replies if isinstance(r[0], Refused)]
            self.assertEqual((len(good), bad), (1, ['NoCandidate']))
            self.root.succeed(good[0][1])
            self.assertEqual(self.alice.get(path(GPU), 'Device', 'AssignedTo'), [good[0][0]])
            self.destroy_all()

    def test_a_create_and_an_attach_for_the_last_device(self):
        """By name both may have it; `auto` never takes what somebody else is about to get."""
        vm = self.alice.create('waiting')
        for attempt in range(10):
            attach = self.alice.call_async(vm, 'org.vmkit.VM.AttachDevice', GPU, {})
            create = self.alice.call_async(MANAGER, 'org.vmkit.Manager.CreateVM', f'auto-{attempt}',
                                         {'gpu': ['auto']})
            wait_until(lambda: attach and create, 'two replies')
            attached, created = (not isinstance(reply[0], Refused) for reply in (attach, create))
            self.assertTrue(attached or created)
            if attached:
                self.alice.succeed(attach[0][0])
            else:
                self.assertEqual(attach[0].code, 'DeviceInUse')
            if created:
                self.root.succeed(create[0][1])
                self.root.succeed(self.root.vm(create[0][0], 'Destroy', {}))
            else:
                self.assertEqual(create[0].code, 'NoCandidate')
            if attached:
                self.detach(vm, GPU)


if __name__ == '__main__':
    fixture.main()
