# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# On a terminal the administrator is asked once, for the whole act, by name.

with_password bobs-vm as bob vmkitctl create bobs-vm --memory 512M --disk-size 64M --firmware bios --gpu auto --nvme auto
contains "$GPU" "$FREE" bobs-vm

as bob vmkitctl --json list
equals "d[0]['name']" bobs-vm
as bob vmkitctl destroy --yes bobs-vm
