#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service all of whose strings are made to steer a terminal, as names, messages and what devices call themselves can
be: vmkitctl shows what is left of them, and the terminal is left alone. The service is one of this test's."""

import glob
import json
import os
import re
import subprocess
import unittest

from gi.repository import Gio, GLib

import fixture
from fixture import BUILD, SOURCE, wait_until

# A title, an erased screen, C1 control characters, DEL, and a change of direction; and what is left of it.
PAINT = '\x1b]0;title\x07\x1b[2J\u009b31m\x7f\r\n\u202egnol\u2066'
SHOWN = '?]0;title??[2J??31m?'
STEERING = re.compile('[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]')
OWN = re.compile(r'\x1b\[(?:[0-2]|3[1-3])m|\x1b\[K|\r')

VM, DEVICE, JOB = '/org/vmkit/vm/x', '/org/vmkit/device/0000_01_00_0', '/org/vmkit/job/1'
PATHS = {'GetVM': VM, 'GetDevice': DEVICE}

OBJECT_MANAGER = '''<node><interface name="org.freedesktop.DBus.ObjectManager">
  <method name="GetManagedObjects"><arg type="a{oa{sa{sv}}}" direction="out"/></method>
</interface></node>'''

# What writes to the terminal, other than the functions that make it printable.
OUTLET = re.compile(r'\b(?:v?printf|puts|putchar|f(?:printf|puts|putc|write|putchar)|write|dprintf)\s*\([^;]*;')
TO_TERMINAL = re.compile(r'^(?:printf|vprintf|puts|putchar)|\bstd(?:out|err)\b|STD(?:OUT|ERR)_FILENO')
MAY = {'terminal.c': 'has these functions', 'json.c': 'escapes', 'help.c': 'says nothing but our own words'}
EXCEPTIONS = {"putchar('\\t');", 'puts(type);', 'fputs("\\r\\033[K", stderr);',
              'fprintf(stderr, "\\r%s\\033[K", progress_line(p, now, columns, (char[PROGRESS_LINE_MAX]) {}));'}

COMMANDS = (('list',), ('info', 'x'), ('devices', '--all'), ('explain', 'gpu'), ('explain', '01:00.0'), ('check',), ('jobs',),
            ('image', 'list'), ('image', 'remove', 'x'), ('create', 'x', '--dry-run'), ('start', 'x'), ('create', 'x'),
            ('autostart', 'x', 'on'), ('bind', '01:00.0'), ('cancel', '1'))


def painted(signature, path):
    """A value of this type, every string of which is the paint."""
    known = {'s': PAINT, 'o': path, 'b': False, 'd': 0.5, 'ao': [path], 'as': [PAINT], '(ss)': (PAINT, PAINT),
             'a(ss)': [(PAINT, PAINT)], 'a(ssss)': [(PAINT,) * 4], 'a(sosu)': [(PAINT, VM, PAINT, 0)],
             'a(sossi)': [(PAINT, DEVICE, PAINT, PAINT, 1)], 'a(ssttu)': [(PAINT, PAINT, 1, 1, 0)],
             'a{sv}': {key: GLib.Variant('s', PAINT) for key in (PAINT, 'network', 'Address', 'Kind')},
             'aa{sv}': [{**{key: GLib.Variant('s', PAINT) for key in ('code', 'severity', 'detail', 'remedy', 'address')},
                         'reasons': GLib.Variant('a(ss)', [(PAINT, PAINT)])}]}
    return GLib.Variant(signature, known.get(signature, 1))


class Service:
    """org.vmkit.Manager with a VM, a device and a job."""

    def __init__(self, connection):
        self.connection = connection
        self.error = None  # (name, message), for all calls
        self.interfaces = fixture.interfaces()
        self.register(fixture.MANAGER, self.interfaces['org.vmkit.Manager'])
        for path, name in ((VM, 'VM'), (DEVICE, 'Device'), (JOB, 'Job')):
            self.register(path, self.interfaces[f'org.vmkit.{name}'])
        self.register('/org/vmkit', Gio.DBusNodeInfo.new_for_xml(OBJECT_MANAGER).interfaces[0])
        Gio.bus_own_name_on_connection(connection, fixture.NAME, Gio.BusNameOwnerFlags.NONE, None, None)

    def register(self, path, interface):
        self.connection.register_object(path, interface, self.called, self.property, None)

    def property(self, _connection, _sender, _path, interface, name):
        signature = self.interfaces[interface].lookup_property(name).signature
        return painted(signature, VM if name in ('VM', 'Target', 'AssignedTo') else JOB if name == 'Jobs' else DEVICE)

    def properties(self, interface):
        return {p.name: self.property(None, None, None, interface, p.name) for p in self.interfaces[interface].properties}

    def called(self, _connection, _sender, _path, interface, method, _parameters, invocation):
        if self.error:
            invocation.return_dbus_error(*self.error)
        elif method == 'GetManagedObjects':
            invocation.return_value(GLib.Variant('(a{oa{sa{sv}}})', ({
                DEVICE: {'org.vmkit.Device': self.properties('org.vmkit.Device')},
                VM: {'org.vmkit.VM': self.properties('org.vmkit.VM')}},)))
        else:
            arguments = self.interfaces[interface].lookup_method(method).out_args
            values = [painted(a.signature, PATHS.get(method, JOB)) for a in arguments]
            invocation.return_value(GLib.Variant.new_tuple(*values))

    def emit(self, path, interface, member, signature, *values):
        self.connection.emit_signal(None, path, interface, member, GLib.Variant(signature, values))


