#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything that can go wrong at every step of every operation: the step fails, the helper is killed, vmkitd is
killed, or both are. Afterwards vmkitd answers, every device is where it belongs, and the job says what
happened.

Bindings change in a kernel made of files (mock/kernel.c). libvirt's test driver lives in vmkitd, so when that
is killed, its VMs are gone, running or not: their devices must be home.
"""

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import unittest

import fixture
import mocksys
from fixture import BUILD, GLib, MANAGER, NAME, PREFIX, Refused, wait_until

UNIT = (mocksys.GPU, mocksys.GPU_AUDIO)
HOME = {mocksys.GPU: 'nouveau', mocksys.GPU_AUDIO: 'snd_hda_intel'}
ATTRIBUTES = {'driver_override': '(null)', 'd3cold_allowed': '1', 'power/control': 'auto'}


def fault_points():
    """Name and whether it can be made to fail; none if vmkit was built without."""
    lines = subprocess.run([fixture.MOCK_HELPER, 'faults'], text=True, capture_output=True, check=False).stdout.split('\n')
    return {words[0]: len(words) > 1 for words in map(str.split, lines) if words}


POINTS = fault_points()
JOB_RUN = [p for p in POINTS if p.startswith('job-run-')]
JOB_UNDO = [p for p in POINTS if p.startswith('job-undo-')]
BIND = [p for p in POINTS if p.startswith('bind-')]
RELEASE = [p for p in POINTS if p.startswith('release-')]


def host(root):
    tree = mocksys.desktop(root)
    base = 'sys/bus/pci/drivers/vfio-pci'
    tree.mkdir(base)
    for address, driver in HOME.items():
        path = tree.functions[address].path
        tree.write(f'{path}/mock_native', f'{driver}\n')
        tree.write(f'{path}/power/control', 'auto\n')
    return tree


def object_path(address):
    return '/org/vmkit/device/' + address.replace(':', '_').replace('.', '_')


class CrashTest(fixture.BusTest):
    HOST = staticmethod(host)

    @classmethod
    def setUpClass(cls):
        fixture.use_mock_kernel()
        super().setUpClass()
        cls.jobs = set()

    # What the machine is like

    def function(self, address, *parts):
        return self.bus.path('host', self.bus.host.functions[address].path, *parts)

    def driver(self, address):
        try:
            return os.path.basename(os.readlink(self.function(address, 'driver')))
        except FileNotFoundError:
            return None

    def attribute(self, address, name):
        with open(self.function(address, name), encoding='ascii') as file:
            return file.read().strip()

    def claims(self):
        directory = self.bus.path('state/claims')
        found = {}
        for name in os.listdir(directory):
            if not name.startswith('.'):
                with open(f'{directory}/{name}', encoding='ascii') as file:
                    found[name] = json.load(file)
        return found

    def at_work(self):
        """Some claim is on its way."""
        return [c for c in self.claims().values() if c['state'] in ('binding', 'releasing')]

    def where(self):
        """'home', 'held' or 'quarantined', with nothing in between; the test fails for anything else."""
        claims = self.claims()
        states = {claims[a]['state'] for a in UNIT if a in claims}
        if 'quarantined' in states:
            for address in UNIT:
                claim = claims.get(address)
                if claim and claim['state'] == 'quarantined':
                    self.assertTrue(claim['reason'])
                    self.assertEqual(self.root.get(object_path(address), 'Device', 'Health'), 'quarantined')
            return 'quarantined'
        if states:
            self.assertEqual(({a: self.driver(a) for a in UNIT}, states, sorted(claims)),
                             ({a: 'vfio-pci' for a in UNIT}, {'bound'}, sorted(UNIT)))
            return 'held'
        self.assertEqual({a: self.driver(a) for a in UNIT}, HOME)
        for address in UNIT:
            self.assertEqual({n: self.attribute(address, n) for n in ATTRIBUTES}, ATTRIBUTES)
            self.assertEqual(self.root.get(object_path(address), 'Device', 'Health'), 'ready')
            self.await_driver(address, HOME[address])
        return 'home'

    def await_driver(self, address, name):
        """The files of the host and the claims are the helper's work; vmkitd hears of it a moment later."""
        wait_until(lambda: self.root.get(object_path(address), 'Device', 'Driver') == name,
                   f'vmkitd to see {address} on {name}')

    # Faults

    def arm(self, *lines):
        with open(self.bus.path('state/faults'), 'w', encoding='ascii') as file:
            file.write(''.join(f'{line}\n' for line in lines))

    def is_armed(self, line):
        """The fault was not met. Its number may have gone down."""
        point, _number, action = line.split()
        with open(self.bus.path('state/faults'), encoding='ascii') as file:
            return any(left.split()[::2] == [point, action] for left in file.read().splitlines())

    def alive(self):
        return self.bus.processes['vmkitd'].poll() is None

    def await_end(self, job):
        """Until the job has ended or vmkitd has: True, if that was killed, and another is there now."""
        def ended():
            if not self.alive():
                return 'killed'
            try:
                return self.root.get(job, 'Job', 'State') != 'running' and 'ended'
            except Refused as error:
                if error.code == 'org.freedesktop.DBus.Error.UnknownObject':
                    raise
                return None  # it dies at this moment
        how = wait_until(ended, f'the end of {job} or of vmkitd')
        if how == 'ended' and self.about_to_die():
            wait_until(lambda: not self.alive(), 'vmkitd to be killed')
            how = 'killed'
        if how == 'killed':
            self.bus.processes.pop('vmkitd').wait()
            wait_until(lambda: not self.root.owner(NAME), 'the name to be free')
            self.bus.start_vmkitd()
        return how == 'killed'

    def about_to_die(self):
        """A kill is on its way to vmkitd: it was taken from the file, but is not carried out."""
        return self.killing is not None and not self.is_armed(self.killing)

    def run_once(self, operation, *lines):
        """The operation with these faults, of which the first may not be met: then None."""
        self.arm(*lines)
        self.killing = next((line for line in lines if line.endswith(('daemon', 'both'))), None)
        began = GLib.get_real_time()
        job = operation(self)
        number = int(job.rsplit('/', 1)[1])
        self.assertNotIn(number, self.jobs)
        self.jobs.add(number)
        killed = self.await_end(job)
        met = not any(map(self.is_armed, lines))
        found = self.root.finish(job)
        wait_until(lambda: not self.at_work(), 'the devices to be where they stay')
        if killed:
            self.assertEqual((found['State'], found['Error'][0]), ('failed', PREFIX + 'Interrupted'), found)
            self.assertTrue(found['Error'][1] and found['Remedy'])
            self.assertLessEqual(abs(found['StartedAt'] - began), 60e6)
            self.assertIn(job, self.root.get(MANAGER, 'Manager', 'Jobs'))
            self.assertEqual(self.records(), [])
        elif met:
            self.assertEqual(found['State'], 'failed' if self.must_fail(lines) else found['State'])
        elif len(lines) == 1:
            self.assertEqual(found['State'], 'done', found)
        self.assertEqual(found['State'] == 'failed', bool(found['Error'][0]))
        return found if met else None

    @staticmethod
    def must_fail(lines):
        return any(line.endswith(('kill-helper', 'fail')) and not line.startswith(('job-run-after', 'release-'))
                   for line in lines)

    def records(self):
        return [n for n in os.listdir(self.bus.path('state/jobs')) if n.isdigit()]

    # Operations

    def vms(self):
        return {row[0]: row[1] for row in self.root.manager('ListVMs')}

    def gpu_vm(self, **options):
        return self.root.create('gpu-vm', gpu=[mocksys.GPU], **options)

    def settle(self):
        """A VM whose job failed returns its devices by a job of its own."""
        def idle():
            return not any(found['org.vmkit.Job']['State'] == 'running'
                           for path, found in self.root.objects().items() if '/job/' in path)
        wait_until(idle, 'the end of all jobs')

    def tidy(self):
        """As it was before the first test, by the service's own means; and those must work."""
        self.arm()
        self.settle()
        for vm in self.vms().values():
            self.root.succeed(self.root.vm(vm, 'Destroy', {'force': True}))
        for address in UNIT:
            health = self.root.get(object_path(address), 'Device', 'Health')
            if health == 'quarantined':
                self.root.succeed(self.root.device(object_path(address), 'ClearQuarantine', {}))
        if self.claims():
            self.root.succeed(self.root.device(object_path(mocksys.GPU), 'Release', {}))
        self.assertEqual(self.where(), 'home')
        # The files of a VM whose removal failed half-way go at the next start, at the latest.
        if self.vm_files(lambda path: os.path.exists(f'{path}/unfinished')):
            self.bus.restart_vmkitd()
        self.assertEqual(self.vm_files(lambda path: os.path.exists(f'{path}/unfinished')), [])
        # What libvirt does not list is left alone, and the test driver has forgotten its VMs.
        for path in self.vm_files(lambda path: True):
            shutil.rmtree(path)

    def vm_files(self, wanted):
        directory = self.bus.path('state/vms')
        return [path for path in (f'{directory}/{name}' for name in os.listdir(directory)) if wanted(path)]

    def setUp(self):
        super().setUp()
        self.killing = None
        self.tidy()

    def matrix(self, name, operation, points, actions, *, before=None, also=(), places=None):
        """Each action at each passing of each point. One that is not met ends the row: there is no more."""
        table = collections.Counter()
        for point in points:
            for action in actions:
                if action == 'fail' and not POINTS[point]:
                    continue
                for number in range(1, 12):
                    line = f'{point} {number} {action}'
                    result = None
                    with self.subTest(operation=name, fault=line):
                        try:
                            if before:
                                before(self)
                            result = self.run_once(operation, line, *also)
                            self.settle()
                            place = self.where()
                            if places and result and result['State'] == 'failed':
                                self.assertIn(place, places, line)
                        finally:
                            self.tidy()
                    if result is None:
                        break
                    table[point, action, place] += 1
        for (point, action, place), count in table.items():
            sys.stderr.write(f'  {name:16} {point:20} {action:12} {count:3}  {place}\n')
        met = {point for point, _action, _place in table}
        self.assertEqual(met, set(points), 'points that were never passed')


