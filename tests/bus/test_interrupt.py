#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ctrl-C while a job is awaited: the first asks to cancel it, the second leaves."""

import signal
import subprocess

import ctl
import fixture
import mocksys
from fixture import wait_until


class Interrupt(ctl.CtlTest):
    def setUp(self):
        super().setUp()
        self.run_as(self.alice, 'create', 'vm', '--gpu', mocksys.GPU)

    def start_vm(self, *options):
        """vmkitctl start, which waits for the device. Returns it and the path of its job."""
        before = set(self.root.get(fixture.MANAGER, 'Manager', 'Jobs'))
        client = self.alice.start(ctl.CtlTest.PROGRAM, 'start', 'vm', *options, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, client)
        job = wait_until(lambda: set(self.root.get(fixture.MANAGER, 'Manager', 'Jobs')) - before, 'the job').pop()
        wait_until(lambda: self.root.get(job, 'Job', 'Phase') == 'binding the devices', 'it to bind')
        return client, job

    def end(self, client):
        client.kill()
        client.communicate()

    def output(self, client):
        out, err = client.communicate(timeout=fixture.TIMEOUT)
        return client.returncode, out, err

    def test_cancelled(self):
        with self.held():
            client, job = self.start_vm()
            client.send_signal(signal.SIGINT)
            wait_until(self.cancel_was_asked, 'the service to be asked')
            self.assertIsNone(client.poll())
        self.assertEqual(self.alice.finish(job)['State'], 'cancelled')
        code, out, err = self.output(client)
        self.assertEqual((code, out), (130, ''))
        self.assertIn('cancelled', err)
        self.assertEqual(self.state_of('vm'), 'stopped')

    def cancel_was_asked(self):
        return 'Job.Cancel' in self.bus.log('vmkitd')[self.log_start:]

    def test_twice(self):
        """The job goes on to its end without us, and we say which one it is."""
        with self.held():
            client, job = self.start_vm()
            client.send_signal(signal.SIGINT)
            wait_until(self.cancel_was_asked, 'the service to be asked')
            client.send_signal(signal.SIGINT)
            code, out, err = self.output(client)
            self.assertEqual((code, out), (130, ''))
            self.assertIn(f'vmkitctl cancel {job.rsplit("/", 1)[1]}', ' '.join(err.split()))
            self.assertEqual(self.root.get(job, 'Job', 'State'), 'running')
        self.assertEqual(self.alice.finish(job)['State'], 'cancelled')

    def test_json(self):
        with self.held():
            client, job = self.start_vm('--json')
            client.send_signal(signal.SIGINT)
            wait_until(self.cancel_was_asked, 'the service to be asked')
        self.alice.finish(job)
        code, out, err = self.output(client)
        self.assertEqual((code, out), (130, ''))
        self.assertIn('org.vmkit.Error.Cancelled', err)


if __name__ == '__main__':
    fixture.main()
