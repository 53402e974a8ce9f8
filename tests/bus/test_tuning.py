#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pins, nodes, huge pages, installers and VBIOS files: what a plan says, and what is done."""

import json
import os
import signal
import stat
import tempfile

import fixture
import mocksys
from fixture import BUILD, Descriptor, GLib, u32, u64, wait_until

CREATE = '''polkit.addRule(function(action, subject) {
    if (["org.vmkit.create-vm", "org.vmkit.use-device"].indexOf(action.id) >= 0)
        return polkit.Result.YES; });'''
GIB = 1 << 30
PAGES = 'sys/devices/system/node/node{}/hugepages/hugepages-{}kB/nr_hugepages'


class TuningTest(fixture.BusTest):
    RULES = CREATE
    HOST = staticmethod(mocksys.server)

    def setUp(self):
        super().setUp()
        self.addCleanup(self.destroy_all)

    def plan(self, **options):
        ready, findings, plan = self.alice.manager('PlanVM', 'planned', {
            k.replace('_', '-'): v for k, v in options.items()})
        self.assertEqual(ready, 'fail' not in [f['severity'] for f in findings], findings)
        return ready, {f['code']: f for f in findings}, plan

    def refused_plan(self, code, error, **options):
        """Refused with the same words by the plan and by CreateVM, which leaves nothing."""
        ready, findings, _ = self.plan(**options)
        self.assertFalse(ready)
        self.assertIn(code, findings)
        self.assertTrue(findings[code]['remedy'])
        before = self.state()
        refusal = self.refused(error, self.alice.create, 'planned', **options)
        self.assertIn(findings[code]['detail'], refusal.message)
        self.assertEqual(self.state(), before)

    def pages(self, node=1, size=2048):
        with open(self.bus.host.path(PAGES.format(node, size)), encoding='ascii') as file:
            return int(file.readline())

    def files(self, vm):
        uuid = self.root.get(vm, 'VM', 'UUID')
        return self.bus.path('state', 'vms', uuid)


class Places(TuningTest):
    def test_next_to_the_device(self):
        ready, findings, plan = self.plan(gpu=['auto'], pin='auto', numa='auto', hugepages='auto', cpus=u32(4),
                                          memory=u64(4 * GIB), io_threads=u32(2))
        self.assertTrue(ready, findings)
        self.assertEqual(plan['cpu-pins'], [(0, [4]), (1, [12]), (2, [5]), (3, [13])])
        self.assertEqual(plan['numa-nodes'], [1])
        self.assertEqual((plan['pin'], plan['numa'], plan['hugepages']), ('4-5,12-13', '1', '2M'))
        for code in ('cpu-pins', 'memory-node', 'huge-pages', 'large-window'):
            self.assertEqual(findings[code]['severity'], 'info')
        self.assertIn(mocksys.GPU, findings['cpu-pins']['detail'])
        self.assertIn('2048', findings['huge-pages']['detail'])
        self.assertIn('128G', findings['large-window']['detail'])

    def test_nothing_asked_for(self):
        _, findings, plan = self.plan(nvme=['auto'])
        self.assertEqual(plan['cpu-pins'], [])
        self.assertEqual(plan['numa-nodes'], [])
        self.assertEqual((plan['pin'], plan['numa'], plan['hugepages']), ('none', 'none', 'none'))
        self.assertFalse({'cpu-pins', 'memory-node', 'huge-pages', 'large-window'} & set(findings))

    def test_what_is_configured_is_shown(self):
        vm = self.alice.create('tuned', gpu=['auto'], pin='auto', numa='auto', hugepages='auto', cpus=u32(4),
                               memory=u64(4 * GIB), io_threads=u32(2))
        found = self.alice.get_all(vm, 'VM')
        self.assertEqual((found['Pin'], found['NUMA'], found['HugePages'], found['IOThreads']),
                         ('auto', 'auto', 'auto', 2))

    def test_other_vms_are_kept_clear_of(self):
        self.alice.create('first', pin='auto', cpus=u32(4))
        _, findings, plan = self.plan(pin='auto', cpus=u32(2))
        self.assertEqual(plan['cpu-pins'], [(0, [3]), (1, [11])])
        self.assertNotIn('cpus-shared', findings)
        self.alice.create('second', pin='auto', cpus=u32(10))
        _, findings, _ = self.plan(pin='auto', cpus=u32(4))
        self.assertEqual(findings['cpus-shared']['severity'], 'warn')

    def test_lists(self):
        _, findings, plan = self.plan(pin='2-3,10-11', cpus=u32(4))
        self.assertEqual(plan['cpu-pins'], [(0, [2]), (1, [10]), (2, [3]), (3, [11])])
        self.refused_plan('no-such-cpu', 'InvalidOption', pin='14-17', cpus=u32(4))
        self.refused_plan('too-few-cpus', 'InvalidOption', pin='2-3', cpus=u32(4))
        self.refused_plan('too-few-cpus', 'InvalidOption', pin='auto', cpus=u32(17))

    def test_offline(self):
        vm = self.alice.create('pinned', pin='2-3', cpus=u32(2))
        self.bus.host.write('sys/devices/system/cpu/online', '0-2,4-15\n')
        self.addCleanup(self.bus.host.write, 'sys/devices/system/cpu/online', '0-15\n')
        self.refused_plan('cpu-offline', 'InvalidOption', pin='2-3', cpus=u32(2))
        error = self.refused('NotReady', lambda: self.alice.succeed(self.alice.vm(vm, 'Start', {})))
        self.assertIn(': 3', error.message)

    def test_memory(self):
        self.refused_plan('no-such-node', 'InvalidOption', numa='2')
        self.refused_plan('no-node-memory', 'InsufficientMemory', numa='1', memory=u64(17 * GIB))
        self.refused_plan('no-huge-pages', 'InsufficientMemory', hugepages='2M', numa='1', memory=u64(17 * GIB))
        self.refused_plan('no-hugetlbfs', 'NotReady', hugepages='1G')
        _, findings, plan = self.plan(numa='auto', memory=u64(20 * GIB), cpus=u32(4))
        self.assertEqual(plan['numa-nodes'], [0, 1])
        self.assertIn('guest-nodes', findings)
        self.assertEqual(plan['cpu-pins'], [(n, [0, 1, 2, 3, 8, 9, 10, 11]) for n in (0, 1)]
                         + [(n, [4, 5, 6, 7, 12, 13, 14, 15]) for n in (2, 3)])

    def test_windows(self):
        _, findings, _ = self.plan(guest_os='windows')
        self.assertEqual(findings['windows-drivers']['severity'], 'info')
        self.assertNotIn('windows-drivers', self.plan()[1])


