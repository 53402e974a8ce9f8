/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The image store as a caller uses it. */

#include "image/image.h"
#include "manager.h"

/* A second name for an open image of the store, under which the disks of VMs are laid over it: it stays when the
 * image is removed from the store. */
int image_base_name(Manager *m, int fd, const char *format, char **ret_path, Error *error);

/* Removes the bases that no VM needs and that are not in the store any more, unless there are disks of which nobody can
 * say what they need. */
void image_bases_collect(Manager *m);

/* Copies the descriptor's content into the caller's store. The descriptor stays the caller's of this
 * function. ImageExists if there is one of the name. */
int image_import(Manager *m, uid_t caller, const char *name, int fd, Job **ret, Error *error);
