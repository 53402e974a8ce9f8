# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disk images and the first boot.

Files are opened here, by whoever calls; the service gets descriptors and never a path.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ._bus import MANAGER, Gio, GLib, Service, shared_service
from ._codes import ImageRejected, InvalidOption, NoSuchImage
from ._error import Error
from ._job import Job, Progress

_PUBLIC_KEY = re.compile(r'(?:^|\s)(?:ssh-|ecdsa-sha2-|sk-ssh-|sk-ecdsa-sha2-)\S+\s+AAAA\S+')
_PRIVATE_KEY = re.compile(r'PRIVATE KEY-----|PuTTY-User-Key-File')

PathLike = str | os.PathLike[str]


class _CannotOpen(Exception):
    """Why a file cannot be sent."""


def _open(path: PathLike) -> int:
    try:
        # O_NONBLOCK: a FIFO must not make us wait before it is refused.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _CannotOpen(f"Cannot open '{os.fspath(path)}': {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _CannotOpen(f"'{os.fspath(path)}' is not a regular file")
    return fd


def _append(fds: Any, fd: int) -> int:
    try:
        return int(fds.append(fd))
    finally:
        os.close(fd)


def attach_image(fds: Any, path: PathLike) -> int:
    """Adds an image file to the descriptors of a message. Returns its place there."""
    try:
        return _append(fds, _open(path))
    except FileNotFoundError:
        raise NoSuchImage(f"There is no file '{os.fspath(path)}'",
                          remedy="Give the path of a disk image, or @NAME for one that 'vmkitctl image "
                                 "list' shows.") from None
    except _CannotOpen as error:
        raise ImageRejected(str(error), remedy='Give a regular file that you may read.') from None


def attach_file(fds: Any, option: str, path: PathLike) -> int:
    """The same for any other file, which belongs to an option."""
    try:
        return _append(fds, _open(path))
    except FileNotFoundError:
        raise _unusable(option, f"there is no file '{os.fspath(path)}'") from None
    except _CannotOpen as error:
        raise _unusable(option, str(error)) from None


def _unusable(option: str, why: str) -> Error:
    return InvalidOption(f"The option '{option}': {why}", remedy='Give a regular file that you may read.')


# First boot

@dataclass(frozen=True)
class CloudInit:
    """What cloud-init does at the first boot: names the guest, lets the holders of keys log in as user (the
    image's own if None), and whatever the file user_data says beside that."""

    hostname: str | None = None
    ssh_keys: Sequence[str] = ()
    user: str | None = None
    user_data: PathLike | None = None

    def variants(self, fds: Any) -> dict[str, Any]:
        """As the service takes it."""
        packed = {}
        if self.hostname is not None:
            packed['hostname'] = GLib.Variant('s', self.hostname)
        if self.ssh_keys:
            packed['ssh-keys'] = GLib.Variant('as', list(self.ssh_keys))
        if self.user is not None:
            packed['user'] = GLib.Variant('s', self.user)
        if self.user_data is not None:
            packed['user-data'] = GLib.Variant('h', attach_file(fds, 'user_data', self.user_data))
        return packed


def ssh_only_config(hostname: str, ssh_keys: Sequence[PathLike] | None = None, *,
                    user: str | None = None) -> CloudInit:
    """A first boot after which one logs in by ssh key and by nothing else.

    ssh_keys: public keys, or files of them; by default the caller's own, ~/.ssh/*.pub.
    """
    if ssh_keys is None:
        ssh_keys = sorted(Path.home().joinpath('.ssh').glob('*.pub'))
        if not ssh_keys:
            raise InvalidOption('There is no public key in ~/.ssh',
                                remedy="'ssh-keygen' makes one; or give others as ssh_keys.")
    elif isinstance(ssh_keys, (str, os.PathLike)):
        ssh_keys = [ssh_keys]
    keys = tuple(line for key in ssh_keys for line in _key_lines(key))
    return CloudInit(hostname=hostname, ssh_keys=keys, user=user)


def _key_lines(key: PathLike) -> list[str]:
    text = os.fspath(key)
    if _PUBLIC_KEY.search(text):
        return [text.strip()]
    try:
        content = Path(text).expanduser().read_text(encoding='utf-8', errors='replace')
    except OSError as error:
        raise InvalidOption(f"ssh_keys: '{text}' is neither a public key nor a file of them: "
                            f'{error.strerror}', remedy='Give a file such as ~/.ssh/id_ed25519.pub.') from None
    if _PRIVATE_KEY.search(content):
        raise InvalidOption(f"ssh_keys: '{text}' is a private key",
                            remedy=f"Give the public one, usually '{text}.pub'.")
    lines = [line.strip() for line in content.splitlines()]
    lines = [line for line in lines if line and not line.startswith('#')]
    if not lines or not all(map(_PUBLIC_KEY.search, lines)):
        raise InvalidOption(f"ssh_keys: '{text}' has something else than public keys in it",
                            remedy='Give a file such as ~/.ssh/id_ed25519.pub.')
    return lines


# Images

class CloudImage:
    """What a VM's disk is made from: a file (raw, qcow2, or one of the formats that are converted), which is
    copied; or, as @NAME, an image of the service's store.

    cloud_init_config: what happens at the first boot, from `ssh_only_config` or a `CloudInit`.
    """

    def __init__(self, path: PathLike, cloud_init_config: CloudInit | None = None) -> None:
        self.path = os.fspath(path)
        self.cloud_init_config = cloud_init_config

    def __repr__(self) -> str:
        return f'CloudImage({self.path!r})'

    def variants(self, fds: Any) -> dict[str, Any]:
        """The options of CreateVM that it stands for."""
        packed = {}
        if self.path.startswith('@'):
            packed['image-name'] = GLib.Variant('s', self.path[1:])
        else:
            packed['image'] = GLib.Variant('h', attach_image(fds, self.path))
        if self.cloud_init_config is not None:
            packed['cloud-init'] = GLib.Variant('a{sv}', self.cloud_init_config.variants(fds))
        return packed


class StoredImage(NamedTuple):
    """An image of the store."""

    name: str
    format: str
    virtual_bytes: int
    used_bytes: int
    owner: int


def import_image(name: str, path: PathLike, *, progress: Progress | None = None,
                 service: Service | None = None) -> CloudImage:
    """Copies a file into the store, where VMs find it as @name, and returns that image."""
    service = service or shared_service()
    fds = Gio.UnixFDList.new()
    parameters = GLib.Variant('(sha{sv})', (name, attach_image(fds, path), {}))
    job, = service.change(MANAGER, 'org.vmkit.Manager.ImportImage', parameters, fds=fds)
    Job(service, job).wait(progress)
    return CloudImage(f'@{name}')


def list_images(*, service: Service | None = None) -> list[StoredImage]:
    """The caller's images in the store, and those that everyone shares."""
    images, = (service or shared_service()).call(MANAGER, 'org.vmkit.Manager.ListImages')
    return [StoredImage(*image) for image in images]


def remove_image(name: str, *, service: Service | None = None) -> None:
    """Removes an image from the store. VMs made from it keep what they have."""
    (service or shared_service()).change(MANAGER, 'org.vmkit.Manager.RemoveImage',
                                         GLib.Variant('(sa{sv})', (name, {})))
