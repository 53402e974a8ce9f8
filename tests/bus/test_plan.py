#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the service says about a host: its devices, the automatic choice, plans, and whether it is ready."""

import os
import shutil

import fixture
import mocksys
from fixture import u32, u64
from fixture import device_path as path

GPU, NVME_FREE, NVME_DATA, NVME_ROOT = mocksys.GPU, mocksys.NVME_FREE, mocksys.NVME_DATA, mocksys.NVME_ROOT


class Devices(fixture.BusTest):
    def test_list(self):
        rows = self.alice.manager('ListDevices', {})
        self.assertEqual([r[0] for r in rows], sorted(self.bus.host.functions))
        by_address = {r[0]: r[1:] for r in rows}
        self.assertEqual(by_address[GPU], (path(GPU), 'gpu', 'nouveau', 20))
        self.assertEqual(by_address[mocksys.GPU_AUDIO],
                         (path(mocksys.GPU_AUDIO), 'audio', 'snd_hda_intel', 20))
        self.assertEqual(by_address[NVME_ROOT], (path(NVME_ROOT), 'nvme', 'nvme', 21))
        self.assertEqual(by_address[mocksys.PORT][1:3], ('bridge', 'pcieport'))
        self.assertEqual(by_address['0000:00:14.0'][1], 'usb')
        self.assertEqual(by_address[mocksys.NETWORK][1], 'network')
        self.assertEqual(by_address['0000:00:1f.0'][2], '')

    def test_filter(self):
        drives = self.alice.manager('ListDevices', {'kind': 'nvme'})
        self.assertEqual([r[0] for r in drives],
                         [NVME_ROOT, NVME_FREE, NVME_DATA, mocksys.NVME_FREE_2])
        free = self.alice.manager('ListDevices', {'kind': 'nvme', 'available': True})
        self.assertEqual([r[0] for r in free], [NVME_FREE, mocksys.NVME_FREE_2])
        taken = self.alice.manager('ListDevices', {'kind': 'nvme', 'available': False})
        self.assertEqual([r[0] for r in taken], [NVME_ROOT, NVME_DATA])

    def test_properties(self):
        gpu = self.alice.get_all(path(GPU), 'Device')
        expected = {'Address': GPU, 'Kind': 'gpu', 'VendorID': 0x10de, 'DeviceID': 0x2484,
                    'Driver': 'nouveau', 'IOMMUGroup': 20, 'NUMANode': -1, 'BootDisplay': False,
                    'Reserved': False, 'VM': '/',
                    'AssignedTo': [], 'ResetMethods': ['flr', 'bus'], 'PhysicalFunction': '/',
                    'Health': 'ready', 'HealthDetail': '', 'InUse': [], 'Available': True,
                    'Unit': [path(GPU), path(mocksys.GPU_AUDIO)],
                    'Group': [path(GPU), path(mocksys.GPU_AUDIO)]}
        self.assertEqual({k: gpu[k] for k in expected}, expected)
        self.assertTrue(self.alice.get(path(mocksys.IGPU), 'Device', 'BootDisplay'))

    def test_in_use(self):
        for address, codes, words in (
                (NVME_ROOT, {'mounted', 'swap', 'root-disk', 'esp'}, '/boot/efi'),
                (NVME_DATA, {'mounted'}, '/srv/films'),
                (mocksys.NETWORK, {'default-route'}, 'eno1'),
                (mocksys.IGPU, {'boot-display'}, ''),
                (mocksys.PORT, {'not-endpoint'}, '')):
            with self.subTest(address):
                reasons = self.alice.get(path(address), 'Device', 'InUse')
                self.assertLessEqual(codes, {code for code, _ in reasons}, reasons)
                self.assertIn(words, ' '.join(detail for _, detail in reasons))
                self.assertFalse(self.alice.get(path(address), 'Device', 'Available'))

    def test_a_mount_is_seen(self):
        number = open(self.bus.host.path('sys/block/nvme1n1/dev'), encoding='ascii').read().strip()
        self.bus.host.mount(number, '/mnt/new disk', '/dev/nvme1n1')
        self.addCleanup(self.bus.host.unmount, '/mnt/new disk')
        found = self.alice.device(path(NVME_FREE), 'Inspect')
        self.assertEqual([code for code, _ in found['InUse']], ['mounted'])
        self.assertIn('/mnt/new disk', found['InUse'][0][1])
        self.assertNotIn(NVME_FREE, [r[0] for r in self.alice.manager('ListDevices', {'available': True})])

    def test_a_forged_source_is_no_use(self):
        """Anybody can mount these in a namespace of his own, from what source he likes."""
        host = self.bus.host
        for number, fstype in (('0:71', 'tmpfs'), ('0:72', 'fuse.bcachefs'), ('0:73', 'fuse')):
            host.mount(number, f'/home/alice/{fstype}', '/dev/nvme1n1', fstype)
            self.addCleanup(host.unmount, f'/home/alice/{fstype}')
        found = self.alice.device(path(NVME_FREE), 'Inspect')
        self.assertEqual((found['InUse'], found['Available']), ([], True))

    def test_members_of_a_file_system(self):
        """Its mount has a number of its own: sysfs tells the members."""
        host = self.bus.host
        members = ((NVME_FREE, 'nvme1n1'), (mocksys.NVME_FREE_2, 'nvme3n1'))
        host.mount('0:58', '/tank', '/dev/nvme1n1:/dev/nvme3n1', 'bcachefs')
        self.addCleanup(host.unmount, '/tank')
        for index, (_, disk) in enumerate(members):
            link = f'sys/fs/bcachefs/acfd231c-8554-42dd-a69f-01a648984d01/dev-{index}/block'
            host.link(link, f'sys/block/{disk}')
            self.addCleanup(os.unlink, host.path(link))
        for address, disk in members:
            with self.subTest(disk):
                reasons = self.alice.device(path(address), 'Inspect')['InUse']
                self.assertEqual([code for code, _ in reasons], ['mounted', 'mounted'], reasons)
                self.assertIn(f'/dev/{disk} is mounted at /tank', [detail for _, detail in reasons])

    def test_a_process_that_ended_is_forgotten(self):
        """By those who only read properties, too."""
        host, gpu = self.bus.host, self.bus.host.functions[GPU].path
        host.write(f'{gpu}/drm/card1/uevent', 'DEVNAME=dri/card1\n')
        host.link('sys/dev/char/1:3', f'{gpu}/drm/card1')  # the number of /dev/null
        host.process(4001, 'Xorg')
        host.open(4001, 3, '/dev/null')
        self.addCleanup(os.unlink, host.path('sys/dev/char/1:3'))

        found = self.alice.device(path(GPU), 'Inspect')
        self.assertEqual([code for code, _ in found['InUse']], ['drm-in-use'])
        self.assertIn('PID 4001', found['Reasons'][0][1])
        self.assertEqual(found['Reasons'], self.alice.device(path(mocksys.GPU_AUDIO), 'Inspect')['Reasons'])

        os.unlink(host.path('proc/4001/fd/3'))
        fixture.wait_until(lambda: not self.alice.get(path(GPU), 'Device', 'InUse'), 'the process to be forgotten')
        self.assertEqual(self.alice.device(path(GPU), 'Inspect')['Reasons'], [])

    def test_inspect_has_all_properties(self):
        found = self.alice.device(path(GPU), 'Inspect')
        self.assertEqual(found.pop('Reasons'), [])
        self.assertEqual(set(found), {p.name for p in fixture.interfaces()['org.vmkit.Device'].properties})


