#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: every method of every object, with and without polkit, with and without a password."""

import signal
import tempfile

import fixture
import mocksys
from fixture import ACCESS_DENIED, MANAGER, REFUSALS, Descriptor, wait_until

# What needs no right. A method that is neither here nor refused to a stranger fails the test.
PUBLIC = {
    'org.vmkit.Manager': {'PlanVM', 'GetVM', 'ListVMs', 'ListDevices', 'GetDevice', 'FindDevice', 'CheckHost',
                          'ListImages'},
    'org.vmkit.VM': {'GetAddresses'},
    'org.vmkit.Device': {'Inspect'},
    'org.vmkit.Job': set(),
}

IMAGE = tempfile.TemporaryFile()
IMAGE.write(b'\0' * 4096)
IMAGE.flush()

# Arguments that are right for the objects below, so that nothing but the missing right is in the way.
ARGUMENTS = {
    'CreateVM': ('walked', {}),
    'PlanVM': ('walked', {}),
    'GetVM': ('roots',),
    'GetDevice': (mocksys.GPU,),
    'FindDevice': ('gpu', {}),
    'ImportImage': ('walked', Descriptor(IMAGE), {}),
    'RemoveImage': ('shared', {}),
    'AttachDevice': (mocksys.NVME_FREE_2, {}),
    'DetachDevice': (mocksys.NVME_FREE, {}),
    'SetAutostart': (True, {}),
    'SetVirtualFunctions': (0, {}),
}

# A function that is not there, in the slot of the graphics card.
BESIDE = '0000:01:00.2'

BY_TYPE = {'s': 'x', 'a{sv}': {}, 'b': True, 'u': 1, 't': 1, 'h': Descriptor(IMAGE)}


def arguments(method):
    """For a method that is not listed, anything of the right type."""
    if method.name in ARGUMENTS:
        return ARGUMENTS[method.name]
    return tuple(BY_TYPE[a.signature] for a in method.in_args)


