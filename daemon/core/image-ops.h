/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The image store as a caller uses it. */

#include "image/image.h"
#include "manager.h"

/* Copies the descriptor's content into the caller's store. The descriptor stays the caller's of this
 * function. ImageExists if there is one of the name. */
int image_import(Manager *m, uid_t caller, const char *name, int fd, Job **ret, Error *error);
