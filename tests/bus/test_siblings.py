#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A rule by device or kind holds for a function whichever of those that move with it is asked for: every method
that moves a unit, for every function of it."""

import re

import fixture
import mocksys
from fixture import ACCESS_DENIED, MANAGER, REFUSALS, Refused, device_path
from test_vfs import PF, VFS, add_network_card

# A graphics card with its sound, its USB controller and its USB-C port.
CARD = {mocksys.GPU: 'gpu', mocksys.GPU_AUDIO: 'gpu', '0000:01:00.2': 'gpu', '0000:01:00.3': 'gpu'}

# What shares an IOMMU group behind a switch that does not keep them apart.
SHARED = {'0000:60:00.0': 'nvme', '0000:61:00.0': 'network', '0000:62:00.0': 'gpu', '0000:62:00.1': 'gpu',
          '0000:63:00.0': 'audio'}

UNITS = (CARD, SHARED)
VENDORS = {PF: '8086', VFS[0]: '8086', VFS[1]: '8086'}

EVERYTHING = 'action.id.indexOf("org.vmkit.") == 0'


def host(directory):
    found = mocksys.desktop(directory)
    add_network_card(found)
    found.function('0000:01:00.2', 0x0c0330, 0x10de, 0x1ad8, parent=mocksys.PORT, group=20, driver='xhci_hcd')
    found.function('0000:01:00.3', 0x0c8000, 0x10de, 0x1ad9, parent=mocksys.PORT, group=20,
                   driver='nvidia-gpu')
    for index in range(4):
        found.port(f'0000:00:06.{index}', group=60)
    for address, class_code, vendor, driver in (
            ('0000:60:00.0', 0x010802, 0x144d, 'nvme'), ('0000:61:00.0', 0x020000, 0x15b3, 'mlx5_core'),
            ('0000:62:00.0', 0x030000, 0x1002, 'amdgpu'), ('0000:62:00.1', 0x040300, 0x1002, 'snd_hda_intel'),
            ('0000:63:00.0', 0x040300, 0x1102, 'snd_hda_intel')):
        found.function(address, class_code, vendor, 0x1234, parent=f'0000:00:06.{address[6]}', group=60,
                       driver=driver)
        VENDORS[address] = f'{vendor:04x}'
    for address in CARD:
        VENDORS[address] = '10de'
    found.nvme('0000:60:00.0', 9)
    return found


def yes_if(condition, otherwise='NO'):
    return f'''polkit.addRule(function(action, subject) {{
        if (!({EVERYTHING})) return;
        if (action.id == "org.vmkit.create-vm" || action.id.indexOf("own-vm") > 0) return polkit.Result.YES;
        return ({condition}) ? polkit.Result.YES : polkit.Result.{otherwise}; }});'''


class Siblings(fixture.BusTest):
    """alice may create VMs; what she may do with devices the rule of each test says."""

    HOST = staticmethod(host)
    RULES = yes_if('true')

    def setUp(self):
        super().setUp()
        self.addCleanup(self.destroy_all)

    def rule(self, condition):
        self.bus.restart_polkit(yes_if(condition))

    # Every way to ask for a function. Each leaves the host as it was.

    def acts(self, address, kind):
        """Name and function of each act that moves the unit of a function."""
        path = device_path(address)
        acts = {'CreateVM passthrough': lambda: self.create(passthrough=[address]),
                'AttachDevice': lambda: self.attach(address)}
        if kind in ('gpu', 'nvme') and address.endswith('.0'):
            acts[f'CreateVM {kind}'] = lambda: self.create(**{kind: [address]})
        for member in ('Bind', 'Release', 'Reset', 'Reserve', 'Unreserve', 'ClearQuarantine'):
            acts[member] = lambda member=member: self.alice.device(path, member, {})
        for member in ('Bind', 'Reserve'):
            acts[f'{member} allow'] = lambda member=member: self.alice.device(path, member, {'allow': ['no-reset']})
        return acts

    def create(self, **options):
        vm, job = self.alice.manager('CreateVM', 'sibling', options)
        self.root.finish(job)
        self.root.succeed(self.root.vm(vm, 'Destroy', {'force': True}))

    def attach(self, address):
        if 'receiver' not in [v[0] for v in self.root.manager('ListVMs')]:
            self.alice.create('receiver')
        vm = self.root.manager('GetVM', 'receiver')
        self.root.finish(self.alice.vm(vm, 'AttachDevice', address, {}))
        self.root.finish(self.root.vm(vm, 'DetachDevice', address, {}))

    def refused_for(self, addresses, act):
        """Not authorised, and these are named, as those for which the right is missing."""
        error = self.refused(ACCESS_DENIED, act)
        self.assertEqual(set(re.findall(r'[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]', error.message)), set(addresses),
                         error.message)

    def passes(self, act):
        """Authorised, whatever else is in the way: most of these devices cannot be moved in a kernel of files."""
        try:
            act()
        except Refused as error:
            self.assertNotIn(error.name, REFUSALS, error.message)

    def test_a_rule_against_one_function(self):
        self.alice.create('receiver')
        before = self.state()
        n = 0
        for unit in UNITS:
            for kept in unit:
                self.rule(f'action.lookup("device") != "{kept}"')
                for asked, kind in unit.items():
                    for name, act in self.acts(asked, kind).items():
                        with self.subTest(name, asked=asked, kept=kept):
                            self.refused_for([kept], act)
                            n += 1
        self.assertEqual(self.state(), before)
        self.assertGreaterEqual(n, 16 * 10 + 25 * 10)

    def test_a_rule_for_one_kind(self):
        for unit in UNITS:
            for kind in ('gpu', 'nvme', 'network', 'audio', 'usb', 'other'):
                self.rule(f'action.lookup("kind") == "{kind}"')
                missing = [address for address, its in unit.items() if its != kind]
                for asked in unit:
                    for name, act in self.acts(asked, unit[asked]).items():
                        with self.subTest(name, asked=asked, kind=kind):
                            if missing:
                                self.refused_for(missing, act)
                            else:
                                self.passes(act)

    def test_what_a_rule_is_told(self):
        """Each function's own address, kind and vendor, and the one that was asked for; a rule that says yes to
        exactly these, each once, lets it pass."""
        for unit in UNITS:
            for asked in unit:
                told = [f'{address} {kind} {VENDORS[address]} {asked}' for address, kind in unit.items()]
                self.rule(f'{told}.indexOf([action.lookup("device"), action.lookup("kind"), '
                          'action.lookup("vendor"), action.lookup("requested")].join(" ")) >= 0')
                for name, act in self.acts(asked, unit[asked]).items():
                    with self.subTest(name, asked=asked):
                        self.passes(act)

    def test_virtual_functions(self):
        """To change their number ends those there are."""
        for kept in (PF, *VFS):
            self.rule(f'action.lookup("device") != "{kept}"')
            self.refused_for([kept], lambda: self.alice.device(device_path(PF), 'SetVirtualFunctions', 0, {}))

    def test_a_virtual_function_by_itself(self):
        self.rule(f'action.lookup("device") == "{VFS[0]}"')
        self.create(passthrough=[VFS[0]])
        self.refused_for([VFS[1]], lambda: self.create(passthrough=[VFS[1]]))


class OnePrompt(fixture.BusTest):
    """bob may take sound cards with his own password, and what else there is with the administrator's."""

    HOST = staticmethod(host)
    RULES = f'''polkit.addRule(function(action, subject) {{
        if ({EVERYTHING} && action.lookup("kind") == "audio") return polkit.Result.AUTH_SELF; }});'''

    def setUp(self):
        super().setUp()
        self.caller = self.bus.connect(fixture.BOB)
        self.addCleanup(self.caller.close)
        self.agent = fixture.Agent(self.bus, self.caller, answer=False)

    def asked_for(self, address):
        """Whose password is asked for to move the unit of a function."""
        self.refused(ACCESS_DENIED, self.agent.call, device_path(address), 'org.vmkit.Device.Reset', {})
        self.assertEqual(len(self.agent.prompts), 1)
        return self.agent.identities[0]

    def test_a_function_that_moves_alone(self):
        self.bus.host.function('0000:00:05.0', 0x040300, 0x1102, 0x0012, group=70, driver='snd_hda_intel')
        self.addCleanup(self.bus.host.remove, '0000:00:05.0')
        self.root.manager('ListDevices', {})
        self.assertEqual(self.asked_for('0000:00:05.0'), [fixture.BOB])

    def test_one_with_company(self):
        """Whichever is named: the weaker password is none for the drive."""
        self.assertEqual(self.asked_for('0000:63:00.0'), [0])

    def test_the_prompt_names_them_all(self):
        self.asked_for('0000:60:00.0')
        for address in SHARED:
            self.assertIn(address, self.agent.prompts[0][1])


if __name__ == '__main__':
    fixture.main()
