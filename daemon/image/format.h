/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Formats that are that are neither raw nor qcow2: converted, or refused with good advice. */

#include "base/error.h"

#include <stdint.h>

/* Sets ImageRejected if the file is of a format that is neither raw nor qcow2. */
int image_refuse_foreign(int fd, uint64_t size, Error *error);

/* qemu-img's name of the format if such an image can be converted, else NULL. */
const char *image_convertible(int fd, uint64_t size, const char **ret_what);

/* pread() of size bytes; what lies behind the end of the file reads as zeros. */
int image_read_at(int fd, uint64_t offset, void *buffer, size_t size);

/* The next stretch of data of a file of that size, from offset (within it) on; it begins at the end
 * if there is none. */
void image_next_data(int fd, uint64_t offset, uint64_t size, uint64_t *ret_begin, uint64_t *ret_end);
