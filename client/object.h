/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Objects of the bus by what people call them. */

#include "client.h"

#define JOB_PREFIX VMKIT_ROOT "/job/"

/* A VM's name (vm_names maps paths to names), a device's address, "job N", "vmkitd"; the path of any other.
 * Allocated. */
char *object_name(json_object *vm_names, const char *path);
