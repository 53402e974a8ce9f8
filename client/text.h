/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Small things done with words: the nearest to a mistyped one, dates. */

#include <stdint.h>

/* Collects the candidate nearest to word; best stays NULL while none is near enough to be meant.
 * The candidates must outlive it. */
typedef struct Nearest {
        const char *word;
        const char *best;
        unsigned distance;
} Nearest;

void nearest_offer(Nearest *nearest, const char *candidate);

unsigned text_distance(const char *a, const char *b);

#define TIME_TEXT_MAX 40

/* RFC 3339 in UTC, to the second or to the microsecond. Both return buffer. */
char *time_format(uint64_t usec, char buffer[TIME_TEXT_MAX]);
char *time_format_exact(uint64_t usec, char buffer[TIME_TEXT_MAX]);

uint64_t time_now(void);
