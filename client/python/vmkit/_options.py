# SPDX-License-Identifier: LGPL-2.1-or-later
"""Options of CreateVM as Python values, and as the service takes them.

Which options there are is the service's to say: one that is not in the table below goes there as it is, and
comes back as `InvalidOption` if the service does not know it either. The table says how those that Python
knows are written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ._bus import GLib
from ._codes import InvalidOption
from ._image import CloudInit, attach_file

_UNITS = {'': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}
_LARGEST = (1 << 64) - 1


def _wrong(option: str, value: object, wanted: str) -> InvalidOption:
    return InvalidOption(f"The option '{option}' takes {wanted}, not {value!r}")


def _is_number(value: object, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest


def size(option: str, value: object) -> int:
    """Bytes, from a number of them or a text such as 16G: K, M, G and T are powers of 1024."""
    found = re.fullmatch(r'([0-9]+)([KMGT]?)', value, re.ASCII) if isinstance(value, str) else None
    number = int(found[1]) * _UNITS[found[2]] if found else value
    if not isinstance(number, int) or not _is_number(number, _LARGEST):
        raise _wrong(option, value, "a size such as '16G' or a number of bytes")
    return number


def _size(option: str, value: object, _fds: Any) -> Any:
    return GLib.Variant('t', size(option, value))


def _count(option: str, value: object, _fds: Any) -> Any:
    if not _is_number(value, (1 << 32) - 1):
        raise _wrong(option, value, 'a whole number')
    return GLib.Variant('u', value)


def _flag(option: str, value: object, _fds: Any) -> Any:
    if not isinstance(value, bool):
        raise _wrong(option, value, 'True or False')
    return GLib.Variant('b', value)


def _text(option: str, value: object, _fds: Any) -> Any:
    if _is_number(value, _LARGEST):         # numa=0
        value = str(value)
    if not isinstance(value, str):
        raise _wrong(option, value, 'a string')
    return GLib.Variant('s', value)


def texts(option: str, value: object) -> list[str]:
    """A list of strings, from one (or a single string) of them or of devices."""
    values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    if not all(v is not None and not isinstance(v, (bytes, int, float)) for v in values):
        raise _wrong(option, value, 'a list of strings')
    return [str(v) for v in values]


def _texts(option: str, value: object, _fds: Any) -> Any:
    return GLib.Variant('as', texts(option, value))


def _file(option: str, value: object, fds: Any) -> Any:
    if not isinstance(value, (str, os.PathLike)):
        raise _wrong(option, value, 'the path of a file')
    return GLib.Variant('h', attach_file(fds, option, value))


def _files(option: str, value: object, fds: Any) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(option, value, 'a mapping of addresses to paths')
    return GLib.Variant('a{sh}', {str(k): attach_file(fds, option, v) for k, v in value.items()})


def _cloud_init(option: str, value: object, fds: Any) -> Any:
    if isinstance(value, Mapping):
        try:
            value = CloudInit(**{str(k).replace('-', '_'): v for k, v in value.items()})
        except TypeError:
            pass
    if not isinstance(value, CloudInit):
        raise _wrong(option, value, 'a CloudInit: hostname, ssh_keys, user, user_data')
    return GLib.Variant('a{sv}', value.variants(fds))


_KNOWN: dict[str, Callable[[str, object, Any], Any]] = {
    'memory': _size, 'cpus': _count, 'image-name': _text, 'cdrom': _file, 'disk-size': _size,
    'gpu': _texts, 'nvme': _texts, 'passthrough': _texts, 'on-stop': _text, 'allow': _texts,
    'graphics': _text, 'firmware': _text, 'secure-boot': _flag, 'tpm': _flag, 'cloud-init': _cloud_init,
    'network': _text, 'pin': _text, 'hugepages': _text, 'numa': _text, 'io-threads': _count,
    'guest-os': _text, 'hide-hypervisor': _flag, 'rom': _files, 'autostart': _flag, 'start': _flag,
}


def _as_it_is(option: str, value: object, _fds: Any) -> Any:
    """The obvious D-Bus type for an option that only the service may know."""
    for kind, signature in ((bool, 'b'), (int, 'x'), (float, 'd'), (str, 's')):
        if isinstance(value, kind):
            return GLib.Variant(signature, value)
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return GLib.Variant('as', list(value))
    raise InvalidOption(f"There is no option '{option}' that takes {value!r}")


def pack(options: Mapping[str, object], fds: Any) -> dict[str, Any]:
    """Options by their Python names as the service takes them; None stands for an option's default."""
    packed = {}
    for name, value in options.items():
        key = name.replace('_', '-')
        if value is None and key in _KNOWN:
            continue
        packed[key] = _KNOWN.get(key, _as_it_is)(key, value, fds)
    return packed
