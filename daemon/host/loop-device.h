/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which loop devices lie on a block device. No exclusive open shows them: a loop device uses what
 * it was handed like any raw open, and no process need have it open. */

#include <sys/types.h>

#include "base/util.h"

typedef struct LoopDevice {
        char *name;        /* "loop3" */
        dev_t backing;     /* the block device it lies on */
} LoopDevice;

typedef struct LoopDevices {
        LoopDevice *items;
        size_t n;
} LoopDevices;

/* Those that lie on a block device, not on a regular file. Opens them: only for the device helper.
 * */
int loop_devices_find(int root_fd, LoopDevices *ret);
void loop_devices_clear(LoopDevices *loops);
#define _cleanup_loop_devices_ _cleanup_(loop_devices_clear)
