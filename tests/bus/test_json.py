#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything that vmkitctl --json prints is what the schema says, and nothing that it does not say."""

import json
import os
import re
import signal
import subprocess
import sys

import ctl
import fixture
import mocksys
from fixture import BUILD, SOURCE, wait_until

try:
    import jsonschema
except ImportError:
    print('skipped: needs python3-jsonschema')
    sys.exit(fixture.SKIPPED)

SCHEMA = f'{SOURCE}/client/schema/vmkitctl.schema.json'


def closed(schema):
    """The schema with no room for keys that it does not name: users may find new ones, the tests may not."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get('properties'), dict) and schema.get('type') == 'object':
        result['additionalProperties'] = False
    return result


class JsonTest(ctl.CtlTest):
    seen = {'monitor'}  # commands whose document was looked at; that of monitor is not one but many

    @classmethod
    def setUpClass(cls):
        with open(SCHEMA, encoding='utf-8') as file:
            cls.schema = json.load(file)
        cls.strict = closed(cls.schema)
        super().setUpClass()

    def check(self, document, name):
        """The document is this one of the schema's. Returns it."""
        validator = jsonschema.Draft202012Validator({**self.strict, 'anyOf': [{'$ref': f'#/$defs/{name}'}]})
        errors = [f'{"/".join(map(str, e.absolute_path))}: {e.message}'
                  for error in validator.iter_errors(document) for e in [error, *(error.context or [])]]
        self.assertEqual(errors, [], f'{name}: {document}')
        # As users have it: the whole schema.
        jsonschema.validate(document, self.schema, jsonschema.Draft202012Validator)
        return document

    def says(self, name, *argv, caller=None, status=0):
        """Runs the command, which prints this document of the schema and nothing else. Returns it."""
        done = self.run_as(caller or self.alice, *argv, '--json', status=status)
        self.assertEqual(done.stderr, '')
        self.seen.add(' '.join(argv[:2]) if argv[0] == 'image' else argv[0])
        return self.check(json.loads(done.stdout), name)

    def fails(self, status, *argv, caller=None):
        """The command fails with this exit code and an error on stderr alone. Returns the error."""
        done = self.run_as(caller or self.bob, '--no-ask-password', '--json', *argv, status=status)
        self.assertEqual(done.stdout, '')
        return self.check(json.loads(done.stderr), 'error')['error']


class Schema(JsonTest):
    def test_is_one(self):
        jsonschema.Draft202012Validator.check_schema(self.schema)
        named = {ref['$ref'] for ref in self.schema['anyOf']}
        self.assertLessEqual(named, {f'#/$defs/{name}' for name in self.schema['$defs']})

    def test_tells_documents_apart(self):
        """A check that everything passes is none."""
        document = self.says('check', 'check')
        for broken in ({}, [], {**document, 'ready': 'yes'}, {'ready': True},
                       {**document, 'checks': [{'id': 'kvm', 'status': 'fine', 'summary': '', 'remedy': None}]},
                       {**document, 'more': 1}):
            with self.subTest(broken=broken), self.assertRaises(AssertionError):
                self.check(broken, 'check')

    def test_every_key_is_required(self):
        """Unknown values are null, never missing."""
        for name, schema in self.schema['$defs'].items():
            self.assertEqual(sorted(schema.get('required', [])), sorted(schema.get('properties', {})), name)


