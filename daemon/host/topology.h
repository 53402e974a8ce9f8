/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The processors and memory of the host as sysfs shows them, for placing guests on them. Reading is relative
 * to a root directory descriptor, and only of what never blocks. */

#include "base/cpu-set.h"
#include "base/error.h"

typedef enum CoreType {
        CORE_PERFORMANCE, /* also where all are alike */
        CORE_EFFICIENCY,
} CoreType;

/* A physical core: the CPUs that are its threads. Only those that are online. */
typedef struct Core {
        CpuSet cpus;
        unsigned n_cpus;
        unsigned package;
        unsigned cache;     /* which last-level cache; cores with the same number share one */
        unsigned node;      /* index into nodes */
        CoreType type;
        bool isolated;      /* the administrator keeps the scheduler away from it (isolcpus=) */
} Core;

/* The pool of one size of huge pages. */
typedef struct PagePool {
        uint64_t size;      /* bytes */
        bool mounted;       /* a hugetlbfs of this size is, without which libvirt cannot use them */
        uint64_t total, free; /* pages */
} PagePool;

#define PAGE_POOLS_MAX 4

typedef struct Node {
        unsigned id;
        CpuSet cpus;        /* online; none: memory without processors */
        uint64_t memory;    /* bytes; 0: processors without memory */
        uint64_t available; /* bytes that can be had without swapping, as far as can be told */
        PagePool pools[PAGE_POOLS_MAX];
        unsigned n_pools;
        unsigned *distances; /* to each node, in the order of nodes */
} Node;

typedef struct Topology {
        CpuSet online, present;
        Core *cores;        /* ordered by their first CPU */
        unsigned n_cores;
        Node *nodes;        /* ordered by id; at least one */
        unsigned n_nodes;
        bool has_numa;      /* the kernel lists nodes; without, the one node stands for all there is */
        bool is_hybrid;
        bool is_amd;        /* or Hygon, which is made after it */
        unsigned physical_bits; /* of an address, as the processor has them; 0: unknown */
} Topology;

int topology_read(int root_fd, Topology **ret);
Topology *topology_free(Topology *t);
DEFINE_CLEANUP(Topology *, topology_free);

const Core *topology_core_of(const Topology *t, unsigned cpu); /* NULL: not online */
const Node *topology_node(const Topology *t, unsigned id);     /* NULL: none */

/* NULL: the host does not have this size. */
const PagePool *node_pool(const Node *node, uint64_t page_size);

/* The directory of a pool: "sys/devices/system/node/node0/hugepages/hugepages-2048kB", or the global one
 * where the kernel lists no nodes. */
#define POOL_PATH_MAX 96
char *page_pool_path(bool has_numa, unsigned node, uint64_t page_size, char buffer[POOL_PATH_MAX]);
