#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Python package, as ordinary users have it: each name of it against the real service, each error name
against one that gives them all."""

import email.parser
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import fixture
import mocksys
import pyclient
from fixture import BUILD, MANAGER, Refused, TIMEOUT, wait_until
from pyclient import ProgramTest, StandIn

GPU, AUDIO, FREE, FREE_2 = mocksys.GPU, mocksys.GPU_AUDIO, mocksys.NVME_FREE, mocksys.NVME_FREE_2
GIB = 1 << 30

# All of the interface contract.
ERRORS = '''InvalidName InvalidOption InvalidAddress NoSuchVM VMExists NoSuchDevice NoSuchImage
ImageExists NoSuchJob DeviceInUse DeviceClaimed GroupNotViable NoIOMMU NoCandidate IdentityChanged BindFailed
ResetFailed Quarantined Wedged ImageRejected NotReady NotSupported WrongState Busy LimitExceeded NoSpace
InsufficientMemory LibvirtUnavailable StartFailed Timeout Cancelled Interrupted Internal'''.split()

# What a failed line shows: the exception by all that it says of itself.
CATCH = '''
def attempt(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except Error as error:
        show([type(error).__name__, error.name, error.message, error.remedy, str(error)])
    else:
        show(None)
'''


class Guide(ProgramTest):
    """What the guide says, word for word."""

    def test_basic_usage(self):
        self.make_image('ubuntu-22.04.img')
        self.make_key()
        shown = self.python(self.alice, '''
            from vmkit import SecureVM, CloudImage, find_gpu, find_nvme, ssh_only_config

            # Find devices
            gpu = find_gpu("nvidia")  # Auto-detect NVIDIA GPU
            nvme = find_nvme()        # Auto-detect any NVMe

            # Create passthrough VM
            vm = SecureVM(
                name="gaming-vm",
                memory="16G",
                cpus=8,
                image=CloudImage("ubuntu-22.04.img",
                                 cloud_init_config=ssh_only_config("gaming-vm")),
                secure_boot=True,
                graphics="none",
                passthrough_devices=[gpu, nvme]
            )

            # Validate and create
            ready, issues = vm.validate_passthrough()
            if ready:
                vm.create().start()
            else:
                print("Issues:", issues)
            show([vm.state, gpu.address, nvme.address])
            ''')
        self.assertEqual(shown, ['running', GPU, FREE])
        vm = self.root.get_all(self.root.manager('GetVM', 'gaming-vm'), 'VM')
        self.assertEqual((vm['Memory'], vm['CPUs'], vm['SecureBoot'], vm['Graphics'], vm['Image'], vm['Owner']),
                         (16 * GIB, 8, True, 'none', 'file', fixture.ALICE))
        self.assertEqual([self.root.get(path, 'Device', 'Driver') for path in vm['Devices']], ['vfio-pci'] * 3)

    def test_manual_selection(self):
        shown = self.program(self.alice, *self.code(f'''
            from vmkit import PassthroughManager

            # Scan system
            manager = PassthroughManager()
            manager.print_device_summary()

            # Get specific devices
            gpus = manager.get_gpus()
            nvmes = manager.get_nvme_devices()
            device = manager.get_device_by_id("{GPU}")

            # Create VM with selected devices
            vm = SecureVM("custom-vm", passthrough_devices=[device])
            vm.create()
            show([[d.address for d in gpus], [d.address for d in nvmes], str(device), vm.state])
            ''')).stdout.splitlines()
        self.assertEqual(json.loads(shown[-1]), [
            [mocksys.IGPU, GPU], [mocksys.NVME_ROOT, FREE, mocksys.NVME_DATA, FREE_2], GPU, 'stopped'])
        table = {line.split()[1]: line for line in shown[:-1]}
        self.assertEqual(shown[0].split(), ['GROUP', 'ADDRESS', 'KIND', 'DRIVER', 'STATUS', 'PRODUCT'])
        self.assertIn('free', table[FREE])
        self.assertIn('/srv/films', table[mocksys.NVME_DATA])
        self.assertNotIn(mocksys.PORT, table)


class Devices(ProgramTest):
    def test_the_automatic_choice(self):
        self.assertEqual(self.python(self.bob, '''
            show([str(find_gpu()), str(find_gpu("nvidia")), find_gpu("amd"), str(find_nvme())])
            '''), [GPU, GPU, None, FREE])

    def test_properties(self):
        device, short = self.python(self.bob, f'''
            import dataclasses
            manager = PassthroughManager()
            show(dataclasses.asdict(manager.get_device_by_id("{GPU}")))
            show(manager.get_device_by_id("{GPU[5:]}").address)
            ''')
        self.assertEqual(short, GPU)
        self.assertEqual(device, {**device, 'kind': 'gpu', 'driver': 'nouveau', 'vendor_id': 0x10de,
                                  'iommu_group': 20, 'unit': [GPU, AUDIO], 'group': [GPU, AUDIO],
                                  'numa_node': None, 'available': True, 'in_use': [], 'health': 'ready',
                                  'assigned_to': [], 'boot_display': False})

    def test_who_has_a_device(self):
        self.alice.create('holder', nvme=[FREE])
        self.assertEqual(self.python(self.bob, f'''
            d = PassthroughManager().get_device_by_id("{FREE}")
            show([d.assigned_to, d.status])
            '''), [['holder'], 'assigned to holder'])

    def test_explain_and_check(self):
        candidates, ready, checks = self.python(self.bob, '''
            manager = PassthroughManager()
            show(manager.explain("nvme"))
            ready, checks = manager.check_host()
            show(ready)
            show({check.id: check.result for check in checks})
            ''')
        by_address = {c[0]: c for c in candidates}
        self.assertEqual(by_address[FREE][1:], [True, []])
        self.assertEqual(by_address[mocksys.NVME_DATA][2][0][0], 'mounted')
        self.assertEqual([ready, checks['kvm']], [self.root.manager('CheckHost')[0], 'ok'])

    def test_none_where_none_is_free(self):
        """A device that was not found is an issue and no VM without it."""
        self.alice.create('first', gpu=[GPU])
        found, ready, issues, refused = self.python(self.alice, CATCH + '''
            gpu = find_gpu("nvidia")
            show(gpu)
            vm = SecureVM("second", passthrough_devices=[gpu])
            ready, issues = vm.validate_passthrough()
            show(ready)
            show(issues)
            attempt(vm.create)
            '''.replace('\n            ', '\n'))
        self.assertEqual((found, ready), (None, False))
        self.assertEqual([i[:2] for i in issues], [['no-candidate', 'fail']])
        self.assertIn('vmkitctl explain', issues[0][3])
        self.assertEqual(refused[0], 'NoCandidate')
        self.assertEqual([row[0] for row in self.root.manager('ListVMs')], ['first'])


class Creation(ProgramTest):
    def create(self, arguments, caller=None):
        """Creates a VM called made and returns its properties."""
        self.python(caller or self.alice, f'SecureVM("made", {arguments}).create()')
        return self.root.get_all(self.root.manager('GetVM', 'made'), 'VM')

    def refusal(self, arguments):
        shown = self.python(self.alice, f'{CATCH}attempt(SecureVM("made", {arguments}).create)')
        name, _, message, remedy, text = shown
        self.assertEqual(text, f'{message}\n{remedy}')
        self.assertEqual(self.root.manager('ListVMs'), [])
        return name, message

    def test_defaults(self):
        vm = self.create('')
        self.assertEqual((vm['Memory'], vm['CPUs'], vm['Image'], vm['SecureBoot'], vm['Graphics'], vm['State']),
                         (2 * GIB, 2, '', False, 'none', 'stopped'))

    def test_sizes(self):
        for text, size in (('"512M"', GIB // 2), (str(GIB), GIB), ('"524288K"', GIB // 2), ('"3G"', 3 * GIB)):
            with self.subTest(text):
                self.assertEqual(self.create(f'memory={text}')['Memory'], size)
                self.destroy_all()
        plan = self.python(self.alice, 'show(SecureVM("x", disk_size="1T").plan().options["disk-size"])')
        self.assertEqual(plan, 1 << 40)
        for text in ('"16 G"', '"1.5G"', '"G"', '"-1"', '16.0', '-1', 'True', '"1P"', '"٣G"', '"99999999999T"'):
            with self.subTest(text):
                self.assertEqual(self.refusal(f'memory={text}')[0], 'InvalidOption')

    def test_every_option_arrives(self):
        """As the plan has them, which names them as CreateVM does."""
        given = {'firmware': 'bios', 'network': 'user', 'pin': '0-1', 'hugepages': 'none', 'numa': 0,
                 'io_threads': 1, 'guest_os': 'windows', 'hide_hypervisor': True, 'autostart': True, 'disk_size': '1G', 'tpm': False,
                 'on_stop': 'host', 'start': True}
        plan = self.python(self.alice, f'show(SecureVM("made", **{given!r}).plan().options)')
        sent = {k.replace('_', '-'): v for k, v in given.items()} | {'numa': '0', 'disk-size': GIB}
        self.assertEqual({k: plan[k] for k in sent}, sent)

    def test_devices_go_where_their_kind_says(self):
        vm = self.create(f'passthrough_devices=["{GPU}", find_nvme()], nvme="{FREE_2}", cpus=1')
        self.assertEqual(sorted(path.rsplit('/', 1)[1] for path in vm['Devices']),
                         sorted(a.replace(':', '_').replace('.', '_') for a in (GPU, AUDIO, FREE, FREE_2)))

    def test_devices_by_option(self):
        plan = self.python(self.alice, 'show(SecureVM("x", gpu="auto", nvme=["auto", "auto"]).plan().options)')
        self.assertEqual([d['address'] for d in plan['devices']], [GPU, FREE, FREE_2])

    def test_an_option_nobody_knows(self):
        name, message = self.refusal('memroy="2G"')
        self.assertEqual(name, 'InvalidOption')
        self.assertIn('memroy', message)
        self.assertIn('no_such_thing'.replace('_', '-'), self.refusal('no_such_thing=[1, 2]')[1])
        self.assertIn('other-thing', self.refusal('other_thing=None')[1])

    def test_values_of_the_wrong_type(self):
        for arguments in ('cpus="two"', 'cpus=-1', 'cpus=True', 'secure_boot="yes"', 'graphics=[]', 'gpu=7',
                          'rom="x"', 'cdrom=7', 'cloud_init={"nonsense": 1}', 'cloud_init="x"', 'allow=[None]'):
            with self.subTest(arguments):
                name, message = self.refusal(arguments)
                self.assertEqual(name, 'InvalidOption')
                self.assertIn(arguments.split('=')[0].replace('_', '-'), message)

    def test_values_the_service_refuses(self):
        self.assertEqual(self.refusal('graphics="vga"')[0], 'InvalidOption')
        self.assertEqual(self.refusal(f'passthrough_devices=["{mocksys.NVME_DATA}"]')[0], 'DeviceInUse')
        self.assertEqual(self.refusal('passthrough_devices=["nonsense"]')[0], 'InvalidAddress')
        self.assertEqual(self.refusal('passthrough_devices=["0000:7f:00.0"]')[0], 'NoSuchDevice')

    def test_image_from_a_file_only_the_caller_reads(self):
        path = self.make_image('private.qcow2')
        os.chown(path, fixture.ALICE, fixture.ALICE)
        os.chmod(path, 0o600)
        self.assertEqual(self.create('image="private.qcow2"')['DiskBytes'], 4 << 20)
        self.destroy_all()
        os.chown(path, 0, 0)
        name, message = self.refusal('image=CloudImage("private.qcow2")')
        self.assertEqual((name, message), ('ImageRejected', "Cannot open 'private.qcow2': Permission denied"))

    def test_image_file_errors(self):
        os.mkfifo(f'{self.home}/fifo')
        os.chmod(f'{self.home}/fifo', 0o644)
        with open(f'{self.home}/text.qcow2', 'wb') as file:
            file.write(b'QFI\xfb' + b'nonsense' * 100)
        os.chmod(f'{self.home}/text.qcow2', 0o644)
        for path, kind, words in (('absent.img', 'NoSuchImage', 'absent.img'), ('.', 'ImageRejected', 'regular'),
                                  ('fifo', 'ImageRejected', 'regular'), ('text.qcow2', 'ImageRejected', ''),
                                  ('@absent', 'NoSuchImage', 'absent')):
            with self.subTest(path):
                name, message = self.refusal(f'image=CloudImage("{path}")')
                self.assertEqual(name, kind)
                self.assertIn(words, message)
        self.assertIn("cdrom': there is no file 'absent.iso'", self.refusal('cdrom="absent.iso"')[1])
        self.assertIn('regular', self.refusal(f'rom={{"{GPU}": "."}}')[1])

    def test_files_of_all_kinds(self):
        """ROM, CD-ROM and user data go as descriptors, nested as they are."""
        for name, text in (('vbios.rom', b'\x55\xaa' + bytes(510)), ('user-data', b'#cloud-config\n{}\n')):
            with open(f'{self.home}/{name}', 'wb') as file:
                file.write(text)
            os.chmod(f'{self.home}/{name}', 0o644)
        iso = f'{self.home}/installer.iso'
        subprocess.run(['xorriso', '-as', 'mkisofs', '-quiet', '-o', iso, f'{self.home}/user-data'], check=True,
                       capture_output=True)
        os.chmod(iso, 0o644)
        vm = self.create(f'gpu="{GPU}", rom={{"{GPU}": "vbios.rom"}}, cdrom="installer.iso", disk_size="8M", '
                         'cloud_init={"hostname": "made", "user-data": "user-data", "user": "someone"}')
        self.assertEqual((vm['User'], vm['DiskBytes']), ('someone', 8 << 20))

    def test_store(self):
        self.make_image('base.qcow2')
        shown = self.python(self.alice, '''
            image = import_image("base", "base.qcow2", progress=lambda phase, done: None)
            show(repr(image))
            show(list_images())
            show(SecureVM("made", image=image).create().state)
            show(SecureVM("again", image="@base").create().properties["Image"])
            remove_image("base")
            show(list_images())
            ''')
        self.assertEqual(shown[0], "CloudImage('@base')")
        self.assertEqual([shown[1][0][0], shown[1][0][2], shown[1][0][4]], ['base', 4 << 20, fixture.ALICE])
        self.assertEqual(shown[2:], ['stopped', '@base', []])

    def test_ssh_keys(self):
        key = self.make_key()
        other = key.replace('alice', 'other')
        with open(f'{self.home}/keys', 'w', encoding='ascii') as file:
            file.write(f'# mine\n{key}\n\n{other}\n')
        os.chmod(f'{self.home}/keys', 0o644)
        default, given, file_, user = self.python(self.alice, f'''
            show([*ssh_only_config("h").ssh_keys])
            show([*ssh_only_config("h", ["{key}", "~/keys"]).ssh_keys])
            show([*ssh_only_config("h", "keys").ssh_keys])
            show(ssh_only_config("h", user="me").user)
            ''')
        self.assertEqual((default, given, file_, user), ([key], [key, key, other], [key, other], 'me'))
        for argument, words in (('["~/.ssh/id_ed25519"]', 'private key'), ('["absent"]', 'absent'),
                                ('["."]', 'directory'), ('["base.txt"]', 'something else')):
            with open(f'{self.home}/base.txt', 'w', encoding='ascii') as file:
                file.write('no key\n')
            refused = self.python(self.alice, f'{CATCH}attempt(ssh_only_config, "h", {argument})')
            self.assertEqual(refused[0], 'InvalidOption')
            self.assertIn(words, refused[2])
        refused = self.python(self.alice, f'{CATCH}attempt(ssh_only_config, "h")', HOME='/nonexistent')
        self.assertIn('ssh-keygen', refused[3])

    def test_plan(self):
        """What is good to know is in the plan, and is no issue."""
        severities, issues, ready = self.python(self.bob, f'''
            vm = SecureVM("x", gpu="{GPU}")
            show([f.severity for f in vm.plan().findings])
            ready, issues = vm.validate_passthrough()
            show(issues)
            show(ready)
            ''')
        self.assertIn('info', severities)
        self.assertEqual((issues, ready), ([], True))
        ready, issues = self.python(self.bob, f'''
            ready, issues = SecureVM("x", nvme="{mocksys.NVME_DATA}").validate_passthrough()
            show(ready)
            show([issues[0].code, issues[0].severity, issues[0].detail])
            ''')
        self.assertFalse(ready)
        self.assertEqual(issues[:2], ['mounted', 'fail'])
        self.assertIn('/srv/films', issues[2])


class Life(ProgramTest):
    def test_life(self):
        shown = self.python(self.alice, '''
            vm = SecureVM("living", start=True)
            show([vm.create() is vm, vm.state])
            show([vm.pause().state, vm.resume().state, vm.reboot().state])
            show([vm.set_autostart(True).properties["Autostart"], [a[:8] for a in vm.addresses]])
            show([vm.stop(timeout=5, force=True) is vm, vm.state])
            show([vm.start() is vm, vm.state, [repr(v) for v in list_vms()]])
            again = SecureVM("living")
            again.destroy(force=True)
            show([v.name for v in list_vms()])
            ''')
        self.assertEqual(shown, [[True, 'running'], ['paused', 'running', 'running'], [True, ['192.168.']],
                                 [True, 'stopped'], [True, 'running', ['<vmkit.SecureVM living>']], []])

    def test_attach_and_detach(self):
        self.assertEqual(self.python(self.alice, f'''
            vm = SecureVM("changing").create()
            show(len(vm.attach("{GPU}").properties["Devices"]))
            show(len(vm.attach(find_nvme()).properties["Devices"]))
            show(len(vm.detach("{GPU}").properties["Devices"]))
            '''), [2, 3, 1])

    def test_keep_disk(self):
        self.make_image('kept.qcow2')
        self.assertEqual(self.python(self.alice, '''
            SecureVM("keeper", image="kept.qcow2").create().destroy(keep_disk=True)
            show([i.name for i in list_images()])
            remove_image("keeper-disk")
            '''), ['keeper-disk'])

    def test_progress(self):
        self.make_image('shown.qcow2')
        phases = self.python(self.alice, '''
            seen = []
            SecureVM("shown", image="shown.qcow2").create(progress=lambda phase, done: seen.append([phase, done]))
            show(seen)
            ''')
        self.assertTrue(all(isinstance(p, str) and (d is None or 0 <= d <= 1) for p, d in phases), phases)
        self.assertIn('defining the domain', [p for p, _ in phases])

    def test_state_errors(self):
        shown = self.python(self.alice, CATCH + '''
vm = SecureVM("failing")
attempt(lambda: vm.state)
attempt(vm.start)
vm.create()
attempt(vm.create)
attempt(vm.stop)
attempt(vm.console)
vm.start()
attempt(vm.destroy)
''')
        self.assertEqual([s[0] for s in shown], ['NoSuchVM', 'NoSuchVM', 'VMExists', 'WrongState', 'WrongState',
                                                 'WrongState'])

    def test_console_and_display_that_are_not_there(self):
        """libvirt's test driver has neither."""
        shown = self.python(self.alice, CATCH + '''
vm = SecureVM("silent").create().start()
attempt(vm.console)
attempt(vm.display)
''')
        self.assertEqual([s[0] for s in shown], ['NotSupported', 'NotSupported'])

    def hold(self, address):
        """The driver of a device does not let go of it until what is returned is called."""
        path = self.bus.path('host', self.bus.host.functions[address].path, 'mock_hold')
        with open(path, 'w', encoding='ascii'):
            pass
        release = lambda: os.path.exists(path) and os.unlink(path)  # noqa: E731
        self.addCleanup(release)
        return release

    def is_home(self):
        return self.root.get(self.root.manager('GetDevice', FREE), 'Device', 'Driver') == 'nvme'

    def binding(self, name):
        """The start of this VM has come to where it waits for the driver. Returns its job."""
        def found():
            if not os.listdir(self.bus.path('state/claims')):
                return None
            for path, interfaces in self.root.objects().items():
                job = interfaces.get('org.vmkit.Job', {})
                if job.get('State') == 'running' and job['Phase'] == 'binding the devices':
                    return path
            return None
        return wait_until(found, f'the start of {name}')

    STARTING = '''
        vm = SecureVM("slow")
        try:
            show("starting")
            vm.start()
        except (KeyboardInterrupt, Error) as error:
            show([type(error).__name__, getattr(error, "__notes__", []), vm.job.number, vm.job.state])
            if sys.stdin.readline().strip() == "cancel":
                show([vm.job.cancel(), vm.job.state in ("running", "cancelled")])
        else:
            show([vm.state, vm.job.state])
        '''

    def starting(self):
        """A program that waits for a start that does not end."""
        self.alice.create('slow', nvme=[FREE])
        wait_until(self.is_home, 'the drive to be on its driver')
        release = self.hold(FREE)
        settings = self.user(self.alice)
        child = subprocess.Popen(self.code(self.STARTING), **settings, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        self.assertEqual(json.loads(child.stdout.readline()), 'starting')
        return child, self.binding('slow'), release

    def test_ctrl_c_ends_the_waiting_only(self):
        child, job, release = self.starting()
        child.send_signal(signal.SIGINT)
        kind, notes, number, state = json.loads(child.stdout.readline())
        self.assertEqual((kind, number, state), ('KeyboardInterrupt', int(job.rsplit('/', 1)[1]), 'running'))
        self.assertIn(f'job {number} goes on', notes[0])
        self.assertIn('cancel', notes[0])
        self.assertEqual(self.root.get(job, 'Job', 'State'), 'running')
        child.stdin.write('leave\n')
        child.stdin.flush()
        child.wait(TIMEOUT)
        release()
        self.assertEqual(self.root.succeed(job)['Operation'], 'start')
        self.assertEqual(self.root.get(self.root.manager('GetVM', 'slow'), 'VM', 'State'), 'running')

    def test_a_job_can_be_cancelled_after_it(self):
        child, job, release = self.starting()
        child.send_signal(signal.SIGINT)
        child.stdout.readline()
        child.stdin.write('cancel\n')
        child.stdin.flush()
        self.assertEqual(json.loads(child.stdout.readline()), [None, True])
        release()
        self.assertEqual(self.root.finish(job)['State'], 'cancelled')

    def test_a_job_that_is_cancelled_elsewhere(self):
        child, job, release = self.starting()
        self.alice.job(job, 'Cancel', {})
        release()
        kind, notes, _, state = json.loads(child.stdout.readline())
        self.assertEqual((kind, notes, state), ('Cancelled', [], 'cancelled'))

    def test_the_end_comes_by_a_signal(self):
        child, _, release = self.starting()
        release()
        self.assertEqual(json.loads(child.stdout.readline()), ['running', 'done'])

    def test_a_service_that_is_restarted(self):
        """The job has the same name there, and says that it was interrupted."""
        child, job, release = self.starting()
        self.bus.stop('vmkitd', signal.SIGKILL)
        release()
        self.bus.start_vmkitd()
        kind, _, number, state = json.loads(child.stdout.readline())
        self.assertEqual((kind, number, state), ('Interrupted', int(job.rsplit('/', 1)[1]), 'failed'))

    def test_a_job_that_fails(self):
        """On a host without the module, which is found out when the device is bound."""
        os.rename(self.bus.path('host/sys/bus/pci/drivers/vfio-pci'), self.bus.path('hidden'))
        self.addCleanup(os.rename, self.bus.path('hidden'), self.bus.path('host/sys/bus/pci/drivers/vfio-pci'))
        shown = self.python(self.alice, CATCH + f'''
vm = SecureVM("failing", nvme="{FREE}").create()
attempt(vm.start)
show([vm.job.state, vm.state])
''')
        self.assertEqual(shown[0][0], 'BindFailed')
        self.assertTrue(shown[0][3])
        self.assertEqual(shown[1], ['failed', 'stopped'])


class Rights(ProgramTest):
    def test_without_the_rule(self):
        shown = self.python(self.bob, CATCH + '''
attempt(SecureVM("bobs").create)
attempt(SecureVM("bobs", service=Service(interactive=False)).create)
attempt(import_image, "x", "/etc/hostname")
show(isinstance(AccessDenied("x"), Error))
''')
        self.assertEqual([s[:2] for s in shown[:2]], [['AccessDenied', fixture.ACCESS_DENIED],
                                                      ['AccessDenied', fixture.INTERACTIVE_REQUIRED]])
        for refused in shown[:2]:
            self.assertIn('org.vmkit.create-vm', refused[2])
            self.assertIn('polkit-1/rules.d', refused[3])
        self.assertEqual([shown[2][0], shown[3]], ['AccessDenied', True])
        self.assertEqual(self.root.manager('ListVMs'), [])

    def test_of_another(self):
        self.alice.create('hers')
        shown = self.python(self.bob, f'{CATCH}attempt(SecureVM("hers").start)\nshow(SecureVM("hers").state)')
        self.assertEqual([shown[0][0], shown[1]], ['AccessDenied', 'stopped'])

    def test_a_password_is_asked_for_once(self):
        """In this process, which has the agent."""
        sys.path.insert(0, pyclient.PACKAGE)
        import vmkit
        agent = fixture.Agent(self.bus, self.carol)
        with fixture.acting_as(effective=fixture.CAROL):
            service = vmkit.Service(address=self.bus.address)
        self.addCleanup(service.close)
        vm = vmkit.SecureVM('carols', passthrough_devices=[GPU], service=service)
        thread = threading.Thread(target=vm.create)
        thread.start()
        wait_until(lambda: not thread.is_alive(), 'the VM')
        self.assertEqual(vm.state, 'stopped')
        self.assertEqual(len(agent.prompts), 1)
        self.assertIn('carols', agent.prompts[0][1])

    def test_closed(self):
        shown = self.python(self.alice, CATCH + '''
service = Service()
vm = SecureVM("x", service=service)
service.close()
attempt(vm.create)
show(service.closed)
show(list_vms())
''')
        self.assertEqual([shown[0][0], *shown[1:]], ['ServiceUnavailable', True, []])

    def test_terminal_agent_without_a_terminal(self):
        self.assertEqual(self.python(self.alice, '''
            os.setsid()
            with TerminalAgent() as agent:
                show(SecureVM("x").create().state)
            '''), 'stopped')


class Errors(ProgramTest):
    """Against a service that gives each error when it is asked for the VM of that name."""

    VMKITD = False

    def setUp(self):
        super().setUp()
        self.service = StandIn(self.root, {
            'GetVM': self.fail_as_told, 'ListVMs': lambda: (([],), None), 'OpenConsole': self.open_console,
            'CreateVM': lambda name, options: None, 'Start': lambda options: (('/org/vmkit/job/1',), None)})
        self.addCleanup(self.service.close)
        self.service.add(MANAGER, 'org.vmkit.Manager')

    VM = '/org/vmkit/vm/' + '0' * 32

    def fail_as_told(self, name):
        if name == 'there':
            return (self.VM,), None
        if name.startswith('own.'):
            raise Refused(fixture.PREFIX + name[4:], 'what happened\nwhat to do')
        raise Refused(name if name.startswith('org.') else fixture.PREFIX + name, 'what happened')

    def open_console(self, _options):
        handle, fds = StandIn.descriptor(self.serial.fileno())
        return (handle,), fds

    def run_beside(self, *argv, **kwargs):
        """Runs a program while this one, which is the service, answers it. Returns its output."""
        child = subprocess.Popen(argv, **self.user(self.bob), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 **kwargs)
        wait_until(lambda: child.poll() is not None, argv[0])
        return child.communicate()

    def ask(self, *names):
        output, errors = self.run_beside(*self.code(CATCH + f'''
for name in {names!r}:
    attempt(lambda: SecureVM(name).state)
'''))
        self.assertEqual(errors, '')
        return dict(zip(names, map(json.loads, output.splitlines())))

    def test_one_exception_for_each_name(self):
        """With the remedy that vmkitctl has for it, which is the table's."""
        shown = self.ask(*ERRORS)
        for code in ERRORS:
            with self.subTest(code):
                _, errors = self.run_beside(f'{BUILD}/client/vmkitctl', '--json', 'info', code)
                remedy = json.loads(errors)['error']['remedy']
                self.assertTrue(remedy)
                self.assertEqual(shown[code], [code, fixture.PREFIX + code, 'what happened', remedy,
                                               f'what happened\n{remedy}'])

    def test_no_other_names_than_those_of_the_contract(self):
        output, _ = self.run_beside(*self.code('''
            show([k for k in vmkit.errors.__all__ if getattr(vmkit, k).dbus_name.startswith("org.vmkit.")])
            '''))
        self.assertEqual(json.loads(output), ERRORS)

    def test_a_remedy_of_its_own(self):
        shown = self.ask('own.Busy')
        self.assertEqual(shown['own.Busy'][2:4], ['what happened', 'what to do'])

    def test_other_names(self):
        bus = 'org.freedesktop.DBus.Error.'
        shown = self.ask(bus + 'AccessDenied', bus + 'InteractiveAuthorizationRequired', bus + 'NoReply',
                         bus + 'Spawn.ChildExited', 'org.freedesktop.systemd1.Failed', bus + 'Failed',
                         'org.vmkit.Error.Later')
        self.assertEqual([s[0] for s in shown.values()], ['AccessDenied', 'AccessDenied', 'ServiceUnavailable',
                                                          'ServiceUnavailable', 'ServiceUnavailable', 'Error',
                                                          'Error'])
        self.assertEqual([s[1] for s in shown.values()], list(shown))
        self.assertIn('systemctl start vmkitd', shown[bus + 'NoReply'][3])
        self.assertEqual(shown[bus + 'Failed'][4], 'what happened')

    def test_a_console_is_a_socket(self):
        self.service.add(self.VM, 'org.vmkit.VM')
        guest, self.serial = socket.socketpair()
        self.addCleanup(guest.close)
        self.addCleanup(self.serial.close)
        guest.sendall(b'login: ')
        output, errors = self.run_beside(*self.code('''
            with SecureVM("there").console() as console:
                show(console.recv(100).decode())
                console.sendall(b"alice")
            '''))
        self.assertEqual((output, errors), ('"login: "\n', ''))
        self.assertEqual(guest.recv(100), b'alice')

    def test_a_job_that_is_not_there(self):
        """As after the restart of a service that has forgotten it."""
        self.service.add(self.VM, 'org.vmkit.VM')
        output, errors = self.run_beside(*self.code(f'{CATCH}attempt(SecureVM("there").start)'))
        self.assertEqual(errors, '')
        self.assertEqual(json.loads(output)[0], 'Interrupted')

    def test_ctrl_c_before_the_answer(self):
        child = subprocess.Popen(self.code('''
            try:
                SecureVM("slow").create()
            except KeyboardInterrupt as error:
                show(error.__notes__)
            '''), **self.user(self.bob), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until(lambda: 'CreateVM' in self.service.called, 'the call')
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=TIMEOUT)
        self.assertEqual((child.returncode, errors), (0, ''))
        self.assertIn('CreateVM had been sent', output)

    def test_the_error_of_a_job(self):
        self.service.add(self.VM, 'org.vmkit.VM')
        self.service.properties = {
            'Operation': 'start', 'Target': self.VM, 'Progress': 0.0, 'ProgressKnown': False, 'Phase': '',
            'Note': '', 'StartedBy': 0, 'StartedAt': 0, 'Cancelable': False, 'State': 'failed',
            'Error': (fixture.PREFIX + 'StartFailed', 'no'), 'Remedy': 'try something'}
        self.service.add('/org/vmkit/job/1', 'org.vmkit.Job')
        output, _ = self.run_beside(*self.code(f'{CATCH}attempt(SecureVM("there").start)'))
        self.assertEqual(json.loads(output), ['StartFailed', fixture.PREFIX + 'StartFailed', 'no', 'try something',
                                              'no\ntry something'])


class Absent(ProgramTest):
    VMKITD = False

    def test_no_service(self):
        shown = self.python(self.alice, f'{CATCH}attempt(SecureVM("x").create)\nattempt(find_gpu)')
        for refused in shown:
            self.assertEqual(refused[0], 'ServiceUnavailable')
            self.assertIn('systemctl start vmkitd', refused[3])

    def test_no_bus(self):
        refused = self.python(self.alice, f'{CATCH}attempt(find_nvme)',
                              DBUS_SYSTEM_BUS_ADDRESS='unix:path=/nonexistent')
        self.assertEqual(refused[0], 'ServiceUnavailable')


class Package(fixture.unittest.TestCase):
    def setUp(self):
        sys.path.insert(0, pyclient.PACKAGE)
        self.addCleanup(sys.path.remove, pyclient.PACKAGE)

    def test_everything_is_documented(self):
        import vmkit
        for name in vmkit.__all__:
            found = getattr(vmkit, name)
            self.assertTrue(inspect.getdoc(found), name)
            if not inspect.isclass(found) or issubclass(found, Exception):
                continue
            for member, value in vars(found).items():
                if not member.startswith('_') and (callable(value) or isinstance(value, property)):
                    self.assertTrue(inspect.getdoc(value), f'{name}.{member}')

    def test_metadata(self):
        with open(f'{pyclient.PACKAGE}/METADATA', encoding='utf-8') as file:
            found = email.parser.Parser().parse(file)
        version = subprocess.run([f'{BUILD}/client/vmkitctl', '--version'], text=True, capture_output=True,
                                 check=True).stdout
        self.assertIn(found['Version'], version)
        self.assertEqual((found['Name'], found['License']), ('vmkit', 'LGPL-2.1-or-later'))


if __name__ == '__main__':
    fixture.main()
