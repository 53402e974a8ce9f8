# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# lab: --topologies
# What few machines have: virtual functions, an NVMe namespace that two controllers reach, a device that
# shares its IOMMU group with a bridge, and a display with a network card in one slot.

PF=0000:05:00.0 VF=0000:05:00.1 OTHER_VF=0000:05:00.2
TWIN=0000:06:00.0 OTHER_TWIN=0000:07:00.0
BRIDGE=0000:08:00.0 BEHIND=0000:09:01.0
DISPLAY_=0000:0a:00.0 NETWORK=0000:0a:00.1

as bob vmkitctl --json devices --all
device="{x['address']: x for x in d}"
equals "$device['$BEHIND']['group']" "['$BRIDGE', '$BEHIND']"
equals "$device['$BEHIND']['unit']" "['$BEHIND']"
equals "$device['$DISPLAY_']['unit']" "['$DISPLAY_', '$NETWORK']"
equals "[r['code'] for r in $device['$TWIN']['in_use']]" "['shared-namespace']"
equals "$device['$PF']['available']" True

# The disk is the subsystem's: it is in no directory of a PCI function.
expect_fail 1 as root vmkitctl bind "$TWIN"
contains shared-namespace "$OTHER_TWIN"
as root sh -euc 'd=/dev/$(basename $(ls -d /sys/devices/virtual/nvme-subsystem/*/nvme2n1)); test -b $d
        systemd-run -q --collect --unit lab-open sh -c "exec sleep 1000 <$d"
        until ls -l /proc/$(systemctl show -P MainPID lab-open)/fd | grep -q "$d\$"; do sleep 0.1; done'
expect_fail 1 as root vmkitctl bind "$PF"
contains open-by-process '/dev/nvme2n1 is open in sleep'
as root systemctl stop lab-open

# The bridge stays where it is.
as root readlink "/sys/bus/pci/devices/$BRIDGE/driver" || true
before=$(cat "$OUTPUT")
as root vmkitctl bind "$BEHIND"
driver "$BEHIND" vfio-pci
as root readlink "/sys/bus/pci/devices/$BRIDGE/driver" || true
[ "$before" = "$(cat "$OUTPUT")" ] || fail 'the bridge was moved'
as root vmkitctl release "$BEHIND"
driver "$BEHIND" e1000
expect_fail 1 as root vmkitctl bind "$BRIDGE"
contains not-endpoint

# One is in use, so neither goes.
as root sh -euc "ip addr add 192.0.2.1/24 dev \$(ls /sys/bus/pci/devices/$NETWORK/net)
        ip link set up dev \$(ls /sys/bus/pci/devices/$NETWORK/net)"
expect_fail 1 as root vmkitctl bind "$DISPLAY_"
contains group-not-viable "$NETWORK" 'network interface'
driver "$DISPLAY_" bochs-drm
as root sh -euc "ip addr flush dev \$(ls /sys/bus/pci/devices/$NETWORK/net)
        ip link set down dev \$(ls /sys/bus/pci/devices/$NETWORK/net)"
as bob vmkitctl explain "$NETWORK"

# The display has no other reset than that of the bus, which is the network card's too.
as root date +%s
began=$(<"$OUTPUT")
as root vmkitctl bind "$DISPLAY_"
driver "$DISPLAY_" vfio-pci
driver "$NETWORK" vfio-pci
as root journalctl -u vmkitd --since "@$began" --no-pager -o cat
contains "was reset with its bus (2 functions)"
as root vmkitctl release "$NETWORK"
driver "$DISPLAY_" bochs-drm
driver "$NETWORK" e1000e

# Virtual functions.
expect_fail 1 as root vmkitctl vfs "$FREE" 1
contains "$FREE cannot have virtual functions"
expect_fail 1 as root vmkitctl vfs "$PF" 5
contains 'at most 4'
expect_fail 3 as bob vmkitctl vfs "$PF" 2
as root vmkitctl vfs "$PF" 2
as bob vmkitctl devices --kind nvme
contains "  $VF" "  $OTHER_VF"
as bob vmkitctl --json devices
equals "[x['address'] for x in d if x['physical_function'] == '$PF']" "['$VF', '$OTHER_VF']"
equals "$device['$VF']['unit']" "['$VF']"
expect_fail 1 as root vmkitctl bind "$PF"
contains has-vfs

TIMEOUT=200 as root vmkitctl create "$VM" --memory 256M --cpus 1 --firmware bios --network none \
        --passthrough "$VF" --start
driver "$VF" vfio-pci
expect_fail 1 as root vmkitctl vfs "$PF" 0
contains has-vfs "$VF" "$VM"
as root vmkitctl stop "$VM" --timeout 0 --force
expect_fail 1 as root vmkitctl vfs "$PF" 4
contains has-vfs "assigned to the VM $VM"
as root vmkitctl destroy --yes "$VM"

as root vmkitctl vfs "$PF" 4
as root cat "/sys/bus/pci/devices/$PF/sriov_numvfs"
contains 4
as root vmkitctl vfs "$PF" 0
as bob vmkitctl --json devices
equals "[x['address'] for x in d if x['physical_function']]" '[]'
equals "$device['$PF']['available']" True