class HugePages(TuningTest):
    def setUp(self):
        super().setUp()
        self.bus.host.pages(1, 2048, 7, 3)

    def create(self, name='huge', **options):
        return self.alice.create(name, hugepages='2M', numa='1', memory=u64(2 * GIB), **options)

    def records(self):
        return os.listdir(self.bus.path('state', 'hugepages'))

    def run_job(self, vm, method, **options):
        return self.alice.succeed(self.alice.vm(vm, method, options))

    def test_from_start_to_stop(self):
        vm = self.create()
        self.assertEqual(self.pages(), 7)
        self.run_job(vm, 'Start')
        self.assertEqual(self.pages(), 7 + 1024 - 3)
        self.assertEqual(self.records(), [self.root.get(vm, 'VM', 'UUID')])
        self.run_job(vm, 'Stop', force=True, timeout=u64(0))
        self.assertEqual(self.pages(), 7)
        self.assertEqual(self.records(), [])
        self.run_job(vm, 'Start')
        self.run_job(vm, 'Destroy', force=True)
        self.assertEqual(self.pages(), 7)
        self.assertEqual(self.records(), [])

    def test_created_and_started(self):
        self.create(start=True)
        self.assertEqual(self.pages(), 7 + 1021)

    def test_enough_are_free(self):
        self.bus.host.pages(1, 2048, 3000, 2000)
        vm = self.create(start=True)
        self.assertEqual(self.pages(), 3000)
        self.assertEqual(self.records(), [])
        self.run_job(vm, 'Stop', force=True, timeout=u64(0))
        self.assertEqual(self.pages(), 3000)

    def test_a_start_that_fails(self):
        vm = self.create()
        path = self.bus.host.path(PAGES.format(1, 2048))
        os.unlink(path)
        self.refused('Internal', self.run_job, vm, 'Start')
        self.assertEqual(self.root.get(vm, 'VM', 'State'), 'stopped')
        self.assertEqual(self.records(), [])
        self.bus.host.pages(1, 2048, 7, 3)

    def test_a_later_step_fails(self):
        """This host has no vfio-pci to bind the card to."""
        vm = self.create(gpu=[mocksys.GPU])
        self.refused('BindFailed', self.run_job, vm, 'Start')
        self.assertEqual(self.pages(), 7)
        self.assertEqual(self.records(), [])

    def test_vmkitd_is_killed(self):
        """libvirt's test driver ends with vmkitd, so the VM does: what was made for it goes back."""
        self.create(start=True)
        self.assertEqual(self.pages(), 7 + 1021)
        self.bus.stop('vmkitd', signal.SIGKILL)
        self.assertEqual(self.pages(), 7 + 1021)
        self.bus.start_vmkitd()
        wait_until(lambda: self.pages() == 7, 'the pages to be given back')
        wait_until(lambda: not self.records(), 'the record to go')