class Choice(fixture.BusTest):
    def find(self, kind, **options):
        device, candidates = self.alice.manager('FindDevice', kind, options)
        return device, {c['address']: c for c in candidates}

    def test_graphics(self):
        device, candidates = self.find('gpu')
        self.assertEqual(device, path(GPU))
        self.assertEqual(set(candidates), {GPU, mocksys.IGPU})
        self.assertTrue(candidates[GPU]['eligible'])
        self.assertFalse(candidates[mocksys.IGPU]['eligible'])
        self.assertIn('boot-display', [code for code, _ in candidates[mocksys.IGPU]['reasons']])

    def test_vendor(self):
        self.assertEqual(self.find('gpu', vendor='nvidia')[0], path(GPU))
        self.assertEqual(self.find('gpu', vendor='amd')[0], '/')
        self.assertEqual(self.find('gpu', vendor='intel')[0], '/')

    def test_drives(self):
        device, candidates = self.find('nvme')
        self.assertEqual(device, path(NVME_FREE))
        self.assertEqual({a: c['eligible'] for a, c in candidates.items()},
                         {NVME_ROOT: False, NVME_FREE: True, NVME_DATA: False, mocksys.NVME_FREE_2: True})
        mounted = dict(candidates[NVME_DATA]['reasons'])
        self.assertIn('/srv/films', mounted['mounted'])

    def test_assigned_devices_are_passed_over(self):
        vm = self.root.create('has-it', nvme=[NVME_FREE])
        try:
            device, candidates = self.find('nvme')
            self.assertEqual(device, path(mocksys.NVME_FREE_2))
            self.assertFalse(candidates[NVME_FREE]['eligible'])
            self.assertTrue(candidates[NVME_FREE]['reasons'])
        finally:
            self.root.succeed(self.root.vm(vm, 'Destroy', {}))
        self.assertEqual(self.find('nvme')[0], path(NVME_FREE))


