/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* VMs as --json shows them. */

#include "client.h"

/* One object of `list`. */
json_object *vm_document(json_object *properties);

/* What `start` and the like print: {vm, uuid, state, devices}. state NULL: the one in the
 * properties. */
json_object *vm_result(json_object *properties, const char *state);
void vm_print_result(Client *c, json_object *result);

/* Reads the VM at path and prints what has become of it. */
int vm_report(Client *c, const char *path, Failure *failure);

/* The owner of a VM by its document, as its host calls them. */
char *user_of(json_object *document);

/* A user's name, or the number as text. */
char *user_text(int64_t uid);

/* "2 devices: a, b" parts: the strings of an array, joined. */
char *join_strings(json_object *array, const char *separator);
