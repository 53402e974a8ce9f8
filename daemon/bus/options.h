/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading a{sv} options into a structure by a table. An unknown key, a wrong type and a repeated key are
 * refused with InvalidOption, naming the key. */

#include <systemd/sd-bus.h>

#include "base/error.h"

typedef struct OptionSpec {
        const char *key;
        const char *type;  /* D-Bus signature: "s", "as", "t", "u", "b", "h", or one with a reader */
        size_t offset;     /* of the field: char *, char **, uint64_t, unsigned, bool, int */
        /* For other types: positioned at the content of the variant. */
        int (*read)(sd_bus_message *m, void *target, Error *error);
} OptionSpec;

/* The message is positioned at the dictionary. */
int options_read(sd_bus_message *m, const OptionSpec *specs, size_t n, void *target, Error *error);
int options_read_none(sd_bus_message *m, Error *error);
