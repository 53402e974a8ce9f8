#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""From `vmkitctl create --start` to the first that a guest says on its console, beside `virsh define` and `virsh start`
of the same XML with a disk made in the same way. Both on this machine's libvirt, emulated, taking turns; the ratio
is that of the medians. Nothing fails for a number: they are to be looked at."""

import os
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = os.environ['VMKIT_SOURCE_DIR']
sys.path.insert(0, f'{SOURCE}/tests/vm')
sys.path.insert(0, f'{SOURCE}/tests/bus')

import machine  # noqa: E402
import fixture  # noqa: E402

ROUNDS = int(os.environ.get('VMKIT_BENCH_ROUNDS', '5'))
FIRST_WORD_TIMEOUT = 120


def wait_for_output(fd):
    """Returns when there was first something to read."""
    if not select.select([fd], [], [], FIRST_WORD_TIMEOUT)[0]:
        raise RuntimeError('the guest says nothing')
    now = time.perf_counter()
    os.close(fd)
    return now


class Vmkit:
    name = 'vmkitctl create --start'

    def __init__(self, bus):
        self.bus = bus
        self.alice = bus.connect(fixture.ALICE)
        with open(machine.guest_image(), 'rb') as image:
            self.alice.succeed(self.alice.manager('ImportImage', 'guest', fixture.Descriptor(image), {}))

    def run(self):
        began = time.perf_counter()
        done = self.alice.spawn(f'{fixture.BUILD}/client/vmkitctl', 'create', 'bench', '@guest', '--memory', '512M',
                                '--cpus', '1', '--network', 'none', '--firmware', 'bios', '--start')
        done.check_returncode()
        started = time.perf_counter()
        vm = self.alice.manager('GetVM', 'bench')
        spoke = wait_for_output(self.alice.vm(vm, 'OpenConsole', {}))
        return started - began, spoke - began

    def definition(self):
        return self.bus.virsh('dumpxml', '--inactive', 'bench')

    def clean(self):
        vm = self.alice.manager('GetVM', 'bench')
        self.alice.succeed(self.alice.vm(vm, 'Destroy', {'force': True}))


class Virsh:
    name = 'virsh define, virsh start'

    def __init__(self, bus, definition):
        self.bus = bus
        self.directory = tempfile.mkdtemp()
        os.chmod(self.directory, 0o755)
        disk = re.search(r"<source file='([^']+/disk\.(qcow2|raw))'", definition)
        self.format = disk[2]
        self.disk = f'{self.directory}/disk.{disk[2]}'
        base = re.search(r"<backingStore.*?<source file='([^']+)'", definition, re.S)
        self.base = base and f'{self.directory}/base.qcow2'
        if base:
            subprocess.run(['cp', '--reflink=auto', base[1], self.base], check=True)
            os.chmod(self.base, 0o644)
            definition = definition.replace(base[1], self.base)
        definition = re.sub(r'<uuid>.*?</uuid>|<metadata>.*?</metadata>', '', definition, flags=re.S)
        definition = definition.replace('<name>bench</name>', '<name>plain</name>').replace(disk[1], self.disk)
        self.xml = f'{self.directory}/plain.xml'
        with open(self.xml, 'w', encoding='utf-8') as file:
            file.write(definition)

    def make_disk(self):
        if self.base:
            subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', self.base, self.disk],
                           check=True)
        else:
            subprocess.run(['cp', '--reflink=auto', machine.guest_image(), self.disk], check=True)

    def run(self):
        began = time.perf_counter()
        self.make_disk()
        self.bus.virsh('define', self.xml)
        self.bus.virsh('start', 'plain')
        started = time.perf_counter()
        terminal = os.open(self.bus.virsh('ttyconsole', 'plain').strip(), os.O_RDWR | os.O_NOCTTY)
        return started - began, wait_for_output(terminal) - began

    def clean(self):
        self.bus.virsh('destroy', 'plain')
        self.bus.virsh('undefine', 'plain')
        os.unlink(self.disk)


def measure(bus):
    ours = Vmkit(bus)
    ours.run()              # the first finds everything cold, and shows the XML
    theirs = Virsh(bus, ours.definition())
    ours.clean()
    theirs.run()
    theirs.clean()

    times = {ours.name: [], theirs.name: []}
    for _ in range(ROUNDS):
        for way in (ours, theirs):
            times[way.name].append(way.run())
            way.clean()
    return times


def report(times):
    medians = []
    for name, rounds in times.items():
        started, spoke = zip(*rounds)
        medians.append((statistics.median(started), statistics.median(spoke)))
        print(f'{name:<28} started {medians[-1][0]:6.2f} s ({min(started):.2f} to {max(started):.2f})'
              f'   first output {medians[-1][1]:6.2f} s ({min(spoke):.2f} to {max(spoke):.2f})')
    ours, theirs = medians
    print(f'{"ratio":<28} started {ours[0] / theirs[0]:6.2f}   first output {ours[1] / theirs[1]:6.2f}')


def main():
    machine.enter()
    bus = machine.Machine(rules=machine.RULES)
    try:
        report(measure(bus))
    finally:
        bus.close()


if __name__ == '__main__':
    main()
