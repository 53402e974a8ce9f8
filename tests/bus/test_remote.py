#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmkitctl -H: on one host and on several, with an ssh that runs its command line here, through a shell as the
real one does. What it was called with, and whether it had a terminal, is on record."""

import json
import os
import signal
import subprocess
import sys

import ctl
import fixture
from fixture import SOURCE, wait_until

try:
    import jsonschema
except ImportError:
    print('skipped: needs python3-jsonschema')
    sys.exit(fixture.SKIPPED)

# Hosts that are away, without vmkit, with a service that is down, that never answer, or that answer with what the test
# has written are told by their names.
SSH = '''#!/bin/sh
printf '%s\\n' "$*" >>"$SSH_LOG"
while [ "$1" != -- ]; do shift; done
host=$2
shift 2
case $host in
away*) echo "ssh: connect to host $host port 22: No route to host" >&2; exit 255 ;;
bare*) PATH=/nonexistent; export PATH; exec /bin/sh -c "$*" ;;
down*) DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent; export DBUS_SYSTEM_BUS_ADDRESS ;;
meet*) # waits for the others of its kind
    touch "$SSH_LOG.$host"
    while [ ! -e "$SSH_LOG.meet1" ] || [ ! -e "$SSH_LOG.meet2" ] || [ ! -e "$SSH_LOG.meet3" ]; do sleep 0.05; done ;;
hang*) echo $$ >"$SSH_LOG.hang"; exec sleep 1000 ;;
evil*) cat "$SSH_LOG.out"; cat "$SSH_LOG.err" >&2; exit "$(cat "$SSH_LOG.code")" ;;
stop*) trap 'exit 255' INT; echo $$ >"$SSH_LOG.stop"; while :; do sleep 0.05; done ;;
esac
echo "Welcome to $host" >&2
exec /bin/sh -c "$*"
'''


def ended(pid):
    """The process is gone, or waits for this one, which is its first ancestor here, to look at how it ended."""
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as file:
            return file.read().rsplit(')', 1)[1].split()[0] == 'Z'
    except FileNotFoundError:
        return True


class RemoteTest(ctl.CtlTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.directory = cls.bus.path('remote')
        os.mkdir(cls.directory)
        os.chmod(cls.directory, 0o777)
        with open(f'{cls.directory}/ssh', 'w', encoding='ascii') as file:
            file.write(SSH)
        os.chmod(f'{cls.directory}/ssh', 0o755)
        os.symlink(cls.PROGRAM, f'{cls.directory}/vmkitctl')
        cls.log = f'{cls.directory}/log'

    def setUp(self):
        super().setUp()
        with open(self.log, 'w', encoding='ascii'):
            pass
        os.chmod(self.log, 0o666)

    def environment(self, caller):
        known = caller.as_user()
        path = f'{self.directory}:{known["env"]["PATH"]}'
        return {**known, 'env': {**known['env'], 'PATH': path, 'SSH_LOG': self.log}}

    def remote(self, caller, *argv, status=0, **kwargs):
        done = subprocess.run([self.PROGRAM, *argv], **self.environment(caller), text=True, capture_output=True,
                              timeout=fixture.TIMEOUT, check=False, **kwargs)
        self.assertEqual(done.returncode, status, f'vmkitctl {" ".join(argv)}: {done.stdout}{done.stderr}')
        return done

    def calls(self):
        with open(self.log, encoding='utf-8') as file:
            return file.read().splitlines()


class OneHost(RemoteTest):
    def test_the_same_answer(self):
        for argv in (('list',), ('devices', '--all'), ('explain', 'gpu'), ('check', '--json')):
            self.assertEqual(self.remote(self.bob, '-H', 'box', *argv).stdout, self.run_as(self.bob, *argv).stdout)

    def test_exit_codes(self):
        self.remote(self.bob, '-H', 'box', 'info', 'nobody', status=4)
        self.remote(self.bob, '-H', 'box', '--no-ask-password', 'create', 'x', status=3)
        self.remote(self.bob, '-H', 'down', 'list', status=5)
        self.assertIn('ssh away', self.remote(self.bob, '-H', 'away', 'list', status=5).stderr)
        self.assertIn("no vmkitctl on 'bare'", self.remote(self.bob, '-H', 'bare', 'list', status=5).stderr)

    def test_words_stay_words(self):
        """Nothing that is given becomes the shell's, and no host an option of ssh."""
        for name in ("it's", '$(touch /tmp/x)', '; false', '--json', '*'):
            self.assertIn(name, self.remote(self.bob, '-H', 'me@box', 'info', '--', name, status=2).stderr)
        self.remote(self.bob, '--host=-oProxyCommand=touch', 'list')
        self.assertTrue(all(' -- ' in call for call in self.calls()))

    def test_an_image_through_standard_input(self):
        self.remote(self.alice, '-H', 'box', 'image', 'import', 'sent', self.image)
        self.assertEqual([i['name'] for i in self.json_of(self.alice, 'image', 'list')], ['sent'])
        self.assertIn('-T', self.calls()[0].split())
        self.remote(self.alice, '-H', 'box', 'create', 'far', self.image, '--ssh-key',
                    'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAzutoAu me')
        self.assertEqual(self.state_of('far'), 'stopped')
        self.run_as(self.alice, 'image', 'remove', 'sent')

    def test_one_file_only(self):
        self.remote(self.alice, '-H', 'box', 'create', 'x', self.image, '--cdrom', self.image, status=2)
        self.assertEqual(self.calls(), [])

    def test_interrupted(self):
        """ssh ends as it does when it could not connect, but that is not why."""
        client = subprocess.Popen([self.PROGRAM, '-H', 'stop', 'image', 'import', 'x', self.image],
                                  **self.environment(self.alice), start_new_session=True, stderr=subprocess.PIPE,
                                  text=True)
        wait_until(lambda: os.path.exists(f'{self.log}.stop'), 'ssh to wait')
        os.killpg(client.pid, signal.SIGINT)
        _, errors = client.communicate(timeout=fixture.TIMEOUT)
        self.assertEqual(client.returncode, 130)
        self.assertIn('--host stop jobs', errors)

    def test_display(self):
        """What the other side says, and its exit code."""
        self.run_as(self.alice, 'create', 'blind')
        done = self.remote(self.alice, '-H', 'box', 'display', 'blind', status=1)
        self.assertIn('without graphics', done.stderr)
        self.remote(self.alice, '-H', 'box', 'display', 'nobody', status=4)
        self.remote(self.alice, '-H', 'away', 'display', 'blind', status=5)

    def test_a_terminal_for_prompts(self):
        """script gives it a terminal, which ssh is asked to continue over there."""
        command = f'{self.PROGRAM} -H box list'
        subprocess.run(['script', '-qec', command, '/dev/null'], **self.environment(self.bob), check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=fixture.TIMEOUT)
        self.assertIn('-t', self.calls()[0].split())


