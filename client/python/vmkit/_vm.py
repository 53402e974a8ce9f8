# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual machines."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, NamedTuple

from . import _options
from ._bus import MANAGER, Gio, GLib, Service, shared_service
from ._codes import NoCandidate, NoSuchVM
from ._device import Device, PassthroughManager
from ._error import Error, is_gone
from ._image import CloudImage, PathLike
from ._job import Job, Progress

_INTERFACE = 'org.vmkit.VM'

# The options for devices whose kind has one of its own; all others are `passthrough`.
_OWN_OPTION = ('gpu', 'nvme')


def _blocking_socket(fd: int) -> socket.socket:
    """What a Python program expects of a new socket; the service's end of it does not block."""
    connection = socket.socket(fileno=fd)
    connection.setblocking(True)
    return connection


class Finding(NamedTuple):
    """Something that is to be said about a VM before it is created; severity is fail, warn or info."""

    code: str
    severity: str
    detail: str
    remedy: str


class Plan(NamedTuple):
    """What `SecureVM.create` would do: `options` has every default and every automatic choice."""

    ready: bool
    findings: list[Finding]
    options: dict[str, Any]


class SecureVM:
    """A virtual machine with the name; it need not be there yet. What it is made of counts when it is
    created, and needs not be said again for a VM that is there.

        name                    letters, digits, '.', '_' and '-'
        memory                  '2G', '512M', or bytes; K, M, G and T are powers of 1024
        cpus                    number of virtual CPUs
        image                   a `CloudImage`, or the path of one
        secure_boot             UEFI Secure Boot
        graphics                an emulated display: 'none', 'spice' or 'vnc'
        passthrough_devices     devices, or their addresses
        **options               every other option of org.vmkit.Manager.CreateVM, with '_' for '-':
                                disk_size, firmware, network, pin, tpm, gpu='auto', cdrom=FILE…

    All that changes something waits for the service to have done it and raises an exception of `vmkit.errors`
    if it could not. progress is called meanwhile with what is being done, and how much of it is.

    job is what was last begun. Ctrl-C ends the waiting, and not that: `vm.job.wait()` and `vm.job.cancel()`.
    """

    def __init__(self, name: str, memory: str | int = '2G', cpus: int = 2,
                 image: CloudImage | PathLike | None = None, secure_boot: bool = False,
                 graphics: str = 'none', passthrough_devices: Iterable[Device | str | None] = (), *,
                 service: Service | None = None, **options: object) -> None:
        self.name = name
        self.image = image if image is None or isinstance(image, CloudImage) else CloudImage(image)
        self.passthrough_devices = tuple(passthrough_devices)
        self.options: dict[str, object] = {
            'memory': memory, 'cpus': cpus, 'secure_boot': secure_boot, 'graphics': graphics, **options}
        self.job: Job | None = None
        self._given_service = service

    def __repr__(self) -> str:
        return f'<vmkit.SecureVM {self.name}>'

    @property
    def _service(self) -> Service:
        return self._given_service or shared_service()

    # Before and at creation

    def plan(self) -> Plan:
        """What `create` would do and everything that is to be said about it. Changes nothing."""
        fds = Gio.UnixFDList.new()
        ready, findings, plan = self._service.call(MANAGER, 'org.vmkit.Manager.PlanVM', self._arguments(fds),
                                                   fds=fds)
        return Plan(ready, [Finding(**{k: f.get(k, '') for k in Finding._fields}) for f in findings], plan)

    def validate_passthrough(self) -> tuple[bool, list[Finding]]:
        """Whether `create` would succeed, and all that is or may become a problem, with remedies."""
        try:
            plan = self.plan()
        except NoCandidate as error:
            return False, [Finding('no-candidate', 'fail', error.message, error.remedy)]
        return plan.ready, [f for f in plan.findings if f.severity != 'info']

    def create(self, *, progress: Progress | None = None) -> SecureVM:
        """Creates the VM, and starts it if it was made with start=True."""
        fds = Gio.UnixFDList.new()
        _, job = self._service.change(MANAGER, 'org.vmkit.Manager.CreateVM', self._arguments(fds), fds=fds)
        return self._finish(job, progress)

    def _arguments(self, fds: Any) -> Any:
        options = _options.pack({**self.options, **self._device_options()}, fds)
        if self.image is not None:
            options = {**self.image.variants(fds), **options}
        return GLib.Variant('(sa{sv})', (self.name, options))

    def _device_options(self) -> dict[str, list[str]]:
        """Each device under the option for its kind, behind those that were given by that."""
        found: dict[str, list[str]] = {}
        for device in self.passthrough_devices:
            kind, address = self._kind_and_address(device)
            option = kind if kind in _OWN_OPTION else 'passthrough'
            given = self.options.get(option)
            found.setdefault(option, [] if given is None else _options.texts(option, given)).append(address)
        return found

    def _kind_and_address(self, device: Device | str | None) -> tuple[str, str]:
        if device is None:
            raise NoCandidate('One of passthrough_devices is None: no device was found for it')
        if isinstance(device, str):
            device = PassthroughManager(service=self._service).get_device_by_id(device)
        return device.kind, device.address

    # Life

    def start(self, *, progress: Progress | None = None) -> SecureVM:
        """Starts the VM; its devices are bound for it before."""
        return self._do('Start', {}, progress)

    def stop(self, timeout: float | None = None, force: bool = False, *,
             progress: Progress | None = None) -> SecureVM:
        """Asks the guest to shut down, and gives it timeout seconds (90 by default). A guest that does not is
        left running, and `Timeout` raised; with force it is cut off."""
        options = {'force': GLib.Variant('b', force)}
        if timeout is not None:
            options['timeout'] = GLib.Variant('t', int(timeout * 1_000_000))
        return self._do('Stop', options, progress)

    def destroy(self, force: bool = False, keep_disk: bool = False, *,
                progress: Progress | None = None) -> None:
        """Removes the VM and its disk, even while it runs with force; with keep_disk the disk becomes the
        image @NAME-disk."""
        self._do('Destroy', {'force': GLib.Variant('b', force), 'keep-disk': GLib.Variant('b', keep_disk)},
                 progress)

    def reboot(self) -> SecureVM:
        """Asks the guest to reboot."""
        return self._do('Reboot', {})

    def pause(self) -> SecureVM:
        """Lets the virtual CPUs stand still."""
        return self._do('Pause', {})

    def resume(self) -> SecureVM:
        """Lets them run again."""
        return self._do('Resume', {})

    def attach(self, device: Device | str) -> SecureVM:
        """Gives the VM a device, and all that moves with it."""
        return self._do_with_device('AttachDevice', device)

    def detach(self, device: Device | str) -> SecureVM:
        """Takes a device back."""
        return self._do_with_device('DetachDevice', device)

    def set_autostart(self, autostart: bool) -> SecureVM:
        """Whether the VM is started when the host has booted."""
        self._service.change(self._path(), f'{_INTERFACE}.SetAutostart',
                             GLib.Variant('(ba{sv})', (autostart, {})))
        return self

    # What it is now

    @property
    def state(self) -> str:
        """creating, stopped, starting, running, paused, suspended, stopping, crashed or unknown. Raises
        `NoSuchVM` if there is no VM of the name."""
        return str(self.properties['State'])

    @property
    def properties(self) -> dict[str, Any]:
        """Everything that the service says of the VM, by the names of org.vmkit.VM."""
        try:
            return self._service.properties(self._path(), _INTERFACE)
        except Error as error:
            if not is_gone(error):
                raise
            raise NoSuchVM(f"There is no VM '{self.name}' any more") from None

    @property
    def addresses(self) -> list[str]:
        """The network addresses of the guest that the host knows of."""
        found, = self._service.call(self._path(), f'{_INTERFACE}.GetAddresses')
        return [address for _, address in found]

    def console(self) -> socket.socket:
        """The guest's first serial port, as a connected socket. One is open at a time; closing it ends it."""
        fd, = self._open('OpenConsole')
        return _blocking_socket(fd)

    def display(self) -> tuple[str, socket.socket]:
        """A connection to the emulated display, and what is spoken on it: spice or vnc."""
        protocol, fd = self._open('OpenDisplay')
        return protocol, _blocking_socket(fd)

    # How

    def _path(self) -> str:
        path, = self._service.call(MANAGER, 'org.vmkit.Manager.GetVM', GLib.Variant('(s)', (self.name,)))
        return str(path)

    def _open(self, method: str) -> tuple[Any, ...]:
        return self._service.change(self._path(), f'{_INTERFACE}.{method}', GLib.Variant('(a{sv})', ({},)))

    def _do(self, method: str, options: dict[str, Any], progress: Progress | None = None) -> SecureVM:
        job, = self._service.change(self._path(), f'{_INTERFACE}.{method}',
                                    GLib.Variant('(a{sv})', (options,)))
        return self._finish(job, progress)

    def _do_with_device(self, method: str, device: Device | str) -> SecureVM:
        if isinstance(device, str):
            device = PassthroughManager(service=self._service).get_device_by_id(device)
        job, = self._service.change(self._path(), f'{_INTERFACE}.{method}',
                                    GLib.Variant('(sa{sv})', (device.address, {})))
        return self._finish(job, None)

    def _finish(self, job: str, progress: Progress | None) -> SecureVM:
        self.job = Job(self._service, job)
        self.job.wait(progress)
        return self


def list_vms(*, service: Service | None = None) -> list[SecureVM]:
    """All VMs of this host."""
    vms, = (service or shared_service()).call(MANAGER, 'org.vmkit.Manager.ListVMs')
    return [SecureVM(name, service=service) for name, *_ in vms]
