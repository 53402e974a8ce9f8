#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bus as people use it: gdbus, busctl and vmkitctl, run by an ordinary user."""

import json

import ctl
import fixture
import mocksys
from fixture import wait_until

CREATE = '''polkit.addRule(function(action, subject) {
    if (subject.user == "alice" && ["org.vmkit.create-vm", "org.vmkit.use-device"].indexOf(action.id) >= 0)
        return polkit.Result.YES; });'''

CALL = ('--dest', fixture.NAME, '--object-path', fixture.MANAGER)


class ClientTest(ctl.CtlTest):
    RULES = CREATE

    def good(self, caller, *argv):
        done = caller.spawn(*argv)
        self.assertEqual(done.returncode, 0, f'{argv}: {done.stderr}')
        return done.stdout


class Gdbus(ClientTest):
    def call(self, caller, method, *arguments, path=fixture.MANAGER):
        return caller.spawn('gdbus', 'call', '--system', '--dest', fixture.NAME, '--object-path', path,
                            '--method', method, *arguments)

    def test_image_as_a_descriptor(self):
        """gdbus passes descriptors that are arguments of their own; the shell opens the file."""
        self.good(self.alice, 'sh', '-c', f'''exec gdbus call --system --dest {fixture.NAME} \\
            --object-path {fixture.MANAGER} --method org.vmkit.Manager.ImportImage from-gdbus 5 "{{}}" \\
            5<{self.image}''')
        wait_until(lambda: 'from-gdbus' in [i[0] for i in self.alice.manager('ListImages')], 'the image')
        done = self.call(self.alice, 'org.vmkit.Manager.CreateVM', 'by-gdbus',
                         "{'image-name': <'from-gdbus'>, 'start': <true>, 'memory': <uint64 1073741824>}")
        self.assertEqual(done.returncode, 0, done.stderr)
        wait_until(lambda: self.state_of('by-gdbus') == 'running', 'the VM to run')
        self.alice.manager('RemoveImage', 'from-gdbus', {})

    def test_a_refusal_names_the_action(self):
        done = self.call(self.bob, 'org.vmkit.Manager.CreateVM', 'by-bob', '{}')
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('org.vmkit.create-vm', done.stderr)


class Busctl(ClientTest):
    def busctl(self, caller, *argv):
        return self.good(caller, 'busctl', f'--address={self.bus.address}', *argv)

    def test_life(self):
        self.busctl(self.alice, 'call', fixture.NAME, fixture.MANAGER, 'org.vmkit.Manager', 'CreateVM',
                    'sa{sv}', 'by-busctl', '3', 'memory', 't', str(1 << 30), 'gpu', 'as', '1', 'auto',
                    'start', 'b', 'false')
        wait_until(lambda: self.state_of('by-busctl') == 'stopped', 'the VM to be there')
        vm = self.root.manager('GetVM', 'by-busctl')
        reply = json.loads(self.busctl(self.alice, '--json=short', 'get-property', fixture.NAME, vm,
                                       'org.vmkit.VM', 'Memory'))
        self.assertEqual(reply, {'type': 't', 'data': 1 << 30})

    def test_tree_and_introspect(self):
        self.assertIn(fixture.MANAGER, self.busctl(self.alice, 'tree', '--list', fixture.NAME))
        self.assertIn('CreateVM', self.busctl(self.alice, 'introspect', fixture.NAME, fixture.MANAGER))


class Vmkitctl(ClientTest):
    def test_devices(self):
        rows = json.loads(self.run_as(self.bob, 'devices', '--json').stdout)
        by_address = {row['address']: row for row in rows}
        self.assertNotIn(mocksys.PORT, by_address)
        self.assertEqual(by_address[mocksys.GPU]['unit'], [mocksys.GPU, mocksys.GPU_AUDIO])
        self.assertEqual(by_address[mocksys.GPU]['vendor_id'], '10de')
        self.assertEqual(by_address[mocksys.NVME_DATA]['in_use'][0]['code'], 'mounted')

    def test_life(self):
        self.run_as(self.alice, 'create', 'by-ctl', self.image, '--memory', '1G', '--gpu', 'auto',
                    '--nvme', 'auto')
        self.assertEqual(self.state_of('by-ctl'), 'stopped')
        info = json.loads(self.run_as(self.bob, 'info', 'by-ctl', '--json').stdout)
        self.assertEqual(info['memory_bytes'], 1 << 30)
        self.assertEqual(set(info['devices']), {mocksys.GPU, mocksys.GPU_AUDIO, mocksys.NVME_FREE})
        self.run_as(self.bob, '--no-ask-password', 'destroy', 'by-ctl', '--yes', status=3)
        self.run_as(self.alice, 'destroy', 'by-ctl', '--yes')
        self.run_as(self.alice, 'info', 'by-ctl', status=4)

    def test_images(self):
        self.run_as(self.alice, 'image', 'import', 'disk', self.image)
        images = json.loads(self.run_as(self.alice, 'image', 'list', '--json').stdout)
        self.assertEqual([i['name'] for i in images], ['disk'])
        self.run_as(self.alice, 'create', 'from-store', '@disk', '--start')
        self.assertEqual(self.state_of('from-store'), 'running')
        self.run_as(self.alice, 'stop', 'from-store')
        self.run_as(self.alice, 'image', 'remove', 'disk')
        self.run_as(self.alice, 'image', 'remove', 'disk', status=4)

    def test_without_the_right(self):
        done = self.run_as(self.bob, '--no-ask-password', 'create', 'by-bob', self.image, status=3)
        self.assertIn('org.vmkit.create-vm', done.stderr)
        done = self.run_as(self.bob, '--no-ask-password', '--json', 'create', 'by-bob', self.image, status=3)
        error = json.loads(done.stderr)['error']
        self.assertEqual(set(error), {'name', 'message', 'remedy'})
        self.assertTrue(error['remedy'])

    def test_dry_run_and_explain(self):
        plan = json.loads(self.run_as(self.bob, 'create', 'x', '--gpu', 'auto', '--dry-run', '--json').stdout)
        self.assertTrue(plan['ready'])
        chosen = json.loads(self.run_as(self.bob, 'explain', 'nvme', '--json').stdout)
        self.assertEqual(chosen['chosen'], mocksys.NVME_FREE)
        self.run_as(self.bob, 'create', 'x', '--nvme', mocksys.NVME_DATA, '--dry-run', status=1)

    def test_mounted_drive_is_refused_by_mount_point(self):
        done = self.run_as(self.alice, 'create', 'x', '--nvme', mocksys.NVME_DATA, status=1)
        self.assertIn('/srv/films', done.stderr)

    def test_usage(self):
        self.run_as(self.bob, 'create', status=2)
        self.run_as(self.bob, 'no-such-command', status=2)
        self.run_as(self.bob, 'info', 'nobody', status=4)


if __name__ == '__main__':
    fixture.main()
