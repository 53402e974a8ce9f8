/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How much of a VM's memory is locked already: VFIO locks all of it while QEMU starts, and the kernel counts. */

#include <stdint.h>
#include <sys/types.h>

/* Bytes locked by the QEMU that has this UUID on its command line. *pid: who that was found to be, to be kept for
 * the next look; 0 before the first. -ESRCH: there is none. What another process has on its command line may have
 * to be waited for, so this is for a worker. */
int locked_memory_of(int root_fd, const char *uuid, pid_t *pid, uint64_t *ret);