class Files(TuningTest):
    def iso(self, header=b'\x01CD001\x01'):
        file = tempfile.TemporaryFile(dir=self.bus.directory)
        self.addCleanup(file.close)
        file.write(bytes(0x8000) + header)
        file.truncate(1 << 20)
        return Descriptor(file)

    def rom(self, magic=b'\x55\xaa', size=65536):
        file = tempfile.TemporaryFile(dir=self.bus.directory)
        self.addCleanup(file.close)
        file.write(magic)
        file.truncate(size)
        return Descriptor(file)

    def create_with_rom(self, name, roms, **options):
        """The other tests' packing knows a{sv}; this one has a{sh} in it."""
        fds = fixture.Gio.UnixFDList.new()
        inner = GLib.VariantBuilder(GLib.VariantType('a{sh}'))
        for address, descriptor in roms:
            inner.add_value(GLib.Variant.new_dict_entry(GLib.Variant('s', address),
                                                        GLib.Variant('h', fds.append(descriptor.fd))))
        builder = GLib.VariantBuilder(GLib.VariantType('a{sv}'))
        for key, value in {'rom': inner.end(), **options}.items():
            if not isinstance(value, GLib.Variant):
                value = GLib.Variant('as', value)
            builder.add_value(GLib.Variant.new_dict_entry(GLib.Variant('s', key), GLib.Variant('v', value)))
        reply, _ = self.alice.call_raw(fixture.NAME, fixture.MANAGER, 'org.vmkit.Manager', 'CreateVM',
                                       GLib.Variant.new_tuple(GLib.Variant('s', name), builder.end()), fds=fds)
        vm, job = reply.unpack()
        self.alice.succeed(job)
        return vm

    def test_installer(self):
        vm = self.alice.create('installed', cdrom=self.iso(), disk_size=u64(GIB))
        self.assertEqual(sorted(os.listdir(self.files(vm))), ['cdrom.iso', 'disk.qcow2'])
        files = self.files(vm)
        self.alice.succeed(self.alice.vm(vm, 'Start', {}))
        self.alice.succeed(self.alice.vm(vm, 'Destroy', {'force': True}))
        self.assertFalse(os.path.exists(files))

    def test_what_is_no_installer(self):
        before = self.state()
        self.refused('ImageRejected', self.alice.create, 'x', cdrom=self.iso(b'nothing'))
        self.assertEqual(self.state(), before)

    def test_vbios(self):
        vm = self.create_with_rom('flashed', [(mocksys.GPU, self.rom())], gpu=[mocksys.GPU])
        rom = os.path.join(self.files(vm), 'rom-0000_01_00_0.rom')
        self.assertEqual(stat.S_IMODE(os.stat(rom).st_mode), 0o444)
        self.assertEqual(os.path.getsize(rom), 65536)
        self.alice.succeed(self.alice.vm(vm, 'Destroy', {}))
        self.assertFalse(os.path.exists(rom))

    def test_two_of_them(self):
        vm = self.create_with_rom('flashed', [(mocksys.GPU, self.rom()), (mocksys.NVME_FREE, self.rom())],
                                  gpu=[mocksys.GPU], nvme=[mocksys.NVME_FREE])
        self.assertEqual(sorted(os.listdir(self.files(vm))), ['rom-0000_01_00_0.rom', 'rom-0000_03_00_0.rom'])

    def test_what_is_no_vbios(self):
        before = self.state()
        gpu = [mocksys.GPU]
        for codes, roms in ((('ImageRejected',), [(mocksys.GPU, self.rom(b'MZ'))]),
                            (('ImageRejected',), [(mocksys.GPU, self.rom(size=17 << 20))]),
                            (('ImageRejected',), [(mocksys.GPU, self.rom()), (mocksys.GPU_AUDIO, self.rom(b''))]),
                            (('InvalidOption',), [(mocksys.NVME_FREE, self.rom())]),
                            (('InvalidOption',), [(mocksys.GPU, self.rom()), (mocksys.GPU, self.rom())]),
                            (('InvalidAddress',), [('../../x', self.rom())]),
                            (('InvalidAddress',), [('auto', self.rom())]),
                            (('InvalidOption',), [(mocksys.GPU, Descriptor(os.open('/', os.O_PATH)))])):
            with self.subTest(roms=[address for address, _ in roms]):
                self.refused(codes, self.create_with_rom, 'x', roms, gpu=gpu)
        self.assertEqual(self.state(), before)

    def test_apparmor(self):
        """QEMU could not read the file: refused before anything is copied, with the line that helps."""
        host = self.bus.host
        host.write('sys/module/apparmor/parameters/enabled', 'Y\n')
        host.write('etc/apparmor.d/abstractions/libvirt-qemu', '  #include <local/abstractions/libvirt-qemu>\n')
        host.write('etc/apparmor.d/abstractions/libvirt-qemu.d/vmkit', '  /var/lib/vmkit/vms/*/rom-*.rom r,\n')
        host.write('etc/apparmor.d/local/abstractions/libvirt-qemu', '')
        self.addCleanup(host.write, 'sys/module/apparmor/parameters/enabled', 'N\n')
        roms = [(mocksys.GPU, self.rom())]
        error = self.refused('NotReady', self.create_with_rom, 'x', roms, gpu=[mocksys.GPU])
        self.assertIn('AppArmor', error.message)
        host.write('etc/apparmor.d/local/abstractions/libvirt-qemu',
                   'include if exists <abstractions/libvirt-qemu.d>\n')
        self.create_with_rom('x', roms, gpu=[mocksys.GPU])


