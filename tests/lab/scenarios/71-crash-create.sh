# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# vmkitd is killed before each step of create with start, and of destroy.

TIMEOUT=1100 as root crash create kill-daemon job-run-before
TIMEOUT=1100 as root crash destroy kill-daemon job-run-before
devices_are_home
