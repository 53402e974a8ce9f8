# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A guest that does not let a device go has it on; when it does later, the device comes home without being asked
# for again. So does one that goes while vmkitd is not there to see it.

is_home() {
        as root sh -c "readlink /sys/bus/pci/devices/$FREE/driver | grep -q '/nvme\$'"
}

has_no_devices() {
        as alice vmkitctl --json list && [ "$(json "d[0]['devices']")" = '[]' ]
}

as alice vmkitctl create "$VM" --memory 256M --cpus 1 --graphics none --firmware bios --start
TIMEOUT=200 as alice vmkitctl attach "$VM" "$FREE"
driver "$FREE" vfio-pci

# Nothing runs in it that could let go.
expect_fail 1 as alice vmkitctl detach "$VM" "$FREE" --timeout 7
contains 'keeps the device'
as alice vmkitctl --json list
equals "d[0]['devices']" "['$FREE']"
driver "$FREE" vfio-pci

# A machine that is reset lets go of what it was asked for.
as root virsh reset "$VM"
eventually 30 has_no_devices || fail 'the VM still has the device'
eventually 30 is_home || fail 'the device did not come home'
as root virsh dumpxml --inactive "$VM"
lacks '<hostdev'

TIMEOUT=200 as alice vmkitctl attach "$VM" "$FREE"
as root virsh dumpxml "$VM" --xpath '//hostdev/alias'
alias=$(grep -o 'hostdev[0-9]*' "$OUTPUT")
as root systemctl stop vmkitd
as root virsh detach-device-alias "$VM" "$alias" --live
as root virsh reset "$VM"
driver "$FREE" vfio-pci
as root systemctl start vmkitd
eventually 30 has_no_devices || fail 'the VM still has the device'
eventually 30 is_home || fail 'the device did not come home'

as alice vmkitctl destroy --force --yes "$VM"
devices_are_home
