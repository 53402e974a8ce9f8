/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the device helper must know of reservations. */

#include "host/binding.h"

/* Whether the function is reserved now. A record that cannot be read holds nothing. */
bool device_is_held_for_good(int root_fd, const PciDevice *device);

/* One that was held before its driver could bind has nothing to go back to that sysfs could tell: the
 * reservation, or the record of what was held at this boot, says which driver it would have. */
int reserved_original(int root_fd, const PciDevice *device, DeviceState *original);
