/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What administrators do with a device by hand. Each works on the whole unit, and sets a job. */

#include "manager.h"

int device_bind(Device *d, uid_t caller, char *const *allow, Job **ret, Error *error);
int device_release(Device *d, uid_t caller, Job **ret, Error *error);
int device_reset(Device *d, uid_t caller, Job **ret, Error *error);
int device_clear_quarantine(Device *d, uid_t caller, Job **ret, Error *error);
