/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The way back: when QEMU has let go, through a reset, to the driver that each function had. */

#include "helper-transaction.h"

/* Only waits until QEMU has let go, and resets: it is kept on vfio-pci. */
int settle_unit(Transaction *t, Error *error);
int release_unit(Transaction *t, Error *error);

/* One that is free to go: to its driver, and its record goes. What does not come back is quarantined. */
int restore_function(Transaction *t, Function *f, Error *error);
