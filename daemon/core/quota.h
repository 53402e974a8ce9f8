/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What one user may have at a time. root has no limits. */

#include "manager.h"

typedef struct Quota {
        uint64_t vms, cpus, devices; /* of all VMs, running or not */
        uint64_t memory;             /* bytes, likewise */
        uint64_t image_bytes;        /* as guests see them: of all disks and stored images */
} Quota;

int quota_used(const Manager *m, uid_t uid, Quota *ret);

/* What a new image may have; UINT64_MAX: there is no limit. */
int quota_image_bytes_left(const Manager *m, uid_t uid, uint64_t *ret);

/* What exceeds a limit when extra comes on top: its code ("limit-vms", …) for findings, and a sentence. 0: all
 * is within, 1: it is not. */
int quota_check(const Manager *m, uid_t uid, const Quota *extra, const char **ret_code, Error *error);
