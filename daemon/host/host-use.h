/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the host does with block devices, read once for the inspection of any number of disks:
 * mounts of every mount namespace, swap, members of mounted btrfs and bcachefs, external journals,
 * nvmet exports, the resume device. From sysfs and procfs alone.
 *
 * A device is in use because its number says so, or a name that only the kernel or root chooses.
 * What anybody may choose proves nothing: in a user namespace of one's own a tmpfs or a FUSE file
 * system can be mounted from whatever source one names. */

#include <sys/types.h>

#include "base/util.h"

typedef struct Mount {
        dev_t number;   /* of the file system; 0:N for those that have several devices, or none */
        char *point;    /* unescaped */
        char *type;     /* as the kernel calls it */
        char **devices; /* further devices, by the names that their file system knows; NULL: none */
        bool initial;   /* in the mount namespace of PID 1 */
} Mount;

/* A block device, and what is made of it. */
typedef struct BlockUse {
        char *device;   /* "/dev/nvme0n1p1" */
        dev_t number;   /* 0: only the name is known */
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
        BlockUses bcachefs;     /* the same */
        BlockUses journals;     /* user: unused */
        BlockUses nvmet;        /* user: NQN of the subsystem */
        dev_t resume;           /* 0: none */
        char *resume_path;      /* resume=/dev/… on the kernel's command line, or NULL */
} HostUse;

int host_use_read(int root_fd, HostUse *ret);
void host_use_clear(HostUse *use);
#define _cleanup_host_use_ _cleanup_(host_use_clear)

/* Reads one mountinfo text into use. */
int host_use_add_mounts(HostUse *use, const char *mountinfo, bool initial);

/* Whether PID 1 sees a file system of a block device there. */
bool host_use_is_mount_point(const HostUse *use, const char *point);

/* The value of a parameter of the kernel's command line, or NULL. Allocated. */
int kernel_parameter_read(int root_fd, const char *name, char **ret);
