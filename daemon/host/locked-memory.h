/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* VFIO locks all of a VM's memory while QEMU starts. How much may be, and how much is already, which the kernel
 * counts. */

#include <stdint.h>
#include <sys/types.h>

/* Bytes locked by the QEMU that has this UUID on its command line. *pid: who that was found to be, to be kept for
 * the next look; 0 before the first. -ESRCH: there is none. What another process has on its command line may have
 * to be waited for, so this is for a worker. */
int locked_memory_of(int root_fd, const char *uuid, pid_t *pid, uint64_t *ret);

/* What libvirt's daemon can give QEMU as its limit: UINT64_MAX where it may set any. -ESRCH: no such daemon runs. */
int locked_memory_limit(int root_fd, uint64_t *ret);