class Plan(fixture.BusTest):
    def plan(self, **options):
        before = self.state()
        ready, findings, plan = self.alice.manager('PlanVM', 'planned', {
            k.replace('_', '-'): v for k, v in options.items()})
        self.assertEqual(self.state(), before, 'a plan changed something')
        for finding in findings:
            self.assertEqual(set(finding), {'code', 'severity', 'detail', 'remedy'})
            self.assertIn(finding['severity'], ('fail', 'warn', 'info'))
        self.assertEqual(ready, 'fail' not in [f['severity'] for f in findings], findings)
        return ready, {f['code']: f for f in findings}, plan

    def test_defaults(self):
        ready, findings, plan = self.plan()
        self.assertTrue(ready, findings)
        expected = {'memory': 2 << 30, 'cpus': 2, 'graphics': 'none', 'firmware': 'uefi',
                    'secure-boot': False, 'tpm': False, 'pin': 'none', 'hugepages': 'none',
                    'numa': 'none', 'io-threads': 0,
                    'guest-os': 'linux', 'hide-hypervisor': False, 'autostart': False, 'start': False,
                    'network': 'default', 'devices': []}
        self.assertEqual({k: plan.get(k) for k in expected}, expected)

    def test_everything_chosen(self):
        ready, findings, plan = self.plan(gpu=['auto'], nvme=['auto'], memory=u64(4 << 30), cpus=u32(4))
        self.assertTrue(ready, findings)
        devices = {d['address']: d for d in plan['devices']}
        self.assertIn(GPU, devices)
        self.assertIn(NVME_FREE, devices)
        self.assertEqual(devices[GPU]['unit'], [GPU, mocksys.GPU_AUDIO])
        self.assertEqual(devices[GPU]['kind'], 'gpu')
        self.assertEqual(devices[GPU]['driver'], 'nouveau')
        self.assertEqual(devices[NVME_FREE]['unit'], [NVME_FREE])
        self.assertEqual(plan['memory'], 4 << 30)
        self.assertEqual(plan['cpus'], 4)

    def test_memory_that_may_not_be_locked(self):
        """libvirtd raises QEMU's limit, where it may."""
        process = self.bus.path('host', 'proc', '900')
        os.makedirs(process)
        self.addCleanup(shutil.rmtree, process)
        for name, text in (('comm', 'libvirtd\n'),
                           ('status', 'Name:\tlibvirtd\nUid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\n'),
                           ('limits', 'Limit  Soft Limit  Hard Limit  Units\n'
                                      'Max locked memory         4294967296           4294967296           bytes\n')):
            with open(os.path.join(process, name), 'w', encoding='ascii') as file:
                file.write(text)
        ready, findings, _ = self.plan(nvme=['auto'], memory=u64(4 << 30))
        self.assertFalse(ready)
        self.assertIn('4G', findings['memlock']['detail'])
        self.assertIn('LimitMEMLOCK', findings['memlock']['remedy'])
        self.assertTrue(self.plan(nvme=['auto'], memory=u64(3 << 30))[0])
        self.assertTrue(self.plan(memory=u64(4 << 30))[0], 'nothing is locked without a device')

    def test_two_drives(self):
        _, _, plan = self.plan(nvme=['auto', 'auto'])
        self.assertEqual([d['address'] for d in plan['devices']], [NVME_FREE, mocksys.NVME_FREE_2])

    def test_a_mounted_drive(self):
        ready, findings, _ = self.plan(nvme=[NVME_DATA])
        self.assertFalse(ready)
        self.assertEqual(findings['mounted']['severity'], 'fail')
        self.assertIn('/srv/films', findings['mounted']['detail'])
        self.assertTrue(findings['mounted']['remedy'])

    def test_the_boot_display(self):
        ready, findings, _ = self.plan(gpu=[mocksys.IGPU])
        self.assertFalse(ready)
        self.assertIn('boot-display', findings)
        ready, findings, _ = self.plan(gpu=[mocksys.IGPU], allow=['boot-display', 'active-connector',
                                                                  'framebuffer-console'])
        self.assertTrue(ready, findings)

    def test_no_candidate(self):
        ready, findings, _ = self.plan(gpu=['auto:amd'])
        self.assertFalse(ready)
        self.assertTrue(any('Candidate' in code or 'candidate' in code for code in findings), findings)

    def test_the_same_device_twice(self):
        for options in ({'nvme': [NVME_FREE, NVME_FREE]}, {'nvme': [NVME_FREE],
        'passthrough': [NVME_FREE]}):
            try:
                _, _, plan = self.plan(**options)
                self.assertEqual([d['address'] for d in plan['devices']], [NVME_FREE])
            except fixture.Refused as error:
                self.assertEqual(error.code, 'InvalidOption')

    def test_a_name_that_is_taken(self):
        vm = self.root.create('planned')
        try:
            ready, findings, _ = self.plan()
            self.assertFalse(ready)
            self.assertTrue(any('exists' in code.lower() for code in findings), findings)
        finally:
            self.root.succeed(self.root.vm(vm, 'Destroy', {}))

    def test_the_plan_is_what_is_done(self):
        _, _, plan = self.plan(gpu=['auto'], nvme=['auto'])
        vm = self.root.create('planned', gpu=['auto'], nvme=['auto'])
        try:
            planned = {path(a) for d in plan['devices'] for a in d['unit']}
            self.assertEqual(set(self.root.get(vm, 'VM', 'Devices')), planned)
        finally:
            self.root.succeed(self.root.vm(vm, 'Destroy', {}))


