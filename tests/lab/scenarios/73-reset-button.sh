# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The host is reset with a VM running. After the boot the records of before say nothing any more: the devices
# are the host's, and the VM is stopped and can be started.

vm_is() {
        as alice vmkitctl --json list
        [ "$(json "[x['state'] for x in d]")" = "['$1']" ]
}

TIMEOUT=200 as alice vmkitctl create "$VM" --memory 128M --cpus 1 --firmware bios --network none \
        --gpu "$GPU" --nvme "$FREE" --start
as root sh -c 'ls /var/lib/vmkit/claims'
contains "$GPU" "$AUDIO" "$FREE"

reset_host
eventually 60 vm_is stopped || fail 'the VM is not stopped'
devices_are_home
as root sh -c 'ls /var/lib/vmkit/claims'
lacks "$GPU" "$AUDIO" "$FREE"

TIMEOUT=200 as alice vmkitctl start "$VM"
driver "$GPU" vfio-pci
as alice vmkitctl destroy --force --yes "$VM"
devices_are_home