class Host(JsonTest):
    def test_check(self):
        document = self.says('check', 'check', caller=self.bob)
        self.assertTrue(document['ready'])
        self.assertNotIn('fail', [c['status'] for c in document['checks']])
        with self.moved('sys/bus/pci/drivers/vfio-pci'):
            document = self.says('check', 'check', caller=self.bob, status=1)
        self.assertFalse(document['ready'])
        self.assertTrue(all(c['remedy'] for c in document['checks'] if c['status'] == 'fail'))

    def test_devices(self):
        shown = self.says('devices', 'devices', caller=self.bob)
        everything = self.says('devices', 'devices', '--all', caller=self.bob)
        self.assertLess(len(shown), len(everything))
        by_address = {d['address']: d for d in everything}
        self.assertEqual(by_address[mocksys.NVME_DATA]['in_use'][0]['code'], 'mounted')
        self.assertEqual(by_address[mocksys.GPU]['unit'], [mocksys.GPU, mocksys.GPU_AUDIO])
        kinds = {d['kind'] for d in self.says('devices', 'devices', '--kind', 'nvme', caller=self.bob)}
        self.assertEqual(kinds, {'nvme'})

    def test_who_has_a_device(self):
        self.run_as(self.alice, 'create', 'owner', '--gpu', mocksys.GPU, '--start')
        gpu = {d['address']: d for d in self.says('devices', 'devices')}[mocksys.GPU]
        self.assertEqual((gpu['vm'], gpu['assigned_to'], gpu['available']), ('owner', ['owner'], False))

    def test_explain(self):
        chosen = self.says('explain', 'explain', 'gpu', caller=self.bob)['chosen']
        self.assertEqual(chosen, mocksys.GPU)
        self.assertEqual(self.says('explain', 'explain', '03:00.0')['chosen'], mocksys.NVME_FREE)
        document = self.says('explain', 'explain', mocksys.NVME_DATA, status=1)
        self.assertEqual((document['kind'], document['chosen']), ('nvme', None))
        self.assertEqual(document['candidates'][0]['reasons'][0]['code'], 'mounted')