class Fleet(RemoteTest):
    def test_list(self):
        self.run_as(self.alice, 'create', 'everywhere')
        lines = self.remote(self.bob, '-H', 'one,me@two', '-H', 'three', 'list').stdout.splitlines()
        self.assertEqual([line.split()[:2] for line in lines],
                         [['HOST', 'NAME'], ['one', 'everywhere'], ['me@two', 'everywhere'], ['three', 'everywhere']])
        self.assertTrue(all(line.split()[3] == 'alice' for line in lines[1:]))

    def test_nothing_anywhere(self):
        done = self.remote(self.bob, '-H', 'one,two', 'list')
        self.assertEqual((done.stdout, done.stderr), ('', 'There are no VMs.\n'))

    def test_devices(self):
        done = self.remote(self.bob, '-H', 'one,two', 'devices', '--kind', 'gpu').stdout.splitlines()
        alone = self.run_as(self.bob, 'devices', '--kind', 'gpu').stdout.splitlines()
        self.assertEqual([line.split() for line in done[1:]],
                         [[host, *line.split()] for host in ('one', 'two') for line in alone[1:]])

    def test_check(self):
        done = self.remote(self.bob, '-H', 'one,two', 'check')
        self.assertNotIn('fail', done.stdout)
        with self.moved('sys/bus/pci/drivers/vfio-pci'):
            done = self.remote(self.bob, '-H', 'one,two', 'check', status=1)
            quiet = self.remote(self.bob, '-q', '-H', 'one,two', 'check', status=1)
        failed = [line.split()[:3] for line in done.stdout.splitlines() if 'fail' in line]
        self.assertEqual(failed, [['one', 'fail', 'vfio-module'], ['two', 'fail', 'vfio-module']])
        self.assertIn('-H HOST check', done.stderr)
        self.assertEqual((quiet.stdout, quiet.stderr), ('', ''))

    def test_one_is_away(self):
        """The others are shown all the same."""
        self.run_as(self.alice, 'create', 'here')
        done = self.remote(self.bob, '-H', 'one,away,bare,down', 'list', status=5)
        self.assertEqual([line.split()[0] for line in done.stdout.splitlines()], ['HOST', 'one'])
        for host, words in (('away', 'No route to host'), ('bare', 'no vmkitctl'), ('down', 'cannot be reached')):
            line = next(li for li in done.stderr.splitlines() if li.startswith(f'{host}:'))
            self.assertIn(words, line)

    def test_json(self):
        self.run_as(self.alice, 'create', 'here')
        members = json.loads(self.remote(self.bob, '-H', 'one,away,down', 'list', '--json', status=5).stdout)
        self.assertEqual([(m['host'], m['exit_code']) for m in members], [('one', 0), ('away', 5), ('down', 5)])
        self.assertEqual(members[0]['result'], self.json_of(self.bob, 'list'))
        self.assertIsNone(members[0]['error'])
        self.assertTrue(all(m['result'] is None and m['error']['remedy'] for m in members[1:]))
        self.validate(members)
        for command in ('devices', 'check'):
            self.validate(json.loads(self.remote(self.bob, '-H', 'one,two', command, '--json').stdout))

    @staticmethod
    def validate(members):
        with open(f'{SOURCE}/client/schema/vmkitctl.schema.json', encoding='utf-8') as file:
            schema = json.load(file)
        jsonschema.validate(members, {**schema, 'anyOf': [{'$ref': '#/$defs/fleet'}]},
                            jsonschema.Draft202012Validator)

    def test_in_parallel(self):
        """Each of these hosts answers when all of them have been asked."""
        self.remote(self.bob, '-H', 'meet1,meet2,meet3', 'list')

    def test_many(self):
        hosts = ','.join(f'host{i}' for i in range(40))
        members = json.loads(self.remote(self.bob, '-H', hosts, 'list', '--json').stdout)
        self.assertEqual([m['host'] for m in members], hosts.split(','))
        self.assertEqual({m['exit_code'] for m in members}, {0})

    def test_nobody_is_asked_for_a_password(self):
        self.remote(self.bob, '-H', 'one,two', 'list')
        self.assertTrue(all('BatchMode=yes' in call for call in self.calls()))

    def test_once_each(self):
        self.remote(self.bob, '-H', 'one,two,one', '-H', 'two', 'list')
        self.assertEqual(len(self.calls()), 2)

    def test_refused(self):
        for argv in (('-H', 'one,two', 'create', 'x'), ('-H', 'one,,two', 'list'), ('-H', 'one,', 'check')):
            self.remote(self.bob, *argv, status=2)
        self.assertEqual(self.calls(), [])

    def test_interrupted(self):
        """Ctrl-C reaches all of them, as it does on a terminal: nothing is left behind."""
        client = subprocess.Popen([self.PROGRAM, '-H', 'hang,one', 'list'], **self.environment(self.bob),
                                  start_new_session=True, stdout=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(f'{self.log}.hang'), 'ssh to hang')
        with open(f'{self.log}.hang', encoding='ascii') as file:
            pid = wait_until(lambda: file.read().strip(), 'its number')
        os.killpg(client.pid, signal.SIGINT)
        self.assertEqual(client.wait(fixture.TIMEOUT), -signal.SIGINT)
        wait_until(lambda: ended(pid), 'ssh to be gone')


