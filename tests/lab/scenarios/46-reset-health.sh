# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Devices are reset by the best way each has, kept awake while they are given away, and one whose reset
# fails is quarantined until it has come through one.

sysfs=/sys/bus/pci/devices

# power CONTROL D3COLD ADDRESS…
power() {
        local control=$1 d3cold=$2 address
        shift 2
        for address in "$@"; do
                as root cat "$sysfs/$address/power/control" "$sysfs/$address/d3cold_allowed" \
                        "$sysfs/$address/driver_override"
                [ "$(sed -n 1,2p "$OUTPUT" | paste -sd ' ')" = "$control $d3cold" ] ||
                        fail "$address is not at power/control $control, d3cold_allowed $d3cold"
        done
}

# health ADDRESS VALUE
health() {
        as bob vmkitctl --json devices
        equals "[x['health'] for x in d if x['address'] == '$1']" "['$2']"
}

as bob vmkitctl --json devices
equals "[x['reset_methods'] for x in d if x['address'] == '$FREE']" "[['flr', 'bus']]"
equals "[x['reset_methods'] for x in d if x['address'] == '$GPU']" "[['bus']]"
for address in "$FREE" "$GPU" "$AUDIO"; do
        as root sh -c "echo auto >$sysfs/$address/power/control; echo 1 >$sysfs/$address/d3cold_allowed"
done

as root date +%s
began=$(<"$OUTPUT")
as alice vmkitctl create "$VM" --memory 256M --cpus 1 --firmware bios --graphics none \
        --gpu auto --nvme auto --start
power on 0 "$FREE" "$GPU" "$AUDIO"
as root cat "$sysfs/$FREE/power_state"
contains D0
as root journalctl -u vmkitd --since "@$began" --no-pager -o cat
contains "$FREE was reset (flr bus)" "was reset with its bus (2 functions)"

# While a VM has it, it is not an administrator's to reset or to take away.
expect_fail 1 as root vmkitctl reset "$FREE"
contains "leased to the VM $VM"
expect_fail 1 as root vmkitctl release "$AUDIO"
contains "leased to the VM $VM"

# The kernel is told that the drive has no way to be reset, so it fails. The display comes home all the same.
as root sh -c "echo >$sysfs/$FREE/reset_method"
expect_fail 1 as alice vmkitctl stop "$VM" --force --timeout 0
contains "$FREE did not come through its reset" clear-quarantine
driver "$GPU" bochs-drm
driver "$AUDIO" snd_hda_intel
power auto 1 "$GPU" "$AUDIO"

# What the guest had is isolated, and nobody gets it.
driver "$FREE" vfio-pci
health "$FREE" quarantined
as bob vmkitctl --json devices
equals "[r['code'] for x in d if x['address'] == '$FREE' for r in x['in_use']]" "['quarantined']"
expect_fail 1 as bob vmkitctl explain nvme
contains "$FREE did not come through its reset"
expect_fail 1 as alice vmkitctl --json start "$VM"
contains org.vmkit.Error.Quarantined
expect_fail 1 as root vmkitctl --json release "$FREE"
contains org.vmkit.Error.Quarantined

expect_fail 1 as root vmkitctl --json clear-quarantine "$FREE"
contains org.vmkit.Error.ResetFailed 'switch it off and on'
health "$FREE" needs-reboot
driver "$FREE" vfio-pci

# It is quarantined after a restart of the service too, and out of it once it can be reset again.
as root systemctl restart vmkitd
health "$FREE" needs-reboot
as root sh -c "echo default >$sysfs/$FREE/reset_method"
as root vmkitctl --json clear-quarantine "$FREE"
equals "d['health'], d['driver']" 'ready nvme'
power auto 1 "$FREE"
as alice vmkitctl destroy --yes "$VM"
devices_are_home
