#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is shown on a terminal: its width is kept, colours and signs are those it can show; and into a pipe, where
nothing is cut, coloured or in the way."""

import fcntl
import os
import re
import struct
import subprocess
import termios

import ctl
import fixture
import mocksys

SEQUENCE = re.compile(r'\x1b\[[0-9;]*[a-zA-Z]')


class Terminal(ctl.CtlTest):
    def on_terminal(self, *argv, columns=80, streams=('stdin', 'stdout', 'stderr'), **environment):
        """Runs vmkitctl with these of its streams on a terminal. Returns all that came there, and the rest."""
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
        known = self.bob_or_alice(argv).as_user()
        known['env'] = {**known['env'], 'TERM': 'xterm', **environment}
        others = {name: subprocess.PIPE for name in ('stdout', 'stderr') if name not in streams}
        process = subprocess.Popen([self.PROGRAM, *argv], **known, **{name: slave for name in streams}, **others)
        os.close(slave)
        text = b''
        while more := self.read(master):
            text += more
        rest = b''.join(part for part in process.communicate(timeout=fixture.TIMEOUT) if part)
        os.close(master)
        return text.decode().replace('\r\n', '\n'), rest.decode()

    def bob_or_alice(self, argv):
        return self.alice if argv[0] in ('create', 'image', 'start', 'destroy') else self.bob

    @staticmethod
    def read(master):
        try:
            return os.read(master, 4096)
        except OSError:  # nobody has the other side open
            return b''

    def everything(self):
        self.run_as(self.alice, 'create', 'a-vm-with-a-rather-long-name', '--gpu', mocksys.GPU, '--pin', 'auto')
        for argv in (('devices',), ('devices', '--all'), ('list',), ('info', 'a-vm-with-a-rather-long-name'), ('check',),
                     ('explain', 'gpu'), ('explain', 'nvme'), ('jobs',), ('--help',), ('info', 'nobody'),
                     ('create', 'x', '--gpu', 'auto', '--nvme', 'auto', '--dry-run'), ('create', '--help')):
            yield argv

    def test_width(self):
        for argv in self.everything():
            for columns in (80, 200):
                with self.subTest(argv, columns=columns):
                    text, _ = self.on_terminal(*argv, columns=columns)
                    long = [line for line in SEQUENCE.sub('', text).splitlines() if len(line) > columns]
                    self.assertEqual(long, [])
                    self.assertNotEqual(text, '')

    def test_plain(self):
        """Neither colours nor signs where they are not wanted."""
        for argv in self.everything():
            with self.subTest(argv):
                coloured, _ = self.on_terminal(*argv)
                for environment in ({'NO_COLOR': '1'}, {'TERM': 'dumb'}):
                    self.assertEqual(self.on_terminal(*argv, **environment)[0], SEQUENCE.sub('', coloured))
                self.assertTrue(self.on_terminal(*argv, LC_ALL='C')[0].isascii())
        self.assertIn('\x1b[32mfree', self.on_terminal('devices')[0])
        self.assertIn('✔', self.on_terminal('check')[0])
        self.assertNotIn('\x1b', self.run_as(self.bob, 'devices').stdout)

    def test_nothing_is_cut_in_a_pipe(self):
        text = self.run_as(self.bob, 'devices').stdout
        self.assertIn('/dev/nvme2n1p1 is mounted at /srv/films', text)
        self.assertNotIn('…', text)

    def test_progress(self):
        """On standard error alone, for as long as it lasts, and gone at the end."""
        self.run_as(self.alice, 'create', 'shown', '--gpu', mocksys.GPU)
        master, slave = os.openpty()
        with self.held():
            client = self.alice.start(self.PROGRAM, 'start', 'shown', stderr=slave, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, text=True)
            os.close(slave)
            shown = b''
            while b'binding the devices  0:0' not in shown:  # how long it takes is seen to go on
                shown += os.read(master, 4096)
        while more := self.read(master):
            shown += more
        self.assertEqual(client.communicate(timeout=fixture.TIMEOUT)[0],
                         f'shown is running, with {mocksys.GPU}, {mocksys.GPU_AUDIO}\n')
        self.assertTrue(shown.endswith(b'\r\x1b[K'), shown[-60:])
        os.close(master)

    def test_no_progress(self):
        """Quiet, or no terminal to show it on."""
        for number, (words, streams) in enumerate(((('-q',), ('stdin', 'stderr')), ((), ('stdin', 'stdout')))):
            shown, rest = self.on_terminal('create', f'vm{number}', self.image, *words, streams=streams)
            self.assertNotIn('\r', shown + rest)
            self.assertNotIn('copying', shown + rest)

    def test_monitor(self):
        """A line for what somebody who watches wants to know, and none for the rest."""
        monitor = self.bob.start(self.PROGRAM, 'monitor', stdout=subprocess.PIPE, text=True)
        self.addCleanup(monitor.stdout.close)
        self.addCleanup(monitor.wait)
        self.addCleanup(monitor.kill)
        os.set_blocking(monitor.stdout.fileno(), False)

        def seen():
            self.run_as(self.alice, 'create', 'noise')
            self.run_as(self.alice, 'destroy', 'noise', '--yes')
            return monitor.stdout.readline()
        fixture.wait_until(seen, 'the first line of monitor')
        os.set_blocking(monitor.stdout.fileno(), True)

        self.run_as(self.alice, 'create', 'watched', '--start')
        self.run_as(self.alice, 'create', 'watched', status=1)
        self.run_as(self.alice, 'destroy', 'watched', '--force', '--yes')
        lines = [monitor.stdout.readline()]
        while not re.match(r'\S+  watched +removed$', lines[-1]):
            lines.append(monitor.stdout.readline())
        for line in lines:
            self.assertRegex(line, r'^\d\d:\d\d:\d\d  (job \d+|noise|watched) +[a-z].*$')
        told = [line[28:].strip() for line in lines if '  watched ' in line]
        # States that follow each other at once may be told as one.
        self.assertEqual((told[0], told[-1]), ('added: creating, autostart no', 'removed'))
        self.assertIn('running', told)
        self.assertIn('destroy of watched', [line[28:].strip() for line in lines])

    def test_confirmation(self):
        """A person is asked before a VM is destroyed; a script is not."""
        self.run_as(self.alice, 'create', 'dear')
        master, slave = os.openpty()
        for answer, status in ((b'n\n', 1), (b'y\n', 0)):
            os.write(master, answer)
            done = subprocess.run([self.PROGRAM, 'destroy', 'dear'], **self.alice.as_user(), stdin=slave, stderr=slave,
                                  stdout=subprocess.DEVNULL, timeout=fixture.TIMEOUT, check=False)
            self.assertEqual(done.returncode, status)
        self.assertIsNone(self.state_of('dear'))
        os.close(master)
        os.close(slave)


if __name__ == '__main__':
    fixture.main()
