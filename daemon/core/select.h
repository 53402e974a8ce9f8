/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The automatic choice of a device, with every candidate explained. The same code answers FindDevice,
 * `explain`, plans and creation. */

#include "devices.h"

typedef struct Candidate {
        Device *device;
        bool eligible;
        Reasons reasons; /* why not; and what was overridden */
        unsigned demerits;
} Candidate;

typedef struct Candidates {
        Candidate *items; /* the best first; those that are not eligible last */
        size_t n;
} Candidates;

void candidates_clear(Candidates *candidates);
#define _cleanup_candidates_ _cleanup_(candidates_clear)

typedef struct Selection {
        DeviceKind kind;
        const char *vendor;         /* "nvidia", "amd", "intel"; NULL: any */
        char *const *allow;         /* codes that do not count */
        const DeviceList *taken;    /* chosen for the same VM already: another one, near to them; NULL: none */
} Selection;

int select_candidates(Manager *m, const Selection *selection, Candidates *ret);

/* The first eligible one, or NULL. */
Device *candidates_best(const Candidates *candidates);

/* The VM whose definition names the device, other than vm; NULL: none. */
Vm *device_assigned_elsewhere(const Device *d, const Vm *vm);

/* "nvidia", "amd", "intel" */
bool vendor_is_known(const char *vendor);
