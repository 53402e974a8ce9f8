# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmkitd on a real libvirt: private virtlogd, libvirtd and QEMU beside the private bus of tests/bus.

Everything runs in namespaces of the test program. libvirt's directories are overlays there that go away
with it, the only network is a loopback interface of its own, and libvirt is kept from control groups, which
have no namespace. `Machine` starts and ends the processes; `Console` is a viewer of a guest's serial port,
on which the guest of these tests has a shell for them (`GUEST_SHELL`).
"""

import contextlib
import glob
import json
import os
import re
import select
import shutil
import signal
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '..', 'bus'))

import fixture  # noqa: E402
from fixture import Descriptor, wait_until  # noqa: E402

LIBVIRT = 'qemu:///system'
LIBVIRT_SOCKET = '/run/libvirt/libvirt-sock'

# Emulated, beside everything else that this machine does.
BOOT_TIMEOUT = float(os.environ.get('VMKIT_BOOT_TIMEOUT', '400'))
GUEST_TIMEOUT = BOOT_TIMEOUT / 4

RULES = '''polkit.addRule(function(action, subject) {
    if (action.id == "org.vmkit.create-vm") return polkit.Result.YES; });'''

QEMU_CONF = '''
cgroup_controllers = []
security_driver = "none"
namespaces = []
'''

# For a guest with cloud-init. A line read from the serial port is a command; what it prints is between marks.
GUEST_SHELL = '''#cloud-config
runcmd:
  - [systemctl, stop, --no-block, serial-getty@ttyS0.service]
  - [systemd-run, --unit=test-shell, -p, TTYPath=/dev/ttyS0, -p, StandardInput=tty-force,
     -p, StandardOutput=tty, -p, StandardError=tty, -p, IgnoreSIGPIPE=no, /bin/sh, -c,
     'stty -echo -onlcr; echo "<<ready>>"; while read -r line; do echo "<<$(eval "$line" 2>&1)>>"; done']
'''

# The same typed into the shell of a quick guest, which then also minds the power button once it is told to.
QUICK_SHELL = (
    'stty -echo -onlcr; '
    'mind_power() { modprobe -a button evdev; power=; until [ "$power" ]; do power=$(grep -ls Power '
    '/sys/class/input/event*/device/name); done; power=${power%%/device*}; '
    '(head -c 24 /dev/input/${power##*/} && sync && echo o >/proc/sysrq-trigger) >/dev/null & }; '
    'echo "<<rea""dy>>"; while read -r line; do eval "$line" >/run/out 2>&1; echo "<<$(cat /run/out)>>"; done\n')


def guest_image():
    """The Debian cloud image of the lab, or None."""
    for path in (os.environ.get('VMKIT_GUEST_IMAGE'), f'{os.environ.get("VMKIT_LAB_DIR", "")}/guest.qcow2',
                 f'{fixture.SOURCE}/build/lab/guest.qcow2'):
        if path and os.path.isfile(path):
            return path
    return None


class SystemPartition:
    """The EFI system partition inside of a raw disk, for mtools."""

    def __init__(self, disk):
        table = json.loads(fixture.run('sfdisk', '--json', disk))['partitiontable']
        [start] = [p['start'] for p in table['partitions'] if p['type'].startswith('C12A7328')]
        self.image = f'{disk}@@{start * 512}'

    def read(self, name):
        with tempfile.NamedTemporaryFile() as file:
            fixture.run('mcopy', '-n', '-o', '-i', self.image, f'::/{name}', file.name)
            with open(file.name, 'rb') as copy:
                return copy.read()

    def write(self, name, data):
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            fixture.run('mcopy', '-o', '-i', self.image, file.name, f'::/{name}')


def make_quick_image(target):
    """The same disk with the same boot loaders and kernel, but a shell in place of all that takes long to start."""
    fixture.run('qemu-img', 'convert', '-O', 'raw', guest_image(), target)
    partition = SystemPartition(target)
    for name in ('syslinux.cfg', 'EFI/debian/grub.cfg'):
        partition.write(name, partition.read(name).replace(b' quiet ', b' quiet init=/bin/bash '))


def remove_signature(disk):
    """Leaves the first boot loader as it is, but unsigned: its PE header says that there is no signature."""
    partition = SystemPartition(disk)
    loader = bytearray(partition.read('EFI/BOOT/BOOTX64.EFI'))
    [header] = struct.unpack_from('<I', loader, 0x3c)
    security = header + 24 + 112 + 4 * 8        # PE32+: the fifth data directory
    assert loader[header:header + 4] == b'PE\0\0' and any(loader[security:security + 8])
    loader[security:security + 8] = bytes(8)
    partition.write('EFI/BOOT/BOOTX64.EFI', bytes(loader))


def _leave_init_behind():
    """Goes on in a child. The first process of the namespace inherits what daemons leave behind (libvirt waits
    for a QEMU of its until it is gone altogether), and here has nothing else to do."""
    child = os.fork()
    while child:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)


def _hide_kvm():
    """Guests are emulated here. Where /dev/kvm can be opened but runs no guest, libvirt takes what it knows of QEMU for
    outdated each time it is asked, and starts QEMU several times to look again."""
    if not os.path.exists('/dev/kvm'):
        return
    file, name = tempfile.mkstemp()
    os.fchmod(file, 0)
    os.close(file)
    fixture.run('mount', '--bind', name, '/dev/kvm')


def _prepare():
    """What libvirt writes goes to overlays, and its sockets to a /run of the test's own."""
    _leave_init_behind()
    _hide_kvm()
    fixture.run('ip', 'link', 'set', 'lo', 'up')
    fixture.run('mount', '-t', 'tmpfs', '-o', 'mode=0755', 'vmkit-vm-test', '/run')
    os.mkdir('/run/lock')
    # What libvirt finds out about QEMU takes it long, and stays true.
    cache = f'{fixture.BUILD}/tests/vm/libvirt-cache'
    os.makedirs(cache, exist_ok=True)
    fixture.run('mount', '--bind', cache, '/var/cache/libvirt')
    for directory in ('/var/lib/libvirt', '/var/log', '/var/lib/swtpm-localca'):
        if os.path.isdir(directory):
            fixture.overlay(directory)
    # The machine's own VMs and networks are not the test's to start.
    for directory in ('/etc/libvirt/qemu',):
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
    with open('/etc/libvirt/qemu.conf', 'w', encoding='utf-8') as file:
        file.write(QEMU_CONF)


