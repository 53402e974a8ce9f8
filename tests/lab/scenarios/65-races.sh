# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Nothing gets hold of a drive that vmkit is taking: not while the helper is halted between its last look
# and the unbind, and not by trying all the time. VMKIT_RACE_SECONDS makes more of both.

seconds=${VMKIT_RACE_SECONDS:-20}

TIMEOUT=$((seconds * 3 + 60)) as root race held "$FREE" "$((seconds / 10))" 200
contains '"won": 0'

TIMEOUT=$((seconds * 7 + 60)) as root race free "$FREE" "$seconds"
contains '"won": 0' '"taken"'
