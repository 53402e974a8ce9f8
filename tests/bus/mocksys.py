# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host made of files: DIR/sys and DIR/proc as real kernels (6.1) write them, for `--host-root DIR`.

A MockHost is described by calls that name what is in the machine, each of which writes its part of the
tree at once. `desktop()` builds the machine that most tests use. Run as a program, it writes that:

    mocksys.py DIR
"""

import os
import shutil
import struct
import sys

GIB = 1 << 30


class Function:
    """One PCI function: where it is in the tree and what was written about it."""

    def __init__(self, address, path):
        self.address = address
        self.path = path


class MockHost:
    def __init__(self, root, iommu='dmar', cmdline='intel_iommu=on iommu=pt'):
        self.root = root
        self.iommu = iommu
        self.functions = {}
        self.mounts = []
        self.swaps = []
        self._minor = 0
        self._mount_id = 20
        self._write_base(cmdline)

    # Files

    def path(self, *parts):
        return os.path.join(self.root, *(p.lstrip('/') for p in parts))

    def write(self, path, text):
        full = self.path(path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, 'wb') as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def mkdir(self, path):
        os.makedirs(self.path(path), exist_ok=True)

    def link(self, path, target):
        """A symbolic link at path to target, both from the root of the tree, relative as in sysfs."""
        full = self.path(path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if os.path.islink(full):
            os.unlink(full)
        os.symlink(os.path.relpath(self.path(target), os.path.dirname(full)), full)

    # The machine as a whole

    def _write_base(self, cmdline):
        for path in ('dev', 'sys/bus/pci/devices', 'sys/bus/pci/drivers', 'sys/bus/pci/slots', 'sys/block',
                     'sys/class/block', 'sys/class/nvme', 'sys/class/nvme-subsystem', 'sys/class/drm',
                     'sys/class/graphics', 'sys/class/net', 'sys/class/sound', 'sys/class/input',
                     'sys/class/iommu', 'sys/kernel/iommu_groups', 'sys/devices/pci0000:00',
                     'sys/devices/virtual/block', 'sys/fs/btrfs', 'sys/fs/bcache', 'sys/kernel/config'):
            self.mkdir(path)
        self.write('sys/bus/pci/drivers_probe', '')
        self.write('sys/bus/pci/rescan', '')
        self.write('sys/power/resume', '0:0\n')
        for name in ('vfio', 'vfio_pci', 'vfio_iommu_type1', 'kvm', 'kvm_intel'):
            self.mkdir(f'sys/module/{name}')
        self.write('sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts', 'N\n')
        self.write('sys/module/kvm_intel/parameters/nested', 'Y\n')
        self.write('sys/class/vtconsole/vtcon0/name', '(S) dummy device\n')
        self.write('sys/class/vtconsole/vtcon0/bind', '0\n')
        self.write('sys/class/vtconsole/vtcon1/name', '(M) frame buffer device\n')
        self.write('sys/class/vtconsole/vtcon1/bind', '1\n')
        for cpu in range(8):
            self.write(f'sys/devices/system/cpu/cpu{cpu}/topology/core_id', f'{cpu // 2}\n')
            self.write(f'sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list',
                       f'{cpu & ~1}-{cpu | 1}\n')
        self.write('sys/devices/system/cpu/online', '0-7\n')
        self.write('sys/devices/system/node/online', '0\n')
        self.write('sys/devices/system/node/node0/cpulist', '0-7\n')
        self.write('sys/devices/system/node/node0/meminfo',
                   'Node 0 MemTotal:       32768000 kB\nNode 0 MemFree:        30000000 kB\n')
        for size in (2048, 1048576):
            for name in ('nr_hugepages', 'free_hugepages'):
                self.write(f'sys/devices/system/node/node0/hugepages/hugepages-{size}kB/{name}', '0\n')
                self.write(f'sys/kernel/mm/hugepages/hugepages-{size}kB/{name}', '0\n')
        if self.iommu:
            self.write('sys/devices/virtual/iommu/dmar0/intel-iommu/version', '1:0\n')
            self.link('sys/class/iommu/dmar0', 'sys/devices/virtual/iommu/dmar0')

        self.write('proc/cmdline', f'BOOT_IMAGE=/vmlinuz root=/dev/nvme0n1p2 ro {cmdline}\n')
        self.write('proc/cpuinfo', ''.join(
            f'processor\t: {cpu}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 158\n'
            'model name\t: Mock CPU\nflags\t\t: fpu vme de pse tsc msr pae vmx ept smx est\n\n'
            for cpu in range(8)))
        self.write('proc/meminfo', 'MemTotal:       32768000 kB\nMemFree:        30000000 kB\n'
                   'MemAvailable:   31000000 kB\nHugePages_Total:       0\nHugePages_Free:        0\n'
                   'Hugepagesize:       2048 kB\n')
        self.write('proc/iomem', '00000000-00000fff : Reserved\n00001000-0009ffff : System RAM\n'
                   '00100000-bfffffff : System RAM\n')
        self.write('proc/modules', 'vfio_pci 16384 0 - Live 0x0000000000000000\n')
        self.write('proc/filesystems', 'nodev\tsysfs\nnodev\tproc\n\text4\n\tvfat\n')
        self.write('proc/mdstat', 'Personalities : \nunused devices: <none>\n')
        self.write('proc/1/net/route', 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU'
                   '\tWindow\tIRTT                                                       \n')
        self.write('proc/1/net/ipv6_route', '')
        self.link('proc/net', 'proc/1/net')
        self.write('proc/devices', 'Character devices:\n  1 mem\n 10 misc\n243 nvme\n244 vfio\n\n'
                   'Block devices:\n  8 sd\n259 blkext\n')
        self.write('etc/fstab', '')
        self.write('etc/crypttab', '')
        self.process(1, 'systemd')
        self.link('proc/self', 'proc/1')
        self._write_mounts()
        self._write_swaps()

    def process(self, pid, command):
        """A process in the mount namespace of the host."""
        base = f'proc/{pid}'
        self.mkdir(f'{base}/fd')
        self.write(f'{base}/comm', f'{command}\n')
        self.write(f'{base}/cmdline', f'/usr/sbin/{command}\0')
        self.write(f'{base}/cgroup', f'0::/system.slice/{command}.service\n')
        self.write(f'{base}/status', f'Name:\t{command}\nPid:\t{pid}\nUid:\t0\t0\t0\t0\n')
        ns = self.path(base, 'ns/mnt')
        os.makedirs(os.path.dirname(ns), exist_ok=True)
        if not os.path.islink(ns):
            os.symlink('mnt:[4026531841]', ns)
        self.write(f'{base}/mountinfo', self._mountinfo())

    def open(self, pid, descriptor, node):
        """A descriptor of the process for what is called so on the machine of the test."""
        base = f'proc/{pid}'
        self.mkdir(f'{base}/fdinfo')
        self.write(f'{base}/fdinfo/{descriptor}', 'pos:\t0\nflags:\t0100002\nmnt_id:\t-1\n')
        os.symlink(node, self.path(base, f'fd/{descriptor}'))

    def processors(self, sockets, cores, memory_kib):
        """Two threads for each core (N and N + all cores), a cache and a node for each socket."""
        total = sockets * cores
        for cpu in range(2 * total):
            socket = cpu % total // cores
            first = socket * cores
            siblings = f'{cpu % total},{cpu % total + total}'
            shared = f'{first}-{first + cores - 1},{first + total}-{first + total + cores - 1}'
            base = f'sys/devices/system/cpu/cpu{cpu}'
            self.write(f'{base}/topology/physical_package_id', f'{socket}\n')
            self.write(f'{base}/topology/core_id', f'{cpu % cores}\n')
            self.write(f'{base}/topology/thread_siblings_list', f'{siblings}\n')
            for index, (level, cpus) in enumerate(((1, siblings), (2, siblings), (3, shared))):
                self.write(f'{base}/cache/index{index}/level', f'{level}\n')
                self.write(f'{base}/cache/index{index}/shared_cpu_list', f'{cpus}\n')
        for name in ('online', 'present'):
            self.write(f'sys/devices/system/cpu/{name}', f'0-{2 * total - 1}\n')
        self.write('sys/devices/system/node/online', f'0-{sockets - 1}\n' if sockets > 1 else '0\n')
        for node in range(sockets):
            base = f'sys/devices/system/node/node{node}'
            first = node * cores
            self.write(f'{base}/cpulist',
                       f'{first}-{first + cores - 1},{first + total}-{first + total + cores - 1}\n')
            self.write(f'{base}/distance',
                       ' '.join('10' if other == node else '21' for other in range(sockets)) + '\n')
            self.write(f'{base}/meminfo', f'Node {node} MemTotal:       {memory_kib} kB\n'
                                          f'Node {node} MemFree:        {memory_kib} kB\n')
            for size in (2048, 1048576):
                self.pages(node, size, 0, 0)

    def pages(self, node, size_kib, total, free):
        base = f'sys/devices/system/node/node{node}/hugepages/hugepages-{size_kib}kB'
        self.write(f'{base}/nr_hugepages', f'{total}\n')
        self.write(f'{base}/free_hugepages', f'{free}\n')

    # PCI

    def function(self, address, class_code, vendor, device, *, parent=None, group=None, driver=None,
                 subsystem=(0x1043, 0x8786), numa_node=-1, header_type=0, reset_methods=('flr', 'bus'),
                 boot_vga=None, revision=0xa1):
        """Adds a function. parent is the address of the port above it; none: on the root bus."""
        above = self.functions[parent].path if parent else f'sys/devices/pci{address[:7]}'
        path = f'{above}/{address}'
        function = Function(address, path)
        self.functions[address] = function

        attributes = {
            'vendor': f'0x{vendor:04x}',
            'device': f'0x{device:04x}',
            'class': f'0x{class_code:06x}',
            'revision': f'0x{revision:02x}',
            'subsystem_vendor': f'0x{subsystem[0]:04x}',
            'subsystem_device': f'0x{subsystem[1]:04x}',
            'numa_node': str(numa_node),
            'enable': '1',
            'irq': '16',
            'driver_override': '(null)',
            'd3cold_allowed': '1',
            'power/control': 'on',
            'power/runtime_status': 'active',
            'power_state': 'D0',
            'local_cpulist': '0-7',
            'modalias': (f'pci:v{vendor:08X}d{device:08X}sv{subsystem[0]:08X}sd{subsystem[1]:08X}'
                         f'bc{class_code >> 16:02X}sc{class_code >> 8 & 255:02X}i{class_code & 255:02X}'),
        }
        if reset_methods:
            attributes['reset_method'] = ' '.join(reset_methods)
        if class_code >> 8 == 0x0300:
            attributes['boot_vga'] = '1' if boot_vga else '0'
        for name, value in attributes.items():
            self.write(f'{path}/{name}', f'{value}\n')
        if reset_methods:
            self.write(f'{path}/reset', '')
        self.write(f'{path}/resource', '0x0000000000000000 0x0000000000000000 0x0000000000000000\n' * 13)
        self.write(f'{path}/config', self._config(vendor, device, class_code, revision, header_type,
                                                  subsystem))
        uevent = (f'PCI_CLASS={class_code:X}\nPCI_ID={vendor:04X}:{device:04X}\n'
                  f'PCI_SUBSYS_ID={subsystem[0]:04X}:{subsystem[1]:04X}\nPCI_SLOT_NAME={address}\n'
                  f'MODALIAS={attributes["modalias"]}\n')
        self.write(f'{path}/uevent', (f'DRIVER={driver}\n' if driver else '') + uevent)

        self.link(f'sys/bus/pci/devices/{address}', path)
        self.link(f'{path}/subsystem', 'sys/bus/pci')
        if driver:
            self.bind(address, driver)
        if self.iommu and group is not None:
            base = f'sys/kernel/iommu_groups/{group}'
            self.write(f'{base}/type', 'DMA-FQ\n')
            self.link(f'{base}/devices/{address}', path)
            self.link(f'{path}/iommu_group', base)
            self.link(f'{path}/iommu', 'sys/devices/virtual/iommu/dmar0')
        return function

    def remove(self, address):
        """Takes the function out, as hot-unplug does; what is behind it must have gone before."""
        function = self.functions.pop(address)
        group = self.path(function.path, 'iommu_group')
        if os.path.islink(group):
            os.unlink(os.path.join(os.path.realpath(group), 'devices', address))
        driver = self.path(function.path, 'driver')
        if os.path.islink(driver):
            os.unlink(os.path.join(os.path.realpath(driver), address))
        os.unlink(self.path('sys/bus/pci/devices', address))
        shutil.rmtree(self.path(function.path))

    def port(self, address, *, group=None, vendor=0x8086, device=0xa338):
        """A PCI Express root port, which functions can sit below."""
        return self.function(address, 0x060400, vendor, device, group=group, driver='pcieport',
                             header_type=1, reset_methods=('pm',))

    def bind(self, address, driver):
        path = self.functions[address].path
        base = f'sys/bus/pci/drivers/{driver}'
        for name in ('bind', 'unbind', 'new_id', 'remove_id', 'uevent'):
            self.write(f'{base}/{name}', '')
        self.link(f'{base}/{address}', path)
        self.link(f'{path}/driver', base)
        self.link(f'{base}/module', f'sys/module/{driver.replace("-", "_")}')
        self.mkdir(f'sys/module/{driver.replace("-", "_")}')

    @staticmethod
    def _config(vendor, device, class_code, revision, header_type, subsystem):
        config = bytearray(256)
        struct.pack_into('<HHHHI', config, 0, vendor, device, 0x0406, 0x0010, class_code << 8 | revision)
        config[0x0e] = header_type
        if header_type == 0:
            struct.pack_into('<HH', config, 0x2c, *subsystem)
        return bytes(config)

    # What drivers make of functions

    def nvme(self, address, index, *, size=512 * GIB, partitions=(), serial=None):
        """A controller nvme<index> with one namespace and its partitions (sizes). Returns their
        device numbers by name."""
        serial = serial or f'S5H9NS0N{index:06}'
        controller, disk = f'nvme{index}', f'nvme{index}n1'
        base = f'{self.functions[address].path}/nvme/{controller}'
        nqn = f'nqn.2014.08.org.nvmexpress:144d144d{serial:<20}Mock SSD 970 {index}'
        subsystem = f'sys/devices/virtual/nvme-subsystem/nvme-subsys{index}'
        for name, value in {'address': address, 'model': 'Mock SSD 970', 'serial': f'{serial:<20}',
                            'state': 'live', 'transport': 'pcie', 'subsysnqn': nqn, 'cntlid': '4',
                            'firmware_rev': '2B2QEXM7', 'dev': f'243:{index}'}.items():
            self.write(f'{base}/{name}', f'{value}\n')
        self.link(f'{base}/device', self.functions[address].path)
        self.link(f'sys/class/nvme/{controller}', base)
        self.link(f'{base}/subsystem', 'sys/class/nvme')
        self.write(f'{subsystem}/subsysnqn', f'{nqn}\n')
        self.link(f'{subsystem}/{controller}', base)
        self.link(f'sys/class/nvme-subsystem/nvme-subsys{index}', subsystem)

        numbers = {disk: self._block(f'{base}/{disk}', disk, size, base)}
        for number, part_size in enumerate(partitions, 1):
            name = f'{disk}p{number}'
            numbers[name] = self._block(f'{base}/{disk}/{name}', name, part_size, None)
            self.write(f'{base}/{disk}/{name}/partition', f'{number}\n')
        return numbers

    def controller(self, address, index, **attributes):
        """What the controller says of itself. state=None: of a kernel that does not tell."""
        base = f'{self.functions[address].path}/nvme/nvme{index}'
        for name, value in attributes.items():
            if value is None:
                os.unlink(self.path(base, name))
            else:
                self.write(f'{base}/{name}', f'{value}\n')

    def probing(self, address, index, state='connecting'):
        """As a kernel shows it before the driver has identified the controller. Returns what it said before."""
        base = f'{self.functions[address].path}/nvme/nvme{index}'
        before = {}
        for name in ('state', 'serial', 'model', 'firmware_rev', 'subsysnqn'):
            with open(self.path(base, name), encoding='ascii') as file:
                before[name] = file.read().rstrip('\n')
        self.controller(address, index, **{**dict.fromkeys(before, '(efault)'), 'state': state})
        return before

    def remove_nvme(self, index):
        """What is left of a controller when its function is gone."""
        for name in (f'sys/class/nvme/nvme{index}', f'sys/block/nvme{index}n1', f'sys/class/block/nvme{index}n1'):
            os.unlink(self.path(name))

    def _block(self, path, name, size, device):
        number = f'259:{self._minor}'
        self._minor += 1
        self.write(f'{path}/dev', f'{number}\n')
        self.write(f'{path}/size', f'{size // 512}\n')
        self.write(f'{path}/ro', '0\n')
        self.write(f'{path}/uevent', f'MAJOR=259\nMINOR={number[4:]}\nDEVNAME={name}\n')
        self.mkdir(f'{path}/holders')
        self.mkdir(f'{path}/slaves')
        if device:
            self.write(f'{path}/hidden', '0\n')
            self.write(f'{path}/removable', '0\n')
            self.link(f'{path}/device', device)
            self.link(f'sys/block/{name}', path)
        self.link(f'sys/class/block/{name}', path)
        self.link(f'{path}/subsystem', 'sys/class/block')
        self.link(f'sys/dev/block/{number}', path)
        return number

    def drm(self, address, card, connectors=()):
        """A card with connectors: name and status."""
        base = f'{self.functions[address].path}/drm'
        for node, minor in ((f'card{card}', card), (f'renderD{128 + card}', 128 + card)):
            self.write(f'{base}/{node}/dev', f'226:{minor}\n')
            self.link(f'{base}/{node}/device', self.functions[address].path)
            self.link(f'sys/class/drm/{node}', f'{base}/{node}')
        for name, status in connectors:
            path = f'{base}/card{card}/card{card}-{name}'
            self.write(f'{path}/status', f'{status}\n')
            self.write(f'{path}/enabled', 'enabled\n' if status == 'connected' else 'disabled\n')
            self.write(f'{path}/dpms', 'On\n' if status == 'connected' else 'Off\n')
            self.link(f'{path}/device', f'{base}/card{card}')
            self.link(f'sys/class/drm/card{card}-{name}', path)

    def framebuffer(self, address, index, name):
        path = f'{self.functions[address].path}/graphics/fb{index}'
        self.write(f'{path}/name', f'{name}\n')
        self.write(f'{path}/dev', f'29:{index}\n')
        self.link(f'{path}/device', self.functions[address].path)
        self.link(f'sys/class/graphics/fb{index}', path)

    def network(self, address, name, state='up', default_route=False):
        path = f'{self.functions[address].path}/net/{name}'
        for key, value in {'operstate': state, 'carrier': '1' if state == 'up' else '0', 'ifindex': '2',
                           'flags': '0x1003' if state == 'up' else '0x1002', 'type': '1',
                           'address': '52:54:00:12:34:56'}.items():
            self.write(f'{path}/{key}', f'{value}\n')
        self.link(f'{path}/device', self.functions[address].path)
        self.link(f'sys/class/net/{name}', path)
        if default_route:
            with open(self.path('proc/1/net/route'), 'a', encoding='ascii') as file:
                file.write(f'{name}\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n')

    # Who uses what

    def mount(self, number, point, source, fstype='ext4'):
        """A file system of the block device with this number, mounted at point."""
        self.mounts.append((number, point, source, fstype))
        self._write_mounts()

    def swap(self, source):
        self.swaps.append(source)
        self._write_swaps()

    def unmount(self, point):
        self.mounts = [m for m in self.mounts if m[1] != point]
        self._write_mounts()

    def _mountinfo(self):
        lines = ['21 25 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw',
                 '22 25 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw']
        for index, (number, point, source, fstype) in enumerate(self.mounts):
            escaped = point.replace('\\', '\\134').replace(' ', '\\040')
            lines.append(f'{25 + index} {1 if point == "/" else 25} {number} / {escaped} rw,relatime '
                         f'shared:{index + 1} - {fstype} {source} rw')
        return '\n'.join(lines) + '\n'

    def _write_mounts(self):
        self.write('proc/1/mountinfo', self._mountinfo())
        # systemd mounts one with the pages of the usual size.
        self.write('proc/1/mounts', 'hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n'
                   + ''.join(f'{source} {point} {fstype} rw,relatime 0 0\n'
                             for _, point, source, fstype in self.mounts))
        self.link('proc/mounts', 'proc/1/mounts')

    def _write_swaps(self):
        self.write('proc/swaps', 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n' + ''.join(
            f'{source:<40}partition\t8388604\t\t0\t\t-2\n' for source in self.swaps))


# Addresses of the desktop, by what they are.
IGPU = '0000:00:02.0'
GPU, GPU_AUDIO = '0000:01:00.0', '0000:01:00.1'
NVME_ROOT, NVME_FREE, NVME_DATA = '0000:02:00.0', '0000:03:00.0', '0000:04:00.0'
NVME_FREE_2 = '0000:05:00.0'
NETWORK = '0000:00:1f.6'
PORT = '0000:00:01.0'


def desktop(root, **kwargs):
    """A desktop: a display of the processor's that the firmware uses; a graphics card with an audio function
    in a slot; four NVMe drives, of which the first has the system, the third is mounted, and two are free; a
    network card with the default route; a chipset whose functions share a group."""
    host = MockHost(root, **kwargs)
    host.function('0000:00:00.0', 0x060000, 0x8086, 0x3ec2, group=0, driver='skl_uncore', reset_methods=())
    host.port(PORT, group=1, device=0x1901)
    host.function(IGPU, 0x030000, 0x8086, 0x3e92, group=2, driver='i915', boot_vga=True)
    host.function('0000:00:14.0', 0x0c0330, 0x8086, 0xa36d, group=3, driver='xhci_hcd')
    for slot, group in (('1b', 5), ('1c', 6), ('1d', 7), ('1e', 8)):
        host.port(f'0000:00:{slot}.0', group=group)
    host.function('0000:00:1f.0', 0x060100, 0x8086, 0xa305, group=9, reset_methods=())
    host.function('0000:00:1f.3', 0x040300, 0x8086, 0xa348, group=9, driver='snd_hda_intel')
    host.function('0000:00:1f.4', 0x0c0500, 0x8086, 0xa323, group=9, driver='i801_smbus', reset_methods=())
    host.function(NETWORK, 0x020000, 0x8086, 0x15bc, group=9, driver='e1000e')

    host.function(GPU, 0x030000, 0x10de, 0x2484, parent=PORT, group=20, driver='nouveau')
    host.function(GPU_AUDIO, 0x040300, 0x10de, 0x228b, parent=PORT, group=20, driver='snd_hda_intel')
    drives = ((NVME_ROOT, '1b', 21), (NVME_FREE, '1c', 22), (NVME_DATA, '1d', 23), (NVME_FREE_2, '1e', 24))
    for address, slot, group in drives:
        host.function(address, 0x010802, 0x144d, 0xa808, parent=f'0000:00:{slot}.0', group=group,
                      driver='nvme', subsystem=(0x144d, 0xa801), revision=0)

    host.drm(IGPU, 0, [('HDMI-A-1', 'connected'), ('DP-1', 'disconnected')])
    host.framebuffer(IGPU, 0, 'i915drmfb')
    host.drm(GPU, 1, [('HDMI-A-2', 'disconnected')])
    host.network(NETWORK, 'eno1', default_route=True)

    system = host.nvme(NVME_ROOT, 0, partitions=(GIB // 2, 400 * GIB, 8 * GIB))
    host.nvme(NVME_FREE, 1)
    data = host.nvme(NVME_DATA, 2, partitions=(500 * GIB,))
    host.nvme(NVME_FREE_2, 3)
    host.mount(system['nvme0n1p2'], '/', '/dev/nvme0n1p2')
    host.mount(system['nvme0n1p1'], '/boot/efi', '/dev/nvme0n1p1', 'vfat')
    host.swap('/dev/nvme0n1p3')
    host.mount(data['nvme2n1p1'], '/srv/films', '/dev/nvme2n1p1')
    return host


def server(root, **kwargs):
    """The desktop's devices in a machine with two sockets of 4 cores (0-3,8-11 and 4-7,12-15), each a node of
    16 GiB. The graphics card is at the second one, the drives at the first; the card has 64 GiB of memory."""
    host = desktop(root, **kwargs)
    host.processors(2, 4, 16 << 20)
    for address, node in ((GPU, 1), (GPU_AUDIO, 1), (NVME_FREE, 0), (NVME_FREE_2, 0)):
        host.write(f'{host.functions[address].path}/numa_node', f'{node}\n')
    host.write(f'{host.functions[GPU].path}/resource',
               '0x00000000fb000000 0x00000000fbffffff 0x0000000000040200\n'
               '0x0000004000000000 0x0000004fffffffff 0x000000000014220c\n'
               + '0x0000000000000000 0x0000000000000000 0x0000000000000000\n' * 11)
    with open(host.path('proc/cpuinfo'), encoding='ascii') as file:
        text = file.read()
    host.write('proc/cpuinfo', text.replace(
        'flags\t\t:', 'address sizes\t: 46 bits physical, 48 bits virtual\nflags\t\t:'))
    return host


if __name__ == '__main__':
    desktop(sys.argv[1])
