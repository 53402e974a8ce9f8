#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What examples/ has, run as it is by ordinary users."""

import os
import shutil
import signal
import subprocess

from gi.repository import Gio, GLib

import fixture
import mocksys
import pyclient
from fixture import SOURCE, TIMEOUT, wait_until
from pyclient import ProgramTest

SECOND_GPU, SECOND_PORT = '0000:06:00.0', '0000:00:1a.0'
SMALL = {'MEMORY': str(1 << 30), 'CPUS': '1', 'FIRMWARE': 'bios'}


def host(root):
    """With a second graphics card."""
    tree = pyclient.host(root)
    tree.port(SECOND_PORT, group=30)
    card = tree.function(SECOND_GPU, 0x030000, 0x1002, 0x73bf, parent=SECOND_PORT, group=31, driver='amdgpu')
    tree.write(f'{card.path}/mock_native', 'amdgpu\n')
    tree.write(f'{card.path}/power/control', 'auto\n')
    return tree


class ExampleTest(ProgramTest):
    HOST = staticmethod(host)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.examples = f'{cls.home}/examples'
        shutil.copytree(f'{SOURCE}/examples', cls.examples)

    def setUp(self):
        super().setUp()
        self.make_key()
        self.make_image('debian-12.qcow2')

    def example(self, caller, name, *argv, status=0, **environment):
        return self.program(caller, f'{self.examples}/{name}', *argv, status=status, **environment)

    def states(self):
        return {row[0]: row[2] for row in self.root.manager('ListVMs')}

    def drivers(self, *addresses):
        return [self.root.get(self.root.manager('GetDevice', a), 'Device', 'Driver') for a in addresses]


class Python(ExampleTest):
    def scenario(self, name, *argv, caller=None, **kwargs):
        return self.example(caller or self.alice, 'passthrough_examples.py', name, '--memory', '1G', '--cpus', '1',
                            *argv, **kwargs).stdout

    def test_gaming(self):
        self.assertIn('gaming-vm is running', self.scenario('gaming', '--vendor', 'nvidia'))
        self.assertEqual(self.drivers(mocksys.GPU, mocksys.GPU_AUDIO, mocksys.NVME_FREE), ['vfio-pci'] * 3)
        vm = self.root.get_all(self.root.manager('GetVM', 'gaming-vm'), 'VM')
        self.assertEqual((vm['SecureBoot'], vm['Memory'], vm['CPUs']), (True, 1 << 30, 1))

    def test_development(self):
        self.scenario('development', '--firmware', 'bios')
        self.assertEqual(self.states(), {'dev-vm': 'running'})
        self.assertEqual(self.drivers(mocksys.NVME_FREE), ['vfio-pci'])

    def test_multi_gpu(self):
        self.scenario('multi-gpu')
        self.assertEqual(self.states(), {'gaming': 'running', 'ai-vm': 'running'})
        self.assertEqual(self.drivers(mocksys.GPU, SECOND_GPU), ['vfio-pci'] * 2)

    def test_clean_up(self):
        for name in ('gaming', 'development', 'multi-gpu'):
            self.assertIn('gone', self.scenario(name, '--clean-up'))
            self.assertEqual(self.states(), {})
        self.assertEqual(self.drivers(mocksys.GPU, SECOND_GPU, mocksys.NVME_FREE), ['nouveau', 'amdgpu', 'nvme'])

    def test_what_cannot_be_had(self):
        """Nothing is made of a part of it."""
        self.alice.create('first', gpu=[mocksys.GPU])
        self.assertIn('there are 1', self.scenario('multi-gpu', status=1))
        self.assertIn('no device was found', self.scenario('gaming', '--vendor', 'nvidia', status=1))
        self.assertEqual(self.states(), {'first': 'stopped'})

    def test_troubleshooting(self):
        text = self.scenario('troubleshooting', caller=self.bob)
        for words in ('This host is', mocksys.NVME_DATA, 'is mounted at /srv/films', 'is passed over',
                      'it could be created', 'DeviceInUse'):
            self.assertIn(words, text)

    def test_without_the_right(self):
        done = self.example(self.bob, 'passthrough_examples.py', 'development', '--memory', '1G', status=1)
        self.assertIn('org.vmkit.create-vm', done.stderr)
        self.assertNotIn('Traceback', done.stderr)


