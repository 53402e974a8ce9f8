# SPDX-License-Identifier: LGPL-2.1-or-later
"""A large host made of files: network cards with hundreds of virtual functions each, as sysfs shows them, and the
processes and mounts of many containers. Written with few calls, because there are very many files; what
mocksys has for all purposes is left out.

    largehost.py DIR [FUNCTIONS]
"""

import os
import sys

PER_CARD = 250  # the card itself and its virtual functions
PROCESSES = 500
CONTAINERS = 50


class Tree:
    def __init__(self, root):
        self.root = root
        self._made = set()

    def mkdir(self, path):
        if path not in self._made:
            os.makedirs(f'{self.root}/{path}', exist_ok=True)
            self._made.add(path)

    def write(self, path, text):
        fd = os.open(f'{self.root}/{path}', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, text if isinstance(text, bytes) else text.encode())
        os.close(fd)

    def link(self, path, target):
        os.symlink(target, f'{self.root}/{path}')


def address_of(card, index):
    return f'0000:{1 + card:02x}:{index // 8:02x}.{index % 8}'


def _function(tree, card, index, physical, config):
    address = address_of(card, index)
    parent = f'sys/devices/pci0000:00/0000:00:{1 + card // 8:02x}.{card % 8}'
    path = f'{parent}/{address}'
    device = 0x1572 if physical else 0x154c
    tree.mkdir(path)
    up = '../' * (path.count('/') - 1)  # to sys/
    for name, value in {
            'vendor': '0x8086', 'device': f'0x{device:04x}', 'class': '0x020000', 'revision': '0x02',
            'subsystem_vendor': '0x8086', 'subsystem_device': '0x0000', 'irq': '0', 'numa_node': str(card % 2),
            'modalias': f'pci:v00008086d{device:08X}sv00008086sd00000000bc02sc00i00',
            'resource': '0x0000000000000000 0x0000000000000000 0x0000000000000000\n' * 12
                        + '0x0000000000000000 0x0000000000000000 0x0000000000000000',
            'reset_method': 'flr bus'}.items():
        tree.write(f'{path}/{name}', f'{value}\n')
    tree.write(f'{path}/config', config)
    group = 1000 + card * PER_CARD + index
    tree.mkdir(f'sys/kernel/iommu_groups/{group}')
    tree.link(f'{path}/iommu_group', f'{up}kernel/iommu_groups/{group}')
    tree.link(f'{path}/subsystem', f'{up}bus/pci')
    tree.link(f'sys/bus/pci/devices/{address}', f'../../../devices/{path.removeprefix("sys/devices/")}')
    if not physical:
        tree.link(f'{path}/physfn', f'../{address_of(card, 0)}')
    # A quarter of the virtual functions is in use by the host's containers, and has an interface.
    if physical or index % 4 == 0:
        driver, name = ('i40e', f'p{card}') if physical else ('iavf', f'p{card}v{index}')
        tree.link(f'{path}/driver', f'{up}bus/pci/drivers/{driver}')
        tree.mkdir(f'{path}/net/{name}')
        tree.write(f'{path}/net/{name}/flags', '0x1003\n')
        tree.write(f'{path}/net/{name}/operstate', 'up\n')
        tree.link(f'sys/class/net/{name}', f'../../devices/{path.removeprefix("sys/devices/")}/net/{name}')
    elif index % 4 == 1:
        tree.link(f'{path}/driver', f'{up}bus/pci/drivers/vfio-pci')


def _port(tree, card):
    address = f'0000:00:{1 + card // 8:02x}.{card % 8}'
    path = f'sys/devices/pci0000:00/{address}'
    tree.mkdir(path)
    for name, value in {'vendor': '0x8086', 'device': '0xa338', 'class': '0x060400', 'revision': '0x00',
                        'subsystem_vendor': '0x8086', 'subsystem_device': '0x0000', 'irq': '0',
                        'numa_node': '-1', 'secondary_bus_number': str(1 + card),
                        'modalias': 'pci:v00008086d0000A338sv00008086sd00000000bc06sc04i00',
                        'resource': '0x0000000000000000 0x0000000000000000 0x0000000000000000'}.items():
        tree.write(f'{path}/{name}', f'{value}\n')
    tree.write(f'{path}/config', b'\x86\x80' + b'\0' * 62)
    tree.link(f'{path}/driver', '../../../bus/pci/drivers/pcieport')
    tree.link(f'sys/bus/pci/devices/{address}', f'../../../devices/pci0000:00/{address}')


def _processes(tree):
    mounts = ''.join(f'{30 + n} 25 259:{n} / /srv/{n} rw,relatime shared:{n} - ext4 /dev/nvme0n1p{n} rw\n'
                     for n in range(40))
    for pid in range(1, PROCESSES + 1):
        tree.mkdir(f'proc/{pid}/ns')
        container = pid % CONTAINERS if pid > 1 else 0
        tree.link(f'proc/{pid}/ns/mnt', f'mnt:[{4026531841 + container}]')
        tree.write(f'proc/{pid}/mountinfo', mounts)
    tree.mkdir('proc/1/net')
    tree.write('proc/1/net/route', 'Iface\tDestination\tGateway\n' + ''.join(
        f'p{n}\t0000{n:02X}0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n' for n in range(40)))
    tree.write('proc/1/net/ipv6_route', '')
    tree.write('proc/swaps', 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n')
    tree.write('proc/cmdline', 'root=/dev/nvme0n1p2 intel_iommu=on\n')
    tree.write('proc/iomem', '00001000-0009ffff : System RAM\n')


def build(root, functions=10000):
    tree = Tree(root)
    for path in ('sys/bus/pci/devices', 'sys/bus/pci/slots', 'sys/class/iommu/dmar0', 'sys/class/net', 'sys/block'):
        tree.mkdir(path)
    for driver in ('i40e', 'iavf', 'vfio-pci', 'pcieport'):
        tree.mkdir(f'sys/bus/pci/drivers/{driver}')
    config = b'\x86\x80\x4c\x15' + b'\0' * 60
    written = 0
    for card in range((functions + PER_CARD - 1) // PER_CARD):
        _port(tree, card)
        written += 1
        for index in range(PER_CARD):
            if written < functions:
                _function(tree, card, index, index == 0, config)
                written += 1
    _processes(tree)
    return tree


if __name__ == '__main__':
    build(sys.argv[1], *(int(n) for n in sys.argv[2:3]))
