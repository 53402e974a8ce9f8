# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# vmkitd is killed between the two halves of an attach: the device is bound, but not in the guest. The running
# domain is what counts: the device goes home. One that is in the guest stays there.

is_on() {
        as root sh -c "readlink /sys/bus/pci/devices/$FREE/driver | grep -q '/$1\$'"
}

is_leased() {
        as alice vmkitctl --json devices --kind nvme &&
                [ "$(json "[x['vm'] for x in d if x['address'] == '$FREE'][0]")" = "$VM" ]
}

as alice vmkitctl create "$VM" --memory 256M --cpus 1 --graphics none --firmware bios --start
as root systemctl kill --signal=STOP libvirtd
as alice vmkitctl --no-wait attach "$VM" "$FREE"
eventually 30 is_on vfio-pci || fail 'the device was not bound'
as root systemctl kill --signal=KILL vmkitd
as root systemctl kill --signal=CONT libvirtd
eventually 60 is_on nvme || fail 'the device did not come home'
as alice vmkitctl --json list
equals "(d[0]['state'], d[0]['devices'])" "('running', [])"
as root virsh dumpxml --inactive "$VM"
lacks '<hostdev'

TIMEOUT=200 as alice vmkitctl attach "$VM" "$FREE"
as root systemctl kill --signal=KILL vmkitd
eventually 60 is_leased || fail 'the device is not the VM'\''s any more'
driver "$FREE" vfio-pci

as alice vmkitctl destroy --force --yes "$VM"
devices_are_home
