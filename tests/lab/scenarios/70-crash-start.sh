# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# vmkitd is killed at every step boundary of start and stop.

TIMEOUT=1100 as root crash start kill-daemon job-
TIMEOUT=1100 as root crash stop kill-daemon job-
devices_are_home
