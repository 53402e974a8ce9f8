#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The life of a VM on libvirt's test driver, its jobs, signals and limits."""

import json
import os
import tempfile

import fixture
import mocksys
from fixture import Descriptor, MANAGER, u32, u64, wait_until
from fixture import device_path as path

CREATE = '''polkit.addRule(function(action, subject) {
    if (["org.vmkit.create-vm", "org.vmkit.use-device"].indexOf(action.id) >= 0)
        return polkit.Result.YES; });'''


# Of a key that was made for this test and thrown away.
SSH_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIASlnzUL300US07wDpMpAKEeIIj9Gn4GBja2pJrlOymN test@example'


class LifecycleTest(fixture.BusTest):
    RULES = CREATE

    def setUp(self):
        super().setUp()
        self.addCleanup(self.destroy_all)

    def vm_state(self, vm):
        return self.root.get(vm, 'VM', 'State')


class Life(LifecycleTest):
    def test_create(self):
        vm = self.alice.create('created', memory=u64(1 << 30), cpus=u32(3), firmware='bios')
        self.assertEqual(self.alice.manager('ListVMs'), [('created', vm, 'stopped', fixture.ALICE)])
        self.assertEqual(self.alice.manager('GetVM', 'created'), vm)
        self.assertEqual(self.alice.get(MANAGER, 'Manager', 'VMs'), [vm])
        found = self.alice.get_all(vm, 'VM')
        expected = {'Name': 'created', 'State': 'stopped', 'Owner': fixture.ALICE, 'Memory': 1 << 30,
                    'CPUs': 3, 'Devices': [], 'Graphics': 'none', 'Firmware': 'bios',
                    'SecureBoot': False,
                    'TPM': False, 'Autostart': False, 'Network': 'default', 'Image': '',
                    'DiskBytes': 0, 'Pin': 'none',
                    'HugePages': 'none', 'NUMA': 'none', 'IOThreads': 0, 'OnStop': ''}
        self.assertEqual({k: found[k] for k in expected}, expected)
        now = fixture.GLib.get_real_time()
        self.assertLess(abs(now - found['CreatedAt']), 120e6)

    def test_create_and_start(self):
        vm = self.alice.create('started', start=True)
        self.assertEqual(self.vm_state(vm), 'running')

    def test_states(self):
        vm = self.alice.create('states')
        self.refused('WrongState', self.run_job, vm, 'Stop', {})
        self.refused('WrongState', self.run_job, vm, 'Pause', {})
        self.refused('WrongState', self.run_job, vm, 'Reboot', {})
        self.run_job(vm, 'Start', {})
        self.assertEqual(self.vm_state(vm), 'running')
        self.refused('WrongState', self.run_job, vm, 'Start', {})
        self.refused('WrongState', self.run_job, vm, 'Resume', {})
        self.run_job(vm, 'Pause', {})
        self.assertEqual(self.vm_state(vm), 'paused')
        self.run_job(vm, 'Resume', {})
        self.assertEqual(self.vm_state(vm), 'running')
        self.refused('WrongState', self.run_job, vm, 'Destroy', {})
        self.run_job(vm, 'Stop', {'timeout': u64(60_000_000)})
        self.assertEqual(self.vm_state(vm), 'stopped')
        self.run_job(vm, 'Start', {})
        self.run_job(vm, 'Stop', {'force': True, 'timeout': u64(0)})
        self.assertEqual(self.vm_state(vm), 'stopped')
        self.run_job(vm, 'Destroy', {})
        self.refused('NoSuchVM', self.alice.manager, 'GetVM', 'states')
        self.assertNotIn(vm, self.root.objects())

    def run_job(self, vm, method, *arguments):
        return self.alice.succeed(self.alice.vm(vm, method, *arguments))

    def test_destroy_while_running(self):
        vm = self.alice.create('forced', start=True)
        self.run_job(vm, 'Destroy', {'force': True})
        self.assertEqual(self.alice.manager('ListVMs'), [])

    def test_a_name_can_be_used_again(self):
        for _ in range(3):
            vm = self.alice.create('again')
            self.refused('VMExists', self.bob.manager, 'CreateVM', 'again', {})
            self.run_job(vm, 'Destroy', {})

    def test_the_same_name_at_once(self):
        replies = [caller.call_async(MANAGER, 'org.vmkit.Manager.CreateVM', 'race', {})
                   for caller in (self.alice, self.bob, self.carol, self.alice)]
        wait_until(lambda: all(replies), 'four replies')
        good = [r[0] for r in replies if not isinstance(r[0], fixture.Refused)]
        self.assertEqual(len(good), 1)
        self.assertEqual({r[0].code for r in replies if isinstance(r[0], fixture.Refused)}, {'VMExists'})
        self.root.succeed(good[0][1])
        self.assertEqual(len(self.root.manager('ListVMs')), 1)

    def test_autostart(self):
        vm = self.alice.create('auto', autostart=True)
        self.assertTrue(self.alice.get(vm, 'VM', 'Autostart'))
        self.alice.vm(vm, 'SetAutostart', False, {})
        self.assertFalse(self.alice.get(vm, 'VM', 'Autostart'))

    def test_console_and_display_of_a_stopped_vm(self):
        vm = self.alice.create('silent')
        self.refused(('WrongState', 'NotSupported'), self.alice.vm, vm, 'OpenConsole', {})
        self.refused(('WrongState', 'NotSupported'), self.alice.vm, vm, 'OpenDisplay', {})
        self.assertEqual(self.alice.vm(vm, 'GetAddresses'), [])

    def test_many_ask_for_addresses(self):
        """Of a guest it is asked once at a time; everybody gets the answer, and gets it once."""
        vm = self.alice.create('asked', network='default')
        self.alice.succeed(self.alice.vm(vm, 'Start', {}))
        replies = [caller.call_async(vm, 'org.vmkit.VM.GetAddresses')
                   for caller in (self.alice, self.bob) for _ in range(20)]
        wait_until(lambda: all(replies), 'all answers')
        self.assertEqual([len(r) for r in replies], [1] * 40)
        self.assertEqual({str(r[0]) for r in replies}, {str((self.alice.vm(vm, 'GetAddresses'),))})

    def test_nothing_is_left(self):
        before = self.state()
        with tempfile.TemporaryFile() as image:
            image.truncate(1 << 20)
            vm = self.alice.create('with-disk', image=Descriptor(image), disk_size=u64(1 << 30), cloud_init={
                'hostname': 'guest', 'user': 'someone', 'ssh-keys': [SSH_KEY]})
        self.assertNotEqual(self.state(), before)
        self.assertEqual(self.alice.get(vm, 'VM', 'DiskBytes'), 1 << 30)
        self.run_job(vm, 'Destroy', {})
        self.assertEqual(self.state(), before)

    def test_keep_disk(self):
        with tempfile.TemporaryFile() as image:
            image.truncate(1 << 20)
            vm = self.alice.create('kept', image=Descriptor(image))
        self.run_job(vm, 'Destroy', {'keep-disk': True})
        self.assertEqual([(i[0], i[2], i[4]) for i in self.alice.manager('ListImages')],
                         [('kept-disk', 1 << 20, fixture.ALICE)])
        vm = self.alice.create('reborn', image_name='kept-disk')
        self.alice.manager('RemoveImage', 'kept-disk', {})
        self.run_job(vm, 'Destroy', {})


