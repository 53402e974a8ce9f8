/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An array of documents as one table, or as it is with --json: what list, devices, image list and jobs have in
 * common. Where the rows come from several hosts, each has a `host`, which becomes the first column. */

#include "client.h"
#include "table.h"

typedef struct Listing {
        const Column *columns;
        size_t n_columns;
        void (*add_row)(Table *table, json_object *rows, size_t i);
        const char *none; /* said when there are no rows */
} Listing;

int listing_print(const Listing *listing, json_object *rows);

/* As the options of the command line want it. */
int listing_show(const Args *args, const Listing *listing, json_object *rows);