class Outlets(unittest.TestCase):
    def test_there_are_no_others(self):
        found = set()
        for path in glob.glob(f'{SOURCE}/client/*.c'):
            if os.path.basename(path) not in MAY:
                with open(path, encoding='utf-8') as file:
                    found |= {call for call in OUTLET.findall(file.read()) if TO_TERMINAL.search(call)}
        self.assertEqual(found, EXCEPTIONS)


class Painted(fixture.BusTest):
    VMKITD = False
    PROGRAM = f'{BUILD}/client/vmkitctl'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.service = Service(cls.root.connection)
        wait_until(lambda: cls.root.owner(fixture.NAME), 'the name of the service')

    def setUp(self):
        super().setUp()
        self.service.error = None

    def say(self, *argv):
        """Runs vmkitctl. Returns what it says on both of its streams."""
        client = self.bob.start(self.PROGRAM, '--no-ask-password', *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        wait_until(lambda: client.poll() is not None, f'{argv}')
        said = [stream.decode() for stream in client.communicate()]
        self.assertGreaterEqual(client.returncode, 0, said)
        return said

    def on_terminal(self, *argv):
        master, slave = os.openpty()
        os.set_blocking(master, False)
        known = self.bob.as_user()
        known['env']['TERM'] = 'xterm'
        client = subprocess.Popen([self.PROGRAM, '--no-ask-password', *argv], **known, stdin=subprocess.DEVNULL,
                                  stdout=slave, stderr=slave)
        os.close(slave)
        said = []

        def ended():
            over = client.poll() is not None
            try:
                while more := os.read(master, 4096):
                    said.append(more)
            except OSError:  # nothing more now, or ever
                pass
            return over
        wait_until(ended, f'{argv}')
        os.close(master)
        return b''.join(said).decode()

    def assert_harmless(self, text):
        self.assertIsNone(STEERING.search(text), repr(text))

    def test_text(self):
        for argv in COMMANDS:
            with self.subTest(argv):
                text = ''.join(self.say(*argv))
                self.assert_harmless(text)
                if argv[0] not in ('autostart', 'image') or 'list' in argv:
                    self.assertIn(SHOWN, text)

    def test_terminal(self):
        """Colours are our own."""
        for argv in COMMANDS:
            with self.subTest(argv):
                self.assert_harmless(OWN.sub('', self.on_terminal(*argv)))
        self.assertIn('\x1b[1m' + SHOWN[:-1], self.on_terminal('list'))

    def test_json(self):
        """The values are what they are."""
        for argv in COMMANDS:
            with self.subTest(argv):
                for text in self.say('--json', *argv):
                    self.assert_harmless(text)
        self.assertEqual(json.loads(self.say('--json', 'list')[0])[0]['name'], PAINT)
        self.assertEqual(json.loads(self.say('--json', 'start', 'x')[1].splitlines()[-1])['error']['message'], PAINT)

    def test_errors(self):
        for name in ('org.vmkit.Error.NotReady', 'org.vmkit.Error.NoSuchVM', 'org.freedesktop.DBus.Error.AccessDenied',
                     'org.freedesktop.DBus.Error.NoReply', 'org.example.Other'):
            self.service.error = (name, f'It is {PAINT} so.')
            for argv in (('info', 'x'), ('start', 'x'), ('check',)):
                with self.subTest(argv, name=name):
                    text = ''.join(self.say(*argv))
                    self.assert_harmless(text)
                    self.assertIn(SHOWN, text)
                    self.assert_harmless(OWN.sub('', self.on_terminal(*argv)))
                    self.assert_harmless(''.join(self.say('--json', *argv)))

    def test_a_remedy_keeps_its_line(self):
        self.service.error = ('org.vmkit.Error.NotReady', 'It is so\nDo this.\n  command')
        self.assertEqual(self.say('info', 'x')[1], 'Error: It is so.\nDo this.\n  command\n')

    def test_completion(self):
        """What cannot be shown as it is cannot be typed either."""
        self.assertEqual(self.say_words('info', ''), '')
        text = self.say_words('bind', '')
        self.assert_harmless(text.replace('\t', ' '))

    def say_words(self, *words):
        client = self.bob.start(self.PROGRAM, '--complete', *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        wait_until(lambda: client.poll() is not None, f'{words}')
        return client.communicate()[0].decode()

    def test_monitor(self):
        for options in ((), ('--json',)):
            client = self.bob.start(self.PROGRAM, 'monitor', *options, stdout=subprocess.PIPE)
            os.set_blocking(client.stdout.fileno(), False)
            said = []

            def told(said=said, client=client):
                self.emit_all()
                said.append(client.stdout.read() or b'')
                return b''.join(said).count(b'\n') > 20
            wait_until(told, 'the lines of monitor')
            client.kill()
            client.communicate()
            text = b''.join(said).decode()
            self.assert_harmless(text)
            self.assertIn('title', text)

    def monitor(self):
        """vmkitctl monitor --json, when it has said something. Returns it and its name on the bus."""
        client = self.bob.start(self.PROGRAM, 'monitor', '--json', stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        os.set_blocking(client.stdout.fileno(), False)

        def told():
            self.emit_all()
            return client.stdout.read()
        wait_until(told, 'the first lines of monitor')
        return client, self.bus.connection_of(client.pid)

    def test_forged_signals(self):
        """Anybody can send a signal to one connection, which the bus does not hold against its matches."""
        client, name = self.monitor()
        for path, interface, member, signature, values in (
                (JOB, 'org.vmkit.Job', 'Completed', '(bss)', (True, '', 'forged')),
                (JOB, 'org.vmkit.Job', 'Completed', '(s)', ('forged',)),
                (JOB, 'org.freedesktop.DBus.Properties', 'PropertiesChanged', '(sss)', ('forged', 'forged', 'forged')),
                (JOB, 'org.freedesktop.DBus.Properties', 'PropertiesChanged', '(sasas)', ('forged', ['forged'], ['forged'])),
                ('/org/vmkit', 'org.freedesktop.DBus.ObjectManager', 'InterfacesAdded', '(uu)', (1, 2)),
                ('/org/vmkit', 'org.freedesktop.DBus.ObjectManager', 'InterfacesAdded', '(ss)', ('forged', 'forged')),
                ('/org/vmkit', 'org.freedesktop.DBus.ObjectManager', 'InterfacesRemoved', '(u)', (1,)),
                ('/org/freedesktop/DBus', 'org.freedesktop.DBus', 'NameOwnerChanged', '(sss)',
                 (fixture.NAME, 'forged', self.alice.connection.get_unique_name())),
                (JOB, 'org.vmkit.Job', 'Completed', '(bss)', (True, '', 'forged'))):
            self.alice.connection.emit_signal(name, path, interface, member, GLib.Variant(signature, values))
        self.alice.connection.flush_sync(None)
        said = [client.stdout.read() or b'']

        def told():
            self.service.emit(JOB, 'org.vmkit.Job', 'Completed', '(bss)', False, 'org.example.Last', 'last')
            said.append(client.stdout.read() or b'')
            return b'org.example.Last' in b''.join(said) or client.poll() is not None
        wait_until(told, 'what the service says itself')
        self.assertIsNone(client.poll())
        text = b''.join(said).decode()
        self.assertNotIn('forged', text)
        self.assertNotIn('stopped', text)

    def emit_all(self):
        properties = self.service.properties
        self.service.emit('/org/vmkit', 'org.freedesktop.DBus.ObjectManager', 'InterfacesAdded', '(oa{sa{sv}})', VM,
                          {'org.vmkit.VM': properties('org.vmkit.VM')})
        for path, name in ((VM, 'VM'), (DEVICE, 'Device'), (JOB, 'Job')):
            self.service.emit(path, 'org.freedesktop.DBus.Properties', 'PropertiesChanged', '(sa{sv}as)',
                              f'org.vmkit.{name}', properties(f'org.vmkit.{name}'), [])
        self.service.emit(JOB, 'org.vmkit.Job', 'Completed', '(bss)', False, PAINT, PAINT)


if __name__ == '__main__':
    fixture.main()
