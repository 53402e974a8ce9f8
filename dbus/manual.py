#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes org.vmkit.Manager(5) from what documents the interface already: the comments of the interface XML, which
are in the form that gdbus-codegen reads, the table of errors, and the actions of polkit.

A comment names its member in its first line; then come '@argument: text', and paragraphs, separated by empty lines,
in DocBook's markup. A member without a comment is an error, and so is an argument.

Usage: manual.py VERSION DATE ERRORS POLICY INTERFACE...
"""

import re
import sys
import textwrap
import xml.etree.ElementTree as ET

TITLE = 'org.vmkit.Manager'
CHANGE_SIGNAL = 'org.freedesktop.DBus.Property.EmitsChangedSignal'
CHANGES = {'const': 'constant', 'invalidates': 'changes are signalled without the value',
           'false': 'no change signal', 'true': ''}

INTRODUCTION = r'''.SH NAME
org.vmkit.Manager \- D\-Bus interface of vmkitd
.SH SYNOPSIS
.nf
.BR busctl " introspect org.vmkit.Manager /org/vmkit/Manager"
.BR busctl " tree org.vmkit.Manager"
.fi
.SH DESCRIPTION
.BR vmkitd (8)
is on the system bus as
.BR org.vmkit.Manager .
Its objects:
.TP
.I /org/vmkit
.BR org.freedesktop.DBus.ObjectManager ,
for all of those below
'''

CONCLUSION = r'''.SH FILES
.TP
.I /usr/share/dbus\-1/interfaces/org.vmkit.*.xml
The interfaces, from which this page is made.
.TP
.I /usr/share/polkit\-1/actions/org.vmkit.policy
The actions.
.SH EXAMPLES
The VMs there are; a VM from an image of the store, with a free NVMe drive:
.PP
.EX
busctl call org.vmkit.Manager /org/vmkit/Manager org.vmkit.Manager \e
    ListVMs
busctl call org.vmkit.Manager /org/vmkit/Manager org.vmkit.Manager \e
    CreateVM 'sa{sv}' dev\-vm 2 image\-name s debian nvme as 1 auto
.EE
.SH SEE ALSO
.BR vmkitctl (1),
.BR vmkitd (8),
.BR busctl (1),
.BR polkit (8)
'''


# --- roff ---------------------------------------------------------------------------------------------------------

def escape(text):
    return text.replace('\\', '\\e')


def literal(text):
    """What is typed as it stands."""
    return escape(text).replace('-', '\\-')


def fill(text):
    """Lines that roff fills again: each sentence begins one, and none is mistaken for a request."""
    lines = []
    for sentence in re.split(r'(?<=\.) (?=[A-Z])', ' '.join(text.split())):
        lines += textwrap.wrap(sentence, 78, break_long_words=False, break_on_hyphens=False)
    return ''.join(('\\&' if line[0] in ".'" else '') + line + '\n' for line in lines)


def entry(head, text):
    return f'.TP\n{head}\n{text}'


def nested(entries):
    return f'.RS 4\n{entries}.RE\n' if entries else ''


def opening(text):
    """A first paragraph needs no break before it."""
    return text.removeprefix('.PP\n')


# --- comments -----------------------------------------------------------------------------------------------------

def references(text):
    """#org.vmkit.VM:State and org.vmkit.Manager.CreateVM(), as they are used in running text."""
    return re.sub(r'#?(org\.vmkit\.[A-Za-z.:]*[A-Za-z])(\(\))?',
                  lambda m: f'\\fB{m[1].replace("::", ".").replace(":", ".")}\\fR{m[2] or ""}', text)


def inline(element):
    """The text of an element, with its markup as fonts."""
    fonts = {'literal': 'B', 'filename': 'I', 'emphasis': 'I'}
    parts = [references(escape(element.text or ''))]
    for child in element:
        words = ''.join(child.itertext())
        parts.append(f'\\f{fonts[child.tag]}{literal(words)}\\fR{references(escape(child.tail or ""))}')
    return ''.join(parts)


def table(element):
    """Rows as entries: the first column is the name, the last the text, and those between stand beside the name."""
    rows = [[inline(cell) for cell in row.iter('entry')] for row in element.iter('row')]
    between = rows[0][1:-1]
    entries = ''
    for name, *values, text in rows[1:]:
        notes = [value if title == 'Type' else f'{title.lower()}: {value}' for title, value in zip(between, values)]
        entries += entry(f'\\fB{name.replace("-", chr(92) + "-")}\\fR ({", ".join(notes)})', fill(text))
    return nested(entries)


def paragraph(text):
    element = ET.fromstring(f'<para>{text}</para>')
    if len(element) == 1 and element[0].tag == 'informaltable':
        return table(element[0])
    return '.PP\n' + fill(inline(element))


class Comment:
    """The documentation of a member."""

    def __init__(self, text):
        head, *blocks = re.split(r'\n\s*\n', text.strip())
        first, *arguments = re.split(r'\n\s*@', head)
        self.name, text = (part.strip() for part in first.split(':', 1))
        self.arguments = dict(map(str.strip, argument.split(':', 1)) for argument in arguments)
        self.paragraphs = [text] * bool(text) + blocks

    def argument(self, name):
        return fill(inline(ET.fromstring(f'<para>{self.arguments[name]}</para>')))

    def body(self):
        return ''.join(map(paragraph, self.paragraphs))