# A title, an erased screen, C1 control characters, DEL, and a change of direction; and what is left of it.
PAINT = '\x1b]0;title\x07\x1b[2J\u009b31m\x7f\r\u202egnol\u2066'
NO_ANSWER = 'sent no answer that this version understands'

VERBS = ('list', 'devices', 'check')


def error_document(**error):
    return json.dumps({'error': error})


class HostileHost(RemoteTest):
    """One host of two may answer whatever it likes: the other is shown, and the terminal is left alone."""

    def setUp(self):
        super().setUp()
        self.run_as(self.alice, 'create', 'here')
        self.good = {verb: self.remote(self.bob, '-H', 'one,two', verb).stdout.splitlines() for verb in VERBS}
        self.document = {verb: json.loads(self.run_as(self.bob, verb, '--json').stdout) for verb in VERBS}

    def answer(self, out='', err='', code=0):
        for name, text in (('out', out), ('err', err), ('code', str(code))):
            with open(f'{self.log}.{name}', 'wb') as file:
                file.write(text if isinstance(text, bytes) else text.encode())
            os.chmod(f'{self.log}.{name}', 0o644)

    def ask(self, verb, status, *options):
        """Returns what is said of the hostile host. Of the good one there is all that there is."""
        done = self.remote(self.bob, '-H', 'one,evil', verb, *options, status=status)
        self.assert_harmless(done.stdout + done.stderr)
        if not options:
            rows = [line.split() for line in done.stdout.splitlines() if line.split()[0] == 'one']
            self.assertEqual(rows, [line.split() for line in self.good[verb] if line.split()[0] == 'one'])
        return done

    def assert_harmless(self, text):
        for character in '\x1b\x07\x7f\r\x00\u009b\u202e\u2066':
            self.assertNotIn(character, text)

    def no_answer(self, verb, status=1):
        errors = self.ask(verb, status).stderr.splitlines()
        self.assertEqual(len(errors), 2, errors)
        self.assertTrue(errors[0].startswith("evil: 'evil' ") and NO_ANSWER in errors[0], errors)
        self.assertIn('vmkitctl --version', errors[1])
        members = json.loads(self.ask(verb, status, '--json').stdout)
        Fleet.validate(members)
        self.assertEqual([m['exit_code'] for m in members], [0, status])
        self.assertIsNone(members[1]['result'])
        self.assertIn(NO_ANSWER, members[1]['error']['message'])

    def test_no_document(self):
        for out in ('', 'hello', '1', 'null', '"x"', '{}', '[1]', '[[]]', '[null]', '[{}]', '{"checks": 5}', '{"checks": [1]}',
                    '{"checks": [[]]}', '[' * 100000, '{"a":' * 1000, '[]\0', '[][]', '[] x', PAINT, b'[{"name": "\x9b"}]',
                    '[{"name": 1}]', '[{"address": {}}]', '{"checks": [{"status": 0}]}'):
            self.answer(out)
            for verb in VERBS:
                with self.subTest(verb, out=out[:40]):
                    self.no_answer(verb)

    def test_a_field_of_another_type(self):
        for verb in VERBS:
            rows = self.document[verb]['checks'] if verb == 'check' else self.document[verb]
            for key in ('name', 'state', 'cpus', 'devices', 'address', 'product', 'in_use', 'available', 'id', 'summary'):
                for value in (1.5, [[1]], {'a': 1}):
                    if key not in rows[0]:
                        continue
                    wrong = [{**rows[0], key: value}]
                    self.answer(json.dumps({'ready': True, 'checks': wrong} if verb == 'check' else wrong))
                    with self.subTest(verb, key=key, value=value):
                        self.no_answer(verb)

    def test_an_error_that_is_none(self):
        for error in ('5', 'null', '[]', '[{"message": "x"}]', '{}', '{"message": 1}', '{"message": null}',
                      '{"message": "x", "remedy": [1]}', '{"message": "x", "name": {}}'):
            for code in (0, 1, 3):
                self.answer(err=f'Welcome\n{{"error": {error}}}\n', code=code)
                with self.subTest(error=error, code=code):
                    self.no_answer('list', max(code, 1))

    def test_junk(self):
        """As much as it likes to send, of which no more than 16 MiB are kept."""
        for out, err in ((b'x' * (20 << 20), ''), (b'[' + b'{},' * (5 << 20) + b'{}]', ''), ('', b'\x1b[2J' * (5 << 20))):
            self.answer(out, err, code=0)
            done = self.ask('list', 1)
            self.assertLess(len(done.stderr), 4096)

    def test_exit_codes(self):
        for code, status in ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 1), (130, 1), (254, 1), (255, 5), (127, 5)):
            self.answer(json.dumps(self.document['list']), error_document(name='x', message='no'), code)
            with self.subTest(code=code):
                self.assertEqual(bool(self.ask('list', status).stderr), code != 0)

    def test_painted_values(self):
        """They are shown, as far as they can be."""
        painted = {'list': [{'name': PAINT, 'state': PAINT, 'owner_name': PAINT, 'devices': [PAINT], PAINT: PAINT, 'host': PAINT}],
                   'devices': [{'address': f'x{PAINT}\none  forged', 'kind': PAINT, 'product': PAINT, 'driver': PAINT,
                                'in_use': [{'code': PAINT, 'detail': PAINT}], 'iommu_group': 1}],
                   'check': {'ready': False, 'checks': [{'status': PAINT, 'id': PAINT, 'summary': f'{PAINT}\none  forged'}]}}
        for verb in VERBS:
            self.answer(json.dumps(painted[verb], ensure_ascii=False))
            with self.subTest(verb):
                shown = [line for line in self.ask(verb, 0).stdout.splitlines() if line.startswith('evil ')]
                self.assertEqual(len(shown), 1)
                self.assertIn('?]0;title??[2J??31m', shown[0])
                members = json.loads(self.ask(verb, 0, '--json').stdout)
                self.assertEqual(members[1]['result'], painted[verb])

    def test_painted_errors(self):
        said = error_document(name=PAINT, message=f'{PAINT} failed\none: forged', remedy=f'Do {PAINT}\none: forged')
        for err, code in ((said, 1), (PAINT, 1), (PAINT, 255), (PAINT, 127), (PAINT, 200)):
            self.answer(err=f'{PAINT}\n{err}', code=code)
            for verb in VERBS:
                with self.subTest(verb, err=err[:20], code=code):
                    status = {255: 5, 127: 5, 200: 1}.get(code, code)
                    errors = self.ask(verb, status).stderr
                    self.assertIn('evil: ', errors)
                    self.assertFalse([line for line in errors.splitlines() if line.startswith('one')], errors)
                    self.ask(verb, status, '--json')

    def test_unicode_stays(self):
        self.answer(json.dumps([{'address': '0000:01:00.0', 'product': 'Gr\u00fc\u00dfe \u20ac \U0001f600'}], ensure_ascii=False))
        self.assertIn('Gr\u00fc\u00dfe \u20ac \U0001f600', self.ask('devices', 0).stdout)

    def test_check_is_quiet(self):
        self.answer('[1]', code=1)
        self.assertNotIn('says what to do about it', self.ask('check', 1).stderr)


if __name__ == '__main__':
    fixture.main()
