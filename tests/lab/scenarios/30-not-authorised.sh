# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Without the rule nothing happens, and the message says which right is missing and how to get it.

expect_fail 3 as bob vmkitctl create bobs-vm --memory 512M --disk-size 64M --firmware bios --gpu auto
contains org.vmkit.create-vm org.vmkit.use-device polkit.addRule bob
as bob vmkitctl --json list
equals 'd' '[]'
devices_are_home

# Another's VM is no business of bob's.
as alice vmkitctl create "$VM" --memory 512M --disk-size 64M --firmware bios
expect_fail 3 as bob vmkitctl start "$VM"
contains org.vmkit.control-any-vm
expect_fail 3 as bob vmkitctl destroy --yes "$VM"
as alice vmkitctl destroy --yes "$VM"
