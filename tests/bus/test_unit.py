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
        self.unit = os.path.join(directory.name, self.NAME)
        with open(self.unit, 'w', encoding='utf-8') as file:
            file.write(re.sub(r'@\w+dir@/\w+', '/bin/true', self.text))

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


if __name__ == '__main__':
    result = unittest.main(exit=False, verbosity=2).result
    failed = len(result.failures) + len(result.errors)
    print(f'{result.testsRun - failed - len(result.skipped)} passed, {failed} failed, '
          f'{len(result.skipped)} skipped')
    sys.exit(0 if result.wasSuccessful() else 1)
