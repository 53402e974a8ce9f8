# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A device that falls off the bus: nothing hangs, no driver of the host gets it, and it comes home once it
# answers again. Its port forwards nothing any more, so its config space reads as ones, as of a dead device.

port=00:11.0

# health ADDRESS VALUE
health() {
        as bob vmkitctl --json devices
        equals "[x['health'] for x in d if x['address'] == '$1']" "['$2']"
}

# Taken back in any case, for the scenarios after this one.
trap 'as root setpci -s "$port" SECONDARY_BUS=1 SUBORDINATE_BUS=1' EXIT

as root vmkitctl bind "$FREE"
as root setpci -s "$port" SECONDARY_BUS=0 SUBORDINATE_BUS=0
expect_fail 1 as root vmkitctl --json release "$FREE"
contains org.vmkit.Error.ResetFailed 'does not answer on the bus' "clear-quarantine $FREE"
health "$FREE" quarantined
driver "$FREE" vfio-pci

expect_fail 1 as root vmkitctl --json clear-quarantine "$FREE"
contains org.vmkit.Error.ResetFailed 'switch it off and on'
health "$FREE" needs-reboot
expect_fail 1 as bob vmkitctl explain "$FREE"
contains 'switched off and on' 'does not answer on the bus'

as root setpci -s "$port" SECONDARY_BUS=1 SUBORDINATE_BUS=1
as root vmkitctl --json clear-quarantine "$FREE"
equals "d['health'], d['health_detail'], d['driver']" 'ready None nvme'
devices_are_home
