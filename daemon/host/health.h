/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether a function is alive after it was moved or reset. Reading config space wakes a device and may hang:
 * only for the device helper. */

#include "pci.h"

/* The header of its config space reads back with the identity that the inventory has and with a type that is
 * an endpoint's; all ones means dead or without power. ResetFailed says what was read instead. */
int health_check(int root_fd, const PciDevice *device, Error *error);

/* The same, and that it is powered (D0), as it must be while it is given away. */
int health_check_powered(int root_fd, const PciDevice *device, Error *error);