class Walk(fixture.BusTest):
    """Calls every method that introspection shows."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.vm, cls.job = cls.root.manager('CreateVM', 'roots', {'nvme': [mocksys.NVME_FREE]})
        cls.root.succeed(cls.job)
        cls.root.succeed(cls.root.manager('ImportImage', 'shared', Descriptor(IMAGE), {}))
        cls.device = cls.root.manager('GetDevice', mocksys.GPU)
        cls.objects = {'org.vmkit.Manager': MANAGER, 'org.vmkit.VM': cls.vm, 'org.vmkit.Device': cls.device,
                       'org.vmkit.Job': cls.job}

    def methods(self):
        for interface, path in self.objects.items():
            for method in self.root.introspect(path).lookup_interface(interface).methods:
                yield interface, path, method

    def test_strangers_are_refused(self):
        before = self.state()
        jobs = self.root.get(MANAGER, 'Manager', 'Jobs')
        seen = 0
        for interface, path, method in self.methods():
            if method.name in PUBLIC[interface]:
                continue
            for interactive in (False, True):
                with self.subTest(f'{interface}.{method.name}', interactive=interactive):
                    error = self.refused(REFUSALS, self.alice.call, path, f'{interface}.{method.name}',
                                         *arguments(method), interactive=interactive)
                    self.assertRegex(error.message, r'org\.vmkit\.[a-z-]+', 'the action is not named')
            seen += 1
        self.assertGreaterEqual(seen, 22)
        self.assertEqual(self.state(), before)
        self.assertEqual(self.root.get(MANAGER, 'Manager', 'Jobs'), jobs)

    def test_reading_is_public(self):
        for interface, path, method in self.methods():
            if method.name in PUBLIC[interface]:
                with self.subTest(f'{interface}.{method.name}'):
                    self.alice.call(path, f'{interface}.{method.name}', *arguments(method))
        for interface, path in self.objects.items():
            self.assertEqual(self.alice.get_all(path, interface.rsplit('.', 1)[1]).keys(),
                             {p.name for p in fixture.interfaces()[interface].properties})
        self.assertIn(self.vm, self.alice.objects())

    def test_every_public_method_exists(self):
        for interface, names in PUBLIC.items():
            self.assertLessEqual(names, {m.name for i, _, m in self.methods() if i == interface})


class WithoutPolkit(Walk):
    """polkitd is gone: nobody but root may do anything."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.bus.restart_polkit('''polkit.addRule(function(action, subject) {
            if (action.id.indexOf("org.vmkit.") == 0) return polkit.Result.YES; });''')
        cls.own, job = cls.alice.manager('CreateVM', 'alices', {})
        cls.root.succeed(job)
        cls.bus.stop_polkit()

    def test_the_owner_is_refused(self):
        for member in ('Start', 'Destroy', 'OpenConsole'):
            self.refused(ACCESS_DENIED, self.alice.vm, self.own, member, {})

    def test_root_passes(self):
        path = self.root.create('by-root')
        self.root.succeed(self.root.vm(path, 'Destroy', {}))

    def test_it_comes_back(self):
        self.bus.start_polkit()
        try:
            self.alice.vm(self.own, 'SetAutostart', True, {})
            self.alice.vm(self.own, 'SetAutostart', False, {})
        finally:
            self.bus.stop_polkit()


class Waiting(fixture.BusTest):
    """polkitd takes its time: what waits for it does not pile up, and is answered once it is back."""

    def test_calls_that_wait_are_counted(self):
        callers = [self.bus.connect(fixture.ALICE) for _ in range(3)]
        polkitd = self.bus.processes['polkitd']
        polkitd.send_signal(signal.SIGSTOP)
        try:
            # One more than a connection may have; and half as many more as a user may.
            replies = [caller.call_async(MANAGER, 'org.vmkit.Manager.CreateVM', 'waits', {})
                       for caller in callers for _ in range(33)]
            wait_until(lambda: sum(map(len, replies)) >= 35, 'those that are too many to be refused')
            self.assertEqual({r[0].code for r in replies if r}, {'LimitExceeded'})
            self.assertEqual(sum(map(len, replies)), 35)
            self.assertTrue(self.bob.manager('PlanVM', 'meanwhile', {})[0])
        finally:
            polkitd.send_signal(signal.SIGCONT)
        wait_until(lambda: all(replies), 'the others to be answered')
        self.assertEqual(sum(r[0].name in REFUSALS for r in replies), 64)


    def test_others_do_not_wait_behind_them(self):
        """Of one user's questions a few are before polkit at a time, so another's is among the next ones."""
        answered = []
        polkitd = self.bus.processes['polkitd']
        polkitd.send_signal(signal.SIGSTOP)
        try:
            callers = [self.bus.connect(fixture.ALICE) for _ in range(2)]
            many = [caller.call_async(MANAGER, 'org.vmkit.Manager.CreateVM', 'waits', {}, then=answered.append)
                    for caller in callers for _ in range(32)]
            for caller in callers:      # what it sent before is there
                self.refused('LimitExceeded', caller.manager, 'CreateVM', 'one-more', {})
            one = self.bob.call_async(MANAGER, 'org.vmkit.Manager.CreateVM', 'one', {}, then=answered.append)
            self.assertTrue(self.carol.manager('PlanVM', 'meanwhile', {})[0])
        finally:
            polkitd.send_signal(signal.SIGCONT)
        wait_until(lambda: all(many) and one, 'all to be answered')
        self.assertLess([reply is one for reply in answered].index(True), 32)


class Owners(fixture.BusTest):
    """alice and bob may create VMs; that gives neither a right to the other's."""

    RULES = '''polkit.addRule(function(action, subject) {
        if (action.id == "org.vmkit.create-vm") return polkit.Result.YES; });'''

    def setUp(self):
        super().setUp()
        self.own = self.alice.create('alices')
        self.addCleanup(lambda: self.root.succeed(self.root.vm(self.own, 'Destroy', {
            'force': True})) if self.own in self.root.objects() else None)

    def test_the_owner_is_the_caller(self):
        self.assertEqual(self.root.get(self.own, 'VM', 'Owner'), fixture.ALICE)

    def test_the_owner_controls(self):
        self.alice.succeed(self.alice.vm(self.own, 'Start', {}))
        self.alice.succeed(self.alice.vm(self.own, 'Pause', {}))
        self.alice.succeed(self.alice.vm(self.own, 'Resume', {}))
        self.alice.vm(self.own, 'SetAutostart', True, {})
        self.alice.succeed(self.alice.vm(self.own, 'Stop', {}))
        self.alice.succeed(self.alice.vm(self.own, 'Destroy', {}))

    def test_others_do_not(self):
        before = self.state()
        for method in fixture.interfaces()['org.vmkit.VM'].methods:
            if method.name not in PUBLIC['org.vmkit.VM']:
                with self.subTest(method.name):
                    self.refused(REFUSALS, self.bob.vm, self.own, method.name, *arguments(method))
        self.assertEqual(self.state(), before)

    def test_root_does(self):
        self.root.succeed(self.root.vm(self.own, 'Start', {}))
        self.root.succeed(self.root.vm(self.own, 'Destroy', {'force': True}))

    def test_creating_gives_no_device(self):
        before = self.state()
        self.refused(REFUSALS, self.alice.manager, 'CreateVM', 'with-drive', {'nvme': ['auto']})
        self.refused(REFUSALS, self.alice.vm, self.own, 'AttachDevice', mocksys.NVME_FREE, {})
        self.assertEqual(self.state(), before)

    def test_images_belong_to_who_imported_them(self):
        self.alice.succeed(self.alice.manager('ImportImage', 'private', Descriptor(IMAGE), {}))
        self.assertIn('private', [i[0] for i in self.alice.manager('ListImages')])
        self.assertNotIn('private', [i[0] for i in self.bob.manager('ListImages')])
        self.refused(('NoSuchImage', *REFUSALS), self.bob.manager, 'RemoveImage', 'private', {})
        self.refused('NoSuchImage', self.bob.manager, 'CreateVM', 'bobs', {'image-name': 'private'})
        self.alice.manager('RemoveImage', 'private', {})
        self.assertEqual(self.alice.manager('ListImages'), [])


class RuleForKind(fixture.BusTest):
    """The example rules, seen through vmkitd: carol's group may use graphics devices only."""

    with open(f'{fixture.SOURCE}/examples/polkit/50-vmkit.rules', encoding='utf-8') as file:
        RULES = file.read()

    def test_a_graphics_device(self):
        path = self.carol.create('gaming', gpu=[mocksys.GPU])
        self.carol.succeed(self.carol.vm(path, 'Destroy', {}))

    def test_a_drive(self):
        for key, value in (('nvme', 'auto'), ('nvme', mocksys.NVME_FREE), ('passthrough', mocksys.NVME_FREE)):
            self.refused(REFUSALS, self.carol.manager, 'CreateVM', 'gaming', {key: [value]})

    def test_a_drive_beside_a_graphics_device(self):
        """In either order: a right to one is none to the other."""
        self.refused(REFUSALS, self.carol.manager, 'CreateVM', 'gaming', {
            'gpu': [mocksys.GPU], 'nvme': [mocksys.NVME_FREE]})
        self.refused(REFUSALS, self.carol.manager, 'CreateVM', 'gaming', {
            'gpu': [mocksys.GPU], 'passthrough': [mocksys.NVME_FREE]})
        self.refused(REFUSALS, self.carol.manager, 'CreateVM', 'gaming', {
            'passthrough': [mocksys.NVME_FREE, mocksys.GPU]})

    def test_alice_uses_both(self):
        path = self.alice.create('both', gpu=['auto'], nvme=['auto'])
        self.alice.succeed(self.alice.vm(path, 'Destroy', {}))

    def test_alice_overrides_nothing(self):
        self.refused(REFUSALS, self.alice.manager, 'CreateVM', 'over', {
            'gpu': [mocksys.IGPU], 'allow': ['boot-display', 'active-connector', 'framebuffer-console']})


class Prompts(fixture.BusTest):
    """bob needs a password for everything, and has an agent that asks for it."""

    def setUp(self):
        super().setUp()
        self.caller = self.bus.connect(fixture.BOB)
        self.addCleanup(self.caller.close)
        self.agent = fixture.Agent(self.bus, self.caller)
        self.addCleanup(self.destroy_all)

    def create(self, name, **options):
        reply = self.agent.call(MANAGER, 'org.vmkit.Manager.CreateVM', name, options)
        self.caller.succeed(reply[1])
        return reply[0]

    def test_without_the_flag_nobody_is_asked(self):
        error = self.refused(fixture.INTERACTIVE_REQUIRED, self.caller.manager, 'CreateVM', 'quiet', {})
        self.assertIn('org.vmkit.create-vm', error.message)
        self.assertEqual(self.agent.prompts, [])

    def test_a_plain_vm(self):
        self.create('plain')
        self.assertEqual([p[0] for p in self.agent.prompts], ['org.vmkit.create-vm'])
        self.assertIn('plain', self.agent.prompts[0][1])

    def test_one_prompt_names_the_whole_act(self):
        path = self.create('whole-act', gpu=['auto'], nvme=['auto'])
        self.assertEqual(len(self.agent.prompts), 1, self.agent.prompts)
        action, message = self.agent.prompts[0]
        self.assertEqual(action, 'org.vmkit.use-device')
        for word in ('whole-act', mocksys.GPU, mocksys.NVME_FREE):
            self.assertIn(word, message)
        self.assertNotIn('$(', message)
        devices = self.root.get(path, 'VM', 'Devices')
        self.assertIn('/org/vmkit/device/0000_01_00_0', devices)
        self.assertIn('/org/vmkit/device/0000_03_00_0', devices)

    def test_overriding_is_the_strongest(self):
        self.create('override', gpu=[mocksys.IGPU], allow=['boot-display', 'active-connector',
                                                           'framebuffer-console'])
        self.assertEqual([p[0] for p in self.agent.prompts], ['org.vmkit.override-device'])
        self.assertIn(mocksys.IGPU, self.agent.prompts[0][1])

    def test_no_is_no(self):
        self.agent.answer = False
        before = self.state()
        self.refused(ACCESS_DENIED, self.agent.call, MANAGER, 'org.vmkit.Manager.CreateVM', 'refused',
                     {'nvme': ['auto']})
        self.assertEqual(len(self.agent.prompts), 1)
        self.assertEqual(self.state(), before)

    def test_what_is_wrong_is_said_before_anyone_is_asked(self):
        self.refused('InvalidOption', self.agent.call, MANAGER, 'org.vmkit.Manager.CreateVM', 'wrong',
                     {'no-such-option': True})
        self.refused('DeviceInUse', self.agent.call, MANAGER, 'org.vmkit.Manager.CreateVM', 'wrong',
                     {'nvme': [mocksys.NVME_DATA]})
        self.assertEqual(self.agent.prompts, [])

    def test_consent_is_for_what_was_named(self):
        """The drive that auto chose is mounted while the prompt is shown: it fails, another is not taken."""
        number = open(self.bus.host.path('sys/block/nvme1n1/dev'), encoding='ascii').read().strip()
        self.agent.before_answer = lambda: self.bus.host.mount(number, '/mnt', '/dev/nvme1n1')
        self.addCleanup(self.bus.host.unmount, '/mnt')
        with self.assertRaises(fixture.Refused) as context:
            self.create('substitute', nvme=['auto'])
        self.assertIn(context.exception.code, ('DeviceInUse', 'NoCandidate', 'NotReady'))
        self.assertIn(mocksys.NVME_FREE, self.agent.prompts[0][1])
        self.assertEqual(self.root.get('/org/vmkit/device/0000_05_00_0', 'Device', 'AssignedTo'), [])

    def plug_in_beside_the_card(self):
        """While the prompt is shown, a function turns up that would have to move with the graphics card."""
        def plug_in():
            self.bus.host.function(BESIDE, 0x0c0330, 0x10de, 0x1ad8, parent=mocksys.PORT, group=20)
            self.root.manager('ListDevices', {})
        self.agent.before_answer = plug_in
        self.addCleanup(self.bus.host.remove, BESIDE)

    def test_consent_is_for_all_that_moves(self):
        self.plug_in_beside_the_card()
        before = self.root.manager('ListVMs')
        self.refused('Busy', self.create, 'larger', gpu=[mocksys.GPU])
        self.assertNotIn(BESIDE, self.agent.prompts[0][1])
        self.assertEqual(self.root.manager('ListVMs'), before)

    def test_consent_to_a_device_is_for_all_that_moves(self):
        self.plug_in_beside_the_card()
        self.refused('Busy', self.agent.call, '/org/vmkit/device/0000_01_00_0', 'org.vmkit.Device.Reset', {})
        for word in (mocksys.GPU, mocksys.GPU_AUDIO):
            self.assertIn(word, self.agent.prompts[0][1])
        self.assertNotIn(BESIDE, self.agent.prompts[0][1])

    def test_the_right_is_not_kept(self):
        self.create('first', nvme=['auto'])
        self.create('second', nvme=['auto'])
        self.assertEqual(len(self.agent.prompts), 2)

    def test_devices(self):
        try:
            self.agent.call('/org/vmkit/device/0000_03_00_0', 'org.vmkit.Device.Reset', {})
        except fixture.Refused as error:
            self.assertNotIn(error.name, REFUSALS)
        self.assertEqual([p[0] for p in self.agent.prompts], ['org.vmkit.manage-device'])
        self.assertIn(mocksys.NVME_FREE, self.agent.prompts[0][1])

    def test_images(self):
        job = self.agent.call(MANAGER, 'org.vmkit.Manager.ImportImage', 'asked', Descriptor(IMAGE), {})[0]
        self.caller.succeed(job)
        self.assertEqual([p[0] for p in self.agent.prompts], ['org.vmkit.create-vm'])
        self.assertNotIn('$(', self.agent.prompts[0][1])
        self.caller.manager('RemoveImage', 'asked', {})


if __name__ == '__main__':
    fixture.main()