class Network(fixture.BusTest):
    """The libvirt of these tests has no passt."""

    def warnings(self, **options):
        ready, findings, plan = self.alice.manager('PlanVM', 'planned', options)
        self.assertTrue(ready)
        return plan['network'], {f['code']: f['remedy'] for f in findings if f['severity'] == 'warn'}

    def test_a_guest_nobody_can_log_in_to(self):
        network, warnings = self.warnings(network='user')
        self.assertEqual(network, 'user')
        self.assertIn('passt', warnings['user-network'])

    def test_others(self):
        for network in ('default', 'none'):
            self.assertNotIn('user-network', self.warnings(network=network)[1])


class Host(fixture.BusTest):
    def test_ready(self):
        ready, checks = self.alice.manager('CheckHost')
        for _id, result, summary, _remedy in checks:
            self.assertIn(result, ('ok', 'warn', 'fail', 'unknown'))
            self.assertTrue(summary)
        self.assertEqual(ready, 'fail' not in [c[1] for c in checks])
        results = {c[0]: c[1] for c in checks}
        for name, result in results.items():
            if 'iommu' in name:
                self.assertEqual(result, 'ok', checks)


class NoIOMMU(fixture.BusTest):
    HOST = staticmethod(lambda root: mocksys.desktop(root, iommu=None, cmdline=''))

    def test_the_check_says_what_to_switch_on(self):
        ready, checks = self.alice.manager('CheckHost')
        self.assertFalse(ready)
        remedies = ' '.join(c[3] for c in checks if c[1] == 'fail')
        for word in ('intel_iommu=on', 'VT-d'):
            self.assertIn(word, remedies)

    def test_creating_with_a_device_fails_before_anything(self):
        before = self.state()
        for options in ({'gpu': ['auto']}, {'gpu': [GPU]}, {'nvme': [NVME_FREE]}):
            self.refused(('NoIOMMU',), self.root.manager, 'CreateVM', 'x', options)
        self.assertEqual(self.state(), before)

    def test_the_plan_says_so(self):
        ready, findings, _ = self.alice.manager('PlanVM', 'x', {'gpu': [GPU]})
        self.assertFalse(ready)
        self.assertIn('no-iommu', [f['code'] for f in findings])

    def test_devices_have_no_group(self):
        self.assertEqual(self.alice.get(path(GPU), 'Device', 'IOMMUGroup'), -1)
        self.assertIn('no-iommu', [c for c, _ in self.alice.get(path(GPU), 'Device', 'InUse')])
        self.assertEqual(self.alice.manager('FindDevice', 'gpu', {})[0], '/')

    def test_without_devices_all_is_well(self):
        vm = self.root.create('plain')
        self.root.succeed(self.root.vm(vm, 'Destroy', {}))


if __name__ == '__main__':
    fixture.main()
