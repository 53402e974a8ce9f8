/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Setting the number of virtual functions of a physical one; sets a job. */

#include "manager.h"

/* What a change of their number moves: the physical function, then the virtual ones it has. */
int device_with_vfs(const Device *d, DeviceList *ret);

int device_set_vfs(Device *d, unsigned count, uid_t caller, Job **ret, Error *error);
