#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The systemd units: well formed, and no more exposed than was agreed. Needs no root and no bus."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.environ.get('VMKIT_SOURCE_DIR') or os.path.realpath(f'{os.path.dirname(__file__)}/../..')


class UnitTest:
    def setUp(self):
        with open(os.path.join(SOURCE, f'systemd/{self.NAME}.in'), encoding='utf-8') as file:
            self.text = file.read()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.unit = os.path.join(directory.name, os.path.basename(self.NAME))
        with open(self.unit, 'w', encoding='utf-8') as file:
            text = self.text.replace('@confdir@', '/etc/vmkit')
            file.write(re.sub(r'@\w+dir@/[\w-]+', '/bin/true', text))

    def setting(self, key):
        return re.findall(rf'^{key}=(.*)$', self.text, re.M)

    @unittest.skipUnless(shutil.which('systemd-analyze'), 'no systemd-analyze')
    def test_verify(self):
        done = subprocess.run(['systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', self.unit],
                              text=True, capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''))

    @unittest.skipUnless(shutil.which('systemd-analyze'), 'no systemd-analyze')
    def test_exposure(self):
        done = subprocess.run(['systemd-analyze', 'security', '--offline=yes', '--no-pager', self.unit],
                              text=True, capture_output=True, check=False)
        score = float(re.search(r'Overall exposure level for \S+: ([0-9.]+)', done.stdout)[1])
        print(f'exposure {score}')
        self.assertLessEqual(score, self.EXPOSURE)


class Service(UnitTest, unittest.TestCase):
    NAME = 'vmkitd.service'
    EXPOSURE = 2.6

    def test_what_the_service_lives_by(self):
        for key, value in (('Type', 'notify'), ('KillMode', 'process'), ('BusName', 'org.vmkit.Manager'),
                           ('WantedBy', 'multi-user.target'), ('StateDirectoryMode', '0711')):
            self.assertEqual(self.setting(key), [value])
        self.assertIn('modprobe@vfio_pci.service', self.setting('Wants') + self.setting('After'))
        for key in ('ProtectKernelTunables', 'PrivateDevices', 'PrivateNetwork'):
            self.assertEqual(self.setting(key), [], 'this would break it')

    def test_the_guests_unit_comes_along(self):
        self.assertIn('vmkit-guests.service', self.setting('Wants'))


class Guests(UnitTest, unittest.TestCase):
    NAME = 'vmkit-guests.service'
    EXPOSURE = 1.5

    def test_it_stops_before_what_it_needs(self):
        after = ' '.join(self.setting('After')).split()
        for unit in ('vmkitd.service', 'libvirtd.service', 'dbus.service', 'virt-guest-shutdown.target'):
            self.assertIn(unit, after)

    def test_a_restart_of_vmkitd_is_none_of_the_guests(self):
        """Each of these would stop it together with vmkitd."""
        for key in ('Requires', 'Requisite', 'BindsTo', 'PartOf'):
            self.assertEqual(self.setting(key), [])

    def test_there_is_time_for_the_default(self):
        self.assertEqual(self.setting('TimeoutStopSec'), ['3min'])


class Convert(UnitTest, unittest.TestCase):
    NAME = 'vmkit-convert@.service'
    EXPOSURE = 1.5

    def test_whose_it_is(self):
        for key, value in (('DynamicUser', 'yes'), ('CapabilityBoundingSet', ''), ('PrivateNetwork', 'yes'),
                           ('PrivateDevices', 'yes'), ('StandardInput', 'socket'), ('StandardOutput', 'journal')):
            self.assertEqual(self.setting(key), [value])

    def test_each_amount_has_a_limit(self):
        for key in ('RuntimeMaxSec', 'MemoryMax', 'LimitCPU', 'LimitFSIZE', 'TasksMax'):
            self.assertEqual(len(self.setting(key)), 1, key)

    def test_where_it_is_asked(self):
        with open(os.path.join(SOURCE, 'systemd/vmkit-convert.socket'), encoding='utf-8') as file:
            socket = file.read()
        for line in ('Accept=yes', 'SocketMode=0600', 'ListenSequentialPacket=/run/vmkit/convert'):
            self.assertIn(f'\n{line}\n', socket)
        with open(os.path.join(SOURCE, 'systemd/vmkitd.service.in'), encoding='utf-8') as file:
            service = file.read()
        self.assertIn('\nRuntimeDirectory=vmkit\n', service)
        self.assertIn('\nWants=vmkit-convert.socket\n', service)


class Early(UnitTest, unittest.TestCase):
    NAME = 'early/vmkit-reserve.service'
    EXPOSURE = 10   # it runs for a moment, and loads a module

    def test_it_comes_before_drivers_are_loaded(self):
        before = ' '.join(self.setting('Before')).split()
        for unit in ('systemd-modules-load.service', 'systemd-udevd.service', 'systemd-udev-trigger.service',
                     'sysinit.target'):
            self.assertIn(unit, before)
        self.assertEqual(self.setting('DefaultDependencies'), ['no'])
        self.assertEqual(self.setting('After'), [])

    def test_it_is_enabled_with_the_service(self):
        with open(os.path.join(SOURCE, 'systemd/vmkitd.service.in'), encoding='utf-8') as file:
            self.assertIn('Also=vmkit-reserve.service\n', file.read())


class Dracut(unittest.TestCase):
    """The module, with functions in the place of dracut's own that say what they are asked for."""

    DRACUT = '''
        inst_multiple() { printf 'file %s\\n' "$@"; }
        inst_rules() { printf 'rule %s\\n' "$@"; }
        instmods() { echo "hostonly=$hostonly" "$@"; }
    '''

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.reserved = os.path.join(directory.name, 'reserved.d')
        with open(os.path.join(SOURCE, 'systemd/early/module-setup.sh.in'), encoding='utf-8') as file:
            self.module = file.read().replace('@confdir@', directory.name).replace('@helperdir@', '/lib/vmkit')

    def run_module(self, command):
        return subprocess.run(['bash', '-c', f'{self.DRACUT}\n{self.module}\n{command}'], text=True,
                              capture_output=True, check=False)

    def test_it_is_left_out_without_reservations(self):
        self.assertNotEqual(self.run_module('check').returncode, 0)

    def test_it_brings_all_that_holds(self):
        os.mkdir(self.reserved)
        record = os.path.join(self.reserved, '0000:01:00.0')
        with open(record, 'w', encoding='ascii'):
            pass
        self.assertEqual(self.run_module('check').returncode, 0)
        installed = self.run_module('install').stdout.splitlines()
        self.assertEqual(installed, ['file /lib/vmkit/vmkit-reserve', f'file {record}',
                                     'rule 05-vmkit-reserve.rules'])
        self.assertEqual(self.run_module('hostonly=yes; installkernel').stdout,
                         'hostonly= vfio-pci vfio_iommu_type1\n')


if __name__ == '__main__':
    result = unittest.main(exit=False, verbosity=2).result
    failed = len(result.failures) + len(result.errors)
    print(f'{result.testsRun - failed - len(result.skipped)} passed, {failed} failed, '
          f'{len(result.skipped)} skipped')
    sys.exit(0 if result.wasSuccessful() else 1)
