/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Picks from a set of CPUs those that make the best virtual processor: whole cores, so that the guest's
 * threads are siblings where it believes so; one last-level cache where they fit into it; fast cores before
 * small. */

#include "host/topology.h"

typedef struct CpuChoice {
        unsigned dies, cores, threads;  /* of the virtual processor */
        unsigned n_cores, n_caches;     /* of the host that it sits on */
        bool is_mixed;                  /* fast and small cores */
        bool hides_siblings;            /* two of the guest's cores are threads of one */
} CpuChoice;

/* pins: room for n CPUs, in the order of the guest's. -ENOSPC: the pool is too small. */
int cpus_choose(const Topology *t, const CpuSet *pool, unsigned n, unsigned *pins, CpuChoice *ret);
