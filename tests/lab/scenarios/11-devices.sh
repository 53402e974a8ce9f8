# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Anyone may look: functions, IOMMU groups, drivers, and what would move together.

as bob vmkitctl devices
contains "$FREE" "$MOUNTED" "$GPU" "$AUDIO" bochs-drm snd_hda_intel
lacks pcieport

as bob vmkitctl --json devices
device="{x['address']: x for x in d}"
equals "sorted($device['$GPU']['unit'])" "['$GPU', '$AUDIO']"
equals "$device['$GPU']['iommu_group'] == $device['$AUDIO']['iommu_group']" True
equals "$device['$AUDIO']['kind']" audio
equals "[x['address'] for x in d if x['boot_display']]" "['0000:00:01.0']"
equals "$device['$MOUNTED']['available']" False
equals "$device['$FREE']['available']" True

as bob vmkitctl --json devices --kind nvme
equals "sorted(x['address'] for x in d)" "['$FREE', '$MOUNTED']"
