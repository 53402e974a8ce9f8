# SPDX-License-Identifier: LGPL-2.1-or-later
"""A terminal as the place where polkit asks for passwords, for where no desktop does."""

from __future__ import annotations

import os
import shutil
import subprocess
import termios
from types import TracebackType
from typing import Any


class TerminalAgent:
    """While it is entered, polkit may ask for a password on the terminal:

        with TerminalAgent():
            vm.create()

    polkit's own pkttyagent does the asking, and leaves it to a desktop's agent where there is one. Without a
    terminal, without pkttyagent, and for root, who is not asked, this does nothing.
    """

    def __init__(self) -> None:
        self._agent: subprocess.Popen[bytes] | None = None
        self._terminal = -1
        self._settings: list[Any] = []

    def __enter__(self) -> TerminalAgent:
        if os.geteuid() != 0 and shutil.which('pkttyagent') and self._remember_terminal():
            self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if self._agent:
            self._agent.terminate()
            self._agent.wait()
            self._agent = None
        if self._terminal >= 0:
            # Should it have ended while a password was typed, with the echo off.
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._settings)
            os.close(self._terminal)
            self._terminal = -1

    def _remember_terminal(self) -> bool:
        try:
            self._terminal = os.open('/dev/tty', os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return False
        self._settings = termios.tcgetattr(self._terminal)
        return True

    def _start(self) -> None:
        """The agent is for its parent, says that it is ready by closing a descriptor, and ends with us."""
        ready, notify = os.pipe()
        try:
            self._agent = subprocess.Popen(
                ['setpriv', '--pdeathsig', 'TERM', 'pkttyagent', '--notify-fd', str(notify), '--fallback'],
                pass_fds=[notify])
        finally:
            os.close(notify)
        with os.fdopen(ready, 'rb') as pipe:
            pipe.read()
