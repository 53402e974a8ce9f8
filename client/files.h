/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The caller's own files: opened here with the caller's rights, handed over as descriptors. */

#include "failure.h"

/* Opens a regular file for reading. "-" is standard input, spooled into an unnamed file unless it
 * is one. */
int file_open(const char *path, int *ret, Failure *failure);

/* The same for disk images: a missing one is NoSuchImage. */
int image_open(const char *path, int *ret, Failure *failure);

/* Appends the public keys in a file to a string vector; a key itself may stand in place of the
 * file. */
int keys_read(const char *path_or_key, char ***keys, Failure *failure);
