# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private system bus with the real polkitd and vmkitd on it.

A test program calls `main()`, which goes on in namespaces of its own: there, users, files and polkit's
directories are the test's, nothing of the machine is changed, and nothing is left. `Bus` starts and ends the
processes; `Caller` is a connection of some user. Everything waits for what it needs to happen (a name
on the bus, a signal, the end of a process) and never for a time to pass; `TIMEOUT` is when a test
gives up.
"""

import contextlib
import ctypes
import functools
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

import gi

gi.require_version('Gio', '2.0')
from gi.repository import Gio, GLib  # noqa: E402

import mocksys  # noqa: E402

SOURCE = os.environ.get('VMKIT_SOURCE_DIR') or os.path.realpath(f'{os.path.dirname(__file__)}/../..')
BUILD = os.environ.get('VMKIT_BUILD_DIR') or os.path.join(SOURCE, 'build')
POLKITD = os.environ.get('POLKITD', '/usr/lib/polkit-1/polkitd')
TIMEOUT = float(os.environ.get('VMKIT_TEST_TIMEOUT', '60'))

NAME = 'org.vmkit.Manager'
MANAGER = '/org/vmkit/Manager'
PREFIX = 'org.vmkit.Error.'
ACCESS_DENIED = 'org.freedesktop.DBus.Error.AccessDenied'
INTERACTIVE_REQUIRED = 'org.freedesktop.DBus.Error.InteractiveAuthorizationRequired'
REFUSALS = (ACCESS_DENIED, INTERACTIVE_REQUIRED)

# The users of the namespace. carol is in the group that the example rules give graphics devices to.
ALICE, BOB, CAROL = 2001, 2002, 2003
USERS = {'alice': ALICE, 'bob': BOB, 'carol': CAROL}
GROUPS = {'gamers': (2100, ('carol',))}

SKIPPED = 77
PR_SET_PDEATHSIG = 1

BUS_CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={directory}/bus</listen>
  <auth>EXTERNAL</auth>
  <limit name="auth_timeout">{auth_timeout}</limit>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
  <policy user="root">
    <allow own="org.freedesktop.login1"/>
    <allow send_destination="org.freedesktop.login1"/>
  </policy>
  {policy}
  <include>{source}/dbus/org.vmkit.Manager.conf</include>
  <include>/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf</include>
</busconfig>
'''

AUTH_TIMEOUT_SEC = 5

# The only administrator is root, who has no agent: without a rule and an agent of the test's, a question
# that needs a password is a no.
ADMIN_RULE = 'polkit.addAdminRule(function() { return ["unix-user:0"]; });\n'


def run(*argv, **kwargs):
    return subprocess.run(argv, check=True, text=True, capture_output=True, **kwargs).stdout


def wait_until(condition, what, timeout=TIMEOUT):
    """Runs the main loop until condition() is true, and returns what it returned."""
    context = GLib.MainContext.default()
    deadline = GLib.get_monotonic_time() + int(timeout * 1e6)
    # Wakes the loop for conditions that no event announces, such as the death of a process.
    tick = GLib.timeout_add(50, lambda: True)
    try:
        while True:
            result = condition()
            if result:
                return result
            if GLib.get_monotonic_time() > deadline:
                raise TimeoutError(f'waited {timeout:.0f} s for {what}')
            context.iteration(True)
    finally:
        GLib.source_remove(tick)


class Refused(Exception):
    """An error reply: its D-Bus name and message."""

    def __init__(self, name, message):
        super().__init__(f'{name}: {message}')
        self.name = name
        self.message = message

    @property
    def code(self):
        """Its name, without the prefix if it is one of ours."""
        return self.name[len(PREFIX):] if self.name.startswith(PREFIX) else self.name


class Descriptor:
    """A file descriptor among the arguments of a call; it stays the caller's."""

    def __init__(self, file):
        self.file = file  # keeps it open
        self.fd = file if isinstance(file, int) else file.fileno()


