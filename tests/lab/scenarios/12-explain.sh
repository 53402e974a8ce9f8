# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What `auto` would choose, and why not the others.

as bob vmkitctl explain gpu
contains "$GPU"

as bob vmkitctl --json explain gpu
equals "d['chosen']" "$GPU"
equals "[c['eligible'] for c in d['candidates'] if c['address'] == '0000:00:01.0']" '[False]'
equals "any(r['code'] == 'boot-display' for c in d['candidates'] for r in c['reasons'])" True

as bob vmkitctl --json explain nvme
equals "d['chosen']" "$FREE"

# It is not to be had, and the exit code says so.
expect_fail 1 as bob vmkitctl --json explain "$MOUNTED"
contains /srv/data
