#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Introspection and the interface files are enough: C that gdbus-codegen makes of the files, and a Python proxy
that is made of what the live objects say, each drive a VM."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree

from gi.repository import GLib

import fixture
from fixture import BUILD, MANAGER, NAME, SOURCE, u32, u64, wait_until
from pyclient import RULES

FILES = [f'{SOURCE}/dbus/org.vmkit.{name}.xml' for name in ('Device', 'Job', 'Manager', 'VM')]

# By the generated code alone: looks, creates a VM, follows its job to the signal, and removes it.
PROGRAM = r'''
#include <stdio.h>
#include "vmkit.h"

static void on_completed(VmkitJob *job, gboolean success, const char *name, const char *message, gpointer loop) {
        printf("%s: %s%s%s\n", vmkit_job_get_operation(job), success ? "done" : "failed", name, message);
        g_main_loop_quit(loop);
}

static void finish(const char *path) {
        g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
        g_autoptr(GError) error = NULL;
        g_autoptr(VmkitJob) job = vmkit_job_proxy_new_for_bus_sync(
                G_BUS_TYPE_SYSTEM, G_DBUS_PROXY_FLAGS_NONE, "org.vmkit.Manager", path, NULL, &error);

        if (!job)
                g_error("%s", error->message);
        g_signal_connect(job, "completed", G_CALLBACK(on_completed), loop);
        g_autoptr(VmkitJob) now = vmkit_job_proxy_new_for_bus_sync(
                G_BUS_TYPE_SYSTEM, G_DBUS_PROXY_FLAGS_NONE, "org.vmkit.Manager", path, NULL, &error);
        if (g_strcmp0(vmkit_job_get_state(now), "running") == 0)
                g_main_loop_run(loop);
        else
                printf("%s: %s\n", vmkit_job_get_operation(now), vmkit_job_get_state(now));
}

int main(void) {
        g_autoptr(GError) error = NULL;
        g_autofree char *vm_path = NULL, *job = NULL, *last_job = NULL;
        GVariantDict options;
        g_autoptr(VmkitManager) manager = vmkit_manager_proxy_new_for_bus_sync(
                G_BUS_TYPE_SYSTEM, G_DBUS_PROXY_FLAGS_NONE, "org.vmkit.Manager", "/org/vmkit/Manager", NULL, &error);

        if (!manager)
                g_error("%s", error->message);
        g_variant_dict_init(&options, NULL);
        g_variant_dict_insert(&options, "memory", "t", (guint64) 1 << 30);
        if (!vmkit_manager_call_create_vm_sync(manager, "by-c", g_variant_dict_end(&options), &vm_path, &job, NULL,
                                               &error))
                g_error("%s", error->message);
        finish(job);

        g_autoptr(VmkitVM) vm = vmkit_vm_proxy_new_for_bus_sync(
                G_BUS_TYPE_SYSTEM, G_DBUS_PROXY_FLAGS_NONE, "org.vmkit.Manager", vm_path, NULL, &error);
        printf("%s: %s, %lu\n", vmkit_vm_get_name(vm), vmkit_vm_get_state(vm), vmkit_vm_get_memory(vm));

        g_variant_dict_init(&options, NULL);
        if (!vmkit_vm_call_destroy_sync(vm, g_variant_dict_end(&options), &last_job, NULL, &error))
                g_error("%s", error->message);
        finish(last_job);
        return 0;
}
'''


def quiet(*argv, **kwargs):
    """Runs a program that must succeed and have nothing to say on stderr."""
    done = subprocess.run(argv, text=True, capture_output=True, check=False, **kwargs)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(f'{argv} ended with {done.returncode}: {done.stderr}')
    return done.stdout


