# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# At every point that a helper passes while it binds a unit by hand, or releases it, the helper and vmkitd are
# killed. All is undone by the next vmkitd, or is complete.

TIMEOUT=900 as root crash bind kill-both bind-
TIMEOUT=900 as root crash release kill-both release-
devices_are_home
