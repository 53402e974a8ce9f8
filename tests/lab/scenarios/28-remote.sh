# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The host is used over ssh as another one would be: what is printed, the files that travel, the console, the
# prompt for a password and Ctrl-C all come through to where the command was typed.

for user in alice bob; do
        # shellcheck disable=SC2016
        as "$user" sh -c '[ -e .ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N "" -f .ssh/id_ed25519
                grep -qxF "$(cat .ssh/id_ed25519.pub)" .ssh/authorized_keys ||
                        cat .ssh/id_ed25519.pub >>.ssh/authorized_keys
                printf "Host there\nHostName localhost\nStrictHostKeyChecking accept-new\nLogLevel ERROR\n" >.ssh/config'
done

as alice vmkitctl -H there check
contains 'This host is ready'

# The image and the public key are files on this side.
TIMEOUT=400 as alice vmkitctl -H there "${CREATE[@]:1}" --start
contains "$VM is running"
driver "$FREE" vfio-pci
as alice vmkitctl -H alice@there --json list
equals "[(x['name'], x['state'], x['owner']) for x in d]" "[('$VM', 'running', 1001)]"

TIMEOUT=300 typing '
        expect "Ctrl-]"
        send "\r"
        expect "login: "
        send "nobody\r"
        expect "assword: "
        send "\035"
' as alice vmkitctl -H there console "$VM"

# A guest that does not hear it keeps the command waiting; Ctrl-C reaches it over there, and the guest runs on.
as alice vmkitctl -H there pause "$VM"
expect_fail 130 typing '
        expect "waiting for the guest"
        send "\003"
' as alice vmkitctl -H there stop "$VM"
as alice vmkitctl --json info "$VM"
equals "d['state']" paused

# Several hosts in one table; one that does not answer is said, and does not keep the others from it.
expect_fail 5 as alice vmkitctl -H there,there.invalid list
contains "$VM" there.invalid
lacks 'Permission denied'

expect_fail 4 as alice vmkitctl -H there info gaming-wm
contains "$VM"
as alice vmkitctl -H there destroy --force --yes "$VM"
devices_are_home

# Bob has no right, and the password is asked for on his terminal.
expect_fail 3 as bob vmkitctl -H there create bobs-vm --memory 512M --disk-size 64M --firmware bios
contains org.vmkit.create-vm
with_password bobs-vm as bob vmkitctl -H there create bobs-vm --memory 512M --disk-size 64M --firmware bios
as bob vmkitctl -H there destroy --yes bobs-vm

for user in alice bob; do
        as "$user" rm .ssh/config
done
