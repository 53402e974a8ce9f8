#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmkitctl(1) says what the program's own tables say: no command, option, choice or exit code more, and none less."""

import os
import re
import shutil
import subprocess
import unittest

SOURCE, BUILD = os.environ['VMKIT_SOURCE_DIR'], os.environ['VMKIT_BUILD_DIR']
PAGE = f'{SOURCE}/client/vmkitctl.1'
PROGRAM = f'{BUILD}/client/vmkitctl'


def help_of(*command):
    return subprocess.run([PROGRAM, *command, '--help'], check=True, text=True, capture_output=True).stdout


def commands():
    text = help_of().split('Commands:\n')[1].split('\n\n')[0]
    return [re.match(r'  (image [a-z]+|[a-z-]+)', line)[1] for line in text.splitlines() if re.match(r'  [a-z]', line)]


def options(*command):
    """Name to what its value is called ('' for none)."""
    return dict(re.findall(r'^  (?:-\w, )?(--[a-z-]+)(?: (\S+))?', help_of(*command), re.M))


class Manual(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(PAGE, encoding='utf-8') as file:
            source = file.read()
        plain = re.sub(r'\\f[BIRP]', '', source).replace('\\-', '-').replace('\\e', '\\')
        cls.sections = dict(re.findall(r'^\.SH ([A-Z ]+)\n(.*?)(?=^\.SH |\Z)', plain, re.M | re.S))
        cls.plain = plain

    def heads(self):
        """What is explained: the words behind .TP in the list of commands, of which some share a line."""
        text = self.sections['COMMANDS']
        lines = re.findall(r'^\.TP\n(?:\.B )?(.*)$', text, re.M)
        return re.split(r', ', ', '.join(lines))

    def test_commands(self):
        names = [re.match(r'(image [a-z]+|[a-z-]+)', head)[1] for head in self.heads()]
        self.assertEqual(set(names), set(commands()))

    def test_options(self):
        known = {name for command in commands() for name in options(*command.split())} | set(options())
        explained = set(re.findall(r'--[a-z][a-z-]+', self.sections['OPTIONS'] + self.sections['COMMANDS']))
        self.assertEqual(explained, known)

    def test_options_of_create(self):
        text = self.sections['OPTIONS'].split('.SS Options of create')[1]
        own = set(options('create')) - set(options())
        self.assertLessEqual(own, set(re.findall(r'--[a-z][a-z-]+', text)))

    def test_choices(self):
        for command in commands():
            for name, value in options(*command.split()).items():
                for word in re.findall(r'(?:^|\|)([a-z0-9]+|[0-9][MG])(?=\||$)', value):
                    with self.subTest(command=command, option=name):
                        self.assertIn(word, self.plain)

    def test_exit_codes(self):
        with open(f'{SOURCE}/client/failure.h', encoding='utf-8') as file:
            codes = re.findall(r'^ +EXIT_[A-Z]+ = (\d+),', file.read(), re.M)
        self.assertGreater(len(codes), 5)
        self.assertEqual(re.findall(r'^(\d+)\t', self.sections['EXIT STATUS'], re.M), codes)

    def test_environment(self):
        """Every variable that the sources read."""
        read = set()
        for name in os.listdir(f'{SOURCE}/client'):
            if name.endswith('.c'):
                with open(f'{SOURCE}/client/{name}', encoding='utf-8') as file:
                    read |= set(re.findall(r'getenv\("([A-Z_]+)"\)', file.read()))
        self.assertIn('NO_COLOR', read)
        for name in read - {'PATH'}:
            self.assertIn(name, self.sections['ENVIRONMENT'])

    @unittest.skipUnless(shutil.which('man'), 'needs man-db')
    def test_man(self):
        done = subprocess.run(['man', '--warnings', '-E', 'UTF-8', '-l', PAGE], env={**os.environ, 'MANWIDTH': '80'},
                              text=True, capture_output=True, check=True)
        self.assertEqual(done.stderr, '')
        self.assertEqual([line for line in done.stdout.splitlines() if len(line) > 100], [])

    @unittest.skipUnless(shutil.which('mandoc'), 'needs mandoc')
    def test_mandoc(self):
        done = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', PAGE], text=True, capture_output=True,
                              check=False)
        self.assertEqual(done.stdout + done.stderr, '')


if __name__ == '__main__':
    unittest.main(verbosity=2)
