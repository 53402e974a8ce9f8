/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What administrators do with a device by hand. Each works on the whole unit, and sets a job. */

#include "manager.h"

/* Refuse what a VM has, or that is on its way; and what the host uses besides. */
int device_check_not_taken(const Device *d, Error *error);
int device_check_free(Device *d, char *const *allow, Error *error);

int device_bind(Device *d, uid_t caller, char *const *allow, Job **ret, Error *error);
int device_release(Device *d, uid_t caller, Job **ret, Error *error);
int device_reset(Device *d, uid_t caller, Job **ret, Error *error);
int device_clear_quarantine(Device *d, uid_t caller, Job **ret, Error *error);
