#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Drives whose driver is at work on them: it has bound, and the controller is not live yet, or not any more. Until
it is, what it says of itself is no identity ("(efault)"), and that it has no namespaces does not mean that nothing
is on it.

Bindings change in a kernel made of files (mock/kernel.c); what the controller says is the test's."""

import os
import shutil
import time

import fixture
import mocksys
from fixture import device_path as path
from fixture import wait_until

DRIVE, INDEX = mocksys.NVME_FREE, 1
STATES = ('new', 'connecting', 'resetting', 'deleting', 'deleting (no IO)')


def host(root):
    """The drive has no namespaces, which would need nodes of their own to be locked."""
    tree = mocksys.desktop(root)
    tree.mkdir('sys/bus/pci/drivers/vfio-pci')
    tree.write(f'{tree.functions[DRIVE].path}/mock_native', 'nvme\n')
    tree.write(f'{tree.functions[DRIVE].path}/power/control', 'auto\n')
    for directory in ('sys/block', 'sys/class/block'):
        os.unlink(tree.path(directory, f'nvme{INDEX}n1'))
    shutil.rmtree(tree.path(tree.functions[DRIVE].path, f'nvme/nvme{INDEX}/nvme{INDEX}n1'))
    return tree


class Probing(fixture.BusTest):
    HOST = staticmethod(host)

    @classmethod
    def setUpClass(cls):
        fixture.use_mock_kernel()
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.host = self.bus.host
        self.addCleanup(self.restore)
        self.said = None
        self.seen = len(self.bus.log('vmkitd'))

    def restore(self):
        self.go_live()
        self.look()
        self.destroy_all()
        if os.path.exists(self.reservation()):
            self.root.succeed(self.root.device(path(DRIVE), 'Unreserve', {}))
        if os.path.exists(self.record()):
            self.root.succeed(self.root.device(path(DRIVE), 'Release', {}))
        self.assertEqual(self.driver(), 'nvme')

    # What the drive is like

    def begin_probing(self, state='connecting'):
        said = self.host.probing(DRIVE, INDEX, state)
        self.said = self.said or said

    def go_live(self, **others):
        if self.said:
            self.host.controller(DRIVE, INDEX, **{**self.said, 'state': 'live', **others})

    def set_driver(self, driver):
        link = self.host.path(self.host.functions[DRIVE].path, 'driver')
        os.unlink(link)
        self.host.link(f'{self.host.functions[DRIVE].path}/driver', f'sys/bus/pci/drivers/{driver}')

    def driver(self):
        return os.path.basename(os.readlink(self.host.path(self.host.functions[DRIVE].path, 'driver')))

    # What is known of it

    def look(self):
        self.root.manager('ListDevices', {})

    def get(self, name):
        return self.root.get(path(DRIVE), 'Device', name)

    def record(self):
        return self.bus.path('state/claims', DRIVE)

    def reservation(self):
        return self.bus.path('host/etc/vmkit/reserved.d', DRIVE)

    def assert_is_kept(self):
        self.look()
        self.assertTrue(os.path.exists(self.record()))
        self.assertEqual(self.get('OriginalDriver'), 'nvme')
        log = self.bus.log('vmkitd')[self.seen:]
        self.assertNotIn('taken away', log)
        self.assertNotIn('is gone', log)

    def create(self, name, **options):
        return self.root.create(name, nvme=[DRIVE], **{'on-stop': 'host', **options})

    def is_phase(self, job, phase):
        return lambda: self.root.get(job, 'Job', 'Phase') == phase

    # Tests

    def test_is_not_free(self):
        for state in STATES:
            with self.subTest(state=state):
                self.begin_probing(state)
                time.sleep(2.1)  # what was seen before is believed for 2 s
                self.look()
                self.assertFalse(self.get('Available'))
                self.assertIn(('claimed', f'The driver of {DRIVE} is at work on it: nvme{INDEX} is {state}'),
                              [tuple(pair) for pair in self.get('InUse')])
                error = self.refused('DeviceClaimed', self.create, 'early')
                self.assertIn(state, error.message)
                chosen, _ = self.root.manager('FindDevice', 'nvme', {})
                self.assertEqual(chosen, path(mocksys.NVME_FREE_2))
        self.go_live()
        time.sleep(2.1)
        self.look()
        self.assertTrue(self.get('Available'))

    def test_while_a_vm_has_it(self):
        """The kernel gives it back to its driver before vmkitd knows that QEMU has ended, and then it probes."""
        vm = self.create('probed', start=True)
        self.assertEqual((self.driver(), self.get('VM')), ('vfio-pci', vm))
        self.assert_is_kept()
        for state in STATES:
            with self.subTest(state=state):
                self.begin_probing(state)
                self.set_driver('nvme')
                self.assert_is_kept()
                self.assertEqual(self.get('VM'), vm)
                self.go_live()
                self.assert_is_kept()
                self.assertEqual(self.get('VM'), vm)
                self.set_driver('vfio-pci')
                self.assert_is_kept()

    def test_vmkitd_begins_meanwhile(self):
        self.root.succeed(self.root.device(path(DRIVE), 'Bind', {}))
        for state in STATES[:3]:
            with self.subTest(state=state):
                self.begin_probing(state)
                self.set_driver('nvme')
                self.bus.restart_vmkitd()
                self.seen = 0
                self.assert_is_kept()
                self.go_live()
                self.assert_is_kept()
                self.set_driver('vfio-pci')

    def test_while_it_is_returned(self):
        """It is home when it is live, and its record stays until then."""
        vm = self.create('returned', start=True)
        self.begin_probing()
        job = self.root.vm(vm, 'Stop', {'force': True})
        wait_until(lambda: self.driver() == 'nvme', 'the drive to be bound to its driver')
        for _ in range(5):
            time.sleep(0.2)
            self.assert_is_kept()
            self.assertEqual(self.root.get(job, 'Job', 'State'), 'running')
        self.go_live()
        self.root.succeed(job)
        self.assertFalse(os.path.exists(self.record()))
        self.assertEqual((self.get('VM'), self.get('Health')), ('/', 'ready'))
        self.root.succeed(self.root.vm(vm, 'Start', {}))

    def test_a_start_waits_for_it(self):
        vm = self.create('patient')
        self.begin_probing()
        job = self.root.vm(vm, 'Start', {})
        wait_until(self.is_phase(job, 'waiting for drivers'), 'the start to wait')
        time.sleep(0.5)
        self.assertEqual((self.driver(), self.root.get(job, 'Job', 'State')), ('nvme', 'running'))
        self.go_live()
        self.root.succeed(job)
        self.assertEqual(self.driver(), 'vfio-pci')

    def test_a_start_that_waits_is_cancelled(self):
        vm = self.create('hasty')
        self.begin_probing()
        job = self.root.vm(vm, 'Start', {})
        wait_until(self.is_phase(job, 'waiting for drivers'), 'the start to wait')
        self.root.job(job, 'Cancel', {})
        self.assertEqual(self.root.finish(job)['State'], 'cancelled')
        self.assertEqual((self.driver(), self.root.get(vm, 'VM', 'State')), ('nvme', 'stopped'))

    def test_another_drive_is_found_out(self):
        """Its own serial number comes after it has been looked at."""
        vm = self.create('careful')
        self.begin_probing()
        job = self.root.vm(vm, 'Start', {})
        wait_until(self.is_phase(job, 'waiting for drivers'), 'the start to wait')
        self.go_live(serial='ANOTHER')
        ended = self.root.finish(job)
        self.assertEqual(ended['Error'][0], fixture.PREFIX + 'IdentityChanged')
        self.assertIn('ANOTHER', ended['Error'][1])
        self.assertEqual(self.driver(), 'nvme')

    def test_reserved_and_probing_at_the_start(self):
        self.root.succeed(self.root.device(path(DRIVE), 'Reserve', {}))
        self.bus.stop('vmkitd')
        os.unlink(self.record())
        self.set_driver('nvme')
        self.begin_probing()
        self.bus.start_vmkitd()
        time.sleep(0.5)
        self.assertEqual(self.driver(), 'nvme')
        self.go_live()
        wait_until(lambda: self.driver() == 'vfio-pci', 'the reserved drive to be held')
        wait_until(lambda: not self.get('InUse') and self.get('Reserved'), 'vmkitd to be done with it')

    def test_a_device_that_does_not_answer_is_not_reserved(self):
        """Its PCI serial number would be taken for none, and it would never be known again at boot."""
        config = self.host.path(self.host.functions[DRIVE].path, 'config')
        with open(config, 'rb') as file:
            header = file.read()
        self.addCleanup(self.host.write, f'{self.host.functions[DRIVE].path}/config', header)
        with open(config, 'ab') as file:
            file.write(b'\xff' * (4096 - len(header)))
        job = self.root.finish(self.root.device(path(DRIVE), 'Reserve', {}))
        self.assertEqual(job['State'], 'failed')
        self.assertIn('identity of the device', job['Error'][1])
        self.assertEqual((os.path.exists(self.reservation()), self.driver()), (False, 'nvme'))

    def test_another_drive_than_the_reserved_one(self):
        self.root.succeed(self.root.device(path(DRIVE), 'Reserve', {}))
        self.bus.stop('vmkitd')
        os.unlink(self.record())
        self.set_driver('nvme')
        self.begin_probing()
        self.bus.start_vmkitd()
        self.seen = 0
        self.go_live(serial='ANOTHER')
        wait_until(lambda: f'reserved at {DRIVE} is not there' in self.bus.log('vmkitd'), 'the drive to be missed')
        self.assertEqual((self.driver(), self.get('Reserved')), ('nvme', False))


if __name__ == '__main__':
    fixture.main()
