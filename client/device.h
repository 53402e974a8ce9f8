/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices as --json shows them, and what people read out of that. */

#include "client.h"
#include "terminal.h"

/* The address in a device's object path, in canonical form. NULL for other paths. */
char *device_address(const char *path);

/* An array of addresses from an array of object paths. */
json_object *device_addresses(json_object *paths);

/* One object of `devices` from the properties; vm_names maps object paths to names. */
json_object *device_document(json_object *properties, json_object *vm_names);

/* {path: name} of all VMs. */
int device_vm_names(Client *c, json_object **ret, Failure *failure);

/* What becomes of the device: "free", "in use: …", "leased to …". */
char *device_status(json_object *document, Color *ret_color);

/* The product's name, or its IDs. */
char *device_product(json_object *document);