def enter(then=fixture.enter, needs_image=True):
    """Goes on where libvirt is the test's own, or ends the program where that cannot be."""
    missing = [p for p in ('libvirtd', 'virtlogd', 'qemu-system-x86_64', 'qemu-img', 'ip')
               if not shutil.which(p, path='/usr/sbin:/usr/bin:/sbin:/bin')]
    if missing:
        print(f'skipped: not found: {", ".join(missing)}')
        sys.exit(fixture.SKIPPED)
    if needs_image and not guest_image():
        print("skipped: there is no guest image; 'tests/lab/build guest' makes it")
        sys.exit(fixture.SKIPPED)
    then('--net', '--ipc', prepare=_prepare)


def main(needs_image=True):
    enter(fixture.main, needs_image)


class Machine(fixture.Bus):
    """The processes of one test class: those of the bus, and libvirt's."""

    def __init__(self, **kwargs):
        super().__init__(vmkitd=False, **kwargs)
        try:
            self.start_libvirt()
            self.start_vmkitd()
        except Exception:
            sys.stderr.write(''.join(f'--- {n}\n{self.log(n)[-4000:]}---\n' for n in ('libvirtd', 'vmkitd')))
            self.close()
            raise

    def vmkitd_options(self):
        return ['--libvirt-uri', LIBVIRT, '--domain-type', 'qemu', '--host-root', self.path('host')]

    def start_libvirt(self):
        if 'virtlogd' not in self.processes:
            self.spawn('virtlogd', ['virtlogd'])
        # A daemon that was killed leaves its socket; nobody listens on it.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(LIBVIRT_SOCKET)
        self.spawn('libvirtd', ['libvirtd'])

        def listens():
            self._alive('libvirtd')
            return os.path.exists(LIBVIRT_SOCKET)
        wait_until(listens, 'libvirtd to listen')

    def kill_libvirt(self):
        self.stop('libvirtd', signal.SIGKILL)

    def what_threads_wait_in(self, name):
        """By thread of a process: all that the kernel tells of one that does not answer."""
        process = self.processes.get(name)
        found = []
        for task in glob.glob(f'/proc/{process.pid}/task/*') if process else []:
            with contextlib.suppress(OSError), open(f'{task}/comm', encoding='utf-8') as comm, \
                    open(f'{task}/wchan', encoding='ascii') as wchan:
                found.append(f'{comm.read().strip()}: {wchan.read()}\n')
        return ''.join(found)

    def _threads(self):
        return os.listdir(f'/proc/{self.processes["vmkitd"].pid}/task')

    def is_at_rest(self):
        """Whether vmkitd has given up its connection to libvirt, and has made no other since."""
        log = self.log('vmkitd')
        return log.rfind('the connection to libvirt rests') > log.rfind('onnected to libvirt at')

    def wait_for_rest(self):
        wait_until(self.is_at_rest, 'the rest')

    def wait_for_silence(self):
        """The same, and until the worker that closed the connection no longer waits for more to do."""
        self.wait_for_rest()
        wait_until(lambda: len(self._threads()) <= 2, 'the workers to end')

    def wake_ups(self):
        """By thread of vmkitd, how often it has gone to sleep, which is as often as it was woken."""
        counts = {}
        for thread in self._threads():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), \
                    open(f'/proc/{self.processes["vmkitd"].pid}/task/{thread}/status', encoding='utf-8',
                         errors='replace') as file:
                counts[thread] = next(int(line.split()[1]) for line in file
                                      if line.startswith('voluntary_ctxt_switches'))
        return counts

    def wakes_within(self, seconds):
        """How often vmkitd is woken from now on for so long; a thread that comes is woken all its times."""
        before = self.wake_ups()
        time.sleep(seconds)
        return sum(count - before.get(thread, 0) for thread, count in self.wake_ups().items())

    def virsh(self, *argv):
        return fixture.run('virsh', '--connect', LIBVIRT, *argv, timeout=GUEST_TIMEOUT)

    def close(self):
        self.stop('vmkitd')
        names = self.virsh('list', '--name').split() if 'libvirtd' in self.processes else []
        for name in names:
            self.virsh('destroy', name)
        for name in ('libvirtd', 'virtlogd'):
            self.stop(name, signal.SIGKILL)
        super().close()