class Assignment(LifecycleTest):
    def test_devices_are_assigned(self):
        vm = self.alice.create('assigned', gpu=['auto'], nvme=['auto'])
        self.assertEqual(set(self.alice.get(vm, 'VM', 'Devices')),
                         {path(a) for a in (mocksys.GPU, mocksys.GPU_AUDIO, mocksys.NVME_FREE)})
        for address in (mocksys.GPU, mocksys.GPU_AUDIO, mocksys.NVME_FREE):
            device = self.alice.get_all(path(address), 'Device')
            self.assertEqual(device['AssignedTo'], [vm])
            self.assertEqual(device['VM'], '/')
        self.assertEqual(self.alice.get(path(mocksys.GPU), 'Device', 'Driver'), 'nouveau')
        self.alice.succeed(self.alice.vm(vm, 'Destroy', {}))
        self.assertEqual(self.alice.get(path(mocksys.GPU), 'Device', 'AssignedTo'), [])

    def test_two_stopped_vms_may_name_one(self):
        first = self.alice.create('first', nvme=[mocksys.NVME_FREE])
        second = self.alice.create('second', nvme=[mocksys.NVME_FREE])
        self.assertEqual(set(self.alice.get(path(mocksys.NVME_FREE), 'Device', 'AssignedTo')),
                         {first, second})

    def test_attach_and_detach_while_stopped(self):
        vm = self.alice.create('changing')
        self.alice.succeed(self.unless_unsupported(self.alice.vm, vm, 'AttachDevice', mocksys.NVME_FREE, {}))
        self.assertEqual(self.alice.get(vm, 'VM', 'Devices'), [path(mocksys.NVME_FREE)])
        self.alice.succeed(self.alice.vm(vm, 'DetachDevice', mocksys.NVME_FREE, {}))
        self.assertEqual(self.alice.get(vm, 'VM', 'Devices'), [])

    def test_devices_in_use(self):
        before = self.state()
        for address in (mocksys.NVME_DATA, mocksys.NVME_ROOT, mocksys.NETWORK):
            error = self.refused(('DeviceInUse', 'GroupNotViable'), self.alice.manager, 'CreateVM', 'x',
                                 {'passthrough': [address]})
            self.assertIn(address, error.message)
        self.assertIn('/srv/films', self.refused('DeviceInUse', self.alice.manager, 'CreateVM', 'x',
                                                 {'nvme': [mocksys.NVME_DATA]}).message)
        self.assertEqual(self.state(), before)

    def test_a_bridge(self):
        self.refused(('DeviceInUse', 'NotSupported', 'InvalidOption',
        'GroupNotViable'), self.alice.manager,
                     'CreateVM', 'x', {'passthrough': [mocksys.PORT]})

    def test_a_drive_is_no_display(self):
        self.refused(('InvalidOption', 'NoCandidate'), self.alice.manager, 'CreateVM', 'x',
                     {'gpu': [mocksys.NVME_FREE]})

    def test_a_start_that_cannot_bind_is_undone(self):
        """The tree is made of files, so nothing is ever bound: the job says so and leaves all as it was."""
        vm = self.alice.create('unbound', nvme=[mocksys.NVME_FREE])
        job = self.alice.finish(self.alice.vm(vm, 'Start', {}))
        self.assertEqual(job['State'], 'failed')
        self.assertTrue(job['Error'][0].startswith(fixture.PREFIX), job)
        self.assertTrue(job['Error'][1] and job['Remedy'], job)
        self.assertEqual(self.vm_state(vm), 'stopped')
        device = self.alice.get_all(path(mocksys.NVME_FREE), 'Device')
        self.assertEqual((device['Driver'], device['VM']), ('nvme', '/'))