def bind(test):
    return test.root.device(object_path(mocksys.GPU), 'Bind', {})


def bound(test):
    test.root.succeed(bind(test))


def release(test):
    return test.root.device(object_path(mocksys.GPU), 'Release', {})


def create(on_stop):
    def operation(test):
        return test.root.manager('CreateVM', 'gpu-vm', {'gpu': [mocksys.GPU], 'start': True,
                                                        'on-stop': on_stop})[1]
    return operation


def created(test):
    test.gpu_vm(on_stop='hold')


def running(on_stop):
    def operation(test):
        test.gpu_vm(on_stop=on_stop, start=True)
    return operation


def call(method, options):
    def operation(test):
        return test.root.vm(test.vms()['gpu-vm'], method, options)
    return operation


def bare(test):
    test.root.create('gpu-vm')


def held(test):
    test.gpu_vm(on_stop='hold', start=True)
    test.root.succeed(stop(test))


def attach(test):
    return test.root.vm(test.vms()['gpu-vm'], 'AttachDevice', mocksys.GPU, {})


def detach(test):
    return test.root.vm(test.vms()['gpu-vm'], 'DetachDevice', mocksys.GPU, {})


start = call('Start', {})
stop = call('Stop', {'force': True, 'timeout': fixture.u64(0)})
destroy = call('Destroy', {'force': True})

