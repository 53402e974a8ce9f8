#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The inventory of a host with ten thousand functions, beside what else reads or carries as much: ratios of the same
run on the same machine, and what vmkitd needs of its memory. Nothing fails for a number: they are to be looked at.
"""

import json
import os
import shutil
import subprocess
import sys
import time

SOURCE = os.environ['VMKIT_SOURCE_DIR']
BUILD = os.environ['VMKIT_BUILD_DIR']
sys.path.insert(0, f'{SOURCE}/tests/bus')

import fixture  # noqa: E402
import largehost  # noqa: E402
from gi.repository import Gio, GLib  # noqa: E402

FUNCTIONS = int(os.environ.get('VMKIT_BENCH_FUNCTIONS', '10000'))
ROUNDS = 5

# The fixture's bus lets root own no other name that is not vmkit's; what stands behind it is up to the test.
RELAY = 'org.freedesktop.login1'
RELAY_XML = '''<node><interface name="org.vmkit.Relay"><method name="Get">
  <arg type="a{oa{sa{sv}}}" name="objects" direction="out"/></method></interface></node>'''


def best(function):
    """Seconds, the best of some rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def line(what, ours, theirs, beside, goal):
    print(f'{what:<44} {ours * 1000:8.1f} ms   {theirs * 1000:8.1f} ms  {beside:<30} {ours / theirs:6.2f}'
          f'   goal {goal}')


def anonymous(pid):
    with open(f'/proc/{pid}/status', encoding='ascii', errors='replace') as file:
        return next(int(row.split()[1]) for row in file if row.startswith('RssAnon'))


def cold(root):
    found = json.loads(subprocess.run([f'{BUILD}/tests/bench/bench-inventory', root], check=True, text=True,
                                      capture_output=True).stdout)
    line('inventory, cold', found['inventory'], found['walk'], 'bare walk of the files', '<= 2')
    if shutil.which('lspci'):
        argv = ['lspci', '-A', 'linux-sysfs', '-O', f'sysfs.path={root}/sys/bus/pci', '-D', '-nn', '-k']
        theirs = best(lambda: subprocess.run(argv, check=True, stdout=subprocess.DEVNULL,
                                             stderr=subprocess.DEVNULL))
        line('inventory, cold, with all units', found['with_units'], theirs, 'lspci -D -nn -k', '<= 1.0')


def managed_objects(caller):
    return caller.call_raw(fixture.NAME, '/org/vmkit', 'org.freedesktop.DBus.ObjectManager',
                           'GetManagedObjects')[0]


def relay(address):
    """Another process that has the same reply at hand."""
    caller = fixture.Caller(address, 0)
    objects = managed_objects(caller)
    caller.connection.register_object('/', Gio.DBusNodeInfo.new_for_xml(RELAY_XML).interfaces[0],
                                      lambda *arguments: arguments[-1].return_value(objects))
    caller.call_raw('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'RequestName',
                    GLib.Variant('(su)', (RELAY, 0)))
    print('ready', flush=True)
    GLib.MainLoop().run()


def warm(bus):
    size = managed_objects(bus.root).get_size()
    print(f'GetManagedObjects: {size / 1e6:.1f} MB, a message of the system bus may have 33.5')
    with subprocess.Popen([sys.executable, __file__, 'relay', bus.address], stdout=subprocess.PIPE,
                          text=True) as other:
        other.stdout.readline()
        theirs = best(lambda: bus.root.call_raw(RELAY, '/', 'org.vmkit.Relay', 'Get')[0].get_size())
        line('GetManagedObjects, warm', best(lambda: managed_objects(bus.root)), theirs,
             'the same, from another process', '<= 1.2')
        other.terminate()


def others_wait(bus):
    """How long the loop is busy with it, as somebody else sees it."""
    other = bus.connect(fixture.ALICE)
    idle = best(lambda: other.manager('ListVMs'))
    waits = []
    for _ in range(ROUNDS):
        task = bus.root.call_async_raw(fixture.NAME, '/org/vmkit', 'org.freedesktop.DBus.ObjectManager',
                                       'GetManagedObjects')
        began = time.perf_counter()
        other.manager('ListVMs')
        waits.append(time.perf_counter() - began)
        fixture.wait_until(lambda task=task: task, 'the objects')
    print(f'another caller\'s call meanwhile: {max(waits) * 1000:.1f} ms (idle: {idle * 1000:.1f} ms)')


def main():
    fixture.enter()
    began = time.perf_counter()
    bus = fixture.Bus(host=lambda root: largehost.build(root, FUNCTIONS), vmkitd=False)
    print(f'{FUNCTIONS} functions, written in {time.perf_counter() - began:.1f} s')
    try:
        cold(bus.path('host'))
        began = time.perf_counter()
        bus.start_vmkitd()
        print(f'vmkitd ready after {(time.perf_counter() - began) * 1000:.0f} ms')
        pid = bus.processes['vmkitd'].pid
        print(f'anonymous memory {anonymous(pid)} KiB')
        warm(bus)
        others_wait(bus)
        print(f'anonymous memory after that {anonymous(pid)} KiB   goal <= {24 << 10}')
    finally:
        bus.close()


if __name__ == '__main__':
    if sys.argv[1:2] == ['relay']:
        relay(*sys.argv[2:])
    else:
        main()
