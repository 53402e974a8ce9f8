/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The one loop over rows, and the one choice between document, table and "nothing". */

#include "listing.h"

static const Column host_column = { .title = "HOST", .min_width = 12 };

int listing_print(const Listing *listing, json_object *rows) {
        bool hosts = json_has(json_at(rows, 0), "host");
        Column columns[TABLE_COLUMNS_MAX] = { host_column };
        _cleanup_table_ Table table = { .columns = columns, .n_columns = listing->n_columns + hosts };

        memcpy(columns + hosts, listing->columns, listing->n_columns * sizeof(Column));
        for (size_t i = 0; i < json_length(rows); i++) {
                if (hosts)
                        table_add(&table, json_string(json_at(rows, i), "host"));
                listing->add_row(&table, rows, i);
        }

        return table_print(&table, stdout);
}

int listing_show(const Args *args, const Listing *listing, json_object *rows) {
        if (args_has(args, "json"))
                json_print(rows);
        else if (json_length(rows) > 0)
                return listing_print(listing, rows);
        else if (!args_has(args, "quiet"))
                print_text(stderr, "%s\n", listing->none);

        return EXIT_DONE;
}