ALL = ('fail', 'kill-daemon', 'kill-helper', 'kill-both')
# At the boundary of a step no helper is there to be killed.
DAEMON = ('fail', 'kill-daemon')


@unittest.skipUnless(POINTS, 'vmkit was built without fault points')
class ByHand(CrashTest):
    def test_bind(self):
        self.matrix('bind', bind, BIND, ALL)
        self.matrix('bind', bind, JOB_RUN, DAEMON)

    def test_undo_of_bind(self):
        """The last function is bound and recorded; then all of it is undone, and that is hindered."""
        points = [p for p in RELEASE if p not in ('release-journaled', 'release-settled', 'release-reset')]
        self.matrix('undo of bind', bind, points, ('fail', 'kill-both', 'kill-helper'),
                    also=('bind-recorded 2 fail',), places=('home', 'quarantined'))

    def test_release(self):
        self.matrix('release', release, RELEASE, ALL, before=bound)
        self.matrix('release', release, JOB_RUN, DAEMON, before=bound)

    def test_helpers_that_die_twice(self):
        bound(self)
        self.run_once(release, 'release-unbound 1 kill-helper', 'release-override 1 kill-helper')
        self.assertEqual(self.where(), 'quarantined')
        self.tidy()


@unittest.skipUnless(POINTS, 'vmkit was built without fault points')
class OfVms(CrashTest):
    def test_create(self):
        self.matrix('create', create('host'), BIND, ('fail', 'kill-both'), places=('home',))
        self.matrix('create', create('hold'), JOB_RUN, DAEMON, places=('home',))

    def test_undo_of_create(self):
        for last in (4, 5):
            self.matrix(f'undo of create {last}', create('hold'), JOB_UNDO, ('kill-daemon',),
                        also=(f'job-run-after {last} fail',), places=('home',))

    def test_start(self):
        # Recorded to the last function, the unit is held for the VM, as it asked for.
        self.matrix('start', start, BIND, ('kill-helper', 'kill-both'), before=created, places=('home', 'held'))
        self.matrix('start', start, JOB_RUN, DAEMON, before=created, places=('home', 'held'))

    def test_stop(self):
        self.matrix('stop', stop, RELEASE, ALL, before=running('host'))
        self.matrix('stop', stop, JOB_RUN, DAEMON, before=running('hold'), places=('home', 'held'))

    def test_attach(self):
        self.matrix('attach', attach, JOB_RUN, DAEMON, before=bare, places=('home',))

    def test_detach(self):
        """One that does not come back is the VM's still, and held or quarantined as any other."""
        self.matrix('detach', detach, RELEASE, ALL, before=held, places=('home', 'held', 'quarantined'))
        self.matrix('detach', detach, JOB_RUN, DAEMON, before=held, places=('home', 'held'))

    def test_destroy(self):
        self.matrix('destroy', destroy, RELEASE, ('fail', 'kill-both'), before=running('hold'))
        self.matrix('destroy', destroy, JOB_RUN, DAEMON, before=running('hold'), places=('home', 'held'))


