#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Secure Boot and a TPM as the guest sees them, and hosts that lack what they need."""

import os

import machine
import fixture
from fixture import u64

SECURE_BOOT = '/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c'


class Firmware(machine.VMTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        image = cls.bus.path('quick.raw')
        machine.make_quick_image(image)
        cls.import_image(image, 'signed')
        machine.remove_signature(image)
        cls.import_image(image, 'unsigned')
        os.unlink(image)

    def started(self, name, **options):
        vm = self.create(name, **options)
        self.addCleanup(self.succeed, 'Destroy', vm, {'force': True})
        self.succeed('Start', vm, {})
        return self.console(vm)

    def test_secure_boot_and_tpm(self):
        """Debian's shim, grub and kernel."""
        console = self.started('secure', image_name='signed', secure_boot=True, tpm=True)
        console.wait_for_quick_shell()
        console.run('modprobe efivarfs; mount -t efivarfs efivarfs /sys/firmware/efi/efivars')
        self.assertEqual(console.run(f'od -An -tu1 -j4 {SECURE_BOOT}'), '1')
        self.assertIn('Secure boot enabled', console.run('dmesg | grep -i "secure boot"'))
        self.assertEqual(console.run('ls /dev/tpm0; cat /sys/class/tpm/tpm0/tpm_version_major').split(),
                         ['/dev/tpm0', '2'])

    def test_an_unsigned_loader_is_refused(self):
        console = self.started('refused', image_name='unsigned', secure_boot=True)
        console.expect('Access Denied|Security Violation', machine.BOOT_TIMEOUT)

    def test_an_unsigned_loader_without_secure_boot(self):
        console = self.started('open', image_name='unsigned')
        console.wait_for_quick_shell()
        console.run('modprobe efivarfs; mount -t efivarfs efivarfs /sys/firmware/efi/efivars')
        self.assertEqual(console.run(f'od -An -tu1 -j4 {SECURE_BOOT}'), '0')
        self.assertNotIn('tpm0', console.run('ls /dev'))

    def test_nothing_is_left(self):
        vm = self.create('short', disk_size=u64(1 << 20), secure_boot=True, tpm=True)
        uuid = self.alice.get(vm, 'VM', 'UUID')
        self.succeed('Start', vm, {})
        self.assertTrue(self.files_of('short', uuid))
        self.succeed('Destroy', vm, {'force': True})
        self.assertEqual(self.files_of('short', uuid), [])

    @staticmethod
    def files_of(name, uuid):
        """Variables of the firmware, and the TPM's state, as libvirt keeps them."""
        found = [f'nvram/{f}' for f in os.listdir('/var/lib/libvirt/qemu/nvram') if f.startswith(name)]
        return found + [f'swtpm/{f}' for f in os.listdir('/var/lib/libvirt/swtpm') if f == uuid]


class Missing(machine.VMTest):
    """A host without: refused before anything is copied."""

    def hide(self, *paths):
        """As if a package was not installed."""
        for path in paths:
            if os.path.isdir(path):
                fixture.run('mount', '-t', 'tmpfs', 'vmkit-hidden', path)
            else:
                fixture.run('mount', '--bind', '/dev/null', path)
            self.addCleanup(fixture.run, 'umount', path)
        self.restart_libvirt()

    def restart_libvirt(self):
        self.bus.kill_libvirt()
        fixture.wait_until(lambda: self.libvirt_status() != 'ok', 'vmkitd to notice')
        self.bus.start_libvirt()
        fixture.wait_until(lambda: self.libvirt_status() == 'ok', 'vmkitd to be connected again')

    def libvirt_status(self):
        return {check[0]: check[1] for check in self.root.manager('CheckHost')[1]}['libvirt']

    def expect_refusal(self, package, code, **options):
        with open(machine.guest_image(), 'rb') as image:
            options = {'image': fixture.Descriptor(image), 'network': 'none', **options}
            before = self.state()
            ready, findings, _plan = self.alice.manager('PlanVM', 'lacking', options)
            self.assertFalse(ready)
            [finding] = [f for f in findings if f['severity'] == 'fail']
            self.assertEqual(finding['code'], code)
            self.assertRegex(finding['remedy'], f'package.*{package}')
            error = self.refused('NotReady', self.alice.manager, 'CreateVM', 'lacking', options)
            self.assertEqual(error.message.split('\n')[0], finding['detail'])
            self.assertEqual(self.state(), before)

    def test_no_firmware(self):
        self.hide('/usr/share/qemu/firmware')
        self.expect_refusal('ovmf', 'no-firmware')
        self.expect_refusal('ovmf', 'no-firmware', **{'secure-boot': True})
        self.assertTrue(self.alice.manager('PlanVM', 'old', {'firmware': 'bios', 'network': 'none'})[0])

    def test_no_firmware_with_keys(self):
        self.hide('/usr/share/qemu/firmware/40-edk2-x86_64-secure-enrolled.json')
        self.expect_refusal('ovmf', 'no-firmware', **{'secure-boot': True})
        self.assertTrue(self.alice.manager('PlanVM', 'plain', {'network': 'none'})[0])

    def test_no_swtpm(self):
        self.hide('/usr/bin/swtpm')
        self.expect_refusal('swtpm', 'no-tpm', tpm=True)

    def test_no_swtpm_tools(self):
        self.hide('/usr/bin/swtpm_setup')
        self.expect_refusal('swtpm-tools', 'no-tpm', tpm=True)


if __name__ == '__main__':
    machine.main()
