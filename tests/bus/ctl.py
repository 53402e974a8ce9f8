# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmkitctl as ordinary users run it: alice may do everything, bob may look.

The graphics card and its audio function can really be bound, in a kernel made of files (mock/kernel.c)."""

import contextlib
import json
import os
import subprocess

import fixture
import mocksys
from fixture import BUILD

CARD = '0000:00:19.0'  # can have virtual functions
UNIT = {mocksys.GPU: 'nouveau', mocksys.GPU_AUDIO: 'snd_hda_intel'}

ALICE_MAY = '''polkit.addRule(function(action, subject) {
    if (subject.user == "alice") return polkit.Result.YES; });'''


def host(directory):
    found = mocksys.desktop(directory)
    found.mkdir('sys/bus/pci/drivers/vfio-pci')
    for address, driver in UNIT.items():
        found.write(f'{found.functions[address].path}/mock_native', f'{driver}\n')
    card = found.function(CARD, 0x020000, 0x8086, 0x1563, group=40, driver='ixgbe')
    found.write(f'{card.path}/sriov_totalvfs', '8\n')
    found.write(f'{card.path}/sriov_numvfs', '0\n')
    return found


class CtlTest(fixture.BusTest):
    RULES = ALICE_MAY
    HOST = staticmethod(host)
    PROGRAM = f'{BUILD}/client/vmkitctl'

    @classmethod
    def setUpClass(cls):
        fixture.use_mock_kernel()
        super().setUpClass()
        cls.image = cls.bus.path('image.qcow2')
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', cls.image, '4M'], check=True)
        os.chmod(cls.image, 0o644)

    def setUp(self):
        super().setUp()
        self.addCleanup(self.destroy_all)

    @contextlib.contextmanager
    def held(self, address=mocksys.GPU):
        """Meanwhile the driver of the device does not let go of it: what binds it waits."""
        path = self.bus.path('host', self.bus.host.functions[address].path, 'mock_hold')
        with open(path, 'w', encoding='ascii'):
            pass
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    @contextlib.contextmanager
    def moved(self, path):
        """Meanwhile the host does not have this file or directory."""
        path = self.bus.path('host', path)
        os.rename(path, f'{path}-away')
        try:
            yield
        finally:
            os.rename(f'{path}-away', path)

    def state_of(self, name):
        return {row[0]: row[2] for row in self.root.manager('ListVMs')}.get(name)

    def run_as(self, caller, *argv, status=0, **kwargs):
        """vmkitctl with these words. Returns the CompletedProcess."""
        done = caller.spawn(self.PROGRAM, *argv, **kwargs)
        self.assertEqual(done.returncode, status, f'vmkitctl {" ".join(argv)}: {done.stdout}{done.stderr}')
        return done

    def json_of(self, caller, *argv, status=0, **kwargs):
        return json.loads(self.run_as(caller, *argv, '--json', status=status, **kwargs).stdout)
