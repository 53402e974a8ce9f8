# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The display that the host began with, its console on it, goes with the administrator's consent
# alone; the console goes to nowhere before its driver does, and is on the display again after.

DISPLAY_ADDRESS=0000:00:01.0

# console STATE: 1 when it is on a framebuffer. The kernel says in its log when it changes.
console() {
        # shellcheck disable=SC2016
        as root sh -c 'cat $(dirname $(grep -l "frame buffer" /sys/class/vtconsole/*/name))/bind'
        contains "$1"
}

console 1
expect_fail 1 as root vmkitctl bind "$DISPLAY_ADDRESS"
contains 'cannot be taken'
expect_fail 1 as root vmkitctl bind "$DISPLAY_ADDRESS" --allow boot-display --allow no-reset \
        --allow active-connector
contains 'virtual console' 'has no picture until it is back'
driver "$DISPLAY_ADDRESS" bochs-drm
console 1

as root dmesg --clear
as root vmkitctl bind "$DISPLAY_ADDRESS" --allow boot-display --allow framebuffer-console \
        --allow no-reset --allow active-connector
driver "$DISPLAY_ADDRESS" vfio-pci
console 0
as root sh -c 'cat /var/lib/vmkit/claims/0000:00:01.0'
contains '"console":"vtcon'
as root dmesg
contains 'switching to colour dummy device'

as root vmkitctl release "$DISPLAY_ADDRESS"
driver "$DISPLAY_ADDRESS" bochs-drm
console 1
as root dmesg
contains 'switching to colour frame buffer device'
as root sh -c 'ls -l /sys/class/graphics/fb0'
contains 0000:00:01.0
