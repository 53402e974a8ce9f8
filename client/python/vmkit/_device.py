# SPDX-License-Identifier: LGPL-2.1-or-later
"""The PCI functions of the host, and the automatic choice among them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TextIO

from ._bus import MANAGER, NO_OBJECT, GLib, Service, shared_service
from ._codes import NoSuchDevice

_INTERFACE = 'org.vmkit.Device'
_SHORT_ADDRESS = re.compile(r'[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]')
_UNINTERESTING = ('bridge', 'other')

Objects = dict[str, dict[str, dict[str, Any]]]


class Reason(NamedTuple):
    """Why a device cannot be given to a VM."""

    code: str
    detail: str


class Candidate(NamedTuple):
    """A device that was considered by the automatic choice."""

    address: str
    eligible: bool
    reasons: tuple[Reason, ...]


class Check(NamedTuple):
    """Something that a host needs for passthrough. The result is ok, warn, fail or unknown."""

    id: str
    result: str
    summary: str
    remedy: str


@dataclass(frozen=True)
class Device:
    """A PCI function as it was when it was looked at. As text: its address."""

    address: str
    kind: str                           # gpu, nvme, audio, usb, network, storage, bridge or other
    vendor: str
    product: str
    vendor_id: int
    device_id: int
    driver: str                         # empty if none
    iommu_group: int | None
    unit: tuple[str, ...]               # the addresses of all that moves with it, its own included
    group: tuple[str, ...]              # the addresses in its IOMMU group
    numa_node: int | None
    boot_display: bool
    reserved: bool
    reset_methods: tuple[str, ...]
    health: str                         # ready, quarantined, wedged or needs-reboot
    in_use: tuple[Reason, ...]          # empty if it can be given away
    available: bool
    assigned_to: tuple[str, ...]        # the names of the VMs that have it

    def __str__(self) -> str:
        return self.address

    @property
    def status(self) -> str:
        """In a few words, whether a VM can have it."""
        if self.health != 'ready':
            return self.health
        if self.in_use:
            return self.in_use[0].detail or self.in_use[0].code
        if self.assigned_to:
            return f'assigned to {", ".join(self.assigned_to)}'
        return 'free' if self.available else 'not available'


def _address_of(path: str) -> str:
    domain, bus, slot, function = path.rsplit('/', 1)[1].split('_')
    return f'{domain}:{bus}:{slot}.{function}'


def _device(properties: dict[str, Any], objects: Objects) -> Device:
    def known(name: str) -> int | None:
        return None if properties[name] < 0 else int(properties[name])

    return Device(
        address=properties['Address'], kind=properties['Kind'],
        vendor=properties['Vendor'], product=properties['Product'],
        vendor_id=properties['VendorID'], device_id=properties['DeviceID'],
        driver=properties['Driver'], iommu_group=known('IOMMUGroup'),
        unit=tuple(map(_address_of, properties['Unit'])), group=tuple(map(_address_of, properties['Group'])),
        numa_node=known('NUMANode'), boot_display=properties['BootDisplay'],
        reserved=properties['Reserved'], reset_methods=tuple(properties['ResetMethods']),
        health=properties['Health'], in_use=tuple(Reason(*r) for r in properties['InUse']),
        available=properties['Available'],
        assigned_to=tuple(objects[vm]['org.vmkit.VM']['Name'] for vm in properties['AssignedTo']
                          if vm in objects))


def _whole_address(address: str) -> str:
    return f'0000:{address}' if _SHORT_ADDRESS.fullmatch(address) else address


class PassthroughManager:
    """What there is in this host to give to VMs, who uses it, and what is missing. Looking needs no right."""

    def __init__(self, *, service: Service | None = None) -> None:
        self._service = service or shared_service()

    def get_devices(self, kind: str | None = None) -> list[Device]:
        """All PCI functions, or those of a kind, in the order of their addresses."""
        objects = self._service.objects()
        devices = [_device(found[_INTERFACE], objects) for found in objects.values() if _INTERFACE in found]
        return sorted((d for d in devices if kind in (None, d.kind)), key=lambda d: d.address)

    def get_gpus(self) -> list[Device]:
        """The graphics devices."""
        return self.get_devices('gpu')

    def get_nvme_devices(self) -> list[Device]:
        """The NVMe drives."""
        return self.get_devices('nvme')

    def get_device_by_id(self, address: str) -> Device:
        """The device at a PCI address, such as 0000:01:00.0 or 01:00.0. Raises `NoSuchDevice`."""
        path, = self._service.call(MANAGER, 'org.vmkit.Manager.GetDevice',
                                   GLib.Variant('(s)', (_whole_address(address),)))
        return self._at(path)

    def find(self, kind: str, vendor: str | None = None) -> Device | None:
        """The device (gpu, nvme) that `auto` would choose now; None if there is nothing to choose."""
        path, _ = self._find(kind, vendor)
        return None if path == NO_OBJECT else self._at(path)

    def explain(self, kind: str, vendor: str | None = None) -> list[Candidate]:
        """The devices that `find` considers, best first, and what is against each."""
        _, candidates = self._find(kind, vendor)
        return [Candidate(c['address'], c['eligible'], tuple(Reason(*r) for r in c['reasons']))
                for c in candidates]

    def check_host(self) -> tuple[bool, list[Check]]:
        """Whether this host can pass devices to VMs, and each thing that was looked at."""
        ready, checks = self._service.call(MANAGER, 'org.vmkit.Manager.CheckHost')
        return ready, [Check(*check) for check in checks]

    def print_device_summary(self, *, file: TextIO | None = None) -> None:
        """Prints a table of the devices by IOMMU group; bridges and chipset functions are left out."""
        devices = [d for d in self.get_devices() if d.kind not in _UNINTERESTING]
        devices.sort(key=lambda d: (d.iommu_group is None, d.iommu_group, d.address))
        rows = [('GROUP', 'ADDRESS', 'KIND', 'DRIVER', 'STATUS', 'PRODUCT')]
        for d in devices:
            group = '-' if d.iommu_group is None else str(d.iommu_group)
            name = f'{d.vendor} {d.product}'.strip() or f'{d.vendor_id:04x}:{d.device_id:04x}'
            rows.append((group, d.address, d.kind, d.driver or '-', d.status, name))
        _print_table(rows, file or sys.stdout)

    def _at(self, path: str) -> Device:
        objects = self._service.objects()
        if path not in objects:
            raise NoSuchDevice(f'The device {_address_of(path)} is gone')
        return _device(objects[path][_INTERFACE], objects)

    def _find(self, kind: str, vendor: str | None) -> tuple[str, list[dict[str, Any]]]:
        options = {} if vendor is None else {'vendor': GLib.Variant('s', vendor)}
        path, candidates = self._service.call(MANAGER, 'org.vmkit.Manager.FindDevice',
                                              GLib.Variant('(sa{sv})', (kind, options)))
        return path, candidates


def _print_table(rows: Iterable[tuple[str, ...]], file: TextIO) -> None:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip(), file=file)


def find_gpu(vendor: str | None = None, *, service: Service | None = None) -> Device | None:
    """The graphics device that `auto` would choose; None if none is free. vendor: nvidia, amd or intel."""
    return PassthroughManager(service=service).find('gpu', vendor)


def find_nvme(*, service: Service | None = None) -> Device | None:
    """The NVMe drive that `auto` would choose; None if none is free."""
    return PassthroughManager(service=service).find('nvme')
