#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The actions as polkitd understands them, the example rules, and what the bus lets through."""

from gi.repository import Gio, GLib

import fixture
from fixture import SOURCE

AUTHORITY = ('org.freedesktop.PolicyKit1', '/org/freedesktop/PolicyKit1/Authority',
             'org.freedesktop.PolicyKit1.Authority')
NO, ADMIN, SELF, ADMIN_KEEP, YES = 0, 2, 1, 4, 5

# Implicit authorisation for any, inactive and active sessions: the table of the contract.
DEFAULTS = {
    'create-vm': (ADMIN, ADMIN, ADMIN_KEEP),
    'control-own-vm': (YES, YES, YES),
    'control-any-vm': (ADMIN, ADMIN, ADMIN_KEEP),
    'destroy-own-vm': (YES, YES, YES),
    'destroy-any-vm': (ADMIN, ADMIN, ADMIN),
    'use-device': (ADMIN, ADMIN, ADMIN),
    'override-device': (ADMIN, ADMIN, ADMIN),
    'manage-device': (ADMIN, ADMIN, ADMIN),
}


class PolkitTest(fixture.BusTest):
    VMKITD = False

    def check(self, caller, action, **details):
        """What polkitd answers vmkitd about a caller: yes, no, or ask."""
        subject = ('system-bus-name', {'name': GLib.Variant('s', caller.connection.get_unique_name())})
        reply, _ = self.root.call_raw(*AUTHORITY, 'CheckAuthorization', GLib.Variant(
            '((sa{sv})sa{ss}us)', (subject, f'org.vmkit.{action}', details, 0, '')))
        authorized, challenge, _ = reply.unpack()[0]
        return 'yes' if authorized else 'ask' if challenge else 'no'


class Actions(PolkitTest):
    def test_defaults(self):
        reply, _ = self.root.call_raw(*AUTHORITY, 'EnumerateActions', GLib.Variant('(s)', ('C',)))
        found = {a[0].removeprefix('org.vmkit.'): tuple(a[6:9]) for a in reply.unpack()[0]
                 if a[0].startswith('org.vmkit.')}
        self.assertEqual(found, DEFAULTS)

    def test_messages_substitute_contract_details_only(self):
        reply, _ = self.root.call_raw(*AUTHORITY, 'EnumerateActions', GLib.Variant('(s)', ('C',)))
        for action in reply.unpack()[0]:
            if action[0].startswith('org.vmkit.'):
                text = action[2].replace('$(vm)', '').replace('$(device)', '')
                self.assertNotIn('$', text)
                self.assertTrue(action[1] and action[2] and action[3] == 'vmkit', action)

    def test_without_a_rule(self):
        for action, (any_session, _, _) in DEFAULTS.items():
            with self.subTest(action):
                self.assertEqual(self.check(self.alice, action), 'yes' if any_session == YES else 'ask')


class ExampleRules(PolkitTest):
    with open(f'{SOURCE}/examples/polkit/50-vmkit.rules', encoding='utf-8') as file:
        RULES = file.read()

    def test_alice_creates_and_uses_devices(self):
        self.assertEqual(self.check(self.alice, 'create-vm', vm='a'), 'yes')
        self.assertEqual(self.check(self.alice, 'use-device', vm='a', device='0000:03:00.0', kind='nvme'),
                         'yes')

    def test_alice_overrides_nothing(self):
        for action in ('override-device', 'manage-device', 'control-any-vm', 'destroy-any-vm'):
            self.assertEqual(self.check(self.alice, action, vm='a', device='0000:03:00.0'), 'ask', action)

    def test_the_group_uses_graphics_devices_only(self):
        self.assertEqual(self.check(self.carol, 'create-vm', vm='c'), 'yes')
        self.assertEqual(self.check(self.carol, 'use-device', vm='c', device='0000:01:00.0', kind='gpu'),
                         'yes')
        self.assertEqual(self.check(self.carol, 'use-device', vm='c', device='0000:03:00.0', kind='nvme'),
                         'ask')
        self.assertEqual(self.check(self.carol, 'use-device', vm='c'), 'ask')

    def test_bob_is_not_concerned(self):
        for action, (any_session, _, _) in DEFAULTS.items():
            self.assertEqual(self.check(self.bob, action, vm='b'), 'yes' if any_session == YES else 'ask')


class Policy(fixture.BusTest):
    """What the bus itself refuses, before vmkitd sees it. Root's test connection plays vmkitd."""
    VMKITD = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.request_name(cls.root)

    @staticmethod
    def request_name(caller):
        reply, _ = caller.call_raw('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus',
                                   'RequestName', GLib.Variant('(su)', (fixture.NAME, 4)))
        return reply.unpack()[0]

    def test_only_root_owns_the_name(self):
        self.refused(fixture.ACCESS_DENIED, self.request_name, self.alice)

    def test_other_interfaces_are_refused(self):
        for interface in ('org.freedesktop.systemd1.Manager', 'org.example.Other',
                          'org.vmkit.Manager.Private', 'org.freedesktop.LogControl1'):
            self.refused(fixture.ACCESS_DENIED, self.alice.call_raw, fixture.NAME, fixture.MANAGER, interface,
                         'Anything', timeout=5)


class Descriptors(fixture.BusTest):
    """Which messages with descriptors the bus lets through to vmkitd. They have no arguments and go to one object,
    so that none of them does anything."""

    # What has an option that is a descriptor. A member that gets one must be named in the bus policy too.
    TAKES_DESCRIPTORS = {'CreateVM', 'PlanVM', 'ImportImage'}

    def test_descriptors_pass_to_those_that_take_them(self):
        members = [(i.name, m.name) for i in fixture.interfaces().values() for m in i.methods]
        members += [('org.freedesktop.DBus.Properties', 'GetAll'), ('org.freedesktop.DBus.Peer', 'Ping'),
                    ('org.freedesktop.DBus.ObjectManager', 'GetManagedObjects'),
                    ('org.freedesktop.DBus.Introspectable', 'Introspect')]
        self.assertGreaterEqual(len(members), 36)
        with open('/dev/null', 'rb') as file:
            for interface, member in members:
                for n, refused in ((0, False), (1, member not in self.TAKES_DESCRIPTORS)):
                    with self.subTest(f'{interface}.{member}', descriptors=n):
                        self.assertEqual(self.bus_refuses(interface, member, file, n), refused)

    def test_every_member_with_a_descriptor_is_listed(self):
        taking = {m.name for i in fixture.interfaces().values() for m in i.methods
                  if any('h' in a.signature for a in m.in_args)}
        self.assertLessEqual(taking, self.TAKES_DESCRIPTORS)

    def bus_refuses(self, interface, member, file, n):
        fds = Gio.UnixFDList.new()
        for _ in range(n):
            fds.append(file.fileno())
        result = []

        def done(connection, task):
            try:
                connection.call_with_unix_fd_list_finish(task)
                result.append(None)
            except GLib.Error as error:
                result.append(Gio.DBusError.get_remote_error(error))

        self.alice.connection.call_with_unix_fd_list(
            fixture.NAME, fixture.MANAGER, interface, member, None, None, Gio.DBusCallFlags.NO_AUTO_START, -1, fds,
            None, done)
        fixture.wait_until(lambda: result, f'an answer to {member}')
        return result[0] == fixture.ACCESS_DENIED


if __name__ == '__main__':
    fixture.main()
