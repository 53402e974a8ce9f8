#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The image store: what is taken in, what is refused, and who sees it."""

import json
import os
import shutil
import struct
import subprocess
import tempfile
import time

import fixture
from fixture import Descriptor

CREATE = '''polkit.addRule(function(action, subject) {
    if (action.id == "org.vmkit.create-vm") return polkit.Result.YES; });'''


class ImageTest(fixture.BusTest):
    RULES = CREATE

    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory(dir=self.bus.directory)
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.addCleanup(self.remove_all)

    def remove_all(self):
        for _name, vm, _state, _owner in self.root.manager('ListVMs'):
            self.root.succeed(self.root.vm(vm, 'Destroy', {'force': True}))
        for caller in (self.alice, self.bob, self.root):
            for name, _, _, _, owner in caller.manager('ListImages'):
                if owner == caller.uid:
                    caller.manager('RemoveImage', name, {})

    def file(self, name):
        return os.path.join(self.directory, name)

    def qcow2(self, name, *options, size='4M'):
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', *options, self.file(name), size],
                       check=True)
        return self.file(name)

    def store(self, file, name='image', caller=None):
        caller = caller or self.alice
        with open(file, 'rb') as image:
            return caller.succeed(caller.manager('ImportImage', name, Descriptor(image), {}))

    def stored(self, caller=None):
        return {row[0]: row[1:] for row in (caller or self.alice).manager('ListImages')}