class Jobs(LifecycleTest):
    def test_completed_is_sent_once(self):
        completed = self.alice.signals('Completed', interface='org.vmkit.Job')
        vm, job = self.alice.manager('CreateVM', 'signalled', {})
        self.alice.succeed(job)
        jobs = [job]
        for method in ('Start', 'Pause', 'Resume', 'Stop', 'Destroy'):
            jobs.append(self.alice.vm(vm, method, {}))
            self.alice.succeed(jobs[-1])
        wait_until(lambda: len(completed) >= len(jobs), 'Completed of every job')
        self.alice.manager('ListVMs')  # whatever was sent before the reply is here after it
        while fixture.GLib.MainContext.default().iteration(False):
            pass
        self.assertEqual(completed, [(j, (True, '', '')) for j in jobs])

    def test_a_failure_says_why(self):
        completed = self.alice.signals('Completed', interface='org.vmkit.Job')
        vm = self.alice.create('failing', nvme=[mocksys.NVME_FREE])
        job = self.alice.vm(vm, 'Start', {})
        properties = self.alice.finish(job)
        wait_until(lambda: len(completed) >= 2, 'Completed')
        self.assertEqual(completed[-1], (job, (False, *properties['Error'])))

    def test_properties(self):
        vm, job = self.alice.manager('CreateVM', 'watched', {})
        found = self.alice.succeed(job)
        expected = {'Operation': 'create', 'Target': vm, 'StartedBy': fixture.ALICE, 'State': 'done',
                    'Error': ('', ''), 'Remedy': '', 'Cancelable': False}
        self.assertEqual({k: found[k] for k in expected}, expected)
        self.assertLess(abs(fixture.GLib.get_real_time() - found['StartedAt']), 120e6)
        self.assertIn(job, self.alice.objects())
        self.assertIn(job, self.alice.get(MANAGER, 'Manager', 'Jobs'))

    def test_cancel_after_the_end(self):
        _, job = self.alice.manager('CreateVM', 'over', {})
        self.alice.succeed(job)
        self.refused(('WrongState', 'NotSupported', 'NoSuchJob'), self.alice.job, job, 'Cancel', {})

    def test_cancel_an_import(self):
        """Cancelled or done: the race is open, but the outcome is one of two and complete."""
        with tempfile.TemporaryFile() as image:
            for _ in range(64):
                image.write(b'x' * (1 << 20))
            image.flush()
            job = self.alice.manager('ImportImage', 'cancelled', Descriptor(image), {})
            try:
                self.alice.job(job, 'Cancel', {})
            except fixture.Refused as error:
                self.assertIn(error.code, ('WrongState', 'NotSupported'))
            found = self.alice.finish(job)
        images = [i[0] for i in self.alice.manager('ListImages')]
        if found['State'] == 'cancelled':
            self.assertEqual(found['Error'][0], fixture.PREFIX + 'Cancelled')
            self.assertEqual(images, [])
        else:
            self.assertEqual((found['State'], images), ('done', ['cancelled']))
            self.alice.manager('RemoveImage', 'cancelled', {})

    def test_one_job_of_a_vm_at_a_time(self):
        vm = self.alice.create('busy')
        replies = [self.alice.call_async(vm, 'org.vmkit.VM.Start', {}) for _ in range(4)]
        wait_until(lambda: all(replies), 'the replies')
        good = [r[0][0] for r in replies if not isinstance(r[0], fixture.Refused)]
        for reply in replies:
            if isinstance(reply[0], fixture.Refused):
                self.assertIn(reply[0].code, ('Busy', 'WrongState'))
        states = sorted(self.alice.finish(job)['State'] for job in good)
        self.assertEqual(states.count('done'), 1, states)
        self.assertEqual(self.vm_state(vm), 'running')


