#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reservations on the bus: what is refused, what is recorded, what is said of it. The host is made of files,
so what is reserved here is on vfio-pci before; the lab shows the rest on real devices."""

import os

import fixture
import mocksys
from fixture import wait_until
from fixture import device_path as path

RECORDS = 'etc/vmkit/reserved.d'
GPU, AUDIO = mocksys.GPU, mocksys.GPU_AUDIO
STALE = '''version=1

[{address}]
path=pci0000:00/0000:00:1c.0/{address}
vendor=1234
device=5678
subsystem=0000:0000
class=010802
revision=00
boot-vga=no
serial=elsewhere
driver=nvme
alone=yes
'''


class Reserve(fixture.BusTest):
    def setUp(self):
        super().setUp()
        self.host = self.bus.host

    def record(self, address):
        return self.bus.path('host', RECORDS, address)

    def reserve(self, address, **options):
        return self.root.device(path(address), 'Reserve', options)

    def unreserve(self, address):
        return self.root.device(path(address), 'Unreserve', {})

    def reserved(self, address):
        return self.root.get(path(address), 'Device', 'Reserved')

    def checks(self):
        return {check[0]: check[1:] for check in self.root.manager('CheckHost')[1]}

    def write_record(self, address, text):
        os.makedirs(os.path.dirname(self.record(address)), exist_ok=True)
        with open(self.record(address), 'w', encoding='ascii') as file:
            file.write(text)
        self.addCleanup(lambda: os.path.exists(self.record(address)) and os.unlink(self.record(address)))

    def test_what_the_host_uses_is_refused(self):
        self.refused('DeviceInUse', self.reserve, mocksys.NVME_ROOT)
        self.refused('DeviceInUse', self.reserve, mocksys.IGPU)
        self.refused('InvalidOption', self.reserve, GPU, allow=['mounted'])
        self.assertFalse(os.path.exists(self.bus.path('host', RECORDS)))

    def test_needs_the_rights(self):
        for method in ('Reserve', 'Unreserve'):
            self.refused(fixture.REFUSALS, self.alice.device, path(GPU), method, {})

    def test_what_is_not_reserved_cannot_be_unreserved(self):
        self.refused('WrongState', self.unreserve, GPU)

    def test_drive_on_vfio_has_no_serial_number(self):
        drive = mocksys.NVME_FREE_2
        link = self.host.path(self.host.functions[drive].path, 'driver')
        os.unlink(link)
        self.host.bind(drive, 'vfio-pci')
        self.addCleanup(lambda: (os.unlink(link), self.host.bind(drive, 'nvme')))
        self.bus.restart_vmkitd()   # and what it knew from before
        error = self.refused('WrongState', self.reserve, drive)
        self.assertIn('serial number', error.message)

    def test_unit_is_recorded_and_forgotten(self):
        for address in (GPU, AUDIO):
            link = self.host.path(self.host.functions[address].path, 'driver')
            before = os.path.basename(os.readlink(link))
            os.unlink(link)
            self.host.bind(address, 'vfio-pci')
            self.addCleanup(lambda l=link, a=address, b=before: (os.unlink(l), self.host.bind(a, b)))
        self.root.device(path(GPU), 'Inspect')
        told = self.root.signals('PropertiesChanged', path=path(AUDIO))

        self.root.succeed(self.reserve(GPU, allow=['no-reset']))
        with open(self.record(GPU), encoding='ascii') as file:
            text = file.read()
        for part in (f'[{GPU}]', f'[{AUDIO}]', 'allow=no-reset', 'vendor=10de', 'alone=no', 'class=030000'):
            self.assertIn(part, text)
        self.assertTrue(self.reserved(GPU) and self.reserved(AUDIO))
        wait_until(lambda: any(a[1].get('Reserved') for _, a in told), 'the change of Reserved')
        self.assertEqual(self.checks()['reserved-devices'][0], 'ok')
        error = self.refused('WrongState', self.root.device, path(GPU), 'Release', {})
        self.assertIn('reserved', error.message)

        # Known again after a restart, by the other function too.
        self.bus.restart_vmkitd()
        self.assertTrue(self.reserved(AUDIO))
        self.root.succeed(self.unreserve(AUDIO))
        self.assertFalse(self.reserved(GPU))
        self.assertFalse(os.path.exists(self.bus.path('host', RECORDS)))

    def test_record_about_another_device(self):
        address = mocksys.NVME_FREE
        self.write_record(address, STALE.format(address=address))
        self.bus.restart_vmkitd()
        self.assertFalse(self.reserved(address))
        status, summary, remedy = self.checks()['reserved-devices']
        self.assertEqual(status, 'warn')
        self.assertIn(address, summary)
        self.assertIn(f'unreserve {address}', remedy)
        self.assertIn(f'reserved at {address} is not there', self.bus.log('vmkitd'))

        self.root.succeed(self.unreserve(address))
        self.assertFalse(os.path.exists(self.record(address)))
        self.assertEqual(self.root.get(path(address), 'Device', 'Driver'), 'nvme')

    def test_switched_off_on_the_command_line(self):
        address = mocksys.NVME_FREE
        self.write_record(address, STALE.format(address=address))
        self.host.write('proc/cmdline', 'root=/dev/x vmkit.reserve=0\n')
        self.addCleanup(self.host.write, 'proc/cmdline', 'root=/dev/x\n')
        self.bus.restart_vmkitd()
        self.assertIn('command line', self.checks()['reserved-devices'][1])

    def test_record_that_is_not_understood(self):
        self.write_record(mocksys.NVME_FREE, 'version=99\n')
        self.bus.restart_vmkitd()
        self.assertFalse(self.reserved(mocksys.NVME_FREE))
        self.assertIn(f'reservation {mocksys.NVME_FREE} cannot be understood', self.bus.log('vmkitd'))


if __name__ == '__main__':
    fixture.main()
