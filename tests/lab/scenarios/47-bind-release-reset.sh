# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Binding, releasing and resetting by hand: whole units, for administrators, never what the host uses.

expect_fail 3 as bob vmkitctl --no-ask-password bind "$FREE"
expect_fail 3 as bob vmkitctl --no-ask-password reset "$FREE"
driver "$FREE" nvme

# Named is the sound; what moves is the card.
as root vmkitctl --json bind "$AUDIO"
equals "d['address'], d['driver'], d['health']" "$AUDIO vfio-pci ready"
driver "$GPU" vfio-pci
as root vmkitctl --json reset "$GPU"
equals "d['driver']" vfio-pci
as root vmkitctl --json release "$GPU"
equals "d['driver']" bochs-drm
expect_fail 1 as root vmkitctl --json release "$GPU"
contains org.vmkit.Error.WrongState
devices_are_home

# A mounted drive is neither taken nor reset, whoever asks.
for verb in bind reset; do
        expect_fail 1 as root vmkitctl --json "$verb" "$MOUNTED"
        contains org.vmkit.Error.DeviceInUse /srv/data
done
expect_fail 2 as root vmkitctl bind "$MOUNTED" --allow mounted
contains mounted
as root cat /srv/data/precious
contains 'The host needs this drive.'

# Nor is a drive that is only open in a program.
expect_fail 1 as root sh -c "exec 3<>/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_lab-free; vmkitctl --json reset $FREE"
contains org.vmkit.Error.DeviceInUse 'is open in'
driver "$FREE" nvme

# Nor what the host shows its console on, but with consent.
expect_fail 1 as root vmkitctl --json bind 0000:00:01.0 --allow no-reset
contains org.vmkit.Error.DeviceInUse boot-display
expect_fail 2 as root vmkitctl bind "$FREE" --allow nonsense
contains nonsense

# A drive on its driver comes through a reset with its driver and its data.
as root sh -c 'echo "written before" | dd of=/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_lab-free bs=512 conv=sync,fsync'
as root vmkitctl --json reset "$FREE"
equals "d['driver'], d['health']" 'nvme ready'
as root udevadm settle
as root head -c 14 /dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_lab-free
contains 'written before'

# On vfio-pci it is not reset under another user of VFIO.
as root vmkitctl bind "$FREE" --allow has-data
expect_fail 1 as root sh -c "exec 3<>/dev/vfio/\$(basename \$(readlink /sys/bus/pci/devices/$FREE/iommu_group))
        vmkitctl --json reset $FREE"
contains org.vmkit.Error.DeviceInUse 'another user of VFIO'
as root vmkitctl release "$FREE"
devices_are_home
as root dd if=/dev/zero of=/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_lab-free bs=512 count=1 conv=fsync
