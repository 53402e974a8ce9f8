#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands of the README: each that creates a VM is understood, by a host with the devices that are named
there, and no other has a word or an option that vmkitctl does not know."""

import json
import os
import re
import shlex
import subprocess

import fixture
import mocksys
from fixture import BUILD, SOURCE

VMKITCTL = f'{BUILD}/client/vmkitctl'

GPU, NVME, USB = 0x030000, 0x010802, 0x0c0330
KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIASlnzUL300US07wDpMpAKEeIIj9Gn4GBja2pJrlOymN test@example\n'
# The addresses that the README uses, as what it says they are.
DEVICES = {'0000:01:00.0': GPU, '0000:02:00.0': NVME, '0000:03:00.0': GPU, '0000:04:00.0': GPU,
           '0000:05:00.0': USB}


def host(directory):
    found = mocksys.MockHost(directory)
    found.processors(1, 16, 64 << 20)
    found.write('proc/meminfo', f'MemTotal: {64 << 20} kB\nMemAvailable: {60 << 20} kB\n')
    for number, (address, code) in enumerate(DEVICES.items()):
        port = f'0000:00:1{number}.0'
        found.port(port, group=10 + number)
        found.function(address, code, 0x10de, 0x2484, parent=port, group=20 + number)
    return found


def commands():
    """Every command line of a block of code, without the comment behind it."""
    with open(f'{SOURCE}/README.md', encoding='utf-8') as file:
        blocks = re.findall(r'^```(\w*)\n(.*?)^```$', file.read(), re.MULTILINE | re.DOTALL)
    for line in ''.join(text for language, text in blocks if not language).replace('\\\n', ' ').splitlines():
        if line.startswith('vmkitctl '):
            yield shlex.split(line.split(' | ')[0], comments=True)[1:]


class Readme(fixture.BusTest):
    HOST = staticmethod(host)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.home = cls.bus.path('home')
        os.makedirs(f'{cls.home}/.ssh')
        for name in ('debian-12.qcow2', 'windows.qcow2'):
            subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', f'{cls.home}/{name}', '4M'], check=True)
        with open(f'{cls.home}/debian-12-netinst.iso', 'wb') as file:
            file.write(bytes(0x8001) + b'CD001' + bytes(0x8000))
        with open(f'{cls.home}/.ssh/id_ed25519.pub', 'w', encoding='ascii') as file:
            file.write(KEY)

    def vmkitctl(self, *arguments):
        return self.alice.spawn(VMKITCTL, *arguments, cwd=self.home)

    def test_create(self):
        found = [c for c in commands() if c[0] == 'create']
        self.assertGreater(len(found), 8)
        for command in found:
            arguments = [a.replace('~', self.home) for a in command if a not in ('--start', '--dry-run')]
            with self.subTest(' '.join(command)):
                done = self.vmkitctl('--json', *arguments, '--dry-run')
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                plan = json.loads(done.stdout)
                self.assertTrue(plan['ready'], plan['findings'])
                for address in re.findall(r'0000:\S+', ' '.join(command)):
                    self.assertIn(address, [d['address'] for d in plan['plan']['devices']])

    def test_the_others(self):
        found = [c for c in commands() if c[0] != 'create']
        self.assertGreater(len(found), 8)
        for command in found:
            words = [c for c in command if not c.startswith('-')]
            with self.subTest(' '.join(command)):
                done = self.vmkitctl(words[0], '--help')
                self.assertEqual(done.returncode, 0, done.stderr)
                for option in (c for c in command if c.startswith('--')):
                    self.assertRegex(done.stdout, rf'(?m)^ +(-\w, )?{option}\b')


if __name__ == '__main__':
    fixture.main()