def _pack(signature, value, fds):
    """A GVariant from Python values, with the descriptors moved to the list fds."""
    if signature == 'v':
        return GLib.Variant('v', _pack_any(value, fds))
    if signature == 'h':
        return GLib.Variant('h', fds.append(value.fd))
    if signature.startswith('a{'):
        key, entry = signature[2], signature[3:-1]
        builder = GLib.VariantBuilder(GLib.VariantType(signature))
        for name, item in value.items():
            builder.add_value(GLib.Variant.new_dict_entry(_pack(key, name, fds), _pack(entry, item, fds)))
        return builder.end()
    return GLib.Variant(signature, value)


def _pack_any(value, fds):
    """The obvious type for a Python value; GLib.Variant for any other."""
    if isinstance(value, GLib.Variant):
        return value
    if isinstance(value, Descriptor):
        return _pack('h', value, fds)
    if isinstance(value, bool):
        return GLib.Variant('b', value)
    if isinstance(value, str):
        return GLib.Variant('s', value)
    if isinstance(value, dict):
        return _pack('a{sv}', value, fds)
    if isinstance(value, (list, tuple)):
        return GLib.Variant('as', list(value))
    raise TypeError(f'say which type {value!r} has with GLib.Variant')


def u32(value):
    return GLib.Variant('u', value)


def u64(value):
    return GLib.Variant('t', value)


def device_path(address):
    return '/org/vmkit/device/' + address.replace(':', '_').replace('.', '_')


@functools.lru_cache(None)
def interfaces():
    """The interfaces as the XML files of the tree describe them."""
    found = {}
    for name in ('Manager', 'VM', 'Device', 'Job'):
        with open(f'{SOURCE}/dbus/org.vmkit.{name}.xml', encoding='utf-8') as file:
            for interface in Gio.DBusNodeInfo.new_for_xml(file.read()).interfaces:
                found[interface.name] = interface
    return found


