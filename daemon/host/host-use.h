/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the host does with block devices, read once for the inspection of any number of disks:
 * mounts of every mount namespace, swap, members of mounted btrfs, loop devices, nvmet exports, the
 * resume device. From sysfs and procfs alone. */

#include <sys/types.h>

#include "base/util.h"

typedef struct Mount {
        dev_t number;
        char *point;    /* unescaped */
        char *source;
        char *type;
        bool initial;   /* in the mount namespace of PID 1 */
} Mount;

/* A block device, by its name in /dev, and what is made of it. */
typedef struct BlockUse {
        char *device;   /* "/dev/nvme0n1p1" */
        char *user;
} BlockUse;

typedef struct BlockUses {
        BlockUse *items;
        size_t n;
} BlockUses;

typedef struct HostUse {
        Mount *mounts;
        size_t n_mounts;
        BlockUses swaps;        /* user: unused */
        BlockUses btrfs;        /* user: UUID of the mounted file system */
        BlockUses loops;        /* user: "loop0" */
        BlockUses nvmet;        /* user: NQN of the subsystem */
        dev_t resume;           /* 0: none */
        char *resume_path;      /* resume=/dev/… on the kernel's command line, or NULL */
} HostUse;

int host_use_read(int root_fd, HostUse *ret);
void host_use_clear(HostUse *use);
#define _cleanup_host_use_ _cleanup_(host_use_clear)

/* Reads one mountinfo text into use. */
int host_use_add_mounts(HostUse *use, const char *mountinfo, bool initial);

/* The value of a parameter of the kernel's command line, or NULL. Allocated. */
int kernel_parameter_read(int root_fd, const char *name, char **ret);
