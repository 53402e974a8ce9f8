# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# vmkitd, libvirtd and QEMU are killed while a VM runs, and libvirtd while one starts.

state_is() {
        as alice vmkitctl --json list
        [ "$(json "[x['state'] for x in d]")" = "['$1']" ]
}

leased_to() {
        as alice vmkitctl --json devices
        equals "[x['vm'] for x in d if x['address'] == '$GPU'][0]" "$1"
}

kill_unit() {
        as root systemctl kill --kill-who=main --signal=KILL "$1"
}

TIMEOUT=200 as alice vmkitctl create "$VM" --memory 128M --cpus 1 --firmware bios --network none \
        --gpu "$GPU" --nvme "$FREE" --start
qemu=$(lab_as root cat "/run/libvirt/qemu/$VM.pid")

# vmkitd: the VM runs on, and is still its own.
kill_unit vmkitd
eventually 60 state_is running || fail 'the VM is not listed as running'
leased_to "$VM"
expect_fail 1 as root vmkitctl bind "$GPU"
driver "$FREE" vfio-pci

# libvirtd: it comes back when it is asked, and QEMU has not noticed.
kill_unit libvirtd
eventually 90 state_is running || fail 'the VM is not listed as running'
as root kill -0 "$qemu"
driver "$GPU" vfio-pci
leased_to "$VM"

# QEMU: the devices go where they wait while the VM is stopped.
as root kill -KILL "$qemu"
eventually 60 state_is stopped || fail 'the VM is not listed as stopped'
eventually 60 is_on "$GPU" bochs-drm
driver "$AUDIO" snd_hda_intel
driver "$FREE" vfio-pci
leased_to None

# libvirtd while it starts the VM: it runs and has its devices, or is stopped and does not.
as alice vmkitctl --no-wait start "$VM"
eventually 60 is_on "$GPU" vfio-pci
kill_unit libvirtd
settled() {
        state_is running || state_is stopped
}
eventually 120 settled || fail 'the VM is neither running nor stopped'
if state_is running; then
        driver "$GPU" vfio-pci
else
        eventually 60 is_on "$GPU" bochs-drm
fi
TIMEOUT=60 as alice vmkitctl destroy --force --yes "$VM"
devices_are_home
as root sh -c 'ls /var/lib/vmkit/claims'
left=$(<"$OUTPUT")
[ -z "$left" ] || fail "records are left over: $left"
