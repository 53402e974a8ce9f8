/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The device helper's side of setting the number of virtual functions. */

#include "base/error.h"
#include "host/pci.h"

typedef struct VfsChange {
        int root_fd, claims_fd;
        const Inventory *inventory;
        const PciDevice *physical;
        DeviceList known;       /* the functions that the request named */
        unsigned count;
        const char *boot_id;
} VfsChange;

/* Proves that no virtual function is in use, holds their disks, and sets the number. The journal has a record
 * of the physical function for as long as that takes. */
int vfs_change(const VfsChange *change, Error *error);