def documented(parent):
    """Each child with the comment that stands before it."""
    comment = None
    for child in parent:
        if child.tag is ET.Comment:
            comment = child.text
        elif child.tag != 'annotation' and child.tag != 'arg':
            found = Comment(comment) if comment else None
            if not found or found.name != child.get('name'):
                sys.exit(f'{child.get("name")} has no comment of its own')
            yield child, found
            comment = None


# --- members ------------------------------------------------------------------------------------------------------

def signature(arguments):
    return ', '.join(f'{a.get("type")} \\fI{a.get("name")}\\fR' for a in arguments)


def with_arguments(head, member, comment):
    entries = ''.join(entry(f'\\fI{a.get("name")}\\fR', comment.argument(a.get('name')))
                      for a in member.iter('arg'))
    return f'.PP\n{head}\n{nested(entries + (comment.body() if entries else opening(comment.body())))}'


def method(member, comment):
    given, returned = ([a for a in member.iter('arg') if a.get('direction') == d] for d in ('in', 'out'))
    head = f'\\fB{member.get("name")}\\fR ({signature(given)})'
    return with_arguments(head + (f' \\(-> ({signature(returned)})' if returned else ''), member, comment)


def signal(member, comment):
    return with_arguments(f'\\fB{member.get("name")}\\fR ({signature(member.iter("arg"))})', member, comment)


def property_entry(member, comment):
    change = member.find(f'annotation[@name="{CHANGE_SIGNAL}"]')
    notes = [member.get('type'), CHANGES['true' if change is None else change.get('value')]]
    head = f'\\fB{member.get("name")}\\fR ({", ".join(filter(None, notes))})'
    return f'.PP\n{head}\n{nested(opening(comment.body()))}'


KINDS = {'method': ('Methods', method), 'signal': ('Signals', signal), 'property': ('Properties', property_entry)}


def interface(element, comment):
    text = f'.SH INTERFACE {element.get("name").upper()}\n{opening(comment.body())}'
    members = list(documented(element))
    for tag, (title, write) in KINDS.items():
        chosen = [write(member, found) for member, found in members if member.tag == tag]
        if chosen:
            text += f'.SS {title}\n{opening("".join(chosen))}'
    return text


# --- errors and actions -------------------------------------------------------------------------------------------

def errors(source):
    """The rows of the table in errors.c: name and remedy."""
    rows = re.findall(r'ENTRY\(\w+, "(\w+)", \w+,\s*((?:"(?:[^"\\]|\\.)*"\s*)+)\)', source)
    if len(rows) != source.count('ENTRY(') - 1:        # the macro itself
        sys.exit('not every row of the table of errors was understood')
    text = ('.SH ERRORS\nTheir names begin with\n.BR org.vmkit.Error. ;\nwith each, what can be done about it.\n'
            'What polkit refuses is\n.B org.freedesktop.DBus.Error.AccessDenied\nor\n'
            '.BR org.freedesktop.DBus.Error.InteractiveAuthorizationRequired .\n')
    for name, strings in rows:
        remedy = ''.join(re.findall(r'"((?:[^"\\]|\\.)*)"', strings))
        text += entry(f'.B {name}', fill(escape(remedy)))
    return text


def actions(policy):
    text = ('.SH POLKIT ACTIONS\nEach with what polkit answers without a rule of the administrator:\n'
            'in any session, in an inactive one, in the active one.\n')
    for action in policy.iter('action'):
        defaults = [action.findtext(f'defaults/allow_{when}') for when in ('any', 'inactive', 'active')]
        text += entry(f'.B {literal(action.get("id"))}',
                      fill(f'{escape(action.findtext("description"))}: {", ".join(defaults)}.'))
    return text + ('.PP\nRules can look at the details\n.BR vm ", " device ", " kind ", " vendor " and " requested .\n'
                   + fill('A call that moves devices is asked about once for each function that moves, with the '
                          'address, kind and vendor of that function; requested is the address that was named or '
                          'chosen. The audio, USB and USB-C functions in the slot of a graphics card have the kind '
                          'gpu.'))


def read(path):
    return ET.parse(path, ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))).getroot()


def main():
    version, date, error_table, policy, *paths = sys.argv[1:]
    interfaces = [found for path in paths for found in documented(read(path))]
    objects = ''
    for element, comment in interfaces:
        summary = comment.arguments.pop('short_description')
        objects += entry(f'.B {element.get("name")}', fill(escape(f'{summary}.')))
    with open(error_table, encoding='utf-8') as file:
        table_of_errors = errors(file.read())
    sys.stdout.write(
        '.\\" SPDX-License-Identifier: LGPL-2.1-or-later\n'
        '.\\" Made by dbus/manual.py.\n'
        f'.TH {TITLE.upper()} 5 {date} "vmkit {version}" "D-Bus Interfaces"\n'
        '.nh\n.ad l\n'        # names are not divided
        + INTRODUCTION + objects + ''.join(interface(*found) for found in interfaces) + table_of_errors
        + actions(read(policy)) + CONCLUSION)


if __name__ == '__main__':
    main()
