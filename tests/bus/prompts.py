#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A user who asks for passwords and never answers: run by test_hostile.py as a process of its own, since polkit knows
one agent for each. Makes calls that need a password, says on a line what became of them ("PROMPTS REFUSED") once each
is either, and goes on until its standard input ends."""

import sys
import types

import fixture
from fixture import GLib, wait_until

CALLS_PER_CONNECTION = 24


def main(address, uid, n_connections):
    callers = [fixture.Caller(address, uid) for _ in range(n_connections)]
    agent = fixture.Agent(types.SimpleNamespace(root=None), callers[0], answer=None)
    replies = [caller.call_async(fixture.MANAGER, 'org.vmkit.Manager.CreateVM', f'vm-{n}', {}, interactive=True)
               for n in range(CALLS_PER_CONNECTION) for caller in callers]
    refused = []

    def all_known():
        refused[:] = [r[0].code for r in replies if r]
        return len(agent.prompts) + len(refused) == len(replies)

    wait_until(all_known, 'each call to be refused or prompted for')
    assert set(refused) <= {'LimitExceeded'}, refused
    print(len(agent.prompts), len(refused), flush=True)
    loop = GLib.MainLoop()
    GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, lambda *_: loop.quit())
    loop.run()


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
