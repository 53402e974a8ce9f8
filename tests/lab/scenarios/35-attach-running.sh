# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A drive is plugged into a VM that runs, used by its guest, and taken out again.

TIMEOUT=300 as alice vmkitctl create "$VM" "$IMAGE" --memory 768M --cpus 1 --graphics none --firmware bios \
        --ssh-key "$KEY" --start
guest 'lsblk -dno NAME'
lacks nvme

as alice vmkitctl --json attach "$VM" "$FREE"
equals "(d['state'], d['devices'])" "('running', ['$FREE'])"
driver "$FREE" vfio-pci
as alice vmkitctl --json devices
equals "[(x['vm'], x['assigned_to']) for x in d if x['address'] == '$FREE']" "[('$VM', ['$VM'])]"
guest 'until test -b /dev/nvme0n1; do sleep 0.2; done; cat /sys/block/nvme0n1/device/serial'
contains lab-free
guest sudo sh -c 'echo "written by the guest" | dd of=/dev/nvme0n1 bs=512 conv=sync,fsync'

# What it already has, what the host uses, and what cannot be plugged in one by one.
expect_fail 1 as alice vmkitctl attach "$VM" "$FREE"
contains already
expect_fail 1 as alice vmkitctl attach "$VM" "$MOUNTED"
contains /srv/data
expect_fail 1 as alice vmkitctl attach "$VM" "$GPU"
contains 'Stop the VM'
driver "$GPU" bochs-drm

as alice vmkitctl --json detach "$VM" "$FREE"
equals "(d['state'], d['devices'])" "('running', [])"
driver "$FREE" nvme
as root head -c 20 /dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_lab-free
contains 'written by the guest'
guest 'lsblk -dno NAME'
lacks nvme
as root virsh dumpxml --inactive "$VM"
lacks '<hostdev'

as alice vmkitctl destroy --force --yes "$VM"
devices_are_home