@unittest.skipUnless(POINTS, 'vmkit was built without fault points')
class Client(CrashTest):
    """vmkitctl waits for a job, and vmkitd goes away."""

    def vmkitctl(self, *arguments):
        environment = {'PATH': '/usr/bin:/bin', 'DBUS_SYSTEM_BUS_ADDRESS': self.bus.address, 'LC_ALL': 'C.UTF-8'}
        return subprocess.Popen([f'{BUILD}/client/vmkitctl', *arguments], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end_of(self, client):
        output, errors = client.communicate(timeout=fixture.TIMEOUT)
        return client.returncode, output, errors

    def restart(self):
        wait_until(lambda: not self.alive(), 'vmkitd to be killed')
        self.bus.processes.pop('vmkitd').wait()
        wait_until(lambda: not self.root.owner(NAME), 'the name to be free')
        self.bus.start_vmkitd()

    def test_it_finds_the_job_again(self):
        self.arm('bind-unbound 2 kill-both')
        client = self.vmkitctl('--json', 'bind', mocksys.GPU)
        self.restart()
        code, output, errors = self.end_of(client)
        self.assertEqual((code, output), (1, ''))
        error = json.loads(errors)['error']
        self.assertEqual(error['name'], PREFIX + 'Interrupted')
        self.assertIn('the device is on the driver it had', error['message'])
        self.assertTrue(error['remedy'])
        self.assertEqual(self.where(), 'home')
        listed = self.vmkitctl('--json', 'jobs').communicate(timeout=fixture.TIMEOUT)[0]
        last = json.loads(listed)[-1]
        self.assertEqual((last['operation'], last['target'], last['state']), ('bind', mocksys.GPU, 'failed'))

    def test_it_waits_for_what_still_runs(self):
        """The helper outlives vmkitd and is held up: the new vmkitd waits for it, and so does the client."""
        open(self.function(mocksys.GPU_AUDIO, 'mock_hold'), 'w', encoding='ascii').close()
        self.arm('bind-journaled 1 kill-daemon')
        client = self.vmkitctl('bind', mocksys.GPU)
        self.restart()
        job = self.root.get(MANAGER, 'Manager', 'Jobs')[-1]
        self.assertEqual(self.root.get_all(job, 'Job')['State'], 'running')
        self.assertEqual(self.root.get_all(job, 'Job')['Phase'], 'undoing')
        self.assertIsNone(client.poll())
        os.unlink(self.function(mocksys.GPU_AUDIO, 'mock_hold'))
        code, _, errors = self.end_of(client)
        self.assertEqual(code, 1)
        self.assertIn('held on vfio-pci', ' '.join(errors.split()))
        self.assertEqual(self.where(), 'held')

    def test_interrupted_by_a_stop(self):
        """SIGTERM: the helper finishes, what was begun is undone, and the next vmkitd still knows the job."""
        hold = self.function(mocksys.GPU, 'mock_hold')
        open(hold, 'w', encoding='ascii').close()
        job = create('hold')(self)
        wait_until(self.at_work, 'the helper to be at work')
        completed = self.root.signals('Completed', path=job)
        vmkitd = self.bus.processes['vmkitd']
        vmkitd.send_signal(signal.SIGTERM)
        os.unlink(hold)
        wait_until(lambda: completed, 'the end of the job')
        success, name, message = completed[0][1]
        self.assertEqual((success, name), (False, PREFIX + 'Interrupted'))
        self.assertIn('binding the devices', message)
        self.assertEqual(self.bus.stop('vmkitd'), 0)
        wait_until(lambda: not self.root.owner(NAME), 'the name to be free')
        self.bus.start_vmkitd()
        found = self.root.get_all(job, 'Job')
        self.assertEqual((found['State'], found['Error']), ('failed', (name, message)))
        self.assertEqual(self.vms(), {})
        self.assertEqual(self.where(), 'home')


@unittest.skipUnless(POINTS, 'vmkit was built without fault points')
class Wedged(CrashTest):
    """A driver does not let go."""

    CONFIG = '[Manager]\nDriverTimeout=2\n'

    def hold(self, address):
        path = self.function(address, 'mock_hold')
        open(path, 'w', encoding='ascii').close()
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))

    def let_go(self, address):
        os.unlink(self.function(address, 'mock_hold'))

    def health(self, address):
        return self.root.get(object_path(address), 'Device', 'Health')

    def wedge(self):
        self.hold(mocksys.GPU)
        job = bind(self)
        before = GLib.get_monotonic_time()
        found = self.root.finish(job)
        self.assertEqual((found['State'], found['Error'][0]), ('failed', PREFIX + 'Wedged'))
        self.assertGreater(GLib.get_monotonic_time() - before, 1e6)
        self.assertEqual(self.health(mocksys.GPU), 'wedged')
        return job

    def candidates(self):
        return self.root.manager('FindDevice', 'gpu', {})[1]

    def test_it_costs_one_device(self):
        self.wedge()
        reasons = next(c for c in self.candidates() if c['address'] == mocksys.GPU)['reasons']
        self.assertTrue([d for code, d in reasons if code == 'wedged' and 'nouveau has not let go' in d], reasons)
        self.refused('Wedged', bind, self)
        vm = self.root.create('other', start=True)
        self.assertEqual(self.root.get(vm, 'VM', 'State'), 'running')
        self.root.succeed(self.root.vm(vm, 'Destroy', {'force': True}))

        # Completed by the helper that was left to itself: by hand, so it is held, as was asked for.
        self.let_go(mocksys.GPU)
        wait_until(lambda: self.health(mocksys.GPU) == 'ready', 'the device to be in order')
        self.assertEqual(self.where(), 'held')

    def test_a_vm_lets_go_of_what_comes_late(self):
        """Nobody waits for it any more, so it goes home."""
        self.hold(mocksys.GPU)
        _, job = self.root.manager('CreateVM', 'late', {'gpu': [mocksys.GPU], 'start': True})
        self.assertEqual(self.root.finish(job)['Error'][0], PREFIX + 'Wedged')
        self.let_go(mocksys.GPU)
        wait_until(lambda: not self.claims(), 'the device to be home')
        wait_until(lambda: self.health(mocksys.GPU) == 'ready', 'the device to be in order')
        self.assertEqual(self.where(), 'home')

    def test_vmkitd_comes_and_goes(self):
        self.wedge()
        began = GLib.get_monotonic_time()
        self.bus.restart_vmkitd()
        self.assertLess(GLib.get_monotonic_time() - began, 10e6)
        self.assertEqual(self.health(mocksys.GPU), 'wedged')
        self.let_go(mocksys.GPU)
        wait_until(lambda: self.health(mocksys.GPU) == 'ready', 'the device to be in order')
        self.assertEqual(self.where(), 'held')

    def test_stopped_while_it_hangs(self):
        """vmkitd ends within the time a driver may take, whatever that does."""
        self.hold(mocksys.GPU)
        job = bind(self)
        wait_until(self.at_work, 'the helper to be at work')
        self.bus.restart_vmkitd()
        self.assertEqual(self.health(mocksys.GPU), 'wedged')
        self.let_go(mocksys.GPU)
        wait_until(lambda: self.health(mocksys.GPU) == 'ready', 'the device to be in order')
        self.assertEqual(self.where(), 'held')


if __name__ == '__main__':
    fixture.main()
