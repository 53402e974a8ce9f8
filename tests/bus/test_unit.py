#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The systemd unit: well formed, and no more exposed than was agreed. Needs no root and no bus."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.environ.get('VMKIT_SOURCE_DIR') or os.path.realpath(f'{os.path.dirname(__file__)}/../..')
UNIT = os.path.join(SOURCE, 'systemd/vmkitd.service.in')
EXPOSURE = 2.6


class Unit(unittest.TestCase):
    def setUp(self):
        with open(UNIT, encoding='utf-8') as file:
            self.text = file.read()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.unit = os.path.join(directory.name, 'vmkitd.service')
        with open(self.unit, 'w', encoding='utf-8') as file:
            file.write(self.text.replace('@libexecdir@/vmkitd', '/bin/true'))

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
        self.assertLessEqual(score, EXPOSURE)

    def test_what_the_service_lives_by(self):
        for key, value in (('Type', 'notify'), ('KillMode', 'process'), ('BusName', 'org.vmkit.Manager'),
                           ('WantedBy', 'multi-user.target'), ('StateDirectoryMode', '0711')):
            self.assertEqual(self.setting(key), [value])
        self.assertIn('modprobe@vfio_pci.service', self.setting('Wants') + self.setting('After'))
        for key in ('ProtectKernelTunables', 'PrivateDevices', 'PrivateNetwork'):
            self.assertEqual(self.setting(key), [], 'this would break it')


if __name__ == '__main__':
    result = unittest.main(exit=False, verbosity=2).result
    failed = len(result.failures) + len(result.errors)
    print(f'{result.testsRun - failed - len(result.skipped)} passed, {failed} failed, '
          f'{len(result.skipped)} skipped')
    sys.exit(0 if result.wasSuccessful() else 1)
