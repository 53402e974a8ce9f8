#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""While no VM runs, vmkitd keeps no connection to libvirt: nothing wakes it, and yet nothing is missed."""

import machine
from fixture import MANAGER, VMKITD_ENVIRONMENT, Refused, wait_until

# vmkitd gives up what it does not use after half a minute; here sooner, which is the same code.
VMKITD_ENVIRONMENT['VMKIT_IDLE_SECONDS'] = '3'

# Twice as long as libvirtd waits until it asks whether a client is still there.
WINDOW = 11


class Rest(machine.VMTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.destroy_all)

    def names(self):
        return [vm[0] for vm in self.root.manager('ListVMs')]

    def test_nothing_wakes_it(self):
        """What comes again and again is in each of several times that are longer than its interval. What comes once,
        such as the end of the record of an earlier job, is not in all of them."""
        self.create('asleep')
        self.bus.wait_for_silence()
        counts = []
        while 0 not in counts and len(counts) < 4:
            counts.append(self.bus.wakes_within(WINDOW))
        self.assertIn(0, counts)
        self.assertTrue(self.bus.is_at_rest())

    def test_a_connection_wakes_it(self):
        """The other test sees what it is there to see: libvirtd asks while a VM runs."""
        vm = self.create('awake')
        self.succeed('Start', vm, {})
        self.assertGreaterEqual(self.bus.wakes_within(WINDOW), 2)
        self.assertFalse(self.bus.is_at_rest())
        self.assertEqual(self.vm_state(vm), 'running')

    def test_what_others_do_is_seen(self):
        vm = self.create('changed')
        self.bus.wait_for_rest()
        xml = self.bus.virsh('dumpxml', 'changed')
        self.bus.virsh('undefine', '--nvram', 'changed')
        wait_until(lambda: not self.names(), 'the VM to be gone')

        self.bus.wait_for_rest()
        with open(self.bus.path('changed.xml'), 'w', encoding='utf-8') as file:
            file.write(xml)
        self.bus.virsh('define', self.bus.path('changed.xml'))
        wait_until(lambda: self.names() == ['changed'], 'the VM to be back')

        self.bus.wait_for_rest()
        self.bus.virsh('start', 'changed')
        self.wait_for_state(vm, 'running')
        self.bus.virsh('destroy', 'changed')
        self.wait_for_state(vm, 'stopped')

    def test_calls_go_on(self):
        vm = self.create('called')
        self.bus.wait_for_rest()
        self.succeed('Start', vm, {})
        self.assertEqual(self.vm_state(vm), 'running')
        self.succeed('Destroy', vm, {'force': True})

    def test_libvirt_goes_meanwhile(self):
        vm = self.create('left')
        self.bus.wait_for_rest()
        self.bus.kill_libvirt()
        self.assertEqual(self.vm_state(vm), 'stopped')
        job = self.alice.vm(vm, 'Start', {})
        with self.assertRaises(Refused) as context:
            self.alice.succeed(job)
        self.assertEqual(context.exception.code, 'LibvirtUnavailable')
        self.assertEqual(self.vm_state(vm), 'unknown')

        self.bus.start_libvirt()
        self.wait_for_state(vm, 'stopped')
        self.assertEqual(self.root.get(MANAGER, 'Manager', 'VMs'), [vm])


if __name__ == '__main__':
    machine.main(needs_image=False)
