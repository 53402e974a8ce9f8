/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* VFIO as its users see it: groups, which one user at a time can hold, and through them the one reset that
 * the kernel offers for functions that can only be reset together. Only for the device helper: opening a
 * device resets it, which may take long. */

#include "pci.h"

typedef struct VfioGroup {
        int id, fd;
} VfioGroup;

typedef struct VfioGroups {
        VfioGroup *items;
        size_t n;
} VfioGroups;

/* Takes the group of the device, unless it is held already, or there is none: a device without a node in
 * /dev/vfio cannot be open by way of it. While it is held, nobody else can open it. -EBUSY: somebody has. */
int vfio_groups_take(int root_fd, const PciDevice *device, VfioGroups *groups);
/* The same, but waits for whoever has it, at most usec: -ETIMEDOUT. */
int vfio_groups_wait(int root_fd, const PciDevice *device, uint64_t usec, VfioGroups *groups);
void vfio_groups_release(VfioGroups *groups);
#define _cleanup_vfio_groups_ _cleanup_(vfio_groups_release)

/* One function of a group that is held, opened. */
typedef struct VfioDevice {
        int container_fd, group_fd, fd;
} VfioDevice;

#define VFIO_DEVICE_INIT ((VfioDevice) { .container_fd = -EBADF, .group_fd = -EBADF, .fd = -EBADF })

int vfio_device_open(int root_fd, const VfioGroups *groups, const PciDevice *device, VfioDevice *ret);
void vfio_device_close(VfioDevice *d);
#define _cleanup_vfio_device_ _cleanup_(vfio_device_close)

/* The functions that a hot reset would touch: its slot's, or its bus's. */
typedef struct VfioResetSet {
        struct VfioDependent {
                PciAddress address;
                int group;
        } *items;
        size_t n;
} VfioResetSet;

void vfio_reset_set_clear(VfioResetSet *set);
#define _cleanup_vfio_reset_set_ _cleanup_(vfio_reset_set_clear)

/* -ENODEV: there is no such reset. */
int vfio_device_read_reset_set(const VfioDevice *d, VfioResetSet *ret);

/* Resets them all. The kernel demands that all of them are on vfio-pci, in groups that are held. */
int vfio_device_hot_reset(const VfioDevice *d, const VfioGroups *groups, const VfioResetSet *set);