class Signals(LifecycleTest):
    def test_objects_come_and_go(self):
        added = self.bob.signals('InterfacesAdded', path='/org/vmkit')
        removed = self.bob.signals('InterfacesRemoved', path='/org/vmkit')
        vm, job = self.alice.manager('CreateVM', 'coming', {})
        self.alice.succeed(job)
        wait_until(lambda: {vm, job} <= {a[1][0] for a in added}, 'InterfacesAdded')
        for _, (path_, interfaces) in added:
            if path_ == vm:
                self.assertEqual(set(interfaces['org.vmkit.VM']),
                                 {p.name for p in fixture.interfaces()['org.vmkit.VM'].properties})
        self.assertEqual(len([a for a in added if a[1][0] == vm]), 1)
        self.alice.succeed(self.alice.vm(vm, 'Destroy', {}))
        wait_until(lambda: vm in [r[1][0] for r in removed], 'InterfacesRemoved')
        self.assertIn('org.vmkit.VM', [r[1][1] for r in removed if r[1][0] == vm][0])

    def test_states_are_announced(self):
        vm = self.alice.create('announced')
        changes = self.bob.signals('PropertiesChanged', path=vm)
        self.alice.succeed(self.alice.vm(vm, 'Start', {}))
        wait_until(lambda: 'running' in self.states(changes), 'the state running')
        self.alice.succeed(self.alice.vm(vm, 'Stop', {}))
        wait_until(lambda: self.states(changes)[-1] == 'stopped', 'the state stopped')

    @staticmethod
    def states(changes):
        return [c[1][1]['State'] for c in changes if 'State' in c[1][1]]

    def test_lists_are_invalidated(self):
        changes = self.bob.signals('PropertiesChanged', path=MANAGER)
        self.alice.create('listed')
        wait_until(lambda: any('VMs' in c[1][2] for c in changes), 'the invalidation of VMs')
        self.assertEqual([c for c in changes if 'VMs' in c[1][1]], [])

    def test_assignment_is_announced(self):
        changes = self.bob.signals('PropertiesChanged', path=path(mocksys.NVME_FREE))
        vm = self.alice.create('announced', nvme=[mocksys.NVME_FREE])
        wait_until(lambda: any(c[1][1].get('AssignedTo') == [vm] for c in changes), 'the new AssignedTo')
        self.assertFalse(any('InUse' in c[1][1] or 'InUse' in c[1][2] for c in changes))


