# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# lab: --other-model
# What is reserved is on vfio-pci from the initramfs on, where the driver of drives is loaded: no driver of the
# host is ever bound to it. A word on the kernel command line leaves everything to the host.

as root vmkitctl reserve "$FREE"
as root vmkitctl reserve "$GPU"
as root vmkitctl check
contains reserved-devices reserved-initramfs 'update-initramfs -u'

as root sh -c 'echo nvme >>/etc/initramfs-tools/modules'
TIMEOUT=600 as root update-initramfs -u
as root vmkitctl check
lacks reserved-initramfs
# shellcheck disable=SC2016
lab_as root sh -c 'cat /boot/initrd.img-$(uname -r)' >"$LAB_RUN/initrd.reserved"

boot_again --other-model --initrd "$LAB_RUN/initrd.reserved"
for address in "$FREE" "$GPU" "$AUDIO"; do
        driver "$address" vfio-pci
done
as root dmesg
contains "vmkit-reserve: $FREE: held" "vmkit-reserve: $GPU: held" "nvme0: pci function $MOUNTED"
lacks "pci function $FREE" "for $GPU on minor"
as root sh -c 'ls /sys/class/nvme'
lacks nvme1
as root vmkitctl --json devices
found="{x['address']: x for x in d}"
for address in "$FREE" "$GPU" "$AUDIO"; do
        equals "${found}['$address']['reserved'] and ${found}['$address']['available']" True
done
as root mountpoint /srv/data

# The way back is known, although no driver of the host was ever seen on it.
as root vmkitctl unreserve "$GPU"
driver "$GPU" bochs-drm
driver "$AUDIO" snd_hda_intel

boot_again --other-model --initrd "$LAB_RUN/initrd.reserved" --append vmkit.reserve=0
devices_are_home
as root vmkitctl check
contains 'Reserved devices are not held'
as root vmkitctl unreserve "$FREE"
as root sh -c '! test -e /etc/vmkit/reserved.d'

# The initramfs still knows of both reservations, and holds them; they come back all the same.
boot_again --other-model --initrd "$LAB_RUN/initrd.reserved"
as root dmesg
contains "vmkit-reserve: $FREE: held"
devices_are_home
