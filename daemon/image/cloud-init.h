/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The documents of a NoCloud seed. */

#include "image.h"

/* JSON, which is YAML; never NULL but for lack of memory. */
char *cloud_init_meta_data(const CloudInit *c);

/* Our cloud-config ("#cloud-config" and JSON). *ret is NULL if there is nothing to say in it. */
int cloud_init_config(const CloudInit *c, char **ret);

/* The user-data: config alone, the caller's own alone, or both as parts of a MIME message. config
 * and theirs may be NULL. */
int cloud_init_user_data(const char *config, const void *theirs, size_t theirs_size, char **ret,
                         size_t *ret_size);
