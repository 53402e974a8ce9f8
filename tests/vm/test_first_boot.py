#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The whole way: a Debian cloud image under Secure Boot, set up by cloud-init, seen from inside."""

import subprocess
import tempfile

import machine
import fixture

SECURE_BOOT = '/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c'


# The lab's image leaves out the module that any other has for passwords.
USER_DATA = f'{machine.GUEST_SHELL}cloud_config_modules: [set-passwords, runcmd]\n'


class FirstBoot(machine.VMTest):
    def make_key(self):
        directory = tempfile.mkdtemp(dir=self.bus.directory)
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'someone', '-f', f'{directory}/key'],
                       check=True)
        with open(f'{directory}/key.pub', encoding='ascii') as file:
            return file.read().strip()

    def test_first_boot(self):
        key = self.make_key()
        with open(machine.guest_image(), 'rb') as image:
            vm = self.create('first', USER_DATA, image=fixture.Descriptor(image), secure_boot=True, tpm=True,
                             disk_size=fixture.u64(3 << 30), network='user',
                             cloud_init={'ssh-keys': [key], 'hostname': 'first-guest', 'user': 'someone'})
        self.assertEqual(self.alice.get(vm, 'VM', 'SecureBoot'), True)
        self.assertEqual(self.alice.get(vm, 'VM', 'TPM'), True)
        self.succeed('Start', vm, {})
        console = self.console(vm)
        console.wait_for_shell()        # that there is one comes from the caller's own user-data

        with self.subTest('firmware'):
            self.assertEqual(console.run(f'od -An -tu1 -j4 {SECURE_BOOT}'), '1')
            self.assertIn('Secure boot enabled', console.run('dmesg | grep -i "secure boot"'))
            self.assertEqual(console.run('ls /dev/tpm0; cat /sys/class/tpm/tpm0/tpm_version_major').split(),
                             ['/dev/tpm0', '2'])
        with self.subTest('identity'):
            self.assertEqual(console.run('hostname'), 'first-guest')
            self.assertEqual(console.run('cat ~someone/.ssh/authorized_keys'), key)
            self.assertEqual(console.run('stat -c %U ~someone/.ssh/authorized_keys'), 'someone')
        with self.subTest('no way in but the key'):
            self.assertEqual(console.run('sshd -T | grep "^passwordauthentication"'), 'passwordauthentication no')
            self.assertEqual(console.run('passwd -S someone').split()[1], 'L')
        with self.subTest('the disk has grown'):
            self.assertEqual(console.run('cat /sys/class/block/vda/size'), str((3 << 30) // 512))

        with self.subTest('its address, which only its agent can tell'):
            fixture.wait_until(lambda: self.alice.vm(vm, 'GetAddresses'), 'an address', machine.GUEST_TIMEOUT)
            self.assertIn(('ipv4', '10.0.2.15'), self.alice.vm(vm, 'GetAddresses'))
            info = self.alice.spawn(f'{fixture.BUILD}/client/vmkitctl', 'info', 'first').stdout
            self.assertIn('10.0.2.15', info)
            self.assertNotIn('ssh ', info, 'that address is of no use to the host')
            self.assertNotIn('127.0.0.1', [address for _, address in self.alice.vm(vm, 'GetAddresses')])

        self.succeed('Stop', vm, {}, timeout=machine.BOOT_TIMEOUT)
        self.assertTrue(console.wait_for_end())
        self.succeed('Destroy', vm, {})


if __name__ == '__main__':
    machine.main()
