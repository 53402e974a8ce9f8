#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Imports of disk images beside `cp --reflink=auto` and `qemu-img convert`, on the file system of VMKIT_BENCH_DIR
(/var/tmp). An import is on disk when it is over, so the others are followed by a sync of what they wrote. All take
turns, each with the source in the page cache and the copies before it gone; the ratio is that of the medians, and
the fastest and slowest say what that is worth. Nothing fails for a number: they are to be looked at."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = os.environ['VMKIT_SOURCE_DIR']
sys.path.insert(0, f'{SOURCE}/tests/bus')

import fixture  # noqa: E402

SIZE_MIB = int(float(os.environ.get('VMKIT_BENCH_GIB', '2')) * 1024)
ROUNDS = int(os.environ.get('VMKIT_BENCH_ROUNDS', '5'))
MIB = 1 << 20


def write_raw(path, density):
    """One in `density` MiB holds data that does not compress; the rest are holes."""
    with open(path, 'wb') as file:
        for i in range(0, SIZE_MIB, density):
            file.seek(i * MIB)
            file.write(os.urandom(MIB))
        file.truncate(SIZE_MIB * MIB)


def make_sources(directory):
    sources = {'raw, full': ('raw', f'{directory}/full.raw'), 'raw, sparse': ('raw', f'{directory}/sparse.raw'),
               'qcow2': ('qcow2', f'{directory}/full.qcow2')}
    write_raw(sources['raw, full'][1], 1)
    write_raw(sources['raw, sparse'][1], 8)
    subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', sources['raw, full'][1], sources['qcow2'][1]],
                   check=True)
    return sources


def warm(path):
    with open(path, 'rb') as file:
        while file.read(16 * MIB):
            pass


class Import:
    name = 'import'

    def __init__(self, bus):
        self.caller = bus.root
        self.completed = self.caller.signals('Completed')

    def run(self, _format, source, _target):
        with open(source, 'rb') as image:
            job = self.caller.manager('ImportImage', 'image', fixture.Descriptor(image), {})
        fixture.wait_until(lambda: job in dict(self.completed), 'the end of the import', 600)
        if not dict(self.completed)[job][0]:
            raise RuntimeError(dict(self.completed)[job])

    def clean(self, _target):
        self.caller.manager('RemoveImage', 'image', {})


class Command:
    def __init__(self, name, *argv):
        self.name = name
        self.argv = argv

    def run(self, image_format, source, target):
        values = {'format': image_format, 'source': source, 'target': target}
        subprocess.run([word.format(**values) for word in self.argv], check=True)
        subprocess.run(['sync', target], check=True)

    @staticmethod
    def clean(target):
        os.unlink(target)


def measure(ways, image_format, source, target):
    """Seconds of each round by way."""
    times = {way.name: [] for way in ways}
    for number in range(ROUNDS + 1):
        for way in ways:
            warm(source)
            os.sync()
            began = time.perf_counter()
            way.run(image_format, source, target)
            took = time.perf_counter() - began
            way.clean(target)
            if number:      # the first finds files and programs cold
                times[way.name].append(took)
    return times


def report(kind, times):
    ours = statistics.median(times['import'])
    for name, rounds in times.items():
        median = statistics.median(rounds)
        ratio = '' if name == 'import' else f'   import / this {ours / median:5.2f}   goal <= 1.05'
        print(f'{kind:<12} {name:<20} {median:7.2f} s ({min(rounds):.2f} to {max(rounds):.2f}){ratio}', flush=True)


def main():
    fixture.enter()
    directory = tempfile.mkdtemp(prefix='vmkit-bench-', dir=os.environ.get('VMKIT_BENCH_DIR', '/var/tmp'))
    os.chmod(directory, 0o711)        # polkitd is another user
    tempfile.tempdir = directory
    try:
        bus = fixture.Bus()
        try:
            ways = [Import(bus), Command('cp --reflink=auto', 'cp', '--reflink=auto', '{source}', '{target}'),
                    Command('qemu-img convert', 'qemu-img', 'convert', '-f', '{format}', '-O', '{format}', '{source}',
                            '{target}')]
            print(f'{SIZE_MIB / 1024:g} GiB, {ROUNDS} rounds')
            for kind, (image_format, source) in make_sources(directory).items():
                report(kind, measure(ways, image_format, source, f'{directory}/target'))
        finally:
            bus.close()
    finally:
        shutil.rmtree(directory)


if __name__ == '__main__':
    main()
