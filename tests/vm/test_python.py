#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Python package with a real guest: its console, its display, and a guest that does not stop when asked."""

import json
import os
import subprocess

import machine
from fixture import BUILD

PROGRAM = '''
import json
import os
from vmkit import *

def read_until(connection, words):
    text = b""
    while words not in text:
        data = connection.recv(4096)
        assert data, text
        text += data
    return text.decode(errors="replace")

vm = SecureVM("by-python", memory="512M", cpus=1, image="@quick", firmware="bios", network="none", graphics="vnc")
vm.create().start()
with vm.console() as console:
    assert os.get_blocking(console.fileno())
    console.settimeout(300)
    read_until(console, b"# ")
    console.sendall(b"echo the-answer-is-$((6 * 7))\\n")
    read_until(console, b"the-answer-is-42")
    try:
        vm.console()
    except Busy as error:
        busy = error.name
protocol, display = vm.display()
display.settimeout(60)
with display:
    banner = display.recv(4).decode()
try:
    vm.stop(timeout=1)
except Timeout as error:
    slow = [error.remedy, vm.state]
vm.stop(timeout=1, force=True)
print(json.dumps([busy, protocol, banner, slow, vm.state]))
vm.destroy()
'''


class Python(machine.VMTest):
    def test_a_guest(self):
        image = self.bus.path('quick.raw')
        machine.make_quick_image(image)
        self.import_image(image, 'quick')
        os.unlink(image)
        user = self.alice.as_user()
        user['env'].update(PYTHONPATH=f'{BUILD}/client/python', PYTHONDONTWRITEBYTECODE='1')
        done = subprocess.run(['/usr/bin/python3', '-c', PROGRAM], **user, text=True, capture_output=True,
                              timeout=machine.BOOT_TIMEOUT + machine.GUEST_TIMEOUT, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        busy, protocol, banner, (remedy, state), stopped = json.loads(done.stdout)
        self.assertEqual((busy, protocol, banner), ('org.vmkit.Error.Busy', 'vnc', 'RFB '))
        self.assertIn('--force', remedy)
        self.assertEqual((state, stopped), ('running', 'stopped'))
        self.assertEqual(self.root.manager('ListVMs'), [])


if __name__ == '__main__':
    machine.main()
