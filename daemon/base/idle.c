/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdlib.h>

#include "idle.h"
#include "parse.h"

#define IDLE_SECONDS 30

uint64_t idle_usec(void) {
        uint64_t seconds = IDLE_SECONDS;

#ifdef VMKIT_FAULT_POINTS
        /* What is no such number changes nothing. */
        (void) parse_uint(secure_getenv("VMKIT_IDLE_SECONDS"), 10, IDLE_SECONDS, &seconds);
#endif
        return seconds * USEC_PER_SEC;
}
