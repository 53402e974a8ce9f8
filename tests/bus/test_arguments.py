#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is wrong in a call is refused by name, and leaves nothing behind."""

import os
import socket
import tempfile

from gi.repository import GLib

import fixture
import mocksys
from fixture import Descriptor, MANAGER, u32, u64

ALL = '''polkit.addRule(function(action, subject) {
    if (action.id.indexOf("org.vmkit.") == 0 && subject.user == "alice") return polkit.Result.YES; });'''


class Arguments(fixture.BusTest):
    RULES = ALL

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.vm = cls.alice.create('here', nvme=[mocksys.NVME_FREE])
        cls.device = '/org/vmkit/device/0000_01_00_0'

    def setUp(self):
        super().setUp()
        before = self.state()
        self.addCleanup(lambda: self.assertEqual(self.state(), before))

    def create(self, name, options):
        """Refused at once or by the job: both are an answer."""
        vm, job = self.alice.manager('CreateVM', name, options)
        self.alice.succeed(job)
        self.alice.succeed(self.alice.vm(vm, 'Destroy', {'force': True}))

    # Names and addresses

    def test_names(self):
        for name in ('', '-', '.hidden', '-x', 'a b', 'a/b', '../x', 'a\nb', 'ä', 'a' * 64, '$(id)',
                     '%s', "a'b", 'a<b', 'a&b', 'a"b', 'a\\b'):
            with self.subTest(name=name):
                self.refused('InvalidName', self.alice.manager, 'CreateVM', name, {})
                self.refused('InvalidName', self.alice.manager, 'PlanVM', name, {})
                self.refused(('InvalidName', 'NoSuchVM'), self.alice.manager, 'GetVM', name)
                self.refused('InvalidName', self.alice.manager, 'ImportImage', name,
                             Descriptor(os.open('/dev/null', os.O_RDONLY | os.O_CLOEXEC)), {})
                self.refused(('InvalidName', 'NoSuchImage'), self.alice.manager, 'RemoveImage', name, {})
                self.refused(('InvalidName', 'NoSuchImage'), self.alice.manager, 'CreateVM', 'x',
                             {'image-name': name})

    def test_good_names_are_planned(self):
        for name in ('a', '0', 'gaming-vm', 'A.b_c-d', 'a' * 63):
            self.alice.manager('PlanVM', name, {})

    def test_what_is_not_there(self):
        self.refused('NoSuchVM', self.alice.manager, 'GetVM', 'nobody')
        self.refused('NoSuchImage', self.alice.manager, 'RemoveImage', 'nothing', {})
        self.refused('NoSuchImage', self.alice.manager, 'CreateVM', 'x', {'image-name': 'nothing'})
        self.refused('NoSuchDevice', self.alice.manager, 'GetDevice', '0000:ff:1f.7')
        self.refused('NoSuchDevice', self.create, 'x', {'passthrough': ['0000:ff:1f.7']})
        self.refused('VMExists', self.alice.manager, 'CreateVM', 'here', {})

    def test_the_name_of_another_domain_of_libvirt(self):
        """test:///default has a domain "test" that is not ours."""
        self.refused('NoSuchVM', self.alice.manager, 'GetVM', 'test')
        self.refused('VMExists', self.create, 'test', {})

    def test_addresses(self):
        for address in ('', '0', '01:00', '0000:01:00', '0000:01:00.8', '0000:01:20.0', '0000:01:00.0 ',
                        ' 0000:01:00.0', '0000:01:00.0/..', '../0000:01:00.0', '0000:01:00.0\n',
                        '0000-01-00.0', 'gggg:01:00.0', '0x0:01:00.0', '0000:01:00.0x',
                        '+000:01:00.0', 'auto:', 'AUTO'):
            with self.subTest(address=address):
                self.refused('InvalidAddress', self.alice.manager, 'GetDevice', address)
                self.refused('InvalidAddress', self.alice.vm, self.vm, 'AttachDevice', address, {})
                self.refused(('InvalidAddress', 'InvalidOption'), self.create, 'x',
                             {'passthrough': [address]})

    def test_addresses_are_canonical(self):
        self.assertEqual(self.alice.manager('GetDevice', '0000:01:00.0'), self.device)
        for address in ('01:00.0', '0000:01:00.0'.upper()):
            try:
                self.assertEqual(self.alice.manager('GetDevice', address), self.device)
            except fixture.Refused as error:
                self.assertEqual(error.code, 'InvalidAddress')

    # Options

    def test_unknown_keys_are_named(self):
        key = 'no-such-key'
        calls = [(MANAGER, 'org.vmkit.Manager', 'CreateVM', ('x', {key: True})),
                 (MANAGER, 'org.vmkit.Manager', 'PlanVM', ('x', {key: True})),
                 (MANAGER, 'org.vmkit.Manager', 'ListDevices', ({key: True},)),
                 (MANAGER, 'org.vmkit.Manager', 'FindDevice', ('gpu', {key: True})),
                 (MANAGER, 'org.vmkit.Manager', 'CreateVM', ('x', {'cloud-init': {key: True}})),
                 (MANAGER, 'org.vmkit.Manager', 'RemoveImage', ('x', {key: True})),
                 (self.vm, 'org.vmkit.VM', 'SetAutostart', (True, {key: True})),
                 (self.vm, 'org.vmkit.VM', 'AttachDevice', (mocksys.NVME_FREE_2, {key: True})),
                 (self.vm, 'org.vmkit.VM', 'DetachDevice', (mocksys.NVME_FREE, {key: True})),
                 (self.device, 'org.vmkit.Device', 'SetVirtualFunctions', (0, {key: True}))]
        for member in ('Start', 'Stop', 'Reboot', 'Pause', 'Resume', 'Destroy', 'OpenConsole',
        'OpenDisplay'):
            calls.append((self.vm, 'org.vmkit.VM', member, ({key: True},)))
        for member in ('Bind', 'Release', 'Reset', 'Reserve', 'Unreserve', 'ClearQuarantine'):
            calls.append((self.device, 'org.vmkit.Device', member, ({key: True},)))
        for path, interface, member, arguments in calls:
            with self.subTest(f'{interface}.{member}', arguments=arguments):
                error = self.refused('InvalidOption', self.alice.call, path, f'{interface}.{member}',
                                     *arguments)
                self.assertIn(key, error.message)

    def test_keys_of_any_text_are_answered(self):
        for key in ('', 'é' * 200, 'x' + 'é' * 200, 'xx' + '漢' * 200, '\n', '%s%n', 'k' * 100000):
            self.refused('InvalidOption', self.alice.manager, 'CreateVM', 'x', {key: True}, timeout=10)
            self.refused('InvalidOption', self.alice.vm, self.vm, 'Start', {key: True}, timeout=10)
            self.refused('InvalidName', self.alice.manager, 'CreateVM', key, {}, timeout=10)
            self.refused(('InvalidAddress', 'NoSuchDevice'), self.alice.manager, 'GetDevice', key, timeout=10)
            self.refused('InvalidOption', self.alice.manager, 'FindDevice', key, {}, timeout=10)
            self.refused('InvalidOption', self.alice.manager, 'CreateVM', 'x', {'graphics': key}, timeout=10)
            self.refused(('InvalidOption', 'InvalidAddress'), self.alice.manager, 'CreateVM', 'x',
                         {'gpu': [key]}, timeout=10)

    def test_types(self):
        for key, value in (('memory', '4G'), ('memory', u32(1 << 30)), ('cpus', u64(2)), ('cpus', '2'),
                           ('gpu', 'auto'), ('allow', 'has-data'), ('secure-boot', 'yes'),
                           ('autostart', u32(1)), ('cloud-init', 'x'),
                           ('cloud-init', GLib.Variant('a{ss}', {})),
                           ('image', 'file'), ('image-name', ['a']),
                           ('rom', GLib.Variant('a{ss}', {})), ('start', u32(1))):
            with self.subTest(key=key, value=str(value)):
                error = self.refused('InvalidOption', self.alice.manager, 'CreateVM', 'x', {key: value})
                self.assertIn(key, error.message)

    def test_values(self):
        for key, value in (('memory', u64(0)), ('memory', u64(1)), ('memory', u64(2 ** 64 - 1)),
                           ('cpus', u32(0)), ('cpus', u32(2 ** 32 - 1)), ('graphics', 'vga'),
                           ('graphics', ''), ('firmware', 'coreboot'), ('on-stop', 'keep'),
                           ('guest-os', 'plan9'),
                           ('network', 'no such'), ('network', 'private-net'), ('network', '../default'),
                           ('pin', '1-'), ('pin', 'x'), ('pin', '9-3'), ('hugepages', '3M'),
                           ('numa', 'x'),
                           ('numa', '-1'), ('allow', ['mounted']), ('allow', ['no-such-code']),
                           ('gpu', ['auto:matrox']), ('gpu', ['any']), ('gpu', ['auto', 'x']),
                           ('io-threads', u32(100000)), ('disk-size', u64(2 ** 64 - 1)),
                           ('cloud-init', {'hostname': 'a b'}), ('cloud-init', {'user': 'root:x'}),
                           ('cloud-init', {'user': '-x'}), ('cloud-init', {'ssh-keys': ['not a key']}),
                           ('cloud-init', {'ssh-keys': ['ssh-ed25519 AAAA\nusers: []']}),
                           ('cloud-init', {'ssh-keys': 'ssh-ed25519 AAAA'})):
            with self.subTest(key=key, value=str(value)):
                self.refused(('InvalidOption', 'InvalidAddress', 'NotSupported', 'LimitExceeded',
                'NoSpace'),
                             self.create, 'x', {key: value})

    def test_never_overridable(self):
        for code in ('mounted', 'swap', 'root-disk', 'open-by-process', 'group-not-viable', 'wedged',
                     'not-inspected'):
            self.refused('InvalidOption', self.alice.manager, 'CreateVM', 'x',
                         {'nvme': [mocksys.NVME_DATA], 'allow': [code]})

    def test_both_images(self):
        with tempfile.TemporaryFile() as image:
            self.refused('InvalidOption', self.alice.manager, 'CreateVM', 'x',
                         {'image': Descriptor(image), 'image-name': 'y'})

    def test_kinds_and_vendors(self):
        self.refused('InvalidOption', self.alice.manager, 'FindDevice', 'toaster', {})
        self.refused('InvalidOption', self.alice.manager, 'FindDevice', 'gpu', {'vendor': 'matrox'})
        self.refused('InvalidOption', self.alice.manager, 'FindDevice', 'gpu', {'vendor': True})
        self.refused('InvalidOption', self.alice.manager, 'ListDevices', {'kind': 'toaster'})
        self.refused('InvalidOption', self.alice.manager, 'ListDevices', {'available': 'yes'})

    def test_a_key_twice(self):
        """A dictionary on the wire can have a key twice. Whatever is done about it, it is not undefined."""
        builder = GLib.VariantBuilder(GLib.VariantType('a{sv}'))
        for value in (u32(1), u32(2)):
            builder.add_value(GLib.Variant.new_dict_entry(GLib.Variant('s', 'cpus'),
                                                          GLib.Variant('v', value)))
        parameters = GLib.Variant.new_tuple(GLib.Variant('s', 'x'), builder.end())
        try:
            reply, _ = self.alice.call_raw(fixture.NAME, MANAGER, 'org.vmkit.Manager',
            'PlanVM', parameters)
            self.assertIn(reply.unpack()[2]['cpus'], (1, 2))
        except fixture.Refused as error:
            self.assertEqual(error.code, 'InvalidOption')

    def test_wrong_signatures(self):
        for signature, value in (('(s)', ('x',)), ('(sa{ss})', ('x', {})), ('(ssa{sv})', ('x', 'y', {})),
                                 ('()', ())):
            with self.assertRaises(fixture.Refused) as context:
                self.alice.call_raw(fixture.NAME, MANAGER, 'org.vmkit.Manager', 'CreateVM',
                                    GLib.Variant(signature, value))
            self.assertEqual(context.exception.name, 'org.freedesktop.DBus.Error.InvalidArgs')

    # Descriptors

    def descriptors(self):
        """What is not a regular file opened for reading, by name."""
        directory = tempfile.mkdtemp(dir=self.bus.directory)
        path = os.path.join(directory, 'image')
        with open(path, 'wb') as file:
            file.truncate(1 << 20)
        reader, writer = os.pipe()
        left, right = socket.socketpair()
        self.addCleanup(right.close)
        self.addCleanup(os.close, writer)
        os.mkfifo(f'{directory}/fifo')
        found = {'directory': os.open(directory, os.O_RDONLY), 'O_PATH': os.open(path, os.O_PATH),
                 'write-only': os.open(path, os.O_WRONLY), 'pipe': reader, 'socket': left.detach(),
                 'character device': os.open('/dev/zero', os.O_RDONLY),
                 'fifo': os.open(f'{directory}/fifo', os.O_RDWR),
                 'eventfd': os.eventfd(0)}
        for fd in found.values():
            self.addCleanup(os.close, fd)
        return found

    def test_descriptors(self):
        codes = ('InvalidOption', 'ImageRejected')
        for name, fd in self.descriptors().items():
            with self.subTest(name, option='image'):
                self.refused(codes, self.create, 'x', {'image': Descriptor(fd)})
            with self.subTest(name, option='cdrom'):
                self.refused((*codes, 'NotSupported'), self.create, 'x', {'cdrom': Descriptor(fd)})
            with self.subTest(name, option='user-data'):
                self.refused(codes, self.create, 'x', {'cloud-init': {'user-data': Descriptor(fd)}})
            with self.subTest(name, method='ImportImage'):
                self.refused(codes, lambda: self.alice.succeed(self.alice.manager(
                    'ImportImage', 'x', Descriptor(fd), {})))

    def test_a_descriptor_that_is_not_there(self):
        """The message says that there is one, and none came with it."""
        handle = fixture.GLib.Variant('h', 5)
        for member, parameters in (
                ('PlanVM', fixture.GLib.Variant('(sa{sv})', ('x', {'image': handle}))),
                ('CreateVM', fixture.GLib.Variant('(sa{sv})', ('x', {'cdrom': handle}))),
                ('ImportImage', fixture.GLib.Variant('(sha{sv})', ('x', 5, {})))):
            with self.subTest(member):
                error = self.refused('InvalidOption', self.alice.call_raw, fixture.NAME, MANAGER,
                                     'org.vmkit.Manager', member, parameters)
                self.assertIn('descriptor', error.message)

    def test_more_descriptors_than_needed(self):
        fds = fixture.Gio.UnixFDList.new()
        with tempfile.TemporaryFile() as image:
            for _ in range(8):
                fds.append(image.fileno())
            parameters = fixture.GLib.Variant('(sa{sv})', ('x', {}))
            self.assertTrue(self.alice.call_raw(fixture.NAME, MANAGER, 'org.vmkit.Manager', 'PlanVM', parameters,
                                                fds=fds)[0].unpack()[0])


if __name__ == '__main__':
    fixture.main()
