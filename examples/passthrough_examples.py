#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual machines with real devices, made by the Python package vmkit.

    passthrough_examples.py gaming              a VM with a graphics card and an NVMe drive
    passthrough_examples.py development         a VM with an NVMe drive
    passthrough_examples.py multi-gpu           two VMs with a graphics card each
    passthrough_examples.py troubleshooting     what is missing, who uses what, and what to do about it

Run it as an ordinary user: where a right is missing, polkit asks for a password. --memory, --cpus and the
others fit a VM to a smaller machine; --clean-up removes at the end what was made.
"""

import argparse
import sys
from collections.abc import Callable

from vmkit import (CloudImage, Device, Error, Finding, PassthroughManager, SecureVM, TerminalAgent, find_gpu,
                   find_nvme, ssh_only_config)


def make_vm(args: argparse.Namespace, name: str, memory: str, cpus: int,
            devices: list[Device | None]) -> SecureVM:
    """Describes a VM that one logs in to by ssh key. Nothing is created yet."""
    return SecureVM(
        name=name,
        memory=args.memory or memory,
        cpus=args.cpus or cpus,
        image=CloudImage(args.image, cloud_init_config=ssh_only_config(name)),
        firmware=args.firmware,
        secure_boot=args.firmware == 'uefi',
        graphics='none',
        passthrough_devices=devices,
        pin=args.pin,
        hugepages=args.hugepages,
    )


def gaming(args: argparse.Namespace) -> int:
    """The graphics card and the drive are those that nobody uses."""
    gpu = find_gpu(args.vendor)
    nvme = find_nvme()
    return create_all(args, [make_vm(args, 'gaming-vm', '16G', 8, [gpu, nvme])])


def development(args: argparse.Namespace) -> int:
    """Fast compilation: a drive of one's own."""
    return create_all(args, [make_vm(args, 'dev-vm', '8G', 6, [find_nvme()])])


def multi_gpu(args: argparse.Namespace) -> int:
    """Each card goes to one VM. `find_gpu` would choose the same one twice, so the list is gone through."""
    manager = PassthroughManager()
    free = [gpu for gpu in manager.get_gpus() if gpu.available and not gpu.assigned_to]
    if len(free) < 2:
        print(f'Two free graphics cards are needed, and there are {len(free)}:')
        explain(manager, 'gpu')
        return 1
    return create_all(args, [make_vm(args, 'gaming', '16G', 8, [free[0]]),
                             make_vm(args, 'ai-vm', '32G', 8, [free[1]])])


def create_all(args: argparse.Namespace, vms: list[SecureVM]) -> int:
    """Creates and starts the VMs, if all that they ask for can be had."""
    for vm in vms:
        ready, issues = vm.validate_passthrough()
        print_issues(vm.name, issues)
        if not ready:
            return 1

    created: list[SecureVM] = []
    try:
        for vm in vms:
            created.append(vm.create(progress=show_progress))
            vm.start(progress=show_progress)
            print(f'{vm.name} is {vm.state}')
    finally:
        for vm in created if args.clean_up else []:
            vm.destroy(force=True)
            print(f'{vm.name} is gone, and its devices are back')
    return 0


def troubleshooting(args: argparse.Namespace) -> int:
    """From the host to the devices to one VM: each step says what is wrong and what to do."""
    manager = PassthroughManager()
    ready, checks = manager.check_host()
    print('This host is ready.' if ready else 'This host is not ready:')
    for check in checks:
        if check.result != 'ok':
            print(f'  {check.result}: {check.summary}')
            if check.remedy:
                print(f'    {check.remedy}')

    print('\nThe devices:')
    manager.print_device_summary()
    for kind in ('gpu', 'nvme'):
        print(f'\nWhat "auto" chooses from for {kind}:')
        explain(manager, kind)

    print('\nA VM with the best of both:')
    vm = make_vm(args, 'gaming-vm', '2G', 1, [find_gpu(args.vendor), find_nvme()])
    ready, issues = vm.validate_passthrough()
    print('  it could be created' if ready else '  it could not be created')
    print_issues(vm.name, issues)

    print('\nA device that the host uses is refused, and the error says by what:')
    for device in manager.get_nvme_devices():
        if device.in_use:
            show_refusal(device)
            break
    return 0


def show_refusal(device: Device) -> None:
    """What an exception of vmkit has to say."""
    try:
        SecureVM('never-created', passthrough_devices=[device]).create()
    except Error as error:
        print(f'  {type(error).__name__}: {error.message}')
        print(f'    {error.remedy}')


def explain(manager: PassthroughManager, kind: str) -> None:
    for candidate in manager.explain(kind):
        print(f'  {candidate.address}: {"can be chosen" if candidate.eligible else "is passed over"}')
        for reason in candidate.reasons:
            print(f'    {reason.code}: {reason.detail}')


def print_issues(name: str, issues: list[Finding]) -> None:
    for issue in issues:
        print(f'  {name}: {issue.severity}: {issue.detail}')
        if issue.remedy:
            print(f'    {issue.remedy}')


def show_progress(phase: str, fraction: float | None) -> None:
    """One line that is written over, where somebody sees it."""
    if sys.stderr.isatty():
        share = '' if fraction is None else f' {fraction:.0%}'
        print(f'\r\033[K{phase}{share}\r', end='', file=sys.stderr, flush=True)


SCENARIOS: dict[str, Callable[[argparse.Namespace], int]] = {
    'gaming': gaming,
    'development': development,
    'multi-gpu': multi_gpu,
    'troubleshooting': troubleshooting,
}


def parse_arguments() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('scenario', choices=SCENARIOS)
    parser.add_argument('--image', default='debian-12.qcow2', help='a cloud image: a file, or @NAME of the store')
    parser.add_argument('--memory', help="instead of the scenario's, for example 1G")
    parser.add_argument('--cpus', type=int, help="instead of the scenario's")
    parser.add_argument('--vendor', choices=['nvidia', 'amd', 'intel'], help='of the graphics card')
    parser.add_argument('--firmware', choices=['uefi', 'bios'], default='uefi',
                        help='uefi, with Secure Boot, unless said otherwise')
    parser.add_argument('--pin', default='none', help='auto: the VM runs on the cores next to its devices')
    parser.add_argument('--hugepages', default='none', help='auto, 2M or 1G')
    parser.add_argument('--clean-up', action='store_true', help='remove the VMs at the end')
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    try:
        with TerminalAgent():
            return SCENARIOS[args.scenario](args)
    except Error as error:
        print(f'Error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print('', *getattr(interrupt, '__notes__', []), sep='\n', file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main())
