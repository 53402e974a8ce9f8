# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# lab: --swap-drives
# Two drives of one model, one reserved, the other mounted, change places: the one that sits at the reserved
# address now is not seized, and the one that was reserved is found by its serial number. The graphics card,
# which stayed, is held by the host itself, without an initramfs that knows.

HERE=$MOUNTED THERE=$FREE      # where the free drive is on this machine, and where it is to be
as root readlink /sys/block/nvme1n1/device/device
contains "$HERE"
as root vmkitctl reserve "$HERE"
as root vmkitctl reserve "$GPU"
as root cat "/etc/vmkit/reserved.d/$HERE"
contains serial=lab-free alone=yes

boot_again
as root dmesg
contains "vmkit-reserve: $HERE: another device of its model is there" "pci function $HERE" \
        "vmkit-reserve: $GPU: held"
driver "$HERE" nvme
as root mountpoint /srv/data
as root cat /srv/data/precious
contains 'The host needs this drive.'
driver "$GPU" vfio-pci

driver "$THERE" vfio-pci
as root journalctl --boot --unit vmkitd
contains "was reserved at $HERE is at $THERE now"
as root ls /etc/vmkit/reserved.d
contains "$THERE" "$GPU"
lacks "$HERE"

as root vmkitctl unreserve "$THERE"
as root vmkitctl unreserve "$GPU"
devices_are_home
