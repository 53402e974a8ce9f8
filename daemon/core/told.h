/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the observer has last told of an object. It is the observer's alone; the object only carries it, so that
 * it comes and goes with it. */

#include <stdint.h>

#define TOLD_MAX 16

typedef struct Told {
        uint64_t values[TOLD_MAX]; /* digests */
} Told;
