/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "fault.h"
#include "idle.h"

#define IDLE_SECONDS 30

uint64_t idle_usec(void) {
        return FAULT_SECONDS("VMKIT_IDLE_SECONDS", IDLE_SECONDS) * USEC_PER_SEC;
}
