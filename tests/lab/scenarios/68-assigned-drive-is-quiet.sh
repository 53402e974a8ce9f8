# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A drive that comes back to the host while a VM still has it assigned: nothing that a guest wrote on it, here
# a volume group and an array, is activated; and all of it is, once the VM is gone.

as root readlink -f /dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_lab-free
disk=$(tail -n 1 "$OUTPUT")

# Two partitions of 64 MiB.
as root sh -euc "printf '\0\0\0\0\216\0\0\0\0\010\0\0\0\0\002\0\0\0\0\0\375\0\0\0\0\010\002\0\0\0\002\0%032d\125\252' 0 |
        tr 0 '\0' | dd of=$disk bs=1 seek=446 status=none
        blockdev --rereadpt $disk; udevadm settle
        pvcreate -qqy ${disk}p1; vgcreate -qq guestvg ${disk}p1; lvcreate -qqy -l 1 -n root guestvg; vgchange -qqan guestvg
        mdadm -q --create /dev/md/guest --run --level=1 --force --raid-devices=1 --metadata=1.2 ${disk}p2
        mdadm -q --stop /dev/md/guest; udevadm settle"

active() {
        as root sh -c 'udevadm settle; until dmsetup ls | grep -q guestvg-root && grep -q "^md.*active" /proc/mdstat; do sleep 0.2; done'
}

inactive() {
        as root sh -c "udevadm settle; dmsetup ls; cat /proc/mdstat; udevadm info ${disk}p1 ${disk}p2"
        lacks guestvg-root ' active ' 'LVM_VG_NAME_COMPLETE'
        contains 'SYSTEMD_READY=0' 'UDISKS_IGNORE=1' LVM2_member linux_raid_member
}

deactivate() {
        as root sh -c 'vgchange -qqan guestvg; for a in /dev/md/*; do mdadm -q --stop $a; done'
}

# What a host does with a drive that nobody has assigned.
as root vmkitctl bind "$FREE" --allow has-data
as root vmkitctl release "$FREE"
active
deactivate

TIMEOUT=200 as root vmkitctl create "$VM" --memory 256M --cpus 1 --firmware bios --network none \
        --nvme "$FREE" --allow has-data --on-stop host --start
driver "$FREE" vfio-pci
as root vmkitctl stop "$VM" --timeout 0 --force
driver "$FREE" nvme
inactive

# Nor when the host looks at it again, of itself or as at boot.
as root sh -c "echo change >/sys/class/block/${disk##*/}p1/uevent; udevadm trigger --action=add ${disk}p1 ${disk}p2"
inactive

as root vmkitctl destroy --yes "$VM"
active
deactivate
as root sh -c "wipefs -qa ${disk}p1 ${disk}p2 $disk; blockdev --rereadpt $disk; udevadm settle"
devices_are_home