@contextlib.contextmanager
def acting_as(real=0, effective=0):
    """Other user IDs for a moment. A change of them makes the kernel forget that this process is to end
    with its parent (unshare), so that is said again."""
    os.setresuid(real, effective, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Caller:
    """A connection to the bus as a user. The bus takes credentials when the socket is connected, so it is
    enough to be that user then; programs as that user are run by `spawn`."""

    def __init__(self, address, uid):
        self.address = address
        self.uid = uid
        with acting_as(effective=uid):
            self.connection = Gio.DBusConnection.new_for_address_sync(
                address, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT
                | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
        self.connection.set_exit_on_close(False)

    def close(self):
        if not self.connection.is_closed():
            self.connection.close_sync(None)

    def call_raw(self, destination, path, interface, method, parameters=None, *, fds=None, interactive=False,
                 timeout=TIMEOUT):
        flags = Gio.DBusCallFlags.NO_AUTO_START
        if interactive:
            flags |= Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION
        try:
            return self.connection.call_with_unix_fd_list_sync(
                destination, path, interface, method, parameters, None, flags, int(timeout * 1000), fds, None)
        except GLib.Error as error:
            raise _refused(error) from None

    def call_async_raw(self, destination, path, interface, method):
        """Starts a call without arguments; the returned list gets its reply."""
        result = []
        self.connection.call(destination, path, interface, method, None, None, Gio.DBusCallFlags.NO_AUTO_START,
                             int(TIMEOUT * 1000), None,
                             lambda connection, task: result.append(connection.call_finish(task)))
        return result

    def call(self, path, method, *arguments, interactive=False, timeout=TIMEOUT):
        """Calls INTERFACE.METHOD of vmkitd with Python values; returns the only value, or the list of them.
        Descriptors in the reply are returned as such and belong to the caller."""
        fds = Gio.UnixFDList.new()
        parameters = self._parameters(method, arguments, fds)
        interface, member = method.rsplit('.', 1)
        reply, reply_fds = self.call_raw(NAME, path, interface, member, parameters, fds=fds,
                                         interactive=interactive, timeout=timeout)
        values = [reply_fds.get(v.get_handle()) if v.get_type_string() == 'h' else v.unpack()
                  for v in (reply.get_child_value(i) for i in range(reply.n_children()))]
        return values[0] if len(values) == 1 else values

    def call_async(self, path, method, *arguments, interactive=False, then=None):
        """Starts a call; the returned list gets its reply or a Refused as only member, and is handed to then()."""
        result = []

        def done(connection, task):
            try:
                result.append(connection.call_with_unix_fd_list_finish(task)[0].unpack())
            except GLib.Error as error:
                result.append(_refused(error))
            if then:
                then(result)

        fds = Gio.UnixFDList.new()
        parameters = self._parameters(method, arguments, fds)
        interface, member = method.rsplit('.', 1)
        flags = Gio.DBusCallFlags.NO_AUTO_START
        if interactive:
            flags |= Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION
        self.connection.call_with_unix_fd_list(NAME, path, interface, member, parameters, None, flags,
                                               int(TIMEOUT * 1000), fds, None, done)
        return result

    @staticmethod
    def _parameters(method, arguments, fds):
        interface, member = method.rsplit('.', 1)
        description = interfaces()[interface].lookup_method(member)
        signatures = [a.signature for a in description.in_args]
        assert len(signatures) == len(arguments), f'{method} takes {signatures}'
        return GLib.Variant.new_tuple(*[_pack(s, a, fds) for s, a in zip(signatures, arguments)])

    def manager(self, method, *arguments, **kwargs):
        return self.call(MANAGER, f'org.vmkit.Manager.{method}', *arguments, **kwargs)

    def vm(self, path, method, *arguments, **kwargs):
        return self.call(path, f'org.vmkit.VM.{method}', *arguments, **kwargs)

    def device(self, path, method, *arguments, **kwargs):
        return self.call(path, f'org.vmkit.Device.{method}', *arguments, **kwargs)

    def job(self, path, method, *arguments, **kwargs):
        return self.call(path, f'org.vmkit.Job.{method}', *arguments, **kwargs)

    def get(self, path, interface, name):
        reply, _ = self.call_raw(NAME, path, 'org.freedesktop.DBus.Properties', 'Get',
                                 GLib.Variant('(ss)', (f'org.vmkit.{interface}', name)))
        return reply.unpack()[0]

    def get_all(self, path, interface):
        reply, _ = self.call_raw(NAME, path, 'org.freedesktop.DBus.Properties', 'GetAll',
                                 GLib.Variant('(s)', (f'org.vmkit.{interface}',)))
        return reply.unpack()[0]

    def introspect(self, path):
        reply, _ = self.call_raw(NAME, path, 'org.freedesktop.DBus.Introspectable', 'Introspect')
        return Gio.DBusNodeInfo.new_for_xml(reply.unpack()[0])

    def objects(self):
        """Every object below /org/vmkit: path to interface to properties."""
        reply, _ = self.call_raw(NAME, '/org/vmkit', 'org.freedesktop.DBus.ObjectManager',
                                 'GetManagedObjects')
        return reply.unpack()[0]

    def signals(self, member, path=None, interface=None):
        """Collects (path, arguments) of signals from now on. Returns the growing list."""
        collected = []

        def received(_connection, _sender, object_path, _interface, _member, parameters):
            collected.append((object_path, parameters.unpack()))

        self.connection.signal_subscribe(NAME, interface, member, path, None, Gio.DBusSignalFlags.NONE,
                                         received)
        # A round trip to the bus: the match rule is in place when it is over.
        self.call_raw('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'GetId')
        return collected

    def owner(self, name):
        try:
            reply, _ = self.call_raw('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus',
                                     'GetNameOwner', GLib.Variant('(s)', (name,)))
        except Refused:
            return None
        return reply.unpack()[0]

    def finish(self, job, timeout=TIMEOUT):
        """Waits until the job has ended. Returns its properties; the job of a VM that is gone keeps them."""
        return wait_until(lambda: self._ended(job), f'the end of {job}', timeout)

    def _ended(self, job):
        properties = self.get_all(job, 'Job')
        return properties if properties['State'] != 'running' else None

    def succeed(self, job):
        """Waits for the end of a job that must end well."""
        properties = self.finish(job)
        if properties['State'] != 'done':
            raise Refused(*properties['Error'])
        return properties

    def create(self, vm_name, **options):
        """Creates a VM, waits for it, and returns its path. Underscores in keys stand for dashes."""
        path, job = self.manager('CreateVM', vm_name, {k.replace('_', '-'): v for k, v in options.items()})
        self.succeed(job)
        return path

    def as_user(self):
        """What makes subprocess run a program as this user."""
        environment = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'DBUS_SYSTEM_BUS_ADDRESS': self.address,
                       'HOME': '/nonexistent', 'LC_ALL': 'C.UTF-8'}
        return {'env': environment, 'user': self.uid, 'group': self.uid, 'extra_groups': []}

    def spawn(self, *argv, **kwargs):
        """Runs a program as this user. Returns the CompletedProcess."""
        return subprocess.run(argv, **self.as_user(), text=True, capture_output=True, timeout=TIMEOUT, check=False,
                              **kwargs)

    def start(self, *argv, **kwargs):
        """Starts a program as this user. Returns the Popen."""
        return subprocess.Popen(argv, **self.as_user(), **kwargs)


def _refused(error):
    name = Gio.DBusError.get_remote_error(error) or f'local: {error.domain}'
    return Refused(name, error.message.removeprefix(f'GDBus.Error:{name}: '))


def _start_time():
    with open('/proc/self/stat', encoding='ascii', errors='replace') as file:
        return int(file.read().rsplit(')', 1)[1].split()[19])


class Agent:
    """A polkit authentication agent for one caller. It counts what it is asked and says yes or no at once, or
    nothing (None); for a yes it plays the part of polkit's helper, which root may."""

    PATH = '/org/vmkit/test/Agent'
    XML = '''<node><interface name="org.freedesktop.PolicyKit1.AuthenticationAgent">
      <method name="BeginAuthentication">
        <arg type="s" name="action_id" direction="in"/><arg type="s" name="message" direction="in"/>
        <arg type="s" name="icon_name" direction="in"/><arg type="a{ss}" name="details" direction="in"/>
        <arg type="s" name="cookie" direction="in"/>
        <arg type="a(sa{sv})" name="identities" direction="in"/>
      </method>
      <method name="CancelAuthentication"><arg type="s" name="cookie" direction="in"/></method>
    </interface></node>'''

    def __init__(self, bus, caller, answer=True):
        self.bus = bus
        self.caller = caller
        self.answer = answer
        self.prompts = []  # (action, message)
        self.open = {}  # those that were not answered, by cookie
        self.identities = []  # for each prompt, the user IDs of which one has to authenticate
        self.before_answer = None
        interface = Gio.DBusNodeInfo.new_for_xml(self.XML).interfaces[0]
        self.registration = caller.connection.register_object(self.PATH, interface, self._called, None, None)
        # For the whole process, which polkit takes to be the caller's: bus names cannot have an agent.
        # polkit compares the caller with the real user ID that the process has at this moment.
        subject = ('unix-process', {'pid': u32(os.getpid()), 'start-time': u64(_start_time()),
                                    'uid': GLib.Variant('i', caller.uid)})
        with acting_as(real=caller.uid):
            caller.call_raw('org.freedesktop.PolicyKit1', '/org/freedesktop/PolicyKit1/Authority',
                            'org.freedesktop.PolicyKit1.Authority', 'RegisterAuthenticationAgent',
                            GLib.Variant('((sa{sv})ss)', (subject, 'C', self.PATH)))

    def _called(self, _connection, _sender, _path, _interface, method, parameters, invocation):
        if method != 'BeginAuthentication':
            invocation.return_value(None)
            self.open.pop(parameters.unpack()[0], None)
            return
        action, message, _icon, _details, cookie, identities = parameters.unpack()
        self.prompts.append((action, message))
        self.identities.append([details['uid'] for _kind, details in identities])
        if self.before_answer:
            self.before_answer()
        if self.answer is None:
            self.open[cookie] = invocation
            return
        if not self.answer:
            invocation.return_dbus_error('org.freedesktop.PolicyKit1.Error.Failed', 'no')
            return
        self.bus.root.call_raw('org.freedesktop.PolicyKit1', '/org/freedesktop/PolicyKit1/Authority',
                               'org.freedesktop.PolicyKit1.Authority', 'AuthenticationAgentResponse2',
                               GLib.Variant('(us(sa{sv}))', (self.caller.uid, cookie, (
                                   'unix-user', {'uid': u32(0)}))))
        invocation.return_value(None)

    def call(self, path, method, *arguments):
        """A call that may ask, with the main loop running so that the agent can answer."""
        result = self.caller.call_async(path, method, *arguments, interactive=True)
        wait_until(lambda: result, f'the reply to {method}')
        if isinstance(result[0], Refused):
            raise result[0]
        return result[0]


class Bus:
    """The processes of one test class."""

    def __init__(self, rules='', config='', host=mocksys.desktop, vmkitd=True, policy=''):
        self.directory = tempfile.mkdtemp(prefix='vmkit-bus-')
        os.chmod(self.directory, 0o755)
        self.host = host(self.path('host'))
        self.processes = {}
        self.callers = []
        self.config = config
        self.address = f'unix:path={self.path("bus")}'
        self._mount_users()
        self._start_bus(policy)
        self.root = self.connect(0)
        self.start_polkit(rules)
        if vmkitd:
            self.start_vmkitd()

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def connect(self, uid):
        caller = Caller(self.address, uid)
        self.callers.append(caller)
        return caller

    def close(self):
        for caller in self.callers:
            caller.close()
        for name in ('vmkitd', 'polkitd', 'dbus-daemon'):
            self.stop(name)
        for target in reversed(self._mounted):
            run('umount', target)
        shutil.rmtree(self.directory)

    # Processes

    def spawn(self, name, argv, **kwargs):
        with open(self.path(f'{name}.log'), 'ab') as log:
            self.processes[name] = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                    **kwargs)

    def stop(self, name, signal_number=signal.SIGTERM):
        """Ends a process of ours and waits for it. Returns its exit status."""
        process = self.processes.pop(name, None)
        if not process:
            return None
        if process.poll() is None:
            process.send_signal(signal_number)
        try:
            return process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def log(self, name):
        try:
            with open(self.path(f'{name}.log'), encoding='utf-8', errors='replace') as file:
                return file.read()
        except FileNotFoundError:
            return ''

    def connection_of(self, pid):
        """The unique name of a process that has one connection."""
        def ask(method, *arguments):
            return self.root.call_raw('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', method,
                                      GLib.Variant('(s)', arguments) if arguments else None)[0].unpack()[0]
        return next(name for name in ask('ListNames')
                    if name[0] == ':' and ask('GetConnectionUnixProcessID', name) == pid)

    def _alive(self, name):
        status = self.processes[name].poll()
        if status is not None:
            raise RuntimeError(f'{name} ended with status {status}:\n{self.log(name)}')

    def _start_bus(self, policy):
        with open(self.path('bus.conf'), 'w', encoding='utf-8') as file:
            file.write(BUS_CONFIG.format(directory=self.directory, source=SOURCE, policy=policy,
                                         auth_timeout=AUTH_TIMEOUT_SEC * 1000))
        reader, writer = os.pipe()
        self.spawn('dbus-daemon', ['dbus-daemon', '--nofork', '--nopidfile', '--nosyslog',
                                   f'--config-file={self.path("bus.conf")}', f'--print-address={writer}'],
                   pass_fds=[writer])
        os.close(writer)
        with os.fdopen(reader) as file:
            if not file.readline():
                raise RuntimeError(f'dbus-daemon did not start:\n{self.log("dbus-daemon")}')

    def start_polkit(self, rules=''):
        """Starts polkitd with the actions of the tree and these rules."""
        with open(self.path('rules/50-test.rules'), 'w', encoding='utf-8') as file:
            file.write(ADMIN_RULE + rules)
        self.spawn('polkitd', [POLKITD, '--no-debug'], env={**os.environ, 'DBUS_SYSTEM_BUS_ADDRESS':
                                                            self.address})
        self._wait_for_name('org.freedesktop.PolicyKit1', 'polkitd')

    def stop_polkit(self):
        self.stop('polkitd', signal.SIGKILL)
        wait_until(lambda: not self.root.owner('org.freedesktop.PolicyKit1'), 'polkitd to leave the bus')

    def restart_polkit(self, rules=''):
        self.stop_polkit()
        self.start_polkit(rules)

    def _wait_for_name(self, name, process):
        def owned():
            self._alive(process)
            return self.root.owner(name)
        return wait_until(owned, f'{name} on the bus')

    def start_vmkitd(self, *options, with_libvirt=True):
        """Starts vmkitd with the capabilities that its unit leaves it, and waits until it is ready, which it is
        after a while also without libvirt."""
        if self.config:
            os.makedirs('/etc/vmkit', exist_ok=True)
            with open('/etc/vmkit/vmkitd.conf', 'w', encoding='utf-8') as file:
                file.write(self.config)
        os.makedirs(self.path('state'), mode=0o711, exist_ok=True)
        notify_path = self.path('notify')
        if os.path.exists(notify_path):
            os.unlink(notify_path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notify:
            notify.bind(notify_path)
            self.spawn('vmkitd', sandboxed(
                f'{BUILD}/daemon/vmkitd', *self.vmkitd_options(), '--log-level', 'debug',
                '--state-dir', self.path('state'), *options),
                env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'DBUS_SYSTEM_BUS_ADDRESS': self.address,
                     'NOTIFY_SOCKET': notify_path, **VMKITD_ENVIRONMENT}, umask=0o077)

            def ready():
                self._alive('vmkitd')
                try:
                    return 'READY=1' in notify.recv(4096).decode().split('\n')
                except BlockingIOError:
                    return False
            wait_until(ready, 'READY=1 from vmkitd')
        # What the daemon says after READY=1 has no reader any more; it must not mind.
        self._wait_for_name(NAME, 'vmkitd')
        if with_libvirt:
            self.wait_for_libvirt()

    def wait_for_libvirt(self):
        """It is connected in the background."""
        wait_until(self._libvirt_is_there, 'vmkitd to be connected to libvirt')

    def vmkitd_options(self):
        return ['--libvirt-uri', 'test:///default', '--host-root', self.path('host')]

    def _libvirt_is_there(self):
        self._alive('vmkitd')
        checks = {check[0]: check[1] for check in self.root.manager('CheckHost')[1]}
        return checks.get('libvirt', 'ok') == 'ok'

    def restart_vmkitd(self, *options):
        self.stop('vmkitd')
        wait_until(lambda: not self.root.owner(NAME), 'vmkitd to leave the bus')
        self.start_vmkitd(*options)

    # What the namespace has of its own

    def _mount_users(self):
        self._mounted = []
        for name, lines in (('passwd', [f'{n}:x:{u}:{u}::/nonexistent:/bin/sh\n' for n, u in USERS.items()]),
                            ('group', [f'{n}:x:{u}:\n' for n, u in USERS.items()]
                             + [f'{n}:x:{g}:{",".join(m)}\n' for n, (g, m) in GROUPS.items()])):
            with open(f'/etc/{name}', encoding='utf-8') as file:
                text = file.read()
            with open(self.path(name), 'w', encoding='utf-8') as file:
                file.write(text + ''.join(lines))
            os.chmod(self.path(name), 0o644)
            self._bind(name, f'/etc/{name}')
        for name, target in (('actions', '/usr/share/polkit-1/actions'), ('rules', '/etc/polkit-1/rules.d'),
                             ('no-rules', '/usr/share/polkit-1/rules.d')):
            os.mkdir(self.path(name), 0o755)
            self._bind(name, target)
        shutil.copy(f'{SOURCE}/polkit/org.vmkit.policy', self.path('actions'))

    def _bind(self, name, target):
        run('mount', '--bind', self.path(name), target)
        self._mounted.append(target)


# The helpers of the build tree instead of those that are installed.
VMKITD_ENVIRONMENT = {'VMKIT_HELPER_DIR': f'{BUILD}/daemon'}


# Binds and releases in a kernel made of files (mock/kernel.c).
MOCK_HELPER = f'{BUILD}/tests/bus/vmkit-device'


def use_mock_kernel():
    """Devices of the host can be moved from here on. Returns the directory of vmkitd's helpers."""
    helpers = tempfile.mkdtemp(prefix='helpers-')
    os.symlink(MOCK_HELPER, f'{helpers}/vmkit-device')
    os.symlink(f'{BUILD}/daemon/vmkit-image', f'{helpers}/vmkit-image')
    VMKITD_ENVIRONMENT['VMKIT_HELPER_DIR'] = helpers
    return helpers


@functools.lru_cache(None)
def unit_setting(name):
    with open(f'{SOURCE}/systemd/vmkitd.service.in', encoding='utf-8') as file:
        return re.search(rf'^{name}=(.*)$', file.read(), re.M)[1]


def sandboxed(*argv):
    """The command with the capabilities of the unit's sandbox, and its limit of open files as far as this machine
    lets us have it."""
    files = min(int(unit_setting('LimitNOFILE')), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    names = ','.join('+' + c.removeprefix('CAP_').lower() for c in unit_setting('CapabilityBoundingSet').split())
    return ['prlimit', f'--nofile={files}', 'setpriv', f'--bounding-set=-all,{names}',
            '--inh-caps=-all', '--no-new-privs', *argv]


class BusTest(unittest.TestCase):
    """Tests that share one set of processes. What they are started with belongs to the class."""

    RULES = ''          # of polkit
    POLICY = ''         # of the bus, beside what the service installs
    CONFIG = ''
    HOST = staticmethod(mocksys.desktop)
    VMKITD = True

    @classmethod
    def setUpClass(cls):
        cls.bus = Bus(rules=cls.RULES, config=cls.CONFIG, host=cls.HOST, vmkitd=cls.VMKITD, policy=cls.POLICY)
        cls.addClassCleanup(cls.bus.close)
        cls.root = cls.bus.root
        cls.alice, cls.bob, cls.carol = (cls.bus.connect(uid) for uid in (ALICE, BOB, CAROL))

    def setUp(self):
        self.log_start = len(self.bus.log('vmkitd'))

    def run(self, result=None):
        before = len(result.failures) + len(result.errors) if result else 0
        super().run(result)
        if result and len(result.failures) + len(result.errors) > before:
            log = self.bus.log('vmkitd')[getattr(self, 'log_start', 0):]
            sys.stderr.write(f'--- vmkitd during {self.id()}\n{log}---\n')
            for name, process in self.bus.processes.items():
                if process.poll() is not None:
                    sys.stderr.write(f'--- {name} ended with status {process.returncode}\n'
                                     f'{self.bus.log(name)[-4000:]}---\n')
            self.after_failure()
        return result

    def after_failure(self):
        """Shows what else explains a failure, and puts in order what the next test begins with."""

    def tearDown(self):
        process = self.bus.processes.get('vmkitd')
        if process and process.poll() is not None:
            self.fail(f'vmkitd ended with status {process.returncode}')

    def refused(self, code, function, *arguments, **kwargs):
        """The call must fail with this error (a name of ours without prefix, or a full one). Returns it."""
        codes = (code,) if isinstance(code, str) else code
        with self.assertRaises(Refused) as context:
            function(*arguments, **kwargs)
        self.assertIn(context.exception.code, codes, context.exception)
        return context.exception

    def destroy_all(self):
        for _name, vm, _state, _owner in self.root.manager('ListVMs'):
            self.root.succeed(self.root.vm(vm, 'Destroy', {'force': True}))
        self.assertEqual(self.root.get(MANAGER, 'Manager', 'VMs'), [])

    def unless_unsupported(self, function, *arguments, **kwargs):
        """The call; the test is skipped if this version of vmkit does not have what it asks for."""
        try:
            return function(*arguments, **kwargs)
        except Refused as error:
            if error.code != 'NotSupported':
                raise
            raise unittest.SkipTest(error.message) from None

    def state(self):
        """Everything a call could have changed, for comparing before and after. Jobs come and go by
        themselves, and what is looked at afresh may differ."""
        objects = {path: {name: {k: v for k, v in properties.items()
                                 if k not in ('InUse', 'Available', 'Jobs')}
                          for name, properties in found.items() if name.startswith('org.vmkit.')}
                   for path, found in self.root.objects().items() if '/job/' not in path}
        files = []
        for directory, _, names in os.walk(self.bus.path('state')):
            files += [os.path.join(directory, name) for name in names]
        return json.dumps([objects, sorted(files), self.root.manager('ListImages')], sort_keys=True)


def _enter_namespace(*namespaces):
    if os.environ.get('VMKIT_BUS_TEST') == 'inside':
        return
    if os.geteuid() != 0:
        print('skipped: needs root, for a mount namespace and several users')
        sys.exit(SKIPPED)
    missing = [p for p in ('dbus-daemon', 'unshare', 'setpriv') if not shutil.which(p)]
    missing += [p for p in (POLKITD, f'{BUILD}/daemon/vmkitd') if not os.access(p, os.X_OK)]
    if missing:
        print(f'skipped: not found: {", ".join(missing)}')
        sys.exit(SKIPPED)
    os.environ['VMKIT_BUS_TEST'] = 'inside'
    # Process IDs of its own too: whatever ends this program, all that it started ends with it.
    os.execvp('unshare', ['unshare', '--mount', '--propagation', _propagation(), '--pid', '--fork', '--kill-child',
                          '--mount-proc', *namespaces, sys.executable, *sys.argv])


def _propagation():
    """In a chroot "/" need not be a mount, and then its propagation cannot be set."""
    with open('/proc/self/mountinfo', encoding='utf-8', errors='replace') as mounts:
        return 'private' if any(line.split()[4] == '/' for line in mounts) else 'unchanged'


def _mount_scratch():
    """A place for files that is gone with the namespace, on a directory that nothing here needs."""
    for directory in ('/mnt', '/media', '/srv', '/opt'):
        needed = any(os.path.commonpath([directory, path]) == directory for path in (SOURCE, BUILD))
        if os.path.isdir(directory) and not needed:
            run('mount', '-t', 'tmpfs', '-o', 'mode=0755', 'vmkit-bus-test', directory)
            tempfile.tempdir = directory
            return
    raise RuntimeError('no directory to mount a tmpfs on')


def overlay(directory):
    """Makes a directory of the machine writable for the test alone."""
    scratch = tempfile.mkdtemp(prefix='overlay-')
    for name in ('upper', 'work'):
        os.makedirs(f'{scratch}/{name}')
    # The directory itself is seen as the upper one.
    shutil.copystat(directory, f'{scratch}/upper')
    status = os.stat(directory)
    os.chown(f'{scratch}/upper', status.st_uid, status.st_gid)
    run('mount', '-t', 'overlay', 'overlay', '-o',
        f'lowerdir={directory},upperdir={scratch}/upper,workdir={scratch}/work', directory)


def enter(*namespaces, prepare=None):
    """Goes on in namespaces of its own (those of unshare's options too); the program begins anew there, and
    prepare() does what it needs."""
    _enter_namespace(*namespaces)
    _mount_scratch()
    overlay('/etc')
    if prepare:
        prepare()


def main(*namespaces, prepare=None):
    """Runs the tests of the calling program and exits."""
    enter(*namespaces, prepare=prepare)
    program = unittest.main(module='__main__', exit=False, verbosity=2)
    result = program.result
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(f'{result.testsRun - failed - len(result.skipped)} passed, {failed} failed, '
          f'{len(result.skipped)} skipped')
    sys.exit(0 if result.wasSuccessful() else 1)
