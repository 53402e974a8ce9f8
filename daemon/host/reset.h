/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The reset of functions that move together, each by the best way there is. Everything here may hang in the
 * kernel: only for the device helper.
 *
 * When a device is reset:
 *  - before it is handed out, if it comes from a driver of the host: the guest finds nothing of the host's in
 *    it, and one that does not come through is known before QEMU starts. One that waited on vfio-pci since it
 *    was reset when it was taken back is not: vfio-pci resets it again each time it is opened anyway.
 *  - after it is taken back, once QEMU has let go, before a driver of the host or the next guest gets it. The
 *    kernel's own reset on the last close does not say whether it worked; this one does.
 *
 * How: by the function's own reset (sysfs), for which the kernel tries the methods that "reset_method" lists,
 * in that order. A function that has none, or whose bus it shares, is reset with all of its slot or bus, by
 * VFIO, unless an administrator has taken "bus" out of the methods of one of them. */

#include "pci.h"
#include "vfio.h"

/* devices: on vfio-pci, open in nobody. Their groups are held from then on, so nobody opens one half-way;
 * DeviceInUse if somebody was faster. ResetFailed for one that has a way to be reset and did not come through
 * it; one that never had any is left as it is. */
int reset_functions(int root_fd, PciDevice *const *devices, size_t n, VfioGroups *groups, Error *error);