class Limits(LifecycleTest):
    CONFIG = '''[Limits]
MaxVMs=2
MaxDevices=1
MaxMemory=4G
MaxCPUs=4
MaxImageBytes=4M
'''

    def test_vms(self):
        self.alice.create('one', cpus=u32(1), memory=u64(1 << 28))
        self.alice.create('two', cpus=u32(1), memory=u64(1 << 28))
        self.refused('LimitExceeded', self.alice.create, 'three', cpus=u32(1), memory=u64(1 << 28))
        self.bob.create('bobs', cpus=u32(1), memory=u64(1 << 28))

    def test_devices(self):
        self.alice.create('one', nvme=[mocksys.NVME_FREE])
        self.refused('LimitExceeded', self.alice.create, 'two', nvme=[mocksys.NVME_FREE_2])

    def test_memory_and_cpus(self):
        for options in ({'memory': u64(8 << 30)}, {'cpus': u32(8)}):
            self.refused('LimitExceeded', self.alice.create, 'big', start=True, **options)
        self.assertEqual(self.alice.manager('ListVMs'), [])

    def tearDown(self):
        for row in self.alice.manager('ListImages'):
            self.alice.manager('RemoveImage', row[0], {})
        super().tearDown()

    def test_images(self):
        with tempfile.TemporaryFile() as image:
            image.write(b'x' * (8 << 20))
            image.flush()
            self.refused('LimitExceeded', lambda: self.alice.succeed(self.alice.manager(
                'ImportImage', 'big', Descriptor(image), {})))
        self.assertEqual(self.alice.manager('ListImages'), [])

    def test_images_together(self):
        with tempfile.TemporaryFile() as image:
            image.write(b'x' * (3 << 20))
            image.flush()
            self.alice.succeed(self.alice.manager('ImportImage', 'first', Descriptor(image), {}))
            self.refused('LimitExceeded', lambda: self.alice.succeed(self.alice.manager(
                'ImportImage', 'second', Descriptor(image), {})))
        self.assertEqual([i[0] for i in self.alice.manager('ListImages')], ['first'])

    def test_disks(self):
        self.refused('LimitExceeded', self.alice.create, 'big', disk_size=u64(8 << 20))
        self.assertEqual(self.alice.manager('ListVMs'), [])

    def test_root_has_none(self):
        for name in ('one', 'two', 'three'):
            self.root.create(name, cpus=u32(8))


class ByHand(LifecycleTest):
    """Bind, Release, Reset and ClearQuarantine, as far as a tree of files goes: what is refused, and why."""

    def test_reset_of_what_is_in_use(self):
        for address, code, words in ((mocksys.NVME_DATA, 'DeviceInUse', '/srv/films'),
                                     (mocksys.NVME_ROOT, 'DeviceInUse', mocksys.NVME_ROOT),
                                     (mocksys.NETWORK, 'DeviceInUse', 'eno1'),
                                     (mocksys.IGPU, 'DeviceInUse', 'boot-display'),
                                     (mocksys.PORT, 'NotSupported', mocksys.PORT)):
            with self.subTest(address):
                error = self.refused(code, self.root.device, path(address), 'Reset', {})
                self.assertIn(words, error.message)

    def test_what_is_not_held(self):
        self.assertIn('not held', self.refused('WrongState', self.root.device, path(mocksys.NVME_FREE),
                                               'Release', {}).message)
        self.assertIn('not quarantined', self.refused('WrongState', self.root.device,
                                                      path(mocksys.NVME_FREE), 'ClearQuarantine',
                                                      {}).message)

    def test_bind_in_use(self):
        self.assertIn('/srv/films', self.refused('DeviceInUse', self.root.device, path(mocksys.NVME_DATA),
                                                 'Bind', {'allow': ['has-data']}).message)


