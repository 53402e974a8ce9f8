# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs of ordinary users on the private bus: those that use the package vmkit of the build tree, and
the service that such programs meet, real or one that a test plays."""

import json
import os
import shutil
import subprocess
import tempfile
import textwrap

from gi.repository import Gio, GLib

import fixture
import mocksys
from fixture import BUILD, TIMEOUT

PYTHON = '/usr/bin/python3'
PACKAGE = f'{BUILD}/client/python'

RULES = '''polkit.addRule(function(action, subject) {
    if (subject.user == "alice" && ["org.vmkit.create-vm", "org.vmkit.use-device"].indexOf(action.id) >= 0)
        return polkit.Result.YES; });'''

NATIVE = {mocksys.GPU: 'nouveau', mocksys.GPU_AUDIO: 'snd_hda_intel', mocksys.NVME_FREE: 'nvme',
          mocksys.NVME_FREE_2: 'nvme'}

PRELUDE = '''
import json, os, sys
import vmkit
from vmkit import *

def show(value):
    print(json.dumps(value), flush=True)
'''


def _remove_namespace(tree, address, controller):
    """A drive as it is bought: a disk made of files could not be opened exclusively, a controller needs not."""
    disk = f'{controller}n1'
    path = tree.path(tree.functions[address].path, 'nvme', controller, disk)
    with open(f'{path}/dev', encoding='ascii') as file:
        number = file.read().strip()
    shutil.rmtree(path)
    for link in (f'sys/block/{disk}', f'sys/class/block/{disk}', f'sys/dev/block/{number}'):
        os.unlink(tree.path(link))


def host(root):
    """The desktop, with what the kernel made of files (mock/kernel.c) needs to bind its devices."""
    tree = mocksys.desktop(root)
    tree.mkdir('sys/bus/pci/drivers/vfio-pci')
    for address, driver in NATIVE.items():
        path = tree.functions[address].path
        tree.write(f'{path}/mock_native', f'{driver}\n')
        tree.write(f'{path}/power/control', 'auto\n')
    _remove_namespace(tree, mocksys.NVME_FREE, 'nvme1')
    return tree


class ProgramTest(fixture.BusTest):
    """Tests of programs that alice, who has the rights, and bob, who has none, run in a directory of theirs."""

    RULES = RULES
    HOST = staticmethod(host)

    @classmethod
    def setUpClass(cls):
        fixture.use_mock_kernel()
        super().setUpClass()
        cls.home = tempfile.mkdtemp(prefix='home-')
        os.chown(cls.home, fixture.ALICE, fixture.ALICE)
        os.chmod(cls.home, 0o755)

    def setUp(self):
        super().setUp()
        if self.VMKITD:
            self.addCleanup(self.destroy_all)

    def destroy_all(self):
        for _name, vm, _state, _owner in self.root.manager('ListVMs'):
            self.root.succeed(self.root.vm(vm, 'Destroy', {'force': True}))

    def make_image(self, name, size='4M'):
        path = os.path.join(self.home, name)
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', path, size], check=True)
        os.chmod(path, 0o644)
        return path

    def make_key(self, name='id_ed25519'):
        """A key in alice's ~/.ssh. Returns its public part."""
        directory = os.path.join(self.home, '.ssh')
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, name)
        if not os.path.exists(path):
            subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'alice', '-f', path], check=True)
            os.chmod(path, 0o644)
        with open(f'{path}.pub', encoding='ascii') as file:
            return file.read().strip()

    def user(self, caller, **environment):
        """How subprocess runs a program as this user, in the home directory, with the package."""
        settings = caller.as_user()
        settings['env'].update({'PYTHONPATH': PACKAGE, 'HOME': self.home, 'PYTHONDONTWRITEBYTECODE': '1',
                                **environment})
        settings['env']['PATH'] = f'{BUILD}/client:{settings["env"]["PATH"]}'
        return {**settings, 'cwd': self.home, 'text': True}

    def program(self, caller, *argv, status=0, **environment):
        """Runs a program that must end with this status. Returns the CompletedProcess."""
        done = subprocess.run(argv, **self.user(caller, **environment), capture_output=True, timeout=TIMEOUT,
                              check=False)
        self.assertEqual(done.returncode, status, f'{argv}:\n{done.stdout}{done.stderr}')
        return done

    @staticmethod
    def code(text):
        return [PYTHON, '-c', PRELUDE + textwrap.dedent(text)]

    def python(self, caller, text, **environment):
        """Runs Python that uses the package. Returns what it showed: one value, or a list of them."""
        done = self.program(caller, *self.code(text), **environment)
        shown = [json.loads(line) for line in done.stdout.splitlines()]
        return shown[0] if len(shown) == 1 else shown


class StandIn:
    """A service that answers as a test wants: methods by their names, each a function of the arguments that
    returns the tuple of values and the descriptors, or None for no answer at all, or raises `fixture.Refused`."""

    def __init__(self, caller, methods, properties=()):
        self.connection = caller.connection
        self.methods = methods
        self.properties = dict(properties)
        self.called = []
        self.registrations = []
        caller.call_raw('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'RequestName',
                        GLib.Variant('(su)', (fixture.NAME, 4)))
        self.caller = caller

    def close(self):
        for registration in self.registrations:
            self.connection.unregister_object(registration)
        self.caller.call_raw('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus',
                             'ReleaseName', GLib.Variant('(s)', (fixture.NAME,)))

    def add(self, path, interface):
        description = fixture.interfaces()[interface]

        def get(_connection, _sender, _path, _interface, name):
            signature = description.lookup_property(name).signature
            return GLib.Variant(signature, self.properties[name])

        self.registrations.append(self.connection.register_object(path, description, self._called, get, None))

    def _called(self, _connection, _sender, _path, interface, method, parameters, invocation):
        self.called.append(method)
        signature = ''.join(a.signature for a in fixture.interfaces()[interface].lookup_method(method).out_args)
        try:
            if method not in self.methods:
                raise fixture.Refused('org.freedesktop.DBus.Error.UnknownMethod', f'{method} is not played')
            answer = self.methods[method](*parameters.unpack())
        except fixture.Refused as error:
            invocation.return_dbus_error(error.name, error.message)
            return
        if answer:
            values, fds = answer
            invocation.return_value_with_unix_fd_list(GLib.Variant(f'({signature})', values), fds)

    @staticmethod
    def descriptor(fd):
        fds = Gio.UnixFDList.new()
        return fds.append(fd), fds
