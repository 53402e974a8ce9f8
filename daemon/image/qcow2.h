/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The header and the tables of a qcow2 image, as far as they decide whether QEMU may be let near
 * it. */

#include "base/error.h"

#include <stdint.h>

/* 1 if the file begins like qcow2 of any version but the first, 0 if not. */
int qcow2_is(int fd);

/* Sets ImageRejected unless the image stands by itself: see image_judge(). */
int qcow2_judge(int fd, uint64_t file_size, uint64_t max_virtual, uint64_t *ret_virtual_size,
                Error *error);

/* Only the virtual size, of an image judged before. */
int qcow2_virtual_size(int fd, uint64_t *ret);
