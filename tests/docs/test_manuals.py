# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual pages: well formed, readable on 80 columns, and complete. What they must name is taken from the
program and the sources, and looked for in what a reader sees.

Usage: test_manuals.py VMKITD PAGE...
"""

import os
import re
import subprocess
import sys
import unittest
import xml.etree.ElementTree as ET

SOURCE = os.environ['VMKIT_SOURCE_DIR']
COLUMNS = 80
VMKITD, *PAGES = sys.argv[1:]


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True,
                          env={**os.environ, 'MANWIDTH': str(COLUMNS), 'LC_ALL': 'C.UTF-8'})


def rendered(name):
    """A page as a terminal shows it, without bold and underline."""
    page = next(page for page in PAGES if os.path.basename(page) == name)
    return re.sub('.\b', '', run('man', '-l', page).stdout)


def complaints(page):
    lint = subprocess.run(['mandoc', '-T', 'lint', page], capture_output=True, text=True, check=False)
    return run('man', '--warnings', '-l', page).stderr + lint.stdout + lint.stderr


def source(path):
    with open(f'{SOURCE}/{path}', encoding='utf-8') as file:
        return file.read()


def entries(text):
    """What stands at the beginning of a line: the heads of entries."""
    return set(re.findall(r'^ +(\S+)', text, re.MULTILINE))


class Form(unittest.TestCase):
    def test_lint(self):
        for page in PAGES:
            with self.subTest(page=page):
                self.assertEqual(complaints(page), '')

    def test_width(self):
        for page in PAGES:
            for line in rendered(os.path.basename(page)).splitlines():
                self.assertLessEqual(len(line), COLUMNS, page)


class Service(unittest.TestCase):
    def test_options(self):
        known = set(re.findall(r'^ +(--[a-z-]+)', run(VMKITD, '--help').stdout, re.MULTILINE))
        written = {word for word in entries(rendered('vmkitd.8')) if word.startswith('--')}
        self.assertIn('--state-dir', known)
        self.assertEqual(written, known)


class Interface(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = rendered('org.vmkit.Manager.5')
        cls.entries = entries(cls.text)

    def section(self, title):
        return re.split(r'^(?=\S)', self.text.split(f'\n{title}\n', 1)[1], flags=re.MULTILINE)[0]

    def test_members(self):
        for name in ('Manager', 'VM', 'Device', 'Job'):
            section = self.section(f'INTERFACE ORG.VMKIT.{name.upper()}')
            for member in ET.fromstring(source(f'dbus/org.vmkit.{name}.xml').split('?>', 1)[1]).find('interface'):
                with self.subTest(interface=name, member=member.get('name')):
                    self.assertIn(member.get('name'), entries(section))
                    for argument in member.iter('arg'):
                        self.assertIn(f'{argument.get("type")} {argument.get("name")}', ' '.join(section.split()))

    def test_options_of_create(self):
        table = source('dbus/org.vmkit.Manager.xml').split('PlanVM:')[0]
        keys = re.findall(r'<row><entry>([a-z-]+)</entry>', table)
        self.assertIn('hide-hypervisor', keys)
        self.assertLessEqual(set(keys), self.entries)

    def test_errors(self):
        names = re.findall(r'^ +ENTRY\(\w+, "(\w+)"', source('dbus/errors.c'), re.MULTILINE)
        self.assertIn('DeviceInUse', names)
        self.assertLessEqual(set(names), entries(self.section('ERRORS')))

    def test_actions(self):
        policy = ET.fromstring(source('polkit/org.vmkit.policy').split('?>', 1)[1])
        section = self.section('POLKIT ACTIONS')
        for action in policy.iter('action'):
            self.assertIn(action.get('id'), entries(section))


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