class Console:
    """A viewer of a serial port: everything it showed, and waiting for what it will show."""

    def __init__(self, fd):
        self.fd = fd
        os.set_blocking(fd, False)
        self.text = ''
        self.ended = False

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read(self, timeout):
        """Waits for output. False: none came."""
        if self.ended or not select.select([self.fd], [], [], max(timeout, 0))[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except ConnectionResetError:
            data = b''
        self.ended = not data
        self.text += data.decode(errors='replace')
        return not self.ended

    def shows(self, pattern, timeout):
        """Waits until pattern is shown. Returns the match, or None after that time."""
        deadline = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.text, re.S)
            if match or not self.read(deadline - time.monotonic()):
                return match

    def expect(self, pattern, timeout=None):
        """Waits until pattern is shown. Returns the match; what was shown up to its end is used up."""
        match = self.shows(pattern, timeout or GUEST_TIMEOUT)
        if not match:
            raise AssertionError(f'{"the console ended" if self.ended else "waited"} before {pattern!r} '
                                 f'was shown. The last of it:\n{self.text[-3000:]}')
        self.text = self.text[match.end():]
        return match

    def wait_for_end(self, timeout=None):
        deadline = time.monotonic() + (timeout or GUEST_TIMEOUT)
        while self.read(deadline - time.monotonic()):
            pass
        return self.ended

    def write(self, text):
        os.write(self.fd, text.encode())

    def wait_for_shell(self):
        return self.expect('<<ready>>', BOOT_TIMEOUT)

    def wait_for_quick_shell(self):
        self.expect('bash-[0-9.]+# |root@[^ ]*# ', BOOT_TIMEOUT)
        self.write(QUICK_SHELL)
        return self.wait_for_shell()

    def run(self, command, timeout=None):
        """Runs a command in the guest and returns what it printed."""
        self.write(command + '\n')
        return self.expect(r'<<(.*?)>>', timeout)[1].strip()


class VMTest(fixture.BusTest):
    """Tests that share one Machine."""

    RULES = RULES

    @classmethod
    def setUpClass(cls):
        cls.bus = Machine(rules=cls.RULES, config=cls.CONFIG, host=cls.HOST)
        cls.addClassCleanup(cls.bus.close)
        cls.root = cls.bus.root
        cls.alice, cls.bob = (cls.bus.connect(uid) for uid in (fixture.ALICE, fixture.BOB))

    def after_failure(self):
        super().after_failure()
        log = self.bus.log('libvirtd')[-4000:]
        sys.stderr.write(f'--- the end of what libvirtd said\n{log}---\n')
        for name in glob.glob('/var/log/libvirt/qemu/*.log'):
            with open(name, encoding='utf-8', errors='replace') as file:
                sys.stderr.write(f'--- the end of {name}\n{file.read()[-2000:]}---\n')
        for name in ('vmkitd', 'libvirtd'):
            sys.stderr.write(f'--- threads of {name}\n{self.bus.what_threads_wait_in(name)}---\n')

    @classmethod
    def import_image(cls, file, name):
        with open(file, 'rb') as image:
            cls.alice.succeed(cls.alice.manager('ImportImage', name, Descriptor(image), {}))

    @classmethod
    def create(cls, name, user_data=None, cloud_init=None, **options):
        """Creates a VM of alice's whose guest, if it has cloud-init, gets this user-data."""
        options = {'memory': fixture.u64(512 << 20), 'cpus': fixture.u32(1), 'network': 'none', **options}
        with tempfile.TemporaryFile() as file:
            if user_data:
                file.write(user_data.encode())
                file.flush()
                cloud_init = {**(cloud_init or {}), 'user-data': Descriptor(file)}
            if cloud_init:
                options['cloud-init'] = cloud_init
            return cls.alice.create(name, **options)

    def console(self, vm, caller=None):
        console = Console((caller or self.alice).vm(vm, 'OpenConsole', {}))
        self.addCleanup(console.close)
        return console

    def vm_state(self, vm):
        return self.alice.get(vm, 'VM', 'State')

    def wait_for_state(self, vm, *states, timeout=GUEST_TIMEOUT):
        return wait_until(lambda: self.vm_state(vm) in states and self.vm_state(vm), f'the state {states}', timeout)

    def succeed(self, method, vm, *arguments, timeout=GUEST_TIMEOUT):
        properties = self.alice.finish(self.alice.vm(vm, method, *arguments), timeout)
        if properties['State'] != 'done':
            raise fixture.Refused(*properties['Error'])

