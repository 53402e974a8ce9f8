#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the live objects say of themselves is what dbus/*.xml documents."""

import re

from gi.repository import Gio, GLib

import fixture
import mocksys
from fixture import MANAGER

EMITS = 'org.freedesktop.DBus.Property.EmitsChangedSignal'
STANDARD = {'org.freedesktop.DBus.Introspectable', 'org.freedesktop.DBus.ObjectManager',
            'org.freedesktop.DBus.Peer', 'org.freedesktop.DBus.Properties'}


def _annotations(info, ignore=()):
    return {a.key: a.value for a in info.annotations if a.key not in ignore}


def _arguments(arguments):
    return [(a.name, a.signature) for a in arguments]


def describe(interface):
    """An interface as plain data that can be compared."""
    described = {'methods': {}, 'signals': {}, 'properties': {}}
    for method in interface.methods:
        described['methods'][method.name] = (_arguments(method.in_args), _arguments(method.out_args),
                                             _annotations(method))
    for signal in interface.signals:
        described['signals'][signal.name] = (_arguments(signal.args), _annotations(signal))
    for property_ in interface.properties:
        annotations = _annotations(property_)
        described['properties'][property_.name] = (property_.signature, int(property_.flags),
                                                   annotations.pop(EMITS, 'true'), annotations)
    return described


class Introspection(fixture.BusTest):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.vm, cls.job = cls.root.manager('CreateVM', 'introspected', {})
        cls.root.succeed(cls.job)
        cls.device = cls.root.manager('GetDevice', mocksys.GPU)
        cls.live = {'org.vmkit.Manager': MANAGER, 'org.vmkit.VM': cls.vm, 'org.vmkit.Device': cls.device,
                    'org.vmkit.Job': cls.job}

    def test_members_are_those_of_the_files(self):
        for name, path in self.live.items():
            documented = describe(fixture.interfaces()[name])
            found = describe(self.root.introspect(path).lookup_interface(name))
            for kind in documented:
                for member in sorted(documented[kind].keys() | found[kind].keys()):
                    with self.subTest(f'{name}.{member}'):
                        self.assertEqual(found[kind].get(member), documented[kind].get(member))

    def test_no_other_interfaces(self):
        for name, path in self.live.items():
            found = {i.name for i in self.root.introspect(path).interfaces}
            self.assertEqual(found - STANDARD, {name})

    def test_no_property_is_writable(self):
        for name, path in self.live.items():
            for property_ in self.root.introspect(path).lookup_interface(name).properties:
                self.assertEqual(property_.flags, Gio.DBusPropertyInfoFlags.READABLE)
                value = self.root.get(path, name.rsplit('.', 1)[1], property_.name)
                with self.subTest(f'{name}.{property_.name}'), self.assertRaises(fixture.Refused):
                    self.root.call_raw(fixture.NAME, path, 'org.freedesktop.DBus.Properties', 'Set',
                                       GLib.Variant('(ssv)', (name, property_.name,
                                                              GLib.Variant(property_.signature, value))))

    def test_arguments_are_named_lower_snake(self):
        for name, path in self.live.items():
            interface = self.root.introspect(path).lookup_interface(name)
            for member in [*interface.methods, *interface.signals]:
                arguments = member.args if hasattr(member, 'args') else [*member.in_args, *member.out_args]
                for argument in arguments:
                    self.assertRegex(argument.name, r'^[a-z][a-z0-9_]*$', member.name)

    def test_methods_that_change_take_options(self):
        """Every method that is not public ends in a{sv} options."""
        for interface in fixture.interfaces().values():
            for method in interface.methods:
                if method.in_args and method.in_args[-1].signature == 'a{sv}':
                    self.assertIn(method.in_args[-1].name, ('options', 'filter'), method.name)

    def test_properties_have_their_types(self):
        for name, path in self.live.items():
            reply, _ = self.root.call_raw(fixture.NAME, path, 'org.freedesktop.DBus.Properties', 'GetAll',
                                          GLib.Variant('(s)', (name,)))
            values = reply.get_child_value(0)
            found = {values.get_child_value(i).get_child_value(0).get_string():
                     values.get_child_value(i).get_child_value(1).get_variant().get_type_string()
                     for i in range(values.n_children())}
            self.assertEqual(found, {p.name: p.signature for p in fixture.interfaces()[name].properties})

    def test_object_manager(self):
        node = self.root.introspect('/org/vmkit')
        self.assertIsNotNone(node.lookup_interface('org.freedesktop.DBus.ObjectManager'))
        objects = self.root.objects()
        for name, path in self.live.items():
            if name != 'org.vmkit.Manager':
                self.assertEqual(set(objects[path][name]),
                                 {p.name for p in fixture.interfaces()[name].properties}, path)

    def test_paths(self):
        self.assertEqual(self.device, '/org/vmkit/device/0000_01_00_0')
        self.assertRegex(self.vm, r'^/org/vmkit/vm/[0-9a-f]{32}$')
        self.assertRegex(self.job, r'^/org/vmkit/job/[0-9]+$')
        uuid = self.root.get(self.vm, 'VM', 'UUID')
        self.assertEqual(self.vm.rsplit('/', 1)[1], uuid.replace('-', ''))
        for path in self.root.objects():
            self.assertTrue(re.match(r'^/org/vmkit/(Manager|device|vm|job)', path), path)

    def test_nothing_at_the_root(self):
        for path in ('/', '/org', '/org/vmkit/device/nonsense', '/org/vmkit/vm/00', '/org/vmkit/job/x'):
            try:
                found = {i.name for i in self.root.introspect(path).interfaces}
            except fixture.Refused:
                continue
            self.assertEqual(found - STANDARD, set(), path)

    def test_unknown_objects_are_errors(self):
        for path in ('/org/vmkit/device/ffff_ff_1f_7', '/org/vmkit/device/0000_01_00_0x',
                     '/org/vmkit/vm/' + '0' * 32, '/org/vmkit/job/999999', '/org/vmkit/job/01',
                     '/org/vmkit/job/1x'):
            kind = {'device': 'Device', 'vm': 'VM', 'job': 'Job'}[path.split('/')[3]]
            with self.subTest(path), self.assertRaises(fixture.Refused):
                self.root.get_all(path, kind)


if __name__ == '__main__':
    fixture.main()
