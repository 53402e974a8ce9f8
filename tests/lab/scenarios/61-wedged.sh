# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A driver that does not let go of its device costs that device and one process, nothing else.

device=/sys/bus/pci/devices/$FREE

to_driver() {
        as root sh -ec "echo ${1:-} >$device/driver_override
                echo $FREE >$device/driver/unbind; echo $FREE >/sys/bus/pci/drivers_probe"
}

health_is() {
        as bob vmkitctl --json devices
        [ "$(json "[x['health'] for x in d if x['address'] == '$FREE'][0]")" = "$1" ]
}

helpers() {
        as root sh -c 'ls -d /proc/[0-9]* | while read p; do
                [ "$(cat $p/comm 2>/dev/null)" != vmkit-device ] || grep -h ^State $p/status; done'
}

wedge_module
as root sh -ec 'mkdir -p /etc/vmkit/vmkitd.conf.d
        printf "[Manager]\nDriverTimeout=15\n" >/etc/vmkit/vmkitd.conf.d/lab-wedge.conf
        systemctl restart vmkitd'
to_driver wedge
driver "$FREE" wedge
as root sh -c 'echo Y >/sys/module/wedge/parameters/hold'

# The bind hangs, and everybody else is answered at once.
as root vmkitctl --no-wait bind "$FREE"
TIMEOUT=20 as bob vmkitctl devices
TIMEOUT=20 as bob vmkitctl explain gpu
contains "$GPU"
TIMEOUT=20 as alice vmkitctl --json jobs
equals "[x['state'] for x in d]" "['running']"

eventually 60 health_is wedged || fail 'the device is not wedged'
helpers
contains 'disk sleep'
expect_fail 1 as bob vmkitctl explain "$FREE"
contains 'wedge has not let go of it' wedge_remove
expect_fail 1 as root vmkitctl bind "$FREE"
contains 'wedged'

# Another VM starts with another device.
TIMEOUT=200 as alice vmkitctl create "$VM" --memory 128M --cpus 1 --firmware bios --network none \
        --gpu "$GPU" --start
driver "$GPU" vfio-pci

# The service stops while the child is stuck, and another one takes the name and knows.
TIMEOUT=60 as root systemctl restart vmkitd
helpers
contains 'disk sleep'
health_is wedged || fail 'the new vmkitd does not know'
as alice vmkitctl list
contains running
TIMEOUT=60 as alice vmkitctl stop "$VM" --force --timeout 0
driver "$GPU" bochs-drm
as alice vmkitctl destroy --yes "$VM"

# The kernel lets go: what was asked for by hand is complete, and can be taken back.
as root sh -c 'echo N >/sys/module/wedge/parameters/hold'
eventually 30 health_is ready || fail 'the device is not ready'
driver "$FREE" vfio-pci
as root vmkitctl release "$FREE"
driver "$FREE" wedge

to_driver
driver "$FREE" nvme
as root rmmod wedge
as root sh -ec 'rm /etc/vmkit/vmkitd.conf.d/lab-wedge.conf; systemctl restart vmkitd'