class Generated(fixture.BusTest):
    RULES = RULES

    @classmethod
    def setUpClass(cls):
        if not shutil.which('gdbus-codegen'):
            raise fixture.unittest.SkipTest('gdbus-codegen is not installed (libglib2.0-dev)')
        super().setUpClass()
        cls.directory = tempfile.mkdtemp(prefix='generated-')
        os.chmod(cls.directory, 0o755)

    def test_c(self):
        common = ['gdbus-codegen', '--interface-prefix', 'org.vmkit.', '--c-namespace', 'Vmkit',
                  '--c-generate-autocleanup', 'all', '--generate-c-code', 'vmkit', '--output-directory',
                  self.directory]
        quiet(*common, *FILES)
        with open(f'{self.directory}/main.c', 'w', encoding='ascii') as file:
            file.write(PROGRAM)
        flags = quiet('pkg-config', '--cflags', '--libs', 'gio-unix-2.0').split()
        program = f'{self.directory}/vmkit'
        quiet('cc', '-std=gnu17', '-Wall', '-Werror', '-o', program, f'{self.directory}/main.c',
              f'{self.directory}/vmkit.c', *flags)
        os.chmod(program, 0o755)
        done = self.alice.spawn(program)
        self.assertEqual((done.stdout, done.stderr),
                         (f'create: done\nby-c: stopped, {1 << 30}\ndestroy: done\n', ''))

    def test_documentation(self):
        quiet('gdbus-codegen', '--interface-prefix', 'org.vmkit.', '--generate-docbook', f'{self.directory}/doc',
              *FILES)
        with open(f'{self.directory}/doc-org.vmkit.Manager.xml', encoding='utf-8') as file:
            text = file.read()
        for key in ('image-name', 'hide-hypervisor', 'user-data'):
            self.assertIn(key, text)

    def test_every_member_is_documented(self):
        for path in FILES:
            with open(path, encoding='utf-8') as file:
                text = file.read()
            for member in xml.etree.ElementTree.fromstring(text).iter():
                if member.tag in ('interface', 'method', 'signal', 'property'):
                    name = member.get('name')
                    pattern = rf'<!--\s+{re.escape(name)}:(.*?)-->\s*<{member.tag} name="{re.escape(name)}"'
                    found = re.search(pattern, text, re.S)
                    self.assertTrue(found and found[1].strip(), f'{path}: {name}')
                    for argument in member.findall('arg'):
                        self.assertIn(f'@{argument.get("name")}:', found[1], f'{path}: {name}')

    def test_the_files_are_installed(self):
        found = json.loads(quiet('meson', 'introspect', '--installed', BUILD))
        for path in FILES:
            where = found[os.path.realpath(path)]
            self.assertTrue(where.endswith(f'/share/dbus-1/interfaces/{os.path.basename(path)}'), where)


class Proxy:
    """An object of any service, from what it says of itself: its methods are methods here, its properties
    attributes; `options` are variants, since nothing but documentation knows what is in them."""

    def __init__(self, caller, path):
        self._caller = caller
        self._path = path
        for interface in caller.introspect(path).interfaces:
            if not interface.name.startswith('org.freedesktop.'):
                for method in interface.methods:
                    setattr(self, method.name, self._method(interface.name, method))
                for signal in interface.signals:
                    setattr(self, signal.name, caller.signals(signal.name, path, interface.name))
                self._properties = {p.name: interface.name for p in interface.properties}

    def _method(self, interface, method):
        signature = ''.join(a.signature for a in method.in_args)

        def call(*arguments):
            parameters = GLib.Variant(f'({signature})', arguments)
            reply, _ = self._caller.call_raw(NAME, self._path, interface, method.name, parameters)
            values = reply.unpack()
            return values[0] if len(values) == 1 else values
        return call

    def __getattr__(self, name):
        if name.startswith('_') or name not in self._properties:
            raise AttributeError(name)
        return self._caller.get(self._path, self._properties[name].rsplit('.', 1)[1], name)


class Live(fixture.BusTest):
    RULES = RULES

    def finish(self, path):
        job = Proxy(self.alice, path)
        wait_until(lambda: job.Completed or job.State != 'running', f'the end of {path}')
        self.assertEqual((job.State, job.Error), ('done', ('', '')))

    def test_a_proxy_drives_a_vm(self):
        manager = Proxy(self.alice, MANAGER)
        options = {'memory': u64(1 << 29), 'cpus': u32(3), 'gpu': GLib.Variant('as', ['auto'])}
        ready, _, plan = manager.PlanVM('by-proxy', options)
        self.assertTrue(ready)
        path, job = manager.CreateVM('by-proxy', {**options, 'gpu': GLib.Variant('as', [])})
        self.finish(job)
        vm = Proxy(self.alice, path)
        self.assertEqual((vm.Name, vm.State, vm.Memory, vm.CPUs), ('by-proxy', 'stopped', 1 << 29, 3))
        self.finish(vm.Start({}))
        self.assertEqual(vm.State, 'running')
        self.finish(vm.Stop({'force': GLib.Variant('b', True)}))
        self.assertEqual(vm.State, 'stopped')
        device = Proxy(self.alice, manager.GetDevice(plan['devices'][0]['address']))
        self.assertEqual((device.Kind, device.Inspect()['Kind']), ('gpu', 'gpu'))
        self.finish(vm.Destroy({}))
        self.assertEqual(manager.VMs, [])

    def test_the_tree_is_found_from_the_root(self):
        """By introspection alone, from "/" on, as busctl tree does."""
        def walk(path):
            node = self.alice.introspect(path)
            yield path, [i.name for i in node.interfaces]
            for child in node.nodes:
                yield from walk(os.path.join(path, child.path))
        found = dict(walk('/'))
        self.assertIn('org.vmkit.Manager', found[MANAGER])
        for path in self.alice.get(MANAGER, 'Manager', 'Devices'):
            self.assertIn('org.vmkit.Device', found[path])


if __name__ == '__main__':
    fixture.main()