class Machines(JsonTest):
    def test_life(self):
        created = self.says('vm-result', 'create', 'life', self.image, '--memory', '1G', '--gpu', 'auto',
                            '--ssh-key', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAzutoAu me', '--start')
        self.assertEqual(created['state'], 'running')
        self.assertEqual(created['devices'], [mocksys.GPU, mocksys.GPU_AUDIO])
        for command, state in (('pause', 'paused'), ('resume', 'running'), ('reboot', 'running'),
                               ('stop', 'stopped'), ('start', 'running')):
            self.assertEqual(self.says('vm-result', command, 'life')['state'], state, command)

        listed = self.says('list', 'list', caller=self.bob)
        self.assertEqual([(vm['name'], vm['owner'], vm['owner_name']) for vm in listed],
                         [('life', fixture.ALICE, 'alice')])
        info = self.says('info', 'info', 'life')
        self.assertEqual({key: info[key] for key in listed[0]}, listed[0])
        self.assertEqual((info['memory_bytes'], info['console'], info['on_stop']), (1 << 30, True, None))

        self.assertEqual(self.says('list', 'stop', '--all', caller=self.alice)[0]['state'], 'stopped')
        destroyed = self.says('vm-result', 'destroy', 'life', '--yes', '--keep-disk')
        self.assertEqual((destroyed['state'], destroyed['devices']), ('destroyed', []))
        self.assertEqual([i['name'] for i in self.says('images', 'image', 'list')], ['life-disk'])
        self.says('image-removed', 'image', 'remove', 'life-disk')
        self.assertEqual(self.says('list', 'list'), [])

    def test_nothing_of_its_own(self):
        """Values that a VM does not have are null."""
        self.says('vm-result', 'create', 'bare')
        info = self.says('info', 'info', 'bare')
        for key in ('image', 'ssh_port', 'user', 'on_stop'):
            self.assertIsNone(info[key], key)
        self.assertEqual((info['devices'], info['addresses']), ([], []))

    def test_attach_and_detach(self):
        self.run_as(self.alice, 'create', 'later')
        self.assertEqual(self.says('vm-result', 'attach', 'later', '03:00.0')['devices'], [mocksys.NVME_FREE])
        self.assertEqual(self.says('vm-result', 'detach', 'later', mocksys.NVME_FREE)['devices'], [])

    def test_autostart(self):
        self.run_as(self.alice, 'create', 'auto')
        self.says('vm-result', 'autostart', 'auto', 'on')
        self.assertTrue(self.says('info', 'info', 'auto')['autostart'])

    def test_dry_run(self):
        document = self.says('dry-run', 'create', 'x', '--gpu', 'auto', '--nvme', 'auto', '--pin', 'auto',
                             '--numa', 'auto', '--hugepages', '2M', '--dry-run', caller=self.bob)
        self.assertEqual([d['address'] for d in document['plan']['devices']], [mocksys.GPU, mocksys.NVME_FREE])
        self.assertTrue(document['plan']['cpu-pins'])
        self.assertIsNone(document['plan']['image-name'])
        refused = self.says('dry-run', 'create', 'x', '--nvme', mocksys.NVME_DATA, '--dry-run', status=1)
        self.assertFalse(refused['ready'])
        self.assertIn('mounted', [f['code'] for f in refused['findings'] if f['severity'] == 'fail'])
        self.assertEqual(self.says('list', 'list'), [])


class Devices(JsonTest):
    def arm(self, fault):
        with open(self.bus.path('state/faults'), 'w', encoding='ascii') as file:
            file.write(fault)

    def test_quarantine(self):
        points = self.root.spawn(f'{BUILD}/tests/bus/vmkit-device', 'faults').stdout.split()
        if 'release-unbound' not in points:
            self.skipTest('vmkit was built without fault points')
        self.run_as(self.alice, 'bind', mocksys.GPU)
        self.arm('release-unbound 1 kill-helper\nrelease-override 1 kill-helper\n')  # and its undoing too
        self.assertTrue(self.fails(1, 'release', mocksys.GPU, caller=self.alice)['remedy'])
        gpu = {d['address']: d for d in self.says('devices', 'devices')}[mocksys.GPU]
        self.assertEqual((gpu['health'], gpu['available']), ('quarantined', False))
        self.assertTrue(gpu['health_detail'])
        self.assertEqual(self.says('device', 'clear-quarantine', '01:00.0')['health'], 'ready')

    def test_virtual_functions(self):
        self.assertEqual(self.says('device', 'vfs', ctl.CARD, '0')['address'], ctl.CARD)
        self.fails(1, 'vfs', mocksys.GPU, '1', caller=self.alice)

    def test_changes(self):
        for argv in (('bind', '01:00.0'), ('release', '01:00.0'), ('reset', mocksys.GPU),
                     ('reserve', mocksys.GPU), ('unreserve', mocksys.GPU)):
            with self.subTest(argv):
                self.assertEqual(self.says('device', *argv)['address'], mocksys.GPU)


class Images(JsonTest):
    def test_store(self):
        self.assertEqual(self.says('images', 'image', 'list'), [])
        image = self.says('image', 'image', 'import', 'disk', self.image)
        self.assertEqual((image['name'], image['owner']), ('disk', fixture.ALICE))
        self.assertEqual(self.says('images', 'image', 'list'), [image])
        self.assertEqual(self.says('image-removed', 'image', 'remove', 'disk'), {'name': 'disk', 'removed': True})


class Jobs(JsonTest):
    def test_no_wait_jobs_and_cancel(self):
        self.run_as(self.alice, 'create', 'slow', '--gpu', mocksys.GPU)
        with self.held():
            job = self.says('no-wait', 'start', 'slow', '--no-wait')['job']
            listed = {j['id']: j for j in self.says('jobs', 'jobs', caller=self.bob)}[job]
            self.assertEqual((listed['operation'], listed['target'], listed['state'], listed['started_by']),
                             ('start', 'slow', 'running', fixture.ALICE))
            self.assertEqual(self.says('job', 'cancel', str(job))['id'], job)
        self.assertEqual(self.alice.finish(f'/org/vmkit/job/{job}')['State'], 'cancelled')
        self.assertEqual(self.fails(1, 'cancel', str(job), caller=self.alice)['name'],
                         'org.vmkit.Error.WrongState')

    def test_monitor(self):
        monitor = self.bob.start(self.PROGRAM, 'monitor', '--json', stdout=subprocess.PIPE, text=True)
        try:
            self.wait_for_match(monitor)
            self.run_as(self.alice, 'create', 'watched', '--start')
            self.run_as(self.alice, 'destroy', 'watched', '--force', '--yes')
            events = self.events_until(monitor, 'removed', 'watched')
            self.bus.restart_vmkitd()
            events += self.events_until(monitor, 'stopped', 'vmkitd') + self.events_until(monitor, 'started', 'vmkitd')
            self.run_as(self.alice, 'create', 'afterwards')
            events += self.events_until(monitor, 'added', 'afterwards')
            monitor.send_signal(signal.SIGINT)
            self.assertEqual(monitor.wait(fixture.TIMEOUT), 130)
        finally:
            monitor.kill()
            monitor.wait()
            monitor.stdout.close()
        seen = {e['event'] for e in events}
        self.assertEqual(seen, {'added', 'changed', 'completed', 'removed', 'stopped', 'started'})
        states = [e['changes']['State'] for e in events if e['name'] == 'watched' and e['event'] == 'changed'
                  and e['changes'].get('State')]
        self.assertIn('running', states)

    def events_until(self, monitor, event, name):
        events = []
        while not events or (events[-1]['event'], events[-1]['name']) != (event, name):
            events.append(self.check(json.loads(monitor.stdout.readline()), 'event'))
        return events

    def wait_for_match(self, monitor):
        """Until it sees what happens: something is made to, over and over."""
        os.set_blocking(monitor.stdout.fileno(), False)

        def seen():
            self.assertIsNone(monitor.poll())
            self.run_as(self.alice, 'create', 'noise')
            self.run_as(self.alice, 'destroy', 'noise', '--yes')
            return monitor.stdout.readline()
        wait_until(seen, 'the first line of monitor')
        os.set_blocking(monitor.stdout.fileno(), True)

class Errors(JsonTest):
    def test_codes(self):
        self.run_as(self.alice, 'create', 'mine')
        for status, name, argv in (
                (1, 'org.vmkit.Error.VMExists', ('create', 'mine')),
                (2, 'org.freedesktop.DBus.Error.InvalidArgs', ('no-such-command',)),
                (2, 'org.freedesktop.DBus.Error.InvalidArgs', ('create',)),
                (2, 'org.freedesktop.DBus.Error.InvalidArgs', ('list', '--memory', '1G')),
                (2, 'org.vmkit.Error.InvalidName', ('create', '../x')),
                (2, 'org.vmkit.Error.InvalidAddress', ('bind', 'gpu')),
                (4, 'org.vmkit.Error.NoSuchVM', ('info', 'nobody')),
                (4, 'org.vmkit.Error.NoSuchDevice', ('bind', '99:00.0')),
                (4, 'org.vmkit.Error.NoSuchImage', ('create', 'x', '@nothing')),
                (4, 'org.vmkit.Error.NoSuchImage', ('create', 'x', '/nonexistent/image')),
                (4, 'org.vmkit.Error.NoSuchJob', ('cancel', '4711'))):
            with self.subTest(argv):
                error = self.fails(status, *argv, caller=self.alice)
                self.assertEqual(error['name'], name)
                self.assertTrue(error['message'])
                self.assertTrue(error['remedy'])

    def test_not_authorised(self):
        self.run_as(self.alice, 'create', 'hers')
        for argv in (('create', 'x'), ('start', 'hers'), ('destroy', 'hers', '--yes'), ('bind', '03:00.0'),
                     ('image', 'import', 'x', self.image), ('attach', 'hers', '03:00.0')):
            with self.subTest(argv):
                error = self.fails(3, *argv)
                self.assertIn('org.vmkit.', error['message'])
                self.assertIn('polkit.addRule', error['remedy'])


class Unreachable(JsonTest):
    VMKITD = False

    def destroy_all(self):
        """There is no service to destroy anything."""

    def test_no_service(self):
        self.assertIn('vmkitd', self.fails(5, 'list')['remedy'])


class Whole(JsonTest):
    """The last class by name: what the others have seen."""

    def test_every_command(self):
        text = self.run_as(self.bob, '--help').stdout.split('Commands:\n')[1].split('\n\n')[0]
        commands = {re.match(r'  (image [a-z]+|[a-z-]+)', line)[1] for line in text.splitlines()
                    if re.match(r'  [a-z]', line)}
        self.assertGreater(len(commands), 20)
        self.assertEqual(commands - self.seen, {'console', 'display', 'help'})


if __name__ == '__main__':
    fixture.main()
