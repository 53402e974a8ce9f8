/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* PropertiesChanged that names what has changed since it was last told, and nothing else. */

#include "bus.h"

/* The values have just been told, by InterfacesAdded, or nobody can have seen them yet. */
int changes_remember(sd_bus *bus, const sd_bus_vtable *properties, void *object, Told *told);

/* Compares all properties that announce their changes with what was told, and tells the differences. */
int changes_tell(sd_bus *bus, const char *path, const char *interface, const sd_bus_vtable *properties,
                 void *object, Told *told);