class Images(ImageTest):
    def test_raw(self):
        with open(self.file('raw'), 'wb') as file:
            file.write(b'\x55' * 8192)
            file.truncate(3 << 20)
        self.store(self.file('raw'))
        self.assertEqual(self.stored()['image'][:2], ('raw', 3 << 20))
        self.assertEqual(self.stored()['image'][3], fixture.ALICE)
        self.assertLess(self.stored()['image'][2], 1 << 20, 'holes were filled')

    def test_progress_has_bytes(self):
        """A copy of some size says of how many bytes which part is done."""
        with open(self.file('large'), 'wb') as file:
            for _ in range(256):
                file.write(os.urandom(1 << 20))
        changes = self.alice.signals('PropertiesChanged', interface='org.freedesktop.DBus.Properties')
        self.store(self.file('large'))
        self.assertIn(256 << 20, [changed.get('Bytes') for _, (_, changed, _) in changes])

    def test_standard_input_that_takes_its_time(self):
        """The bus gives a new connection seconds for its handshake; what comes through a pipe may take longer."""
        client = self.alice.start(f'{fixture.BUILD}/client/vmkitctl', 'image', 'import', 'piped', '-',
                                  stdin=subprocess.PIPE)
        client.stdin.write(b'\x55' * 4096)
        client.stdin.flush()
        time.sleep(fixture.AUTH_TIMEOUT_SEC + 2)
        client.stdin.write(b'\xaa' * 4096)
        client.stdin.close()
        self.assertEqual(client.wait(fixture.TIMEOUT), 0)
        self.assertEqual(self.stored()['piped'][1], 8192)

    def test_qcow2(self):
        self.store(self.qcow2('disk'))
        self.assertEqual(self.stored()['image'][:2], ('qcow2', 4 << 20))

    def test_what_another_file_is_needed_for(self):
        base = self.qcow2('base')
        self.qcow2('backed', '-b', base, '-F', 'qcow2')
        self.qcow2('external', '-o', f'data_file={self.file("data")},data_file_raw=on')
        # Not LUKS: qemu-img measures how fast it hashes for that, and gives up on a busy machine.
        self.qcow2('encrypted', '--object', 'secret,id=s,data=secret', '-o',
                   'encrypt.format=aes,encrypt.key-secret=s')
        for name in ('backed', 'external', 'encrypted'):
            with self.subTest(name):
                self.refused('ImageRejected', self.store, self.file(name))
        self.assertEqual(self.stored(), {})

    def test_headers_that_lie(self):
        with open(self.qcow2('good'), 'rb') as file:
            good = file.read()
        lies = {
            'version': (4, struct.pack('>I', 9)),
            'backing offset': (8, struct.pack('>QI', 0x200, 11)),
            'cluster bits': (20, struct.pack('>I', 63)),
            'virtual size': (24, struct.pack('>Q', 1 << 63)),
            'encryption': (32, struct.pack('>I', 2)),
            'table outside': (40, struct.pack('>Q', 1 << 62)),
            'incompatible feature': (72, struct.pack('>Q', 1 << 40)),
            'data file': (72, struct.pack('>Q', 1 << 2)),
        }
        for name, (offset, patch) in lies.items():
            with self.subTest(name):
                with open(self.file('lie'), 'wb') as file:
                    file.write(good[:offset] + patch + good[offset + len(patch):])
                error = self.refused('ImageRejected', self.store, self.file('lie'))
                self.assertNotIn('Unexpected', error.message)
        with open(self.file('lie'), 'wb') as file:
            file.write(good[:64])
        self.refused('ImageRejected', self.store, self.file('lie'))
        self.assertEqual(self.stored(), {})

    def foreign(self, name, driver, options=''):
        """A disk with something on it, in another format."""
        with open(self.file('content'), 'wb') as file:
            for offset in (0, 1 << 20, (4 << 20) - 4096):
                file.seek(offset)
                file.write(os.urandom(4096))
        subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', driver, *(['-o', options] if options else []),
                        self.file('content'), self.file(name)], check=True)
        return self.file(name)

    def test_other_formats_are_converted(self):
        for name, driver, options in (('vmdk', 'vmdk', ''), ('stream', 'vmdk', 'subformat=streamOptimized'),
                                      ('vdi', 'vdi', ''), ('vhdx', 'vhdx', ''), ('vhd', 'vpc', 'force_size=on'),
                                      ('fixed', 'vpc', 'subformat=fixed,force_size=on'), ('qed', 'qed', '')):
            with self.subTest(name):
                self.store(self.foreign(name, driver, options), name)
                self.assertEqual(self.stored()[name][:2], ('qcow2', 4 << 20))
                stored = self.bus.path('state', 'images', str(fixture.ALICE), f'{name}.qcow2')
                subprocess.run(['qemu-img', 'compare', '-q', '-f', 'qcow2', '-F', 'raw', stored,
                                self.file('content')], check=True)
        self.only_images_in_the_store()
        self.refused('ImageRejected', self.store, self.foreign('old', 'qcow'), 'old')

    def only_images_in_the_store(self):
        store = self.bus.path('state', 'images', str(fixture.ALICE))
        self.assertEqual([f for f in os.listdir(store) if not f.endswith('.qcow2')], [])

    def test_other_formats_that_lead_elsewhere(self):
        """What they name is a file that root could read."""
        secret = self.file('secret')
        with open(secret, 'wb') as file:
            file.write(b'secret' * 100000)
        for driver, size in (('vmdk', '4M'), ('qed', '4M')):
            base = f'{secret}.{driver}'
            subprocess.run(['qemu-img', 'create', '-q', '-f', driver, base, size], check=True)
            subprocess.run(['qemu-img', 'create', '-q', '-f', driver, '-b', base, '-F', driver,
                            self.file(driver)], check=True)
            with self.subTest(driver):
                error = self.refused('ImageRejected', self.store, self.file(driver))
                self.assertNotIn('secret', error.message)
        with open(self.file('extent'), 'w', encoding='ascii') as file:
            file.write('# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n'
                       f'createType="monolithicFlat"\nRW 1000 FLAT "{secret}" 0\n')
        self.refused('ImageRejected', self.store, self.file('extent'))
        self.assertEqual(self.stored(), {})

    def test_other_formats_that_are_damaged(self):
        for driver in ('vmdk', 'vdi', 'vhdx', 'vpc', 'qed'):
            with open(self.foreign(driver, driver), 'r+b') as file:
                size = file.seek(0, os.SEEK_END)
                file.truncate(size // 2)
            with self.subTest(driver):
                self.refused('ImageRejected', self.store, self.file(driver), driver)
        self.assertEqual(self.stored(), {})

    def test_other_formats_that_claim_too_much(self):
        """A few bytes that stand for more than any disk has."""
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qed', '-o', 'cluster_size=64k,table_size=16',
                        self.file('huge'), '4M'], check=True)
        with open(self.file('huge'), 'r+b') as file:
            file.seek(48)        # the size of the disk
            file.write(struct.pack('<Q', (1 << 62)))
        self.refused('ImageRejected', self.store, self.file('huge'))
        self.assertEqual(self.stored(), {})

    def test_empty(self):
        with open(self.file('empty'), 'wb'):
            pass
        self.refused('ImageRejected', self.store, self.file('empty'))

    def test_a_name_is_taken_once_for_each_user(self):
        self.store(self.qcow2('disk'))
        self.refused('ImageExists', self.store, self.file('disk'))
        self.store(self.file('disk'), caller=self.bob)
        self.assertEqual(self.stored()['image'][3], fixture.ALICE)
        self.assertEqual(self.stored(self.bob)['image'][3], fixture.BOB)

    def test_shared(self):
        self.store(self.qcow2('disk'), 'everyones', self.root)
        self.assertEqual(self.stored()['everyones'][3], 0)
        vm = self.alice.create('from-shared', image_name='everyones')
        self.assertEqual(self.alice.get(vm, 'VM', 'DiskBytes'), 4 << 20)
        self.refused(fixture.REFUSALS, self.alice.manager, 'RemoveImage', 'everyones', {})

    def test_copies_are_nobody_elses(self):
        """Files of the store can be read by root alone; directories can be passed through."""
        self.store(self.qcow2('disk'))
        for directory, _, names in os.walk(self.bus.path('state')):
            self.assertEqual(os.stat(directory).st_mode & 0o022, 0, directory)
            for name in names:
                status = os.stat(os.path.join(directory, name))
                self.assertEqual((status.st_mode & 0o077, status.st_uid), (0, 0), name)

    def test_the_original_is_not_touched(self):
        path = self.qcow2('disk')
        with open(path, 'rb') as file:
            before = file.read()
        self.store(path)
        with open(path, 'rb') as file:
            self.assertEqual(file.read(), before)

    def test_growing(self):
        vm = self.alice.create('grown', image=Descriptor(open(self.qcow2('disk'), 'rb')),
                               disk_size=fixture.u64(1 << 30))
        self.assertEqual(self.alice.get(vm, 'VM', 'DiskBytes'), 1 << 30)

    def test_not_shrinking(self):
        with open(self.qcow2('disk', size='64M'), 'rb') as image:
            self.refused(('InvalidOption', 'ImageRejected'), self.alice.create, 'shrunk',
                         image=Descriptor(image), disk_size=fixture.u64(1 << 20))
        self.assertEqual(self.alice.manager('ListVMs'), [])


