# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The devices of a stopped VM change by its definition alone. What waits for it on vfio-pci comes home when it
# is no longer its own.

as alice vmkitctl create "$VM" --memory 256M --cpus 1 --graphics none --firmware bios
as alice vmkitctl --json attach "$VM" "$GPU"
equals "(d['state'], d['devices'])" "('stopped', ['$GPU', '$AUDIO'])"
expect_fail 3 as bob vmkitctl --no-ask-password attach "$VM" "$FREE"
as alice vmkitctl attach "$VM" "$FREE"
devices_are_home
expect_fail 1 as alice vmkitctl attach "$VM" "$AUDIO"
contains already
expect_fail 1 as alice vmkitctl attach "$VM" "$MOUNTED"
contains /srv/data

TIMEOUT=200 as alice vmkitctl start "$VM"
driver "$GPU" vfio-pci
driver "$AUDIO" vfio-pci
driver "$FREE" vfio-pci
as root virsh dumpxml "$VM" --xpath '//hostdev/address'
contains 'bus="0x08" slot="0x00" function="0x0" multifunction="on"' 'bus="0x08" slot="0x00" function="0x1"' \
        'bus="0x09" slot="0x00" function="0x0"'
expect_fail 1 as alice vmkitctl detach "$VM" "$GPU"
contains 'Stop the VM'
driver "$GPU" vfio-pci

as alice vmkitctl stop "$VM" --force --timeout 0
driver "$FREE" vfio-pci
as alice vmkitctl --json detach "$VM" "$FREE"
equals "d['devices']" "['$GPU', '$AUDIO']"
driver "$FREE" nvme
as alice vmkitctl --json detach "$VM" "$AUDIO"
equals "d['devices']" '[]'
as alice vmkitctl destroy --yes "$VM"
devices_are_home
