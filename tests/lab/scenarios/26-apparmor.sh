# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A VM from an image of the store under libvirt's AppArmor profile: QEMU reads all it needs, and nothing else of ours.

STATE=/var/lib/vmkit
ROM=/usr/share/seabios/vgabios-ati.bin          # of another card, so that the BIOS leaves it alone

uuid_of() {
        as alice vmkitctl --json info "$1"
        uuid=$(json "d['uuid']")
}

# may USER FILE…, may_not USER FILE…: under the profile of the VM that runs.
may() {
        as root confined "$profile" "$@"
        [ "$(grep -c '^may ' "$OUTPUT")" -eq $(($# - 1)) ] || fail 'not all of these can be read'
}

may_not() {
        as root confined "$profile" "$@"
        [ "$(grep -c '^Permission denied ' "$OUTPUT")" -eq $(($# - 1)) ] || fail 'not all of these are closed'
}

as alice vmkitctl image import base "$IMAGE"
as alice vmkitctl image import unrelated "$IMAGE"
as alice vmkitctl create other-vm @unrelated --memory 512M --cpus 1 --firmware uefi --ssh-key "$KEY" --rom "$GPU=$ROM" \
        --gpu "$GPU"
uuid_of other-vm
other=$STATE/vms/$uuid other_uuid=$uuid

TIMEOUT=300 as alice vmkitctl create "$VM" @base --memory 1G --cpus 1 --gpu "$GPU" --rom "$GPU=$ROM" --firmware bios \
        --ssh-key "$KEY" --start
uuid_of "$VM"
ours=$STATE/vms/$uuid profile=libvirt-$uuid
qemu=$(qemu_of "$VM")
as root cat "/proc/$qemu/attr/current"
contains "$profile (enforce)"

# What the progress of a start is read from: the kernel counts what VFIO has locked.
as root grep -qz "^$uuid\$" "/proc/$qemu/cmdline"
as root awk '/^VmLck:/ { print; exit $2 < 1048576 }' "/proc/$qemu/status"

# The disk is laid over the image, the seed has the key, and the guest runs on both.
as root qemu-img info -U --output json "$ours/disk.qcow2"
contains "$STATE/bases/"
base=$(json "d['backing-filename']")
guest hostname

# QEMU's user with QEMU's profile, and then root with it, whom no mode of a file stops.
as root ls -R "$STATE"
rom=$(grep -m 1 'rom-.*\.rom' "$OUTPUT")
may libvirt-qemu "$ours/disk.qcow2" "$base" "$ours/seed.iso" "$ours/$rom"
may_not root "$other/disk.qcow2" "$other/seed.iso" "$STATE/images/$(lab_as root id -u alice)/unrelated.qcow2" \
        /etc/vmkit/vmkitd.conf /etc/shadow
as root sh -c "ls -d $STATE/claims/* $STATE/jobs/* /run/vmkit/*"
# shellcheck disable=SC2046
may_not root $(cat "$OUTPUT")

# The same of a UEFI guest, which does not run in this lab. Its variables are libvirt's own file, named at its start.
as root sh -c "virsh dumpxml --inactive other-vm | /usr/lib/libvirt/virt-aa-helper -d -c -u libvirt-$other_uuid"
contains "$other/disk.qcow2" "$other/seed.iso"
lacks "$ours"

# Nothing was refused on the way but what this scenario asked for.
as root sh -c "journalctl --boot -k --no-pager | grep 'apparmor=\"DENIED\"' | grep -v 'comm=\"confined\"' || true"
lacks vmkit

as alice vmkitctl destroy --force --yes "$VM"
as alice vmkitctl destroy --yes other-vm
for image in base unrelated; do
        as alice vmkitctl image remove "$image"
done
devices_are_home
