# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# An ordinary user, no sudo, from an image to a guest that writes to the NVMe drive it was given.

TIMEOUT=300 as alice "${CREATE[@]}" --start
as alice vmkitctl list
contains "$VM" running
driver "$FREE" vfio-pci
driver "$GPU" vfio-pci
driver "$AUDIO" vfio-pci
TIMEOUT=300 typing '
        expect "cloud-init is done"
        send "\r"
        expect "login: "
        send "nobody\r"
        expect "assword: "
        send "\035"
' as alice vmkitctl console "$VM"

guest cloud-init status
contains done
guest lspci -nn
contains 'Display controller' 1234:1111 'Audio device' 'Non-Volatile memory'
guest sudo sh -c 'echo "written by the guest" | dd of=/dev/nvme0n1 bs=512 conv=sync,fsync'

as alice vmkitctl info "$VM"
contains "$FREE" "$GPU"

# Asked to stop, the guest does. Its drive waits for it, the display is the host's again.
TIMEOUT=200 as alice vmkitctl stop "$VM"
driver "$FREE" vfio-pci
driver "$GPU" bochs-drm
driver "$AUDIO" snd_hda_intel

TIMEOUT=200 as alice vmkitctl start "$VM"
driver "$GPU" vfio-pci
as alice vmkitctl --json info "$VM"
equals "d['state']" running

as alice vmkitctl destroy --force --yes "$VM"
devices_are_home
as root head -c 20 /dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_lab-free
contains 'written by the guest'
