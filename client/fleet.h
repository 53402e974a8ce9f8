/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One command on several hosts at once, and one answer: a table with a column for the host, or with --json an
 * array of {host, exit_code, result, error}. */

#include "listing.h"

struct Fleet {
        const Listing *listing;
        const char *key; /* under which a host's document has its rows; NULL: it is an array of them */
        const JsonField *fields; /* of each row */
        size_t n_fields;
        json_object *(*rows)(json_object *all); /* a new array of those that are shown; NULL: all are */
        const char *hint;                          /* said at the end if not all is well; may be NULL */
        bool exit_tells;                           /* with --quiet the exit code is the answer */
};

/* Returns the highest exit code of all hosts: one that cannot be reached counts as 5, and the others are
 * shown all the same. */
int fleet_run(const Args *args, char *const *hosts, Failure *failure);
