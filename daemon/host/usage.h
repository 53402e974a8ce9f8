/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who on the host uses a device. */

#include "host-view.h"
#include "pci.h"
#include "reason.h"

/* Collects the reasons against giving away one function, from sysfs and procfs only: mounts in any mount
 * namespace, swap, device-mapper, md and other holders, root disk, EFI system partition, boot display,
 * framebuffer console, connectors, network state, existing VFs, not an endpoint, no IOMMU. Never opens a
 * device node and never follows a /proc/PID/fd link, so it cannot hang: fit for the loop. */
int usage_inspect(int root_fd, const Inventory *inventory, const PciDevice *device, Reasons *reasons);

/* The same for every function of the unit, each detail naming the function it is about when it is not
 * the device itself. Includes group-not-viable for a member of the group that cannot move. */
int usage_inspect_unit(int root_fd, const Inventory *inventory, const PciDevice *device, Reasons *reasons);

/* Both with one look at the host for many functions. */
int usage_inspect_in(HostView *view, const Inventory *inventory, const PciDevice *device, Reasons *reasons);
int usage_inspect_unit_in(HostView *view, const Inventory *inventory, const PciDevice *device,
                          Reasons *reasons);

/* What needs to open device nodes and to look into other processes; only for the device helper, a
 * process of its own. Adds open-by-process, drm-in-use (PID, command, unit), loop devices, has-data
 * (libblkid signatures). */
int usage_inspect_deep(int root_fd, const Inventory *inventory, const PciDevice *device, Reasons *reasons);

/* The last look, under the locks and right before the unbind: what is quick to see and what no lock excludes,
 * open descriptors above all, these last; ret_looked_at says since when they were not seen (µs, monotonic).
 * Only for the device helper. */
int usage_inspect_last(int root_fd, const Inventory *inventory, const PciDevice *device, Reasons *reasons,
                       uint64_t *ret_looked_at);

/* A driver that has just been bound finds its disks a moment later. Waits for the first of an NVMe drive, or
 * for a short while where it has none. Only for the device helper. */
void usage_wait_for_disks(int root_fd, const PciDevice *device);

/* The whole disks behind an NVMe or storage function ("nvme0n1", …): names in /dev. Finds them by
 * subsystem for NVMe, since a multipath node is not below the controller. */
int usage_disks(int root_fd, const PciDevice *device, char ***ret);

/* Opens every whole disk of the device exclusively (O_RDONLY|O_EXCL): while they are held, nothing can
 * mount, swap on, or map the disk or its partitions. On EBUSY waits out udev's momentary probing, then
 * fails with DeviceInUse, naming the holder where it can. What is held already is left as it is, so that
 * disks which appeared since can be added. Hold across the unbind, close before binding back. Only for the
 * device helper. */
typedef struct DiskLocks {
        int *fds;
        size_t n;
} DiskLocks;
int disk_locks_acquire(int root_fd, const PciDevice *device, DiskLocks *locks, Error *error);
void disk_locks_release(DiskLocks *locks);
