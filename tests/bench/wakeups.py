#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How often vmkitd wakes in a minute in which no VM runs, on this machine's libvirt, with VMs that are defined."""

import os
import sys

SOURCE = os.environ['VMKIT_SOURCE_DIR']
sys.path.insert(0, f'{SOURCE}/tests/vm')

import machine  # noqa: E402
from fixture import u32, u64  # noqa: E402

VMS = 3
SECONDS = 60


def main():
    machine.enter(needs_image=False)
    here = machine.Machine()
    try:
        for number in range(VMS):
            here.root.create(f'idle-{number}', memory=u64(512 << 20), cpus=u32(1), network='none')
        here.wait_for_silence()
        print(f'{"wake-ups in a minute, no VM runs":<44} {here.wakes_within(SECONDS):8d}   goal 0')
    finally:
        here.close()


if __name__ == '__main__':
    main()
