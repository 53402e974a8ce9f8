/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A process that is about to run a program on what a stranger wrote. */

#include <stddef.h>
#include <stdint.h>

typedef struct SandboxLimits {
        uint64_t memory;      /* bytes of address space */
        uint64_t cpu_seconds;
        uint64_t file_size;   /* bytes of the largest file that is written */
} SandboxLimits;

/* For this process and what it executes, for good: no file but programs, libraries and those given (read_fds for
 * reading, write_fd for both; below 0: none), no network, no other process, and the limits. No new privileges are needed, nor any
 * namespace. -EOPNOTSUPP where the kernel has no Landlock. */
int sandbox_enter(const int read_fds[], size_t n_read_fds, int write_fd, const SandboxLimits *limits);
