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

# Hosts that are away, without vmkit, with a service that is down, or that never answer are told by their names.
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

    def validate(self, members):
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


if __name__ == '__main__':
    fixture.main()
