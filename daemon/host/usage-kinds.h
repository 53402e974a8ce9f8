/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The parts of usage.h, by kind of device. All but the deep ones read sysfs and procfs only. */

#include "block.h"
#include "host-view.h"
#include "usage.h"

int usage_add_disks(HostView *view, const PciDevice *device, Reasons *reasons);
int usage_add_disk(int root_fd, const HostUse *use, const char *disk, Reasons *reasons);
int usage_add_gpu(int root_fd, const PciDevice *device, Reasons *reasons);
int usage_add_network(HostView *view, const PciDevice *device, Reasons *reasons);
int usage_add_usb(int root_fd, const PciDevice *device, Reasons *reasons);

/* Whether disks can be behind a device of this kind. */
bool usage_may_have_disks(const PciDevice *device);

/* Reasons from the signatures found on the disk, and from the names by which fstab, crypttab and
 * the kernel's command line call what is on it. use says what of these the host has elsewhere.
 * Opens the disk. */
int usage_add_data(int root_fd, const HostUse *use, const char *disk, Reasons *reasons);

/* What kind of kernel user holds a disk that cannot be opened exclusively, judged by what is on it:
 * zfs, lvm, md-raid, … */
int usage_add_unknown_holder(int root_fd, const char *disk, Reasons *reasons);

/* The processes that have a disk or another node of the device open. */
int usage_add_processes(int root_fd, const PciDevice *device, Reasons *reasons);

/* Opens the disk exclusively; waits out who only probes. -EBUSY: somebody holds it. -ENOMEDIUM:
 * nothing there to hold. */
int usage_open_exclusive(int root_fd, const char *disk);

/* Whether it is this process that has the disk open. */
bool usage_disk_is_open_here(int root_fd, const char *disk);
