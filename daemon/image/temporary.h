/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A file that has no name before it is complete, so that whatever ends the process leaves nothing
 * behind. Where the file system cannot do that it is called .NAME.new, and SIGTERM is then blocked
 * and has to be asked for with temporary_is_cancelled(). */

#include "base/util.h"

typedef struct Temporary {
        int dir_fd; /* borrowed */
        int fd;
        char *name; /* NULL: none */
} Temporary;

#define TEMPORARY_INIT ((Temporary) { .dir_fd = -EBADF, .fd = -EBADF })

int temporary_open(int dir_fd, const char *name, Temporary *ret);
int temporary_open_named(int dir_fd, const char *name,
                         Temporary *ret); /* the second way, for tests */

void temporary_block_sigterm(void);
bool temporary_is_cancelled(void);

/* Gives the file its name, with data and name on disk. From here on SIGTERM is too late and
 * blocked. -EEXIST if the name is taken, unless it may be replaced. */
int temporary_publish(Temporary *t, const char *name, bool replace);

void temporary_clear(Temporary *t);
#define _cleanup_temporary_ _cleanup_(temporary_clear)
