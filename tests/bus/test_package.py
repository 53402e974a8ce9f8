#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the Debian package does before it is removed (debian/vmkit.prerm): nothing while a VM runs; else devices go
back to the host. Services, the initramfs and what dpkg does are the lab's."""

import glob
import os
import subprocess
import unittest

import fixture
import mocksys
from fixture import BUILD, SOURCE

HOME = {mocksys.GPU: 'nouveau', mocksys.GPU_AUDIO: 'snd_hda_intel'}


def host(directory):
    found = mocksys.desktop(directory)
    found.mkdir('sys/bus/pci/drivers/vfio-pci')
    for address, driver in HOME.items():
        found.write(f'{found.functions[address].path}/mock_native', f'{driver}\n')
    return found


def path(address):
    return '/org/vmkit/device/' + address.replace(':', '_').replace('.', '_')


class Removal(fixture.BusTest):
    HOST = staticmethod(host)

    @classmethod
    def setUpClass(cls):
        helpers = fixture.use_mock_kernel()
        os.symlink('/bin/true', f'{helpers}/deb-systemd-invoke')        # no service of this machine is stopped
        cls.helpers = helpers
        super().setUpClass()

    def prerm(self, address=None):
        """The script as dpkg runs it, but for what debhelper adds."""
        return subprocess.run(['sh', f'{SOURCE}/debian/vmkit.prerm', 'remove'], text=True, capture_output=True,
                              check=False, timeout=fixture.TIMEOUT, env={
                                  'PATH': f'{self.helpers}:{BUILD}/client:/usr/sbin:/usr/bin:/sbin:/bin',
                                  'DBUS_SYSTEM_BUS_ADDRESS': address or self.bus.address})

    def drivers(self):
        return {address: self.root.get(path(address), 'Device', 'Driver') for address in HOME}

    def bind(self):
        self.root.succeed(self.root.device(path(mocksys.GPU), 'Bind', {}))
        self.assertEqual(set(self.drivers().values()), {'vfio-pci'})

    def test_devices_come_back(self):
        self.bind()
        done = self.prerm()
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn(f'{mocksys.GPU} is back', done.stdout)
        self.assertNotIn(mocksys.GPU_AUDIO, done.stdout)
        self.assertEqual(self.drivers(), HOME)

    def test_a_vm_runs(self):
        self.bind()
        self.root.create('at-rest')
        vm = self.root.create('busy', start=True)
        done = self.prerm()
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertIn('  busy\n', done.stderr)
        self.assertNotIn('at-rest', done.stderr)
        self.assertEqual(set(self.drivers().values()), {'vfio-pci'})

        self.root.succeed(self.root.vm(vm, 'Destroy', {'force': True}))
        self.assertEqual(self.prerm().returncode, 0)
        self.assertEqual(self.drivers(), HOME)
        self.root.succeed(self.root.vm(self.root.manager('GetVM', 'at-rest'), 'Destroy', {}))

    def test_no_service(self):
        """A package whose service is broken can be removed all the same."""
        done = self.prerm('unix:path=/nonexistent')
        self.assertEqual(done.returncode, 0)
        self.assertIn('cannot be reached', done.stderr)


class Contents(unittest.TestCase):
    """Units are below /lib in Debian 12 and below /usr/lib in Debian 13."""

    def test_units_are_where_the_release_has_them(self):
        for directory in ('/lib/systemd/system', '/usr/lib/systemd/system'):
            commands = subprocess.run(['make', '-n', '-f', 'debian/rules', 'override_dh_auto_configure',
                                       'override_dh_install', f'unitdir={directory}'],
                                      cwd=SOURCE, text=True, capture_output=True, check=True).stdout
            self.assertIn(f'-Dsystemdsystemunitdir={directory} ', commands)
            self.assertIn(f'dh_install --package=vmkit {directory}\n', commands)

    def test_no_file_names_the_directory(self):
        lists = glob.glob(f'{SOURCE}/debian/*.install')
        self.assertTrue(lists)
        for name in lists:
            with open(name, encoding='utf-8') as file:
                self.assertNotIn('systemd', file.read(), name)

    def test_no_directory_is_no_package_without_units(self):
        done = subprocess.run(['make', '-n', '-f', 'debian/rules', 'override_dh_install', 'unitdir='],
                              cwd=SOURCE, text=True, capture_output=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('systemd.pc', done.stderr)


if __name__ == '__main__':
    fixture.main()
