#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The life of a VM with a real guest: what it is told arrives, and what is lost meanwhile comes back."""

import os
import signal

import machine
import fixture
from fixture import u64, wait_until

SECOND = 1000000


class Life(machine.VMTest):
    """One guest, started by whichever test finds it stopped. It minds its power button once it is told to."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        image = cls.bus.path('quick.raw')
        machine.make_quick_image(image)
        cls.import_image(image, 'quick')
        os.unlink(image)
        cls.life = cls.create('life', image_name='quick', firmware='bios')

    def after_failure(self):
        """A guest that a test left somewhere on its way would fail all the tests behind it."""
        super().after_failure()
        if 'libvirtd' not in self.bus.processes:
            self.bus.start_libvirt()
        for name in self.bus.virsh('list', '--name').split():
            self.bus.virsh('destroy', name)
        if 'vmkitd' not in self.bus.processes:
            self.bus.start_vmkitd()

    def running(self):
        """A console of the guest with its shell ready."""
        started = self.vm_state(self.life) == 'stopped'
        if started:
            self.succeed('Start', self.life, {})
        console = self.console(self.life)
        if started:
            console.wait_for_quick_shell()
        return console

    def running_and_minding_power(self):
        console = self.running()
        console.run('[ -e /run/minds ] || { mind_power; touch /run/minds; }')
        return console

    @staticmethod
    def printed_by(name):
        """How much its QEMU has written, most of it to the serial port."""
        with open(f'/run/libvirt/qemu/{name}.pid', encoding='ascii') as file:
            pid = file.read().strip()
        with open(f'/proc/{pid}/io', encoding='ascii') as file:
            return next(int(line.split()[1]) for line in file if line.startswith('wchar'))

    def pretend_boot(self):
        """Another boot ID, for whoever reads it from now on."""
        boot_id = '/proc/sys/kernel/random/boot_id'
        with open(self.bus.path('boot-id'), 'w', encoding='ascii') as file:
            file.write('00000000-1111-2222-3333-444444444444\n')
        fixture.run('mount', '--bind', file.name, boot_id)
        self.addCleanup(fixture.run, 'umount', boot_id)

    def log_since(self, position):
        return self.bus.log('vmkitd')[position:]

    def test_console_both_ways(self):
        console = self.running()
        self.assertEqual(console.run('echo $((6 * 7))'), '42')
        self.assertIn('init=/bin/bash', console.run('cat /proc/cmdline'))
        self.refused('NotSupported', self.alice.vm, self.life, 'OpenDisplay', {})

    def test_console_has_one_viewer(self):
        console = self.running()
        error = self.refused('Busy', self.alice.vm, self.life, 'OpenConsole', {})
        self.assertIn('open elsewhere', error.message)
        self.refused(fixture.REFUSALS, self.bob.vm, self.life, 'OpenConsole', {})
        self.assertEqual(console.run('echo still here'), 'still here')
        console.close()
        self.assertEqual(self.console(self.life).run('echo next'), 'next')

    def test_console_of_a_slow_reader(self):
        """What is not read is dropped, and the viewer is told; the daemon does not keep it."""
        console = self.running()
        process = self.bus.processes['vmkitd']

        def resident():
            with open(f'/proc/{process.pid}/status', encoding='ascii') as file:
                return next(int(line.split()[1]) for line in file if line.startswith('VmRSS'))
        before = resident()
        start = self.printed_by('life')
        console.write('head -c 1000000 /dev/zero | tr "\\0" x >/dev/ttyS0\n')
        wait_until(lambda: self.printed_by('life') - start > 1000000, 'the guest to have printed',
                   machine.GUEST_TIMEOUT)
        self.assertLess(resident() - before, 512)
        console.expect(r'\[vmkit: ([0-9]+) bytes were lost')
        console.write('echo all of it\n')
        console.expect('<<all of it>>')

    def test_detach_key(self):
        self.running().close()
        master, slave = os.openpty()
        self.addCleanup(os.close, master)
        client = self.alice.start(f'{fixture.BUILD}/client/vmkitctl', 'console', 'life', stdin=slave, stdout=slave,
                                  stderr=slave)
        os.close(slave)
        terminal = machine.Console(master)
        terminal.expect('Ctrl-\\]')
        self.assertEqual(terminal.run('echo typed'), 'typed')
        terminal.write('\x1d')
        self.assertEqual(client.wait(fixture.TIMEOUT), 0)
        self.assertEqual(self.vm_state(self.life), 'running')

    def test_pause_and_resume(self):
        console = self.running()
        self.succeed('Pause', self.life, {})
        self.assertEqual(self.vm_state(self.life), 'paused')
        console.write('echo late\n')
        self.refused('WrongState', self.alice.vm, self.life, 'Pause', {})
        # What it wrote before may still be on its way: the end of the line behind its last answer.
        self.assertFalse(console.shows('<<late>>', 1), 'a paused guest answered')
        self.succeed('Resume', self.life, {})
        self.assertEqual(self.vm_state(self.life), 'running')
        console.expect('<<late>>')

    def test_asleep_and_woken(self):
        """A guest that puts itself to sleep is not paused by anyone, and is woken as one that is."""
        console = self.running()
        console.write('[ -d /sys/power ] || mount -t sysfs sysfs /sys; echo mem >/sys/power/state; echo awake\n')
        wait_until(lambda: self.vm_state(self.life) == 'suspended', 'the guest to sleep', machine.GUEST_TIMEOUT)
        error = self.refused('WrongState', self.alice.vm, self.life, 'Pause', {})
        self.assertIn('is suspended', error.message)
        self.succeed('Resume', self.life, {})
        self.assertEqual(self.vm_state(self.life), 'running')
        console.expect('<<awake>>')
        # A guest that has slept does not hear its power button any more; the tests behind this one get another.
        self.succeed('Stop', self.life, {'timeout': u64(0), 'force': True})

    def test_reboot(self):
        console = self.running_and_minding_power()
        self.succeed('Reboot', self.life, {})
        console.wait_for_quick_shell()
        self.assertEqual(console.run('ls /run/minds 2>/dev/null'), '')
        self.assertEqual(self.vm_state(self.life), 'running')

    def test_stop_is_heard(self):
        console = self.running_and_minding_power()
        self.succeed('Stop', self.life, {})
        self.assertEqual(self.vm_state(self.life), 'stopped')
        self.assertTrue(console.wait_for_end(), 'the console did not end with the VM')
        self.refused('WrongState', self.alice.vm, self.life, 'OpenConsole', {})

    def test_stop_is_not_heard(self):
        if self.vm_state(self.life) == 'running':
            self.succeed('Stop', self.life, {'force': True, 'timeout': u64(0)})
        console = self.running()
        error = self.refused('Timeout', self.succeed, 'Stop', self.life, {'timeout': u64(2 * SECOND)})
        self.assertIn('runs on', error.message)
        self.assertEqual(console.run('echo alive'), 'alive')
        self.succeed('Stop', self.life, {'timeout': u64(2 * SECOND), 'force': True})
        self.assertEqual(self.vm_state(self.life), 'stopped')
        self.assertTrue(console.wait_for_end())

    def test_guest_ends_by_itself(self):
        console = self.running()
        console.write('sync; echo o >/proc/sysrq-trigger\n')
        self.wait_for_state(self.life, 'stopped')
        self.assertTrue(console.wait_for_end())

    def test_libvirt_is_killed(self):
        console = self.running()
        console.run('echo remembered >/run/memory')
        changes = self.alice.signals('PropertiesChanged', path=self.life)
        self.bus.kill_libvirt()
        self.assertTrue(console.wait_for_end(), 'the console did not end with libvirtd')
        console.close()
        self.wait_for_state(self.life, 'unknown')
        for method in ('Start', 'Stop', 'Reboot', 'Pause', 'Destroy', 'OpenConsole', 'GetAddresses'):
            arguments = [] if method == 'GetAddresses' else [{}]
            self.refused('LibvirtUnavailable', self.alice.vm, self.life, method, *arguments)
        self.assertFalse(self.alice.manager('PlanVM', 'other', {})[0])
        self.assertEqual([row[0] for row in self.alice.manager('ListVMs')], ['life'])

        self.bus.start_libvirt()
        self.wait_for_state(self.life, 'running')
        states = [c[1][1]['State'] for c in changes if 'State' in c[1][1]]
        self.assertEqual(states, ['unknown', 'running'])
        self.assertEqual(self.console(self.life).run('cat /run/memory'), 'remembered')

    def test_libvirt_comes_late(self):
        """Until it is there nobody is told that there are no VMs; the host's devices are shown meanwhile."""
        self.running().close()
        self.bus.stop('vmkitd')
        self.bus.kill_libvirt()
        self.bus.start_vmkitd(with_libvirt=False)
        self.refused('LibvirtUnavailable', self.alice.manager, 'ListVMs')
        self.refused('LibvirtUnavailable', self.alice.manager, 'GetVM', 'life')
        vmkitctl = f'{fixture.BUILD}/client/vmkitctl'
        self.assertEqual(self.alice.start(vmkitctl, 'list').wait(fixture.TIMEOUT), 1)
        self.assertEqual(self.alice.start(vmkitctl, 'devices', '--all').wait(fixture.TIMEOUT), 0)

        self.bus.start_libvirt()
        self.bus.wait_for_libvirt()
        self.assertEqual(self.alice.manager('GetVM', 'life'), self.life)
        self.assertEqual(self.vm_state(self.life), 'running')

    def test_libvirt_is_killed_while_the_guest_is_asked_to_stop(self):
        """The request is lost or not, but the job ends, and the VM is seen as it is afterwards."""
        self.running_and_minding_power().close()
        job = self.alice.vm(self.life, 'Stop', {})
        self.bus.kill_libvirt()
        self.bus.start_libvirt()
        properties = self.alice.finish(job, machine.GUEST_TIMEOUT)
        self.assertIn(properties['State'], ('done', 'failed'))
        state = self.wait_for_state(self.life, 'running', 'stopped')
        if properties['State'] == 'done':
            self.assertEqual(state, 'stopped')
        elif state == 'running':
            self.succeed('Stop', self.life, {})

    def test_vmkitd_is_killed(self):
        console = self.running()
        console.run('echo remembered >/run/memory')
        self.bus.stop('vmkitd', signal.SIGKILL)
        self.assertTrue(console.wait_for_end(), 'the console did not end with vmkitd')
        console.close()
        self.bus.start_vmkitd()
        self.wait_for_state(self.life, 'running')
        self.assertEqual(self.console(self.life).run('cat /run/memory'), 'remembered')

    def test_vmkitd_ends(self):
        console = self.running()
        self.assertEqual(self.bus.stop('vmkitd'), 0)
        self.assertTrue(console.wait_for_end(), 'the console did not end with vmkitd')
        self.assertIn('life', self.bus.virsh('list', '--name').split())
        self.bus.start_vmkitd()
        self.wait_for_state(self.life, 'running')

    def test_autostart_at_the_next_boot(self):
        self.alice.vm(self.life, 'SetAutostart', True, {})
        if self.vm_state(self.life) == 'running':
            self.succeed('Stop', self.life, {'force': True, 'timeout': u64(0)})
        self.bus.restart_vmkitd()
        self.assertEqual(self.wait_for_state(self.life, 'stopped', 'starting', 'running'), 'stopped',
                         'it was started again in the same boot')
        self.pretend_boot()
        self.bus.restart_vmkitd()
        self.wait_for_state(self.life, 'running')
        self.alice.vm(self.life, 'SetAutostart', False, {})
        self.console(self.life).wait_for_quick_shell()

    def test_a_start_that_fails(self):
        vm = self.create('broken', disk_size=u64(1 << 20), firmware='bios')
        disk = self.bus.path('state', 'vms', self.alice.get(vm, 'VM', 'UUID'), 'disk.qcow2')
        os.truncate(disk, 100)
        position = len(self.bus.log('vmkitd'))
        job = self.alice.finish(self.alice.vm(vm, 'Start', {}))
        self.assertEqual((job['State'], job['Error'][0]), ('failed', 'org.vmkit.Error.StartFailed'))
        self.assertNotIn(self.bus.directory, job['Error'][1], 'a path of the host is told to the caller')
        self.assertTrue(job['Remedy'])
        self.assertIn('libvirt', self.log_since(position), 'the original text is not in the journal')
        self.assertEqual(self.vm_state(vm), 'stopped')
        self.succeed('Destroy', vm, {})

    def test_zz_the_disk_is_kept(self):
        """The last one: the disk goes into the store, and on with another VM."""
        console = self.running_and_minding_power()
        console.run('mount -o remount,rw / && echo precious >/root/kept && sync')
        self.succeed('Stop', self.life, {})
        self.succeed('Destroy', self.life, {'keep-disk': True})
        self.assertEqual([row[0] for row in self.alice.manager('ListVMs')], [])
        self.assertIn('life-disk', [row[0] for row in self.alice.manager('ListImages')])

        vm = self.create('after-life', image_name='life-disk', firmware='bios')
        self.succeed('Start', vm, {})
        console = self.console(vm)
        console.wait_for_quick_shell()
        self.assertEqual(console.run('cat /root/kept'), 'precious')
        self.refused('WrongState', self.alice.vm, vm, 'Destroy', {})
        self.succeed('Destroy', vm, {'force': True})
        self.assertTrue(console.wait_for_end())
        self.assertEqual(self.bus.virsh('list', '--all', '--name').split(), [])


if __name__ == '__main__':
    machine.main()
