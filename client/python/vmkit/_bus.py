# SPDX-License-Identifier: LGPL-2.1-or-later
"""The connection to vmkitd.

GDBus delivers replies and signals in a main loop. Ours is a thread of the connection's own, and callers
wait for what it hands over: so that a program with a main loop finds nothing of ours in it, one without needs
none, and Ctrl-C ends any wait at once, which it does not inside of a call of GLib's.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import gi

from ._error import Error, ServiceUnavailable, from_name

gi.require_version('Gio', '2.0')
from gi.repository import Gio as Gio, GLib as GLib  # noqa: E402

NAME = 'org.vmkit.Manager'
ROOT = '/org/vmkit'
MANAGER = '/org/vmkit/Manager'
PROPERTIES = 'org.freedesktop.DBus.Properties'
NO_OBJECT = '/'

# How long a caller may think about a password.
_UNLIMITED = GLib.MAXINT
_USUAL = -1

# What `Service.watch` hands over: a member's name, and its arguments.
Event = tuple[str, tuple[Any, ...]]


class _Loop:
    """A thread in which a main loop runs."""

    def __init__(self) -> None:
        self._context = GLib.MainContext.new()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name='vmkit', daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def _run(self) -> None:
        self._context.push_thread_default()
        while not self._stopped:
            self._context.iteration(True)
        self._context.pop_thread_default()

    def post(self, function: Callable[[], object]) -> None:
        """Has the function called in the thread."""
        def once(_data: object) -> bool:
            function()
            return False
        source = GLib.idle_source_new()
        source.set_callback(once)
        source.attach(self._context)

    def stop(self) -> None:
        """Ends the thread, once it has handed over what there is."""
        self.post(self._quit)
        self._thread.join()
        atexit.unregister(self.stop)

    def _quit(self) -> None:
        self._stopped = True


def _connect(address: str | None) -> Any:
    """A connection that is ours alone: the one that a process shares ends it when the bus goes away."""
    flags = (Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT
             | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION)
    try:
        address = address or Gio.dbus_address_get_for_bus_sync(Gio.BusType.SYSTEM, None)
        return Gio.DBusConnection.new_for_address_sync(address, flags, None, None)
    except GLib.Error as error:
        raise ServiceUnavailable(f'The system bus cannot be reached: {error.message}') from None


def _translate(error: Any) -> Error:
    """The exception for an error of GDBus: a reply of the service's or the bus's, or a failure on the way."""
    name = Gio.DBusError.get_remote_error(error)
    if name:
        return from_name(name, error.message.removeprefix(f'GDBus.Error:{name}: '))
    return ServiceUnavailable(f'The vmkit service cannot be reached: {error.message}')


class Service:
    """A connection to vmkitd; there is no need to make one, except to choose between these:

    interactive: whether polkit may ask for a password. One is asked for by the agent of the desktop session
    or, on a terminal, by `TerminalAgent`; without any agent the answer is no either way.

    address: a D-Bus address, instead of that of the system bus.

    Everything that vmkit does goes over one that all share unless it is given another as `service`.
    """

    def __init__(self, *, interactive: bool = True, address: str | None = None) -> None:
        self.interactive = interactive
        self._connection = _connect(address)
        self._loop = _Loop()

    def close(self) -> None:
        """Ends the connection. What is under way in the service goes on."""
        with contextlib.suppress(GLib.Error):
            self._connection.close_sync(None)
        self._loop.stop()

    @property
    def closed(self) -> bool:
        """Whether the connection is over, because of `close` or by the bus."""
        return bool(self._connection.is_closed())

    # Calls

    def call(self, path: str, method: str, parameters: Any = None, *, fds: Any = None) -> tuple[Any, ...]:
        """Calls INTERFACE.MEMBER of the object with a GVariant, for reading. Returns the values."""
        return self._call(path, method, parameters, fds, interactive=False)

    def change(self, path: str, method: str, parameters: Any, *, fds: Any = None) -> tuple[Any, ...]:
        """Calls a method that needs a right, which may be asked for."""
        try:
            return self._call(path, method, parameters, fds, interactive=self.interactive)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f'vmkit: {method} had been sent, and the service may still carry it out.')
            raise

    def _call(self, path: str, method: str, parameters: Any, fds: Any, interactive: bool) -> tuple[Any, ...]:
        if self.closed:
            raise ServiceUnavailable('The connection to the vmkit service is closed')
        reply: Future[Any] = Future()
        self._loop.post(lambda: self._send(reply, path, method, parameters, fds, interactive))
        try:
            values, reply_fds = reply.result()
        except GLib.Error as error:
            raise _translate(error) from None
        return tuple(_unpack(values.get_child_value(i), reply_fds) for i in range(values.n_children()))

    def _send(self, reply: Future[Any], path: str, method: str, parameters: Any, fds: Any,
              interactive: bool) -> None:
        def done(connection: Any, result: Any) -> None:
            try:
                reply.set_result(connection.call_with_unix_fd_list_finish(result))
            except GLib.Error as error:
                reply.set_exception(error)

        interface, member = method.rsplit('.', 1)
        flags = Gio.DBusCallFlags.NONE
        if interactive:
            flags |= Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION
        self._connection.call_with_unix_fd_list(NAME, path, interface, member, parameters, None, flags,
                                                _UNLIMITED if interactive else _USUAL, fds, None, done)

    def properties(self, path: str, interface: str) -> dict[str, Any]:
        """All properties of an object."""
        found, = self.call(path, f'{PROPERTIES}.GetAll', GLib.Variant('(s)', (interface,)))
        return dict(found)

    def objects(self) -> dict[str, dict[str, dict[str, Any]]]:
        """All devices, VMs and jobs: path to interface to properties."""
        found, = self.call(ROOT, 'org.freedesktop.DBus.ObjectManager.GetManagedObjects')
        return dict(found)

    # Signals

    @contextlib.contextmanager
    def watch(self, path: str) -> Iterator[queue.SimpleQueue[Event]]:
        """Collects the signals of an object, and NameOwnerChanged when the service comes or goes. A call
        made afterwards is answered when they are subscribed to."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        subscriptions: list[int] = []

        def received(_connection: Any, _sender: str, _path: str, _interface: str, member: str,
                     parameters: Any) -> None:
            events.put((member, parameters.unpack()))

        def subscribe() -> None:
            for sender, object_path, member, arg0 in (
                    (NAME, path, None, None),
                    ('org.freedesktop.DBus', '/org/freedesktop/DBus', 'NameOwnerChanged', NAME)):
                subscriptions.append(self._connection.signal_subscribe(
                    sender, None, member, object_path, arg0, Gio.DBusSignalFlags.NONE, received))

        def unsubscribe() -> None:
            for subscription in subscriptions:
                self._connection.signal_unsubscribe(subscription)

        self._loop.post(subscribe)
        try:
            yield events
        finally:
            self._loop.post(unsubscribe)


def _unpack(value: Any, fds: Any) -> Any:
    """A value of a reply; a descriptor becomes one that is the caller's."""
    return fds.get(value.get_handle()) if value.get_type_string() == 'h' else value.unpack()


_shared_lock = threading.Lock()
_shared: list[Service] = []


def shared_service() -> Service:
    """The connection for all who were given none; a new one if the bus has ended it."""
    with _shared_lock:
        if _shared and _shared[0].closed:
            _shared.pop()._loop.stop()
        if not _shared:
            _shared.append(Service())
        return _shared[0]
