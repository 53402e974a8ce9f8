# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A drive that the host uses is refused by the name of its mount point, and `auto` passes it over.

expect_fail 1 as alice vmkitctl create "$VM" --memory 512M --disk-size 64M --firmware bios \
        --nvme "$MOUNTED"
contains /srv/data
driver "$MOUNTED" nvme

as alice vmkitctl explain nvme
contains "$MOUNTED" mounted /srv/data

as alice vmkitctl --json create "$VM" --memory 512M --disk-size 64M --firmware bios --nvme auto --dry-run
equals "[x['address'] for x in d['plan']['devices']]" "['$FREE']"

as root cat /srv/data/precious
contains 'The host needs this drive.'