class Bases(ImageTest):
    """Disks that are laid over an image of the store, because a tmpfs cannot share blocks."""

    def disk(self, vm):
        return self.bus.path('state', 'vms', self.alice.get(vm, 'VM', 'UUID'), 'disk.qcow2')

    def info(self, file):
        return json.loads(subprocess.run(['qemu-img', 'info', '-U', '--output=json', file], check=True,
                                         capture_output=True, text=True).stdout)

    def bases(self):
        directory = self.bus.path('state', 'bases')
        return os.listdir(directory) if os.path.isdir(directory) else []

    def content(self):
        with open(self.file('content'), 'wb') as file:
            for offset in (0, 1 << 20, (8 << 20) - 4096):
                file.seek(offset)
                file.write(os.urandom(4096))
        return self.file('content')

    def assert_same(self, image, driver='qcow2'):
        subprocess.run(['qemu-img', 'compare', '-q', '-f', driver, '-F', 'raw', image, self.file('content')],
                       check=True)

    def test_another_vm_costs_no_space(self):
        for name, driver in (('raw', 'raw'), ('qcow2', 'qcow2')):
            with self.subTest(name):
                subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', driver, self.content(), self.file('base')],
                               check=True)
                self.store(self.file('base'), name)
                vm = self.alice.create(f'over-{name}', image_name=name)
                info = self.info(self.disk(vm))
                self.assertEqual(os.path.dirname(info['backing-filename']), self.bus.path('state', 'bases'))
                self.assertTrue(os.path.samefile(info['backing-filename'], self.bus.path(
                    'state', 'images', str(fixture.ALICE), f'{name}.{driver}')))
                self.assertEqual(info['backing-filename-format'], driver)
                self.assertLess(info['actual-size'], 1 << 20)
                self.assertEqual(self.alice.get(vm, 'VM', 'DiskBytes'), 8 << 20)
                self.assert_same(self.disk(vm))

    def test_a_base_stays_while_it_is_needed(self):
        """The image can be removed, and its name be had again, under VMs that are laid over it."""
        self.store(self.content())
        first = self.alice.create('first', image_name='image')
        second = self.alice.create('second', image_name='image')
        self.assertEqual(len(self.bases()), 1)
        self.alice.manager('RemoveImage', 'image', {})
        self.assertEqual(self.stored(), {})
        self.store(self.qcow2('other'))
        for vm in (first, second):
            self.assert_same(self.disk(vm))
        self.alice.succeed(self.alice.vm(first, 'Destroy', {}))
        self.assert_same(self.disk(second))
        self.alice.succeed(self.alice.vm(second, 'Destroy', {}))
        self.assertEqual(self.bases(), [])

    def test_a_base_of_the_store_is_had_again(self):
        """Also after libvirt has given it to QEMU's user."""
        self.store(self.content())
        self.alice.succeed(self.alice.vm(self.alice.create('first', image_name='image'), 'Destroy', {}))
        [base] = self.bases()
        os.chown(self.bus.path('state', 'bases', base), fixture.BOB, fixture.BOB)
        self.assert_same(self.disk(self.alice.create('second', image_name='image')))
        self.assertEqual(self.bases(), [base])

    def forgotten(self):
        """The directory of a VM over an image that has left the store, after libvirt has forgotten the VM: its test
        driver forgets its domains with its last connection."""
        self.store(self.content())
        vm = self.alice.create('gone', image_name='image')
        disk = self.disk(vm)
        self.addCleanup(shutil.rmtree, os.path.dirname(disk), ignore_errors=True)
        self.alice.manager('RemoveImage', 'image', {})
        self.assertEqual(len(self.bases()), 1)
        self.bus.restart_vmkitd()
        self.assertNotIn(vm, self.alice.get(fixture.MANAGER, 'Manager', 'VMs'))
        return os.path.dirname(disk)

    def test_a_base_stays_under_a_disk_that_libvirt_does_not_list(self):
        directory = self.forgotten()
        self.assert_same(f'{directory}/disk.qcow2')
        self.alice.succeed(self.alice.vm(self.alice.create('another'), 'Destroy', {}))
        self.assert_same(f'{directory}/disk.qcow2')
        shutil.rmtree(directory)
        self.alice.succeed(self.alice.vm(self.alice.create('third'), 'Destroy', {}))
        self.assertEqual(self.bases(), [])

    def test_a_base_that_nobody_needs_goes_at_the_start(self):
        shutil.rmtree(self.forgotten())
        self.assertEqual(len(self.bases()), 1)
        self.bus.restart_vmkitd()
        self.assertEqual(self.bases(), [])

    def test_a_base_is_not_written_to(self):
        self.store(self.content())
        base = self.bus.path('state', 'images', str(fixture.ALICE), 'image.raw')
        vm = self.alice.create('writer', image_name='image')
        subprocess.run(['qemu-io', '-f', 'qcow2', '-c', 'write -P 1 0 64k', self.disk(vm)], check=True,
                       capture_output=True)
        self.assert_same(base, 'raw')

    def test_growing_over_a_base(self):
        self.store(self.content())
        vm = self.alice.create('grown', image_name='image', disk_size=fixture.u64(1 << 30))
        self.assertEqual(self.alice.get(vm, 'VM', 'DiskBytes'), 1 << 30)
        self.assertEqual(self.info(self.disk(vm))['virtual-size'], 1 << 30)

    def test_the_kept_disk_needs_no_base(self):
        self.store(self.content())
        vm = self.alice.create('kept', image_name='image')
        subprocess.run(['qemu-io', '-f', 'qcow2', '-c', 'write -P 7 2M 64k', self.disk(vm)], check=True,
                       capture_output=True)
        # As libvirt leaves it: the base belongs to QEMU's user, and root is not to need more than it has.
        base = self.bus.path('state', 'images', str(fixture.ALICE), 'image.raw')
        os.chown(base, fixture.BOB, fixture.BOB)
        self.alice.succeed(self.alice.vm(vm, 'Destroy', {'keep-disk': True}))
        self.alice.manager('RemoveImage', 'image', {})
        self.assertEqual(self.stored()['kept-disk'][:2], ('qcow2', 8 << 20))
        kept = self.bus.path('state', 'images', str(fixture.ALICE), 'kept-disk.qcow2')
        self.assertNotIn('backing-filename', self.info(kept))
        with open(self.file('content'), 'r+b') as file:
            file.seek(2 << 20)
            file.write(b'\7' * (64 << 10))
        self.assert_same(kept)

    def test_a_disk_that_leads_elsewhere(self):
        """What QEMU could have written into its disk opens no other file."""
        secret = self.file('secret')
        with open(secret, 'wb') as file:
            file.write(b'secret' * 100000)
        self.store(self.content())
        vm = self.alice.create('hostile', image_name='image')
        subprocess.run(['qemu-img', 'rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', secret, self.disk(vm)],
                       check=True)
        self.alice.succeed(self.alice.vm(vm, 'Destroy', {'keep-disk': True}))
        kept = self.bus.path('state', 'images', str(fixture.ALICE), 'hostile-disk.qcow2')
        self.assert_same(kept)


if __name__ == '__main__':
    fixture.main()
