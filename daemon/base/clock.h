/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The clock that measures how long things take. */

#include <stdint.h>
#include <time.h>

#include "util.h"

/* µs, monotonic */
static inline uint64_t now_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}
