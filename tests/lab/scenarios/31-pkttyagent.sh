# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# On a terminal the administrator is asked once, for the whole act, by name.

typing '
        expect "bobs-vm"
        expect "Password: "
        sleep 3        ;# what is typed before the echo is off is thrown away
        send "lab\r"
        expect {
                "Password: " { puts "\nasked twice"; exit 98 }
                eof
        }
        lassign [wait] pid id failed status
        exit $status
' as bob vmkitctl create bobs-vm --memory 512M --disk-size 64M --firmware bios --gpu auto --nvme auto
contains "$GPU" "$FREE" bobs-vm

as bob vmkitctl --json list
equals "d[0]['name']" bobs-vm
as bob vmkitctl destroy --yes bobs-vm
