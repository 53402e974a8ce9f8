# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmkit gives virtual machines real GPUs and NVMe drives, without root.

    from vmkit import SecureVM, CloudImage, find_gpu, find_nvme, ssh_only_config

    vm = SecureVM("gaming-vm", memory="16G", cpus=8,
                  image=CloudImage("debian-12.qcow2", cloud_init_config=ssh_only_config("gaming-vm")),
                  secure_boot=True, passthrough_devices=[find_gpu("nvidia"), find_nvme()])
    ready, issues = vm.validate_passthrough()
    if ready:
        vm.create().start()
    else:
        print("Issues:", issues)

This is a client of vmkitd, which does the work and lets polkit decide who may have it done: no part of this
runs as root. Whoever needs a password for it is asked by the agent of the desktop session or, on a terminal,
by `TerminalAgent`. Without the right, `AccessDenied` is raised; each error of the service has an exception of
its own, below `Error`, with its remedy.

The library for D-Bus is GDBus by way of PyGObject (python3-gi). It is the one in Debian that GLib's and
GNOME's own maintainers look after, desktops have it installed, and it does all that is needed here: it passes
descriptors (files are opened by the caller, never by the service), sets the flag for interactive
authorization on a call, and delivers signals, by which the end of a job is waited for. Of the others,
python3-dbus is called a legacy interface by its own documentation and needs a main loop lent by a second
library; python3-dbus-fast serves asyncio only; python3-jeepney is sound, but leaves signals, timeouts and
reconnection to be written; python3-sdbus is not in Debian 12.
"""

from . import errors
from ._agent import TerminalAgent
from ._bus import Service
from ._device import Candidate, Check, Device, PassthroughManager, Reason, find_gpu, find_nvme
from ._image import (CloudImage, CloudInit, StoredImage, import_image, list_images, remove_image,
                     ssh_only_config)
from ._job import Job
from ._vm import Finding, Plan, SecureVM, list_vms
from .errors import *  # noqa: F403

__all__ = [
    'Candidate', 'Check', 'CloudImage', 'CloudInit', 'Device', 'Finding', 'Job', 'PassthroughManager', 'Plan',
    'Reason', 'SecureVM', 'Service', 'StoredImage', 'TerminalAgent', 'errors', 'find_gpu', 'find_nvme',
    'import_image', 'list_images', 'list_vms', 'remove_image', 'ssh_only_config',
]
__all__ += errors.__all__
