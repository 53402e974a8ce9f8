/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Formats that are recognised only to be refused with good advice. */

#include "base/error.h"

#include <stdint.h>

/* Sets ImageRejected if the file is of a format that is neither raw nor qcow2. */
int image_refuse_foreign(int fd, uint64_t size, Error *error);

/* pread() of size bytes; what lies behind the end of the file reads as zeros. */
int image_read_at(int fd, uint64_t offset, void *buffer, size_t size);
