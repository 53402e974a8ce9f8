#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What completion offers: by vmkitctl itself, and by bash, zsh and fish with the scripts of the tree."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

import ctl
import fixture
import mocksys
from fixture import SOURCE

SCRIPTS = f'{SOURCE}/client/completions'

# Loads the library as a login shell does, and asks the function as readline does.
BASH = '''
. /usr/share/bash-completion/bash_completion
. "$SCRIPTS/vmkitctl.bash"
complete -p vmkitctl >&2
COMP_LINE=$LINE COMP_POINT=${#LINE}
_get_words() { COMP_WORDS=("$@"); }
eval "_get_words $WORDS"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { :; }
_vmkitctl
printf '%s\\n' "${COMPREPLY[@]}"
'''

# compadd is what every completion ends in: it is asked what matches, and the shell is left.
ZSH = '''
autoload -U compinit && compinit -u -d $HOME/dump
fpath=($SCRIPTS $fpath)
autoload -U _vmkitctl && compdef _vmkitctl vmkitctl
compadd() {
    local -a found
    builtin compadd -O found "$@"
    print -rl -- $found >>$OUT
    builtin compadd "$@"
}
probe() { zle complete-word; exit }
zle -N probe
bindkey '^X' probe
print ready
'''


class CompletionTest(ctl.CtlTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.directory = cls.bus.path('bin')
        os.mkdir(cls.directory)
        os.symlink(cls.PROGRAM, f'{cls.directory}/vmkitctl')

    def setUp(self):
        super().setUp()
        self.run_as(self.alice, 'create', 'gaming-vm')
        self.run_as(self.alice, 'create', 'gaming-2')
        self.run_as(self.alice, 'create', 'other')

    def environment(self, **more):
        known = self.alice.as_user()
        return {**known, 'env': {**known['env'], 'PATH': f'{self.directory}:{known["env"]["PATH"]}',
                                 'SCRIPTS': SCRIPTS, 'TERM': 'dumb', **more}}

    def offered(self, *words):
        """What vmkitctl offers for the last word: {candidate: description}."""
        out = self.run_as(self.alice, '--complete', *words).stdout
        return dict((line.split('\t') + [''])[:2] for line in out.splitlines())


class Offers(CompletionTest):
    def commands(self):
        text = self.run_as(self.bob, '--help').stdout.split('Commands:\n')[1].split('\n\n')[0]
        return [re.match(r'  (image [a-z]+|[a-z-]+)', line)[1] for line in text.splitlines()
                if re.match(r'  [a-z]', line)]

    def test_commands(self):
        self.assertEqual(set(self.offered('')), {name.split()[0] for name in self.commands()})
        self.assertEqual(set(self.offered('image', '')), {'import', 'list', 'remove'})
        self.assertEqual(set(self.offered('sta')), {'start'})
        self.assertEqual(self.offered('no-such-command', 'x'), self.offered('x'))

    def test_every_option(self):
        """Of every command, those that its help shows."""
        for command in self.commands():
            text = self.run_as(self.bob, *command.split(), '--help').stdout
            shown = set(re.findall(r'^  (?:-., )?(--[a-z-]+)', text, re.M))
            self.assertEqual(set(self.offered(*command.split(), '--')), shown, command)
            self.assertIn('--json', shown)

    def test_names_of_vms(self):
        for words in (('start',), ('info', '--json'), ('-q', 'stop', '--timeout', '5'), ('destroy', '--')):
            self.assertEqual(set(self.offered(*words, 'ga')), {'gaming-vm', 'gaming-2'}, words)
        self.assertEqual(self.offered('info', 'other'), {'other': 'stopped'})
        self.assertEqual(self.offered('create', ''), {})
        self.assertEqual(self.offered('info', 'other', ''), {})

    def test_addresses(self):
        self.assertIn(mocksys.NVME_FREE, self.offered('attach', 'other', ''))
        self.assertEqual(set(self.offered('bind', '0000:01:')), {mocksys.GPU, mocksys.GPU_AUDIO})
        self.assertEqual(set(self.offered('bind', '01:')), {'01:00.0', '01:00.1'})
        self.assertNotIn(mocksys.PORT, self.offered('bind', ''))
        self.assertEqual(set(self.offered('explain', 'g')), {'gpu'})
        self.assertEqual(set(self.offered('create', 'x', '--gpu', '0')), {mocksys.GPU, mocksys.IGPU})
        self.assertEqual(set(self.offered('create', 'x', '--nvme=auto')), {'--nvme=auto'})
        self.assertEqual(set(self.offered('create', 'x', '--gpu', 'auto:')), {'auto:nvidia', 'auto:amd', 'auto:intel'})
        self.assertEqual(set(self.offered('create', 'x', '--rom', mocksys.GPU)), {f'{mocksys.GPU}='})

    def test_values(self):
        self.assertEqual(set(self.offered('create', 'x', '--graphics', '')), {'none', 'spice', 'vnc'})
        self.assertEqual(set(self.offered('create', 'x', '--network', '')), {'none', 'user'})
        self.assertEqual(set(self.offered('create', 'x', '--memory', '')), set())
        self.assertEqual(set(self.offered('create', 'x', '--cdrom', '')), {':files'})
        self.assertEqual(set(self.offered('-H', '')), {':hosts'})
        self.assertEqual(set(self.offered('autostart', 'other', '')), {'on', 'off'})

    def test_codes(self):
        """All those that the service lets anyone override, and no others."""
        with open(f'{SOURCE}/daemon/host/reason.c', encoding='utf-8') as file:
            codes = re.findall(r'REASON_[A-Z_]+\] = { "([a-z-]+)"', file.read())
        self.assertGreater(len(codes), 20)
        self.assertEqual(set(self.offered('create', 'x', '--allow', '')), set(filter(self.is_overridable, codes)))

    def is_overridable(self, code):
        try:
            self.alice.manager('PlanVM', 'x', {'allow': [code]})
        except fixture.Refused:
            return False
        return True

    def test_images_and_jobs(self):
        self.run_as(self.alice, 'image', 'import', 'disk', self.image)
        self.assertEqual(set(self.offered('create', 'x', '@')), {'@disk', ':files'})
        self.assertEqual(self.offered('image', 'remove', ''), {'disk': 'qcow2'})
        jobs = {path.rsplit('/', 1)[1] for path in self.root.get(fixture.MANAGER, 'Manager', 'Jobs')}
        self.assertLessEqual(set(self.offered('cancel', '')), jobs)
        self.run_as(self.alice, 'image', 'remove', 'disk')

    def test_elsewhere(self):
        """Names of this host are not offered for another one."""
        self.assertEqual(self.offered('-H', 'box', 'info', ''), {})

    def test_without_a_service(self):
        environment = self.environment(DBUS_SYSTEM_BUS_ADDRESS='unix:path=/nonexistent')
        done = subprocess.run([self.PROGRAM, '--complete', 'info', ''], **environment, text=True,
                              capture_output=True, check=True, timeout=fixture.TIMEOUT)
        self.assertEqual((done.stdout, done.stderr), ('', ''))


class Shell(CompletionTest):
    def check(self):
        """The same of each shell."""
        self.assertEqual(set(self.complete('vmkitctl', 'info', 'gam')), {'gaming-vm', 'gaming-2'})
        self.assertEqual(set(self.complete('vmkitctl', 'unres')), {'unreserve'})
        self.assertEqual(set(self.complete('vmkitctl', 'image', 'l')), {'list'})
        self.assertEqual(set(self.complete('vmkitctl', 'create', 'x', '--hug')), {'--hugepages'})
        self.assertEqual(set(self.complete('vmkitctl', 'create', 'x', '--firmware', '')), {'uefi', 'bios'})
        self.assertIn('image.qcow2', ' '.join(self.complete('vmkitctl', 'create', 'x', self.image[:-3])))


@unittest.skipUnless(os.path.exists('/usr/share/bash-completion/bash_completion'), 'needs bash-completion')
class Bash(Shell):
    def complete(self, *words):
        line = ' '.join(words)
        # Readline splits words at ':' and '='.
        parts = [part for word in words for part in (re.findall(r'[:=]+|[^:=]+', word) or [''])]
        quoted = ' '.join(f"'{part}'" for part in parts)
        done = subprocess.run(['bash', '--norc', '-c', BASH], **self.environment(LINE=line, WORDS=quoted), text=True,
                              capture_output=True, check=True, timeout=fixture.TIMEOUT)
        self.assertIn('complete -F _vmkitctl vmkitctl', done.stderr)
        return done.stdout.split()

    def test_bash(self):
        self.check()

    def test_colons(self):
        """What stands before the last colon is not repeated."""
        self.assertEqual(set(self.complete('vmkitctl', 'bind', '0000:01:00.')), {'00.0', '00.1'})
        self.assertEqual(self.complete('vmkitctl', 'create', 'x', '--firmware=u'), ['uefi'])


@unittest.skipUnless(shutil.which('fish'), 'needs fish')
class Fish(Shell):
    def complete(self, *words):
        with tempfile.TemporaryDirectory() as home:
            os.chmod(home, 0o777)
            command = f'source {SCRIPTS}/vmkitctl.fish; complete -C "{" ".join(words)}"'
            done = subprocess.run(['fish', '--no-config', '-c', command], **self.environment(HOME=home), text=True,
                                  capture_output=True, check=True, timeout=fixture.TIMEOUT)
        return [line.split('\t')[0] for line in done.stdout.splitlines()]

    def test_fish(self):
        self.check()
        self.assertEqual(set(self.complete('vmkitctl', 'bind', '0000:01:00.')), {mocksys.GPU, mocksys.GPU_AUDIO})
        self.assertEqual(self.complete('vmkitctl', 'create', 'x', '--firmware=u'), ['--firmware=uefi'])


@unittest.skipUnless(shutil.which('zsh'), 'needs zsh')
class Zsh(Shell):
    def setUp(self):
        super().setUp()
        self.home = tempfile.mkdtemp()
        os.chmod(self.home, 0o777)
        self.addCleanup(shutil.rmtree, self.home)
        with open(f'{self.home}/rc', 'w', encoding='ascii') as file:
            file.write(ZSH)

    def complete(self, *words):
        """An interactive shell on a terminal of its own: the line is typed, and a key asks for its completion."""
        out = f'{self.home}/out'
        with open(out, 'w', encoding='ascii'):
            os.chmod(out, 0o666)
        master, slave = os.openpty()
        shell = subprocess.Popen(['zsh', '-f', '-i'], **self.environment(HOME=self.home, OUT=out),
                                 stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        try:
            os.write(master, f'. {self.home}/rc\n'.encode())
            self.read_until(master, b'\nready')
            os.write(master, ' '.join(words).encode() + b'\x18')
            self.read_until(master, None)
            shell.wait(fixture.TIMEOUT)
        finally:
            shell.kill()
            shell.wait()
            os.close(master)
        with open(out, encoding='utf-8') as file:
            return [word for word in file.read().splitlines() if word]

    @staticmethod
    def read_until(fd, end):
        """Until these bytes have come, or with None until nobody writes any more."""
        text = b''
        while end is None or end not in text:
            try:
                more = os.read(fd, 4096)
            except OSError:  # the other side is closed
                more = b''
            if not more:
                return
            text += more.replace(b'\r', b'')

    def test_zsh(self):
        self.check()
        self.assertEqual(set(self.complete('vmkitctl', 'bind', '0000:01:00.')), {mocksys.GPU, mocksys.GPU_AUDIO})
        self.assertEqual(set(self.complete('vmkitctl', 'create', 'x', '--firmware=u')), {'--firmware=uefi'})


if __name__ == '__main__':
    fixture.main()