class Shell(ExampleTest):
    def life(self, script, *image):
        self.assertIn('running', self.example(self.alice, script, 'create', 'dev-vm', *image, **SMALL).stdout)
        vm = self.root.get_all(self.root.manager('GetVM', 'dev-vm'), 'VM')
        self.assertEqual((vm['Memory'], vm['CPUs'], vm['Firmware'], vm['DiskBytes'] > 0),
                         (1 << 30, 1, 'bios', bool(image)))
        self.assertEqual(self.drivers(mocksys.NVME_FREE), ['vfio-pci'])
        self.example(self.alice, script, 'destroy', 'dev-vm')
        self.assertEqual((self.states(), self.drivers(mocksys.NVME_FREE)), ({}, ['nvme']))

    def failures(self, script, refused_status=1, refusal='org.vmkit.create-vm'):
        """What the service refuses, and a job that fails when the VM is to start."""
        done = self.example(self.bob, script, 'create', 'dev-vm', status=refused_status, **SMALL)
        self.assertIn(refusal, done.stdout + done.stderr)
        shown = self.bus.path('host/sys/bus/pci/drivers/vfio-pci')
        os.rename(shown, self.bus.path('hidden'))
        try:
            done = self.example(self.alice, script, 'create', 'dev-vm', status=1, **SMALL)
        finally:
            os.rename(self.bus.path('hidden'), shown)
        self.assertIn('BindFailed', done.stdout + done.stderr)
        self.assertEqual(self.states(), {})
        for argv in ((), ('create',), ('destroy',), ('remove', 'dev-vm')):
            self.assertIn('create NAME', self.example(self.alice, script, *argv, status=2).stderr)

    def test_busctl(self):
        self.life('busctl.sh')
        self.program(self.alice, 'vmkitctl', 'image', 'import', 'debian', 'debian-12.qcow2')
        self.life('busctl.sh', 'debian')
        self.program(self.alice, 'vmkitctl', 'image', 'remove', 'debian')
        self.failures('busctl.sh', refusal='Access denied')      # busctl has its own words for it

    def test_gdbus(self):
        self.life('gdbus.sh')
        self.life('gdbus.sh', 'debian-12.qcow2')
        self.assertEqual(self.alice.manager('ListImages'), [])
        self.failures('gdbus.sh')

    def test_json(self):
        self.life('vmkitctl-json.sh')
        self.life('vmkitctl-json.sh', 'debian-12.qcow2')
        self.failures('vmkitctl-json.sh', refused_status=3)
        self.alice.create('first', nvme=[mocksys.NVME_FREE])
        self.alice.create('second', nvme=[mocksys.NVME_FREE_2])
        done = self.example(self.alice, 'vmkitctl-json.sh', 'create', 'dev-vm', status=1, **SMALL)
        self.assertIn('vmkitctl explain nvme', done.stdout + done.stderr)


