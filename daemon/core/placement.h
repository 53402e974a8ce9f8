/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which of the host's processors and which of its memory a guest gets. Only a calculation: the host comes in
 * as a Topology, what was chosen and why goes out. */

#include "finding.h"
#include "host/topology.h"

typedef struct PlacementRequest {
        unsigned cpus;
        uint64_t memory;          /* bytes */
        const char *pin;          /* "none", "auto", a list of CPUs */
        const char *hugepages;    /* "none", "auto", "2M", "1G" */
        const char *numa;         /* "none", "auto", the number of a node */
        int device_node;          /* of the device that counts most; -1: none, or unknown */
        const char *device;       /* its name, for findings */
        const CpuSet *taken;      /* CPUs that other VMs are pinned to; NULL: none */
} PlacementRequest;

/* The guest's memory and CPUs that belong together, on one node of the host. */
typedef struct PlacementCell {
        unsigned node;            /* its id */
        unsigned cpus;            /* so many, in their order */
        uint64_t memory;
} PlacementCell;

typedef struct Placement {
        unsigned sockets, dies, cores, threads; /* as the guest sees its processors */
        unsigned *pins;           /* the host's CPU for each of the guest's; NULL: any */
        CpuSet emulator;          /* for QEMU's other threads; empty: any */
        uint64_t page_size;       /* 0: the usual pages */
        PlacementCell *cells;     /* where the memory comes from; none: anywhere */
        unsigned n_cells;
} Placement;

/* With refusals among the findings, the placement is not complete. */
int placement_choose(const Topology *t, const PlacementRequest *request, Placement *ret, Findings *findings);

void placement_clear(Placement *p);
#define _cleanup_placement_ _cleanup_(placement_clear)

/* What each of these words may be: InvalidOption. */
int pin_check(const char *pin, Error *error);
int numa_check(const char *numa, Error *error);
