# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# With --on-stop host nothing waits on vfio-pci; and a guest that does not answer can be cut off.

TIMEOUT=200 as alice vmkitctl create "$VM" --memory 512M --cpus 1 --disk-size 64M --firmware bios \
        --gpu auto --nvme auto --on-stop host --start
driver "$FREE" vfio-pci

expect_fail 1 as alice vmkitctl stop "$VM" --timeout 3
contains 'time'
as alice vmkitctl stop "$VM" --timeout 1 --force
devices_are_home
as alice vmkitctl list
contains stopped

as alice vmkitctl destroy --yes "$VM"