class Desktop:
    """Where notifications are shown: a session bus of alice's, and the receiver on it."""

    XML = '''<node><interface name="org.freedesktop.Notifications"><method name="Notify">
      <arg type="s" direction="in"/><arg type="u" direction="in"/><arg type="s" direction="in"/>
      <arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="as" direction="in"/>
      <arg type="a{sv}" direction="in"/><arg type="i" direction="in"/><arg type="u" direction="out"/>
      </method></interface></node>'''

    def __init__(self, caller):
        self.shown = []
        self.bus = caller.start('dbus-daemon', '--session', '--nofork', '--nopidfile', '--nosyslog',
                                '--print-address', stdout=subprocess.PIPE, text=True)
        self.address = self.bus.stdout.readline().strip()
        self.connection = fixture.Caller(self.address, caller.uid)
        interface = Gio.DBusNodeInfo.new_for_xml(self.XML).interfaces[0]
        self.connection.connection.register_object('/org/freedesktop/Notifications', interface, self.notified,
                                                   None, None)
        self.connection.call_raw('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus',
                                 'RequestName', GLib.Variant('(su)', ('org.freedesktop.Notifications', 4)))

    def notified(self, _connection, _sender, _path, _interface, _method, parameters, invocation):
        application, _, _, summary, body, _, hints, _ = parameters.unpack()
        self.shown.append((application, summary, body, hints['urgency']))
        invocation.return_value(GLib.Variant('(u)', (len(self.shown),)))

    def close(self):
        self.connection.close()
        self.bus.terminate()
        self.bus.communicate()


class Notification(ExampleTest):
    RULES = '''polkit.addRule(function(action, subject) {
        if (["org.vmkit.create-vm", "org.vmkit.use-device"].indexOf(action.id) >= 0)
            return polkit.Result.YES; });'''

    def follow(self, desktop, *argv):
        settings = self.user(self.alice, DBUS_SESSION_BUS_ADDRESS=desktop.address)
        child = subprocess.Popen([f'{self.examples}/notify-jobs.py', *argv], **settings, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        self.assertIn('Following', child.stdout.readline())
        return child

    def test_the_end_of_jobs(self):
        desktop = Desktop(self.alice)
        self.addCleanup(desktop.close)
        child = self.follow(desktop, '--after', '0')
        self.bob.create('bobs')         # nobody else's
        vm = self.alice.create('shown')
        wait_until(lambda: desktop.shown, 'the first notification')
        self.assertEqual(desktop.shown, [('vmkit', 'shown: create is done', '', 1)])
        self.alice.succeed(self.alice.vm(vm, 'Destroy', {}))
        wait_until(lambda: len(desktop.shown) == 2, 'the second')
        self.assertEqual(desktop.shown[1][1], 'shown: destroy is done')
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.wait(TIMEOUT), 0)

    def test_only_what_took_long_or_failed(self):
        desktop = Desktop(self.alice)
        self.addCleanup(desktop.close)
        self.follow(desktop, '--after', '3600')
        vm = self.alice.create('failing', nvme=[mocksys.NVME_FREE])
        shown = self.bus.path('host/sys/bus/pci/drivers/vfio-pci')
        os.rename(shown, self.bus.path('hidden'))
        try:
            self.alice.finish(self.alice.vm(vm, 'Start', {}))
        finally:
            os.rename(self.bus.path('hidden'), shown)
        wait_until(lambda: desktop.shown, 'the notification')
        application, summary, body, urgency = desktop.shown[0]
        self.assertEqual((application, summary, urgency), ('vmkit', 'failing: start failed', 2))
        self.assertIn('\n', body)       # what happened, and what to do

    def test_without_a_desktop(self):
        """It says so, and goes on."""
        desktop = Desktop(self.alice)
        self.addCleanup(desktop.close)
        desktop.connection.close()
        child = self.follow(desktop, '--after', '0')
        self.alice.create('unseen')
        self.assertIn('unseen: create is done: the desktop cannot be told', child.stderr.readline())
        self.assertIsNone(child.poll())


class Readme(fixture.unittest.TestCase):
    def test_every_file_is_in_it(self):
        with open(f'{SOURCE}/examples/README.md', encoding='utf-8') as file:
            text = file.read()
        for directory, _, names in os.walk(f'{SOURCE}/examples'):
            for name in set(names) - {'README.md', 'meson.build'}:
                self.assertIn(f'`{os.path.relpath(os.path.join(directory, name), f"{SOURCE}/examples")}`', text)


if __name__ == '__main__':
    fixture.main()
