# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A VM borrows what is reserved: vfio-pci is where it goes back to, whatever the VM says. Reserving needs a
# right, refuses what the host uses, and ends by name.

expect_fail 3 as bob vmkitctl --no-ask-password reserve "$FREE"
expect_fail 1 as root vmkitctl reserve "$MOUNTED"
contains /srv/data
expect_fail 1 as root vmkitctl reserve 0000:00:01.0 --allow no-reset
contains boot-display
expect_fail 1 as root vmkitctl unreserve "$FREE"
contains 'not reserved'

as root vmkitctl --json reserve "$FREE"
equals "(d['reserved'], d['driver'])" "(True, 'vfio-pci')"
TIMEOUT=200 as alice vmkitctl create "$VM" --memory 256M --cpus 1 --firmware bios --graphics none \
        --nvme "$FREE" --on-stop host --start
as alice vmkitctl stop "$VM" --timeout 0 --force
driver "$FREE" vfio-pci
as alice vmkitctl destroy --yes "$VM"
driver "$FREE" vfio-pci

expect_fail 1 as root vmkitctl release "$FREE"
contains unreserve
as root systemctl restart vmkitd
driver "$FREE" vfio-pci
as root vmkitctl --json unreserve "$FREE"
equals "(d['reserved'], d['driver'])" "(False, 'nvme')"
devices_are_home
