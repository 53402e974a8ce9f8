# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# lab: --no-iommu
# Without an IOMMU: what to switch on, said before anything is touched.

expect_fail 1 as alice vmkitctl check
contains intel_iommu=on amd_iommu vfio firmware

expect_fail 1 as alice vmkitctl create "$VM" --memory 512M --disk-size 64M --firmware bios --gpu auto
contains intel_iommu=on
as alice vmkitctl --json list
equals 'd' '[]'
devices_are_home
