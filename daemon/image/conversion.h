/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One run of qemu-img on what a stranger wrote: what it is to do, and the files it has for that. It runs in a
 * sandbox, in a child of who starts it. That is vmkit-convert, which systemd starts as a user that exists for
 * this only, and which is sent the run over its socket; where there is no systemd, vmkit-image itself. */

#include <stdbool.h>
#include <sys/types.h>

#include "sandbox.h"

#define CONVERSION_SOCKET "convert" /* in the directory RUNTIME_DIRECTORY */
#define CONVERSION_ARGUMENTS_MAX 15
#define CONVERSION_BASE_FD 3 /* of the child */

/* Exit codes of our side of the child; qemu-img has 0 to 3. */
enum {
        EXIT_NO_SANDBOX = 100,
        EXIT_NO_PROGRAM,
        EXIT_NO_STREAMS,
};

typedef struct Conversion {
        const char *argv[CONVERSION_ARGUMENTS_MAX + 1];
        int source, base, target, messages; /* become 0, 3, 1 and 2; base below 0: none */
        bool reopens_target; /* by /proc/self/fd, which is an open() to the kernel */
        SandboxLimits limits;
} Conversion;

/* The child dies with this process. */
int conversion_start(const Conversion *c, pid_t *ret);

/* Over a connection that keeps messages apart. There is no base in them. */
int conversion_send(int fd, const Conversion *c);
int conversion_send_status(int fd, int status);
/* -ENODATA: the other side has closed without one. */
int conversion_receive_status(int fd, int *ret_status);

#define CONVERSION_TEXT_MAX 4096

typedef struct ReceivedConversion {
        Conversion conversion; /* its strings are in text */
        char text[CONVERSION_TEXT_MAX];
} ReceivedConversion;

int conversion_receive(int fd, ReceivedConversion *ret);