class Client(TuningTest):
    def run_client(self, *argv, code=0):
        done = self.alice.spawn(f'{BUILD}/client/vmkitctl', *argv)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout

    def test_dry_run(self):
        options = ('create', 'tuned', '--gpu', 'auto', '--pin', 'auto', '--numa', 'auto', '--hugepages', 'auto',
                   '--io-threads', '2', '--cpus', '4', '--memory', '4G', '--guest-os', 'windows', '--dry-run')
        plan = json.loads(self.run_client(*options, '--json'))
        self.assertEqual(plan['plan']['cpu-pins'], [[0, [4]], [1, [12]], [2, [5]], [3, [13]]])
        self.assertEqual(plan['plan']['numa-nodes'], [1])
        text = self.run_client(*options)
        for words in ('pinned to 4-5,12-13', 'come from node 1', 'huge pages of 2M', 'virtio-win.iso'):
            self.assertIn(words, ' '.join(text.split()))

    def test_create_and_info(self):
        iso, rom = self.bus.path('installer.iso'), self.bus.path('vbios.rom')
        with open(iso, 'wb') as file:
            file.write(bytes(0x8000) + b'\x01CD001\x01')
            file.truncate(1 << 20)
        with open(rom, 'wb') as file:
            file.write(b'\x55\xaa')
            file.truncate(65536)
        for path in (iso, rom):
            os.chmod(path, 0o644)
        self.run_client('create', 'tuned', '--gpu', mocksys.GPU, '--pin', '4-7,12-15', '--numa', '1',
                        '--hugepages', '2M', '--io-threads', '1', '--cpus', '4', '--memory', '2G',
                        '--cdrom', iso, '--rom', f'{mocksys.GPU}={rom}')
        info = json.loads(self.run_client('info', 'tuned', '--json'))
        self.assertEqual((info['pin'], info['hugepages'], info['numa'], info['io_threads']),
                         ('4-7,12-15', '2M', '1', 1))
        vm = self.alice.manager('GetVM', 'tuned')
        self.assertEqual(sorted(os.listdir(self.files(vm))), ['cdrom.iso', 'rom-0000_01_00_0.rom'])

    def test_refusals(self):
        for option, value, code in (('--pin', '9-3', 2), ('--hugepages', '4M', 2), ('--numa', 'near', 2)):
            done = self.alice.spawn(f'{BUILD}/client/vmkitctl', 'create', 'x', option, value)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(value, done.stderr)


if __name__ == '__main__':
    fixture.main()
