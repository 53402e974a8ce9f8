# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# vmkitd is killed at every step boundary of create with start, and of destroy.

TIMEOUT=1100 as root crash create kill-daemon job-
TIMEOUT=1100 as root crash destroy kill-daemon job-
devices_are_home
