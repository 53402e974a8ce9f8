# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The host does not go to sleep while a VM has a device, and may before and after.

locks() {
        as root systemd-inhibit --list --no-legend
}

# The service asks logind and does not wait for the answer.
is_locked() {
        locks && grep -q vmkitd "$OUTPUT"
}

locks
lacks vmkitd

TIMEOUT=300 as alice vmkitctl create "$VM" --memory 256M --cpus 1 --firmware bios --gpu auto --start
eventually 20 is_locked || fail 'the host may sleep'
contains vmkitd sleep handle-lid-switch block

# The service may be restarted: the new one takes the lock again.
as root systemctl restart vmkitd
eventually 20 is_locked || fail 'the host may sleep'

as alice vmkitctl stop "$VM" --force --timeout 0
locks
lacks vmkitd
as alice vmkitctl destroy --yes "$VM"

# A VM without devices sleeps and wakes with the host.
TIMEOUT=300 as alice vmkitctl create "$VM" --memory 256M --cpus 1 --firmware bios --start
locks
lacks vmkitd
as alice vmkitctl destroy --force --yes "$VM"
