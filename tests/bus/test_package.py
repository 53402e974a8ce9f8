#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the Debian package does before it is removed (debian/vmkit.prerm): nothing while a VM runs; else devices go
back to the host. What a purge leaves (debian/vmkit.postrm): all that is not vmkitd's own record. Services, the
initramfs and what dpkg does are the lab's."""

import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
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


STATE = '/var/lib/vmkit'


class Purge(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        fixture.overlay('/var/lib')

    def setUp(self):
        shutil.rmtree(STATE, ignore_errors=True)
        for record in ('claims/0000:01:00.0', 'jobs/last', 'quiet/0000:01:00.0', 'hugepages/uuid', 'vms/', 'images/'):
            self.write(record)
        for record in ('autostart-boot', 'unreserved-boot'):
            self.write(record)

    @staticmethod
    def write(name, content='x'):
        path = f'{STATE}/{name}'
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not name.endswith('/'):
            with open(path, 'w', encoding='utf-8') as file:
                file.write(content)
        return path

    def purge(self):
        """The script as dpkg runs it, with a /run that is nobody's."""
        done = subprocess.run(['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /run && exec sh "$0" purge',
                               f'{SOURCE}/debian/vmkit.postrm'], text=True, capture_output=True, check=False,
                              timeout=fixture.TIMEOUT)
        self.assertEqual((done.returncode, done.stdout), (0, ''), done.stderr)
        return done.stderr

    def test_nothing_is_left_of_nothing(self):
        self.write('vms/6f1e5e3c-2b1a-4a53-9b52-0d6c4f3f9d11/')
        self.write('images/1000/')
        self.write('bases/')
        self.assertEqual(self.purge(), '')
        self.assertFalse(os.path.exists(STATE))
        self.assertEqual(self.purge(), '')

    def test_the_table_of_records_is_whole(self):
        """What vmkitd has written once it is ready is known to the script."""
        bus = fixture.Bus()
        self.addCleanup(bus.close)
        with open(f'{SOURCE}/debian/vmkit.postrm', encoding='utf-8') as file:
            known = re.search(r"^records='(.*)'$", file.read(), re.M)[1].split()
        there = set(os.listdir(bus.path('state')))
        self.assertIn('claims', there)
        self.assertLessEqual(there, {*known, 'vms', 'images', 'bases'})

    def read(self, disk):
        subprocess.run(['qemu-img', 'check', '-q', disk], check=True)
        with tempfile.NamedTemporaryFile() as file:
            subprocess.run(['qemu-img', 'convert', '-O', 'raw', disk, file.name], check=True)
            return hashlib.sha256(file.read()).hexdigest()

    def test_disks_can_still_be_read(self):
        raw = self.write('content', 'what the image has ' * 100000)
        base = f'{STATE}/bases/4711.qcow2'
        disk = self.write('vms/6f1e5e3c-2b1a-4a53-9b52-0d6c4f3f9d11/disk.qcow2')
        os.mkdir(os.path.dirname(base))
        for argv in (['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, base],
                     ['qemu-img', 'create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', disk],
                     ['qemu-io', '-f', 'qcow2', '-c', 'write -q -P 7 64k 64k', disk]):
            subprocess.run(argv, check=True)
        os.unlink(raw)
        before = self.read(disk)

        said = self.purge()
        self.assertEqual(self.read(disk), before)
        self.assertEqual(sorted(os.listdir(STATE)), ['bases', 'vms'])
        for text in (f'{STATE}/vms\n', f'{STATE}/bases\n', 'cannot be read without it', f'rm -r {STATE}'):
            self.assertIn(text, said)

    def test_what_others_put_there_stays(self):
        self.write('backup/of-mine', 'precious')
        self.write('.hidden', 'precious')
        with tempfile.TemporaryDirectory() as elsewhere:
            os.rmdir(f'{STATE}/images')
            os.symlink(elsewhere, f'{STATE}/images')
            said = self.purge()
            self.assertTrue(os.path.isdir(elsewhere))
        self.assertEqual(sorted(os.listdir(STATE)), ['.hidden', 'backup', 'images'])
        self.assertEqual(os.listdir(f'{STATE}/backup'), ['of-mine'])
        self.assertIn(f'{STATE}/backup\n', said)
        self.assertNotIn('bases', said)

    def test_the_directory_may_be_elsewhere(self):
        with tempfile.TemporaryDirectory(dir='/var/lib') as elsewhere:
            os.rename(STATE, f'{elsewhere}/vmkit')
            os.symlink(f'{elsewhere}/vmkit', STATE)
            self.addCleanup(os.unlink, STATE)
            self.write('vms/6f1e5e3c-2b1a-4a53-9b52-0d6c4f3f9d11/disk.raw')
            said = self.purge()
            self.assertEqual(os.listdir(f'{elsewhere}/vmkit'), ['vms'])
        self.assertIn(f'{STATE}/vms\n', said)

    def test_a_file_system_below_a_record_is_not_emptied(self):
        mounted = f'{STATE}/quiet/mounted'
        os.mkdir(mounted)
        fixture.run('mount', '-t', 'tmpfs', 'vmkit-test', mounted)
        self.addCleanup(fixture.run, 'umount', mounted)
        self.write('quiet/mounted/file', 'precious')
        self.purge()
        self.assertEqual(os.listdir(mounted), ['file'])
        self.assertEqual(os.listdir(STATE), ['quiet'])


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
