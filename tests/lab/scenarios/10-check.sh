# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A host that is ready says so.

as alice vmkitctl check
contains ready

as alice vmkitctl --json check
equals "d['ready']" True
equals "[c for c in d['checks'] if c['status'] == 'fail']" '[]'
