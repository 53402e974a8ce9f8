# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can go wrong, as exceptions.

The exception for an error name of the service is the class with that `dbus_name`, which finds itself: the
classes for org.vmkit.Error.* are in `_codes`, made from the table that the service itself uses.
"""

from __future__ import annotations

import re
from typing import ClassVar

_classes: dict[str, type[Error]] = {}

# Where users find them, and what tracebacks say.
_PUBLIC = 'vmkit.errors'

_UNREACHABLE = (
    'org.freedesktop.DBus.Error.ServiceUnknown',
    'org.freedesktop.DBus.Error.NameHasNoOwner',
    'org.freedesktop.DBus.Error.NoServer',
    'org.freedesktop.DBus.Error.NoReply',
    'org.freedesktop.DBus.Error.Disconnected',
    'org.freedesktop.DBus.Error.TimedOut',
    'org.freedesktop.DBus.Error.Timeout',
)
_ACTIVATION_FAILED = ('org.freedesktop.DBus.Error.Spawn.', 'org.freedesktop.systemd1.')


class Error(Exception):
    """Something that vmkit could not do. As text: what happened and, on a line of its own, what to do.

    `name` is the full D-Bus name of the error, `message` what happened, and `remedy` what can be done about
    it (empty if that is not known).
    """

    dbus_name: ClassVar[str] = ''
    usual_remedy: ClassVar[str] = ''

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__module__ = _PUBLIC
        if cls.dbus_name:
            _classes[cls.dbus_name] = cls

    def __init__(self, message: str, *, remedy: str = '', name: str = '') -> None:
        super().__init__(message)
        self.message = message
        self.name = name or self.dbus_name
        self.remedy = remedy or self.usual_remedy

    def __str__(self) -> str:
        return f'{self.message}\n{self.remedy}' if self.remedy else self.message


Error.__module__ = _PUBLIC


class AccessDenied(Error):
    """polkit or the bus refused. The message names the polkit action that is missing.

    Refusals that a password would have lifted, had asking for one been allowed, are of this class too; their
    name is org.freedesktop.DBus.Error.InteractiveAuthorizationRequired.
    """

    dbus_name = 'org.freedesktop.DBus.Error.AccessDenied'
    usual_remedy = ('An administrator can give you the right by a rule in /etc/polkit-1/rules.d '
                    "(README of vmkit, 'Permissions'); with a desktop session, or within "
                    'vmkit.TerminalAgent(), you are asked for a password.')


class ServiceUnavailable(Error):
    """vmkitd, or the system bus, cannot be reached."""

    usual_remedy = ("'systemctl start vmkitd' starts the service; 'systemctl status vmkitd' says why it does "
                    'not run.')


def from_name(name: str, text: str, remedy: str = '') -> Error:
    """The exception for an error of the bus. A second line of the text is the remedy for the case at hand."""
    message, _, own_remedy = text.partition('\n')
    kind = _classes.get(name, Error)
    if name == 'org.freedesktop.DBus.Error.InteractiveAuthorizationRequired':
        kind = AccessDenied
    elif name in _UNREACHABLE or name.startswith(_ACTIVATION_FAILED):
        kind = ServiceUnavailable
        message = f'The vmkit service cannot be reached: {message}'
    return kind(message, remedy=remedy or own_remedy, name=name)


def is_gone(error: Error) -> bool:
    """Whether the object that was called is no longer there."""
    return bool(re.fullmatch(r'org\.freedesktop\.DBus\.Error\.Unknown(Object|Method|Interface)', error.name))
