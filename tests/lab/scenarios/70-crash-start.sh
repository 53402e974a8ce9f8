# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# vmkitd is killed before each step of start and stop; what is after the last one is the end of the job.

TIMEOUT=1100 as root crash start kill-daemon job-run-before
TIMEOUT=1100 as root crash stop kill-daemon job-run-before
devices_are_home