class Quarantine(LifecycleTest):
    """A record of a device that failed, as the helper writes it."""

    def claim(self, **changes):
        with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as file:
            boot_id = file.read().strip()
        with open(self.record(), 'w', encoding='ascii') as file:
            json.dump({'version': 1, 'address': mocksys.NVME_FREE, 'vendor_id': 0x144d,
                       'device_id': 0xa808, 'vm': None, 'boot_id': boot_id, 'state': 'quarantined',
                       'driver': 'nvme', 'driver_override': None, 'power_control': 'on',
                       'd3cold_allowed': '1', 'reset_method': 'flr bus',
                       'reason': 'it did not come through its reset', 'needs_reboot': False,
                       'helper': 0, 'helper_start': 0, **changes}, file)
        self.bus.restart_vmkitd()
        self.addCleanup(self.forget)

    def record(self):
        return self.bus.path('state', 'claims', mocksys.NVME_FREE)

    def forget(self):
        if os.path.exists(self.record()):
            os.unlink(self.record())
        self.bus.restart_vmkitd()

    def free(self):
        return self.alice.get_all(path(mocksys.NVME_FREE), 'Device')

    def test_it_is_given_to_nobody(self):
        self.claim()
        device = self.free()
        self.assertEqual((device['Health'], device['HealthDetail'], device['Available'], device['Driver']),
                         ('quarantined', 'it did not come through its reset', False, 'nvme'))
        self.assertEqual([code for code, _ in device['InUse']], ['quarantined'])
        error = self.refused('Quarantined', self.alice.manager, 'CreateVM', 'x', {'nvme': [mocksys.NVME_FREE]})
        self.assertIn('did not come through its reset', error.message)
        for method in ('Bind', 'Release', 'Reset'):
            self.refused('Quarantined', self.root.device, path(mocksys.NVME_FREE), method, {})
        chosen, _ = self.alice.manager('FindDevice', 'nvme', {})
        self.assertEqual(chosen, path(mocksys.NVME_FREE_2))

    def test_it_lasts_until_it_is_proven_well(self):
        """Nothing is ever bound in a tree of files, so the quarantine cannot end."""
        self.claim()
        job = self.root.finish(self.root.device(path(mocksys.NVME_FREE), 'ClearQuarantine', {}))
        self.assertEqual(job['Error'][0], fixture.PREFIX + 'BindFailed')
        self.assertIn(self.free()['Health'], ('quarantined', 'needs-reboot'))
        self.refused('Quarantined', self.root.device, path(mocksys.NVME_FREE), 'Bind', {})

    def test_needs_reboot(self):
        self.claim(needs_reboot=True)
        device = self.free()
        self.assertEqual((device['Health'], device['Available']), ('needs-reboot', False))
        self.assertIn('switched off and on', device['InUse'][0][1])

    def test_a_new_boot_ends_it(self):
        self.claim(boot_id='11111111-2222-3333-4444-555555555555')
        self.assertEqual((self.free()['Health'], self.free()['Available']), ('ready', True))
        self.assertFalse(os.path.exists(self.record()))


class Restart(LifecycleTest):
    def test_it_stops_cleanly(self):
        self.assertEqual(self.bus.stop('vmkitd'), 0)
        wait_until(lambda: not self.root.owner(fixture.NAME), 'the name to be free')
        self.bus.start_vmkitd()
        self.assertTrue(self.alice.manager('ListDevices', {}))

    def test_it_comes_back_after_a_crash(self):
        with tempfile.TemporaryFile() as image:
            image.truncate(1 << 20)
            self.alice.succeed(self.alice.manager('ImportImage', 'survivor', Descriptor(image), {}))
        self.bus.stop('vmkitd', fixture.signal.SIGKILL)
        wait_until(lambda: not self.root.owner(fixture.NAME), 'the name to be free')
        self.bus.start_vmkitd()
        self.assertEqual([i[0] for i in self.alice.manager('ListImages')], ['survivor'])
        self.alice.manager('RemoveImage', 'survivor', {})


if __name__ == '__main__':
    fixture.main()
