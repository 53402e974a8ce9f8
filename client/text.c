/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Levenshtein for suggestions, and dates as RFC 3339 writes them. */

#include <inttypes.h>
#include <time.h>

#include "base/util.h"
#include "text.h"

#define WORD_MAX 64

/* Levenshtein's distance, in which two neighbours that changed places count once (optimal string alignment).
 * Three rows of the matrix are kept. Longer words count as unlike. */
unsigned text_distance(const char *a, const char *b) {
        size_t n = strlen(a), m = strlen(b);
        unsigned rows[3][WORD_MAX + 1];

        if (n > WORD_MAX || m > WORD_MAX)
                return WORD_MAX;

        for (size_t j = 0; j <= m; j++)
                rows[0][j] = (unsigned) j;

        for (size_t i = 1; i <= n; i++) {
                unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

                row[0] = (unsigned) i;
                for (size_t j = 1; j <= m; j++) {
                        unsigned replaced = above[j - 1] + (a[i - 1] != b[j - 1]);
                        unsigned shifted = MIN(above[j], row[j - 1]) + 1;

                        row[j] = MIN(replaced, shifted);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                row[j] = MIN(row[j], before[j - 2] + 1);
                }
        }

        return rows[n % 3][m];
}

void nearest_offer(Nearest *nearest, const char *candidate) {
        unsigned distance = text_distance(nearest->word, candidate);

        /* A third of the word may be wrong. */
        if (distance > MAX(1u, (unsigned) strlen(nearest->word) / 3))
                return;
        if (nearest->best && distance >= nearest->distance)
                return;

        nearest->best = candidate;
        nearest->distance = distance;
}

static struct tm *broken_down(uint64_t usec, struct tm *tm) {
        time_t seconds = (time_t) (usec / USEC_PER_SEC);
        return gmtime_r(&seconds, tm);
}

char *time_format(uint64_t usec, char buffer[TIME_TEXT_MAX]) {
        struct tm tm;

        if (!broken_down(usec, &tm) ||
            strftime(buffer, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                return strcpy(buffer, "n/a");

        return buffer;
}

char *time_format_exact(uint64_t usec, char buffer[TIME_TEXT_MAX]) {
        size_t n = strlen(time_format(usec, buffer)) - 1; /* before the Z */

        snprintf(buffer + n, TIME_TEXT_MAX - n, ".%06" PRIu64 "Z", usec % USEC_PER_SEC);
        return buffer;
}

uint64_t time_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
}
