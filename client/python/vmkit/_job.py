# SPDX-License-Identifier: LGPL-2.1-or-later
"""Operations that take time. A job goes on whether anyone waits for it or not; only `Job.cancel` ends it."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

from ._bus import GLib, Service
from ._codes import Interrupted
from ._error import Error, ServiceUnavailable, from_name, is_gone

_INTERFACE = 'org.vmkit.Job'

# How long a service that went away may take to come back, in seconds.
_RETURN = 60.0

# Called with what is being done, and how much of it is: 0 to 1, or None if nobody can tell.
Progress = Callable[[str, 'float | None'], None]


class Job:
    """An operation of the service's."""

    def __init__(self, service: Service, path: str) -> None:
        self._service = service
        self.path = path

    def __repr__(self) -> str:
        return f'<vmkit.Job {self.number}>'

    @property
    def number(self) -> int:
        """What `vmkitctl jobs` calls it."""
        return int(self.path.rsplit('/', 1)[1])

    @property
    def properties(self) -> dict[str, Any]:
        """Everything that the service says of the job: `Operation`, `State`, `Phase`, `Progress`, `Note`…"""
        return self._service.properties(self.path, _INTERFACE)

    @property
    def state(self) -> str:
        """running, done, failed or cancelled."""
        return str(self.properties['State'])

    def cancel(self) -> None:
        """Asks the job to undo what it did. It does so after this has returned; `wait` says when."""
        self._service.change(self.path, f'{_INTERFACE}.Cancel', GLib.Variant('(a{sv})', ({},)))

    def wait(self, progress: Progress | None = None) -> None:
        """Waits for the end of the job, and raises the exception that belongs to its error if it failed.

        Ctrl-C ends the waiting and not the job, and the KeyboardInterrupt says so.
        """
        try:
            ended = self._follow(progress or (lambda phase, fraction: None))
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f"vmkit: job {self.number} goes on; its cancel(), or 'vmkitctl cancel "
                               f"{self.number}', ends it.")
            raise
        if ended['State'] != 'done':
            name, message = ended['Error']
            raise from_name(name, message, ended['Remedy'])

    def _follow(self, progress: Progress) -> dict[str, Any]:
        """The properties of the job when it has ended: they say how, whatever said that it did."""
        with self._service.watch(self.path) as events:
            found = self._read(events)
            while found['State'] == 'running':
                progress(found['Phase'], found['Progress'] if found['ProgressKnown'] else None)
                member, arguments = events.get()
                if member == 'PropertiesChanged':
                    found.update(arguments[1])
                if member != 'PropertiesChanged' or found['State'] != 'running':
                    found = self._read(events)
            return found

    def _read(self, events: queue.SimpleQueue[Any]) -> dict[str, Any]:
        """The properties. A service that is restarted meanwhile knows the job by the same name."""
        deadline = time.monotonic() + _RETURN
        while True:
            try:
                return self.properties
            except ServiceUnavailable:
                self._wait_for_service(events, deadline)
            except Error as error:
                if not is_gone(error):
                    raise
                raise Interrupted('The service went away before the operation was over and does not know it '
                                  'any more') from None

    @staticmethod
    def _wait_for_service(events: queue.SimpleQueue[Any], deadline: float) -> None:
        """Until the service has come, or has gone once more."""
        try:
            while events.get(timeout=max(0.0, deadline - time.monotonic()))[0] != 'NameOwnerChanged':
                pass
        except queue.Empty:
            raise Interrupted('The service went away before the operation was over and has not come '
                              'back') from None
