/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The search goes from the best to what is still right: one node before several, the device's before others,
 * CPUs that no other VM has before those that one has, the core that the host boots on last. The first place
 * where everything fits is taken. What was given up on the way is said. */

#include "base/parse.h"
#include "cpu-choice.h"
#include "placement.h"

#define PAGE_SIZES_MAX 2
#define HOST_SHARE 64 /* of a node's memory, a part that is not made into huge pages */

typedef struct PageSize {
        uint64_t size;  /* 0: the usual pages */
        bool free_only; /* no more than what is set aside already */
} PageSize;

typedef struct Search {
        const Topology *t;
        const PlacementRequest *request;
        Findings *findings;
        Placement *p;

        PageSize page_sizes[PAGE_SIZES_MAX];
        unsigned n_page_sizes;
        const Node *fixed;      /* where the memory has to be; NULL: where it fits */
        bool binds;             /* memory comes from certain nodes */
        bool has_list;
        CpuSet list;
        int preferred;          /* index of a node; -1: all are alike */

        /* Of the attempt under way. */
        bool shares, uses_first; /* CPUs of other VMs, the first core */
        CpuChoice choice;
} Search;

void placement_clear(Placement *p) {
        free(p->pins);
        free(p->cells);
        *p = (Placement) {};
}

static bool wants_auto_pins(const Search *s) {
        return streq(s->request->pin, "auto");
}

static bool wants_pins(const Search *s) {
        return s->has_list || wants_auto_pins(s);
}

/* --- checks of words ---------------------------------------------------------------------------------- */

int pin_check(const char *pin, Error *error) {
        CpuSet set;

        if (streq(pin, "none") || streq(pin, "auto") || (*pin && cpu_set_parse(pin, &set) >= 0))
                return 0;
        return error_set(error, ERROR_INVALID_OPTION,
                         "pin is '%.40s', but must be none, auto, or a list of CPUs such as 2-5,8", pin);
}

int numa_check(const char *numa, Error *error) {
        uint64_t id;

        if (streq(numa, "none") || streq(numa, "auto") || parse_uint(numa, 10, CPU_SET_MAX - 1, &id) >= 0)
                return 0;
        return error_set(error, ERROR_INVALID_OPTION,
                         "numa is '%.40s', but must be none, auto, or the number of a node", numa);
}

/* --- what was asked for ------------------------------------------------------------------------------- */

static int refuse_cpus(Search *s, const char *code, const char *what, const CpuSet *cpus) {
        _cleanup_free_ char *bad = cpu_set_format(cpus), *online = cpu_set_format(&s->t->online);
        _cleanup_free_ char *remedy = NULL;

        if (!bad || !online || asprintf(&remedy, "The CPUs of this host that can be used are %s.", online) < 0)
                return -ENOMEM;
        return findings_add(s->findings, SEVERITY_FAIL, ERROR_INVALID_OPTION, code, remedy,
                            "pin names CPUs that %s: %s", what, bad);
}

static int read_list(Search *s) {
        CpuSet absent, offline;
        int r;

        if (streq(s->request->pin, "none") || wants_auto_pins(s))
                return 0;

        r = cpu_set_parse(s->request->pin, &s->list);
        if (r < 0)
                return r;
        s->has_list = true;

        absent = offline = s->list;
        cpu_set_remove_all(&absent, &s->t->present);
        cpu_set_remove_all(&offline, &s->t->online);
        cpu_set_remove_all(&offline, &absent);

        if (!cpu_set_is_empty(&absent))
                return refuse_cpus(s, "no-such-cpu", "this host does not have", &absent);
        if (!cpu_set_is_empty(&offline))
                return refuse_cpus(s, "cpu-offline", "are offline", &offline);
        if (cpu_set_count(&s->list) < s->request->cpus)
                return findings_add(s->findings, SEVERITY_FAIL, ERROR_INVALID_OPTION, "too-few-cpus",
                                    "Name at least as many CPUs as the VM has, or give it fewer.",
                                    "pin names %u CPUs, but the VM has %u", cpu_set_count(&s->list),
                                    s->request->cpus);
        return 0;
}

static int check_auto_pins(Search *s) {
        unsigned there = cpu_set_count(&s->t->online);

        if (!wants_auto_pins(s) || s->request->cpus <= there)
                return 0;
        return findings_add(s->findings, SEVERITY_FAIL, ERROR_INVALID_OPTION, "too-few-cpus",
                            "Give the VM fewer CPUs, or leave pin out.",
                            "%u CPUs of the VM cannot have one each of the host's %u", s->request->cpus,
                            there);
}

static int read_numa(Search *s) {
        uint64_t id;

        if (parse_uint(s->request->numa, 10, CPU_SET_MAX - 1, &id) < 0)
                return 0;

        s->fixed = s->t->has_numa ? topology_node(s->t, (unsigned) id) : NULL;
        if (!s->t->has_numa)
                return findings_add(s->findings, SEVERITY_FAIL, ERROR_INVALID_OPTION, "no-such-node",
                                    "Leave numa out: all of this host's memory is equally near.",
                                    "This host has no NUMA nodes");
        if (!s->fixed)
                return findings_add(s->findings, SEVERITY_FAIL, ERROR_INVALID_OPTION, "no-such-node",
                                    "'numactl --hardware' lists the nodes.", "This host has no node %u",
                                    (unsigned) id);
        return 0;
}

static const PagePool *host_pool(const Topology *t, uint64_t size) {
        for (unsigned i = 0; i < t->n_nodes; i++)
                if (node_pool(&t->nodes[i], size))
                        return node_pool(&t->nodes[i], size);
        return NULL;
}

static bool pages_suit(const Search *s, uint64_t size) {
        const PagePool *pool = host_pool(s->t, size);

        return pool && pool->mounted && s->request->memory % size == 0;
}

static int refuse_page_size(Search *s) {
        uint64_t size = streq(s->request->hugepages, "1G") ? GIB : 2 * MIB;
        const char *name = size == GIB ? "1G" : "2M";
        const PagePool *pool = host_pool(s->t, size);
        _cleanup_free_ char *remedy = NULL;

        if (!pool)
                return findings_add(s->findings, SEVERITY_FAIL, ERROR_NOT_SUPPORTED, "no-such-pages",
                                    "Use another size, or leave hugepages out.",
                                    "This host has no huge pages of %s", name);
        if (pool->mounted)
                return findings_add(s->findings, SEVERITY_FAIL, ERROR_INVALID_OPTION, "odd-memory",
                                    "Choose memory that is a multiple of the size of a page.",
                                    "The VM's memory cannot be divided into huge pages of %s", name);

        if (asprintf(&remedy,
                     "Mount one (in /etc/fstab: 'hugetlbfs /dev/hugepages%s hugetlbfs pagesize=%s,mode=755 0 0') "
                     "and restart libvirtd.", name, name) < 0)
                return -ENOMEM;
        return findings_add(s->findings, SEVERITY_FAIL, ERROR_NOT_READY, "no-hugetlbfs", remedy,
                            "libvirt needs a hugetlbfs with pages of %s, and none is mounted", name);
}

static int read_page_sizes(Search *s) {
        const char *asked = s->request->hugepages;
        bool is_auto = streq(asked, "auto");

        if (streq(asked, "none")) {
                s->page_sizes[s->n_page_sizes++] = (PageSize) {};
                return 0;
        }

        if ((is_auto || streq(asked, "1G")) && pages_suit(s, GIB))
                s->page_sizes[s->n_page_sizes++] = (PageSize) { .size = GIB, .free_only = is_auto };
        if ((is_auto || streq(asked, "2M")) && pages_suit(s, 2 * MIB))
                s->page_sizes[s->n_page_sizes++] = (PageSize) { .size = 2 * MIB };
        return s->n_page_sizes > 0 ? 0 : refuse_page_size(s);
}

static void find_preferred(Search *s) {
        const Core *core = s->has_list ? topology_core_of(s->t, cpu_set_next(&s->list, 0)) : NULL;

        s->preferred = -1;
        for (unsigned i = 0; i < s->t->n_nodes; i++)
                if (s->fixed ? &s->t->nodes[i] == s->fixed
                             : s->request->device_node == (int) s->t->nodes[i].id)
                        s->preferred = (int) i;
        if (s->preferred < 0 && core)
                s->preferred = (int) core->node;
}

static int search_init(Search *s) {
        int r;

        r = read_list(s);
        if (r >= 0)
                r = check_auto_pins(s);
        if (r >= 0)
                r = read_numa(s);
        if (r >= 0)
                r = read_page_sizes(s);
        if (r < 0)
                return r;

        s->binds = (s->t->has_numa && streq(s->request->numa, "auto")) || s->fixed ||
                   !streq(s->request->hugepages, "none");
        find_preferred(s);
        return 0;
}

/* --- memory ------------------------------------------------------------------------------------------- */

static uint64_t pages_to_be_had(const Node *node, const PageSize *page_size, bool free_only) {
        const PagePool *pool = node_pool(node, page_size->size);
        uint64_t kept = node->memory / HOST_SHARE;

        if (!pool)
                return 0;
        if (free_only || node->available <= kept)
                return pool->free;
        return pool->free + (node->available - kept) / page_size->size;
}

static bool node_has_memory(const Node *node, uint64_t bytes, const PageSize *page_size) {
        if (page_size->size == 0)
                return bytes <= node->available;
        return bytes / page_size->size <= pages_to_be_had(node, page_size, page_size->free_only);
}

/* Equal shares of whole pages; the first takes what does not divide. */
static bool divide_memory(Search *s, const unsigned *nodes, unsigned n, const PageSize *page_size) {
        uint64_t unit = page_size->size > 0 ? page_size->size : MIB;
        uint64_t share = s->request->memory / n / unit * unit;

        if (share == 0)
                return false;

        for (unsigned i = 0; i < n; i++) {
                const Node *node = s->fixed ? s->fixed : &s->t->nodes[nodes[i]];
                uint64_t bytes = i > 0 ? share : s->request->memory - share * (n - 1);

                if (!node_has_memory(node, bytes, page_size))
                        return false;
                s->p->cells[i] = (PlacementCell) { .node = node->id, .memory = bytes,
                                                   .cpus = s->request->cpus / n };
        }
        return true;
}

static bool try_memory(Search *s, const unsigned *nodes, unsigned n) {
        if (!s->binds)
                return true;

        n = s->fixed ? 1 : n;
        for (unsigned i = 0; i < s->n_page_sizes; i++)
                if (divide_memory(s, nodes, n, &s->page_sizes[i])) {
                        s->p->n_cells = n;
                        s->p->page_size = s->page_sizes[i].size;
                        return true;
                }
        return false;
}

/* --- CPUs --------------------------------------------------------------------------------------------- */

static bool core_is_taken(const Search *s, const Core *core) {
        return s->request->taken && cpu_set_intersects(&core->cpus, s->request->taken);
}

static bool core_is_free(const Search *s, const Core *core) {
        if (s->has_list)
                return true;
        return (s->shares || !core_is_taken(s, core)) && (s->uses_first || core != &s->t->cores[0]);
}

static void make_pool(const Search *s, unsigned node, bool isolated_only, CpuSet *ret) {
        *ret = (CpuSet) {};
        for (unsigned i = 0; i < s->t->n_cores; i++) {
                const Core *core = &s->t->cores[i];

                if (core->node != node || !core_is_free(s, core) || (isolated_only && !core->isolated))
                        continue;
                CPU_SET_FOREACH(cpu, &core->cpus)
                        if (!s->has_list || cpu_set_has(&s->list, cpu))
                                cpu_set_add(ret, cpu);
        }
}

/* CPUs that the administrator keeps free of other work are the best there are. */
static int choose_on_node(const Search *s, unsigned node, unsigned n, unsigned *pins, CpuChoice *ret) {
        CpuSet pool;
        int r;

        make_pool(s, node, true, &pool);
        r = cpus_choose(s->t, &pool, n, pins, ret);
        if (r != -ENOSPC)
                return r;

        make_pool(s, node, false, &pool);
        return cpus_choose(s->t, &pool, n, pins, ret);
}

static void add_choice(Search *s, const CpuChoice *one, bool is_first) {
        CpuChoice *all = &s->choice;

        if (is_first) {
                *all = *one;
                return;
        }
        if (one->threads != all->threads || one->dies != all->dies) {
                unsigned cpus = all->dies * all->cores * all->threads;
                *all = (CpuChoice) { .dies = 1, .cores = cpus, .threads = 1, .n_cores = all->n_cores,
                                     .n_caches = all->n_caches, .is_mixed = all->is_mixed,
                                     .hides_siblings = true };
        }
        all->n_cores += one->n_cores;
        all->n_caches += one->n_caches;
        all->is_mixed |= one->is_mixed;
        all->hides_siblings |= one->hides_siblings;
}

/* As many on each node. 1: done; 0: they do not fit. */
static int try_cpus(Search *s, const unsigned *nodes, unsigned n) {
        unsigned part = s->request->cpus / n;

        if (s->request->cpus % n != 0)
                return 0;

        s->p->sockets = n;
        s->choice = (CpuChoice) { .dies = 1, .cores = part, .threads = 1 };
        for (unsigned i = 0; wants_pins(s) && i < n; i++) {
                CpuChoice one;
                int r = choose_on_node(s, nodes[i], part, s->p->pins + i * part, &one);

                if (r < 0)
                        return r == -ENOSPC ? 0 : r;
                add_choice(s, &one, i == 0);
        }
        return 1;
}

/* A list may name CPUs of any nodes; memory then comes from the nearest to the first. */
static int try_list_anywhere(Search *s) {
        int r = cpus_choose(s->t, &s->list, s->request->cpus, s->p->pins, &s->choice);

        s->p->sockets = 1;
        return r < 0 ? r : 1;
}

/* --- the search --------------------------------------------------------------------------------------- */

static bool node_can_serve(const Search *s, const Node *node) {
        if (wants_pins(s) && cpu_set_is_empty(&node->cpus))
                return false;
        return !s->binds || s->fixed || node->memory > 0;
}

static unsigned distance(const Search *s, unsigned from, unsigned to) {
        return s->t->nodes[from].distances[to];
}

/* All nodes that can serve, the nearest to `from` first. */
static unsigned order_nodes(const Search *s, unsigned from, unsigned *ret) {
        unsigned n = 0;

        for (unsigned i = 0; i < s->t->n_nodes; i++) {
                unsigned at = n;

                if (!node_can_serve(s, &s->t->nodes[i]))
                        continue;
                for (; at > 0 && distance(s, from, i) < distance(s, from, ret[at - 1]); at--)
                        ret[at] = ret[at - 1];
                ret[at] = i;
                n++;
        }
        return n;
}

static int attempt(Search *s, const unsigned *nodes, unsigned n) {
        if (!try_memory(s, nodes, n))
                return 0;
        if (s->has_list && n == 1)
                return try_list_anywhere(s);
        return try_cpus(s, nodes, n);
}

/* The first core is the host's as long as there is another on the same node. */
static int attempt_with_first(Search *s, const unsigned *nodes, unsigned n) {
        int r;

        s->uses_first = false;
        r = attempt(s, nodes, n);
        if (r != 0 || s->has_list)
                return r;

        s->uses_first = true;
        return attempt(s, nodes, n);
}

/* Without a device all nodes are alike, so another one comes before the first core. */
static int search_single(Search *s, const unsigned *order, unsigned n) {
        int r = 0;

        for (unsigned i = 0; r == 0 && s->preferred >= 0 && i < n; i++)
                r = attempt_with_first(s, &order[i], 1);

        for (unsigned first = 0; s->preferred < 0 && first <= 1; first++) {
                s->uses_first = first;
                for (unsigned i = 0; r == 0 && i < n; i++)
                        r = attempt(s, &order[i], 1);
                if (r != 0)
                        return r;
        }
        return r;
}

static int search(Search *s) {
        _cleanup_free_ unsigned *order = calloc(s->t->n_nodes, sizeof(unsigned));
        unsigned n;
        int r = 0;

        if (!order)
                return -ENOMEM;

        n = order_nodes(s, s->preferred >= 0 ? (unsigned) s->preferred : 0, order);
        for (unsigned shares = 0; r == 0 && shares <= 1; shares++) {
                s->shares = shares;
                r = search_single(s, order, n);
                for (unsigned k = 2; r == 0 && k <= n; k++)
                        r = attempt_with_first(s, order, k);
        }
        return r;
}

/* --- what was found ----------------------------------------------------------------------------------- */

static void used_cores(const Search *s, CpuSet *ret) {
        *ret = (CpuSet) {};
        for (unsigned i = 0; i < s->request->cpus; i++) {
                const Core *core = topology_core_of(s->t, s->p->pins[i]);
                cpu_set_add_all(ret, &core->cpus);
        }
}

static bool pins_are_on(const Search *s, unsigned node) {
        for (unsigned i = 0; i < s->request->cpus; i++)
                if (topology_core_of(s->t, s->p->pins[i])->node == node)
                        return true;
        return false;
}

/* What remains for QEMU's own threads; better near than far, better nobody else's. */
static void choose_emulator(Search *s) {
        CpuSet used, pinned = {};

        used_cores(s, &used);
        for (unsigned i = 0; i < s->request->cpus; i++)
                cpu_set_add(&pinned, s->p->pins[i]);

        for (unsigned round = 0; round < 4 && cpu_set_is_empty(&s->p->emulator); round++)
                for (unsigned i = 0; i < s->t->n_cores; i++) {
                        const Core *core = &s->t->cores[i];

                        if ((round < 1 && !pins_are_on(s, core->node)) ||
                            (round < 2 && (core->isolated || core_is_taken(s, core))) ||
                            (round < 3 && cpu_set_intersects(&core->cpus, &used)))
                                continue;
                        cpu_set_add_all(&s->p->emulator, &core->cpus);
                        cpu_set_remove_all(&s->p->emulator, &pinned);
                }
}

static int tell_pins(Search *s) {
        CpuSet pinned = {}, nodes = {};
        _cleanup_free_ char *cpus = NULL, *where = NULL, *emulator = cpu_set_format(&s->p->emulator);

        for (unsigned i = 0; i < s->request->cpus; i++) {
                cpu_set_add(&pinned, s->p->pins[i]);
                cpu_set_add(&nodes, s->t->nodes[topology_core_of(s->t, s->p->pins[i])->node].id);
        }
        cpus = cpu_set_format(&pinned);
        where = cpu_set_format(&nodes);
        if (!cpus || !where || !emulator)
                return -ENOMEM;

        bool near = s->request->device_node >= 0 && cpu_set_count(&nodes) == 1 &&
                    cpu_set_has(&nodes, (unsigned) s->request->device_node);
        return findings_add(s->findings, SEVERITY_INFO, ERROR_NONE, "cpu-pins", NULL,
                            "The VM's CPUs are pinned to %s (node %s%s%s): %u core%s, %u thread%s of each, %u "
                            "cache%s; QEMU's other threads run on %s",
                            cpus, where, near ? ", next to " : "", near ? s->request->device : "",
                            s->choice.n_cores, s->choice.n_cores > 1 ? "s" : "", s->choice.threads, s->choice.threads > 1 ? "s" : "",
                            s->choice.n_caches, s->choice.n_caches > 1 ? "s" : "",
                            *emulator ? emulator : "the same ones");
}

static bool pins_are_shared(const Search *s) {
        for (unsigned i = 0; i < s->request->cpus; i++)
                if (core_is_taken(s, topology_core_of(s->t, s->p->pins[i])))
                        return true;
        return false;
}

static bool pins_are_far(const Search *s) {
        const Node *node = s->request->device_node >= 0 && s->t->has_numa
                                   ? topology_node(s->t, (unsigned) s->request->device_node)
                                   : NULL;

        return node && !pins_are_on(s, (unsigned) (node - s->t->nodes));
}

static int warn_of_pins(Search *s) {
        int r = 0;

        if (pins_are_shared(s))
                r = findings_add(s->findings, SEVERITY_WARN, ERROR_NONE, "cpus-shared",
                                 "Give the VMs fewer CPUs, or do not run them at the same time.",
                                 "Other VMs are pinned to some of the same cores: they slow each other down");
        if (r >= 0 && cpu_set_is_empty(&s->p->emulator))
                r = findings_add(s->findings, SEVERITY_WARN, ERROR_NONE, "no-cpu-left",
                                 "Give the VM fewer CPUs.",
                                 "The VM takes every CPU: none is left to the host and to QEMU's own threads");
        if (r >= 0 && s->choice.is_mixed)
                r = findings_add(s->findings, SEVERITY_INFO, ERROR_NONE, "cores-mixed",
                                 "Give the VM as many CPUs as there are performance cores' threads, or fewer.",
                                 "The performance cores do not suffice: some of the VM's CPUs are efficiency "
                                 "cores, and the guest cannot tell them apart");
        if (r >= 0 && s->choice.hides_siblings)
                r = findings_add(s->findings, SEVERITY_INFO, ERROR_NONE, "siblings-hidden",
                                 "Name whole cores, and give the VM a number of CPUs that is a multiple of "
                                 "the threads of a core.",
                                 "Some of the VM's CPUs share a core, which the guest does not know");
        if (r >= 0 && pins_are_far(s))
                r = findings_add(s->findings, SEVERITY_WARN, ERROR_NONE, "cpus-far",
                                 s->has_list ? "Name CPUs of that node, or use --pin auto."
                                             : "Give the VM fewer CPUs or less memory, or stop VMs that are "
                                               "pinned there.",
                                 "None of the VM's CPUs is on node %d, where %s is%s",
                                 s->request->device_node, s->request->device,
                                 s->has_list || s->fixed ? "" : ": there is not enough room");
        return r;
}

static int tell_memory(Search *s) {
        const Placement *p = s->p;
        char size[SIZE_TEXT_MAX];
        int r = 0;

        if (!s->t->has_numa && streq(s->request->numa, "auto"))
                return findings_add(s->findings, SEVERITY_INFO, ERROR_NONE, "one-node", NULL,
                                    "All of this host's memory is equally near: there is nothing to bind");
        if (!s->t->has_numa)
                return 0;

        for (unsigned i = 0; r >= 0 && i < p->n_cells; i++)
                r = findings_add(s->findings, SEVERITY_INFO, ERROR_NONE, "memory-node", NULL,
                                 "%s of the VM's memory come from node %u%s%s",
                                 format_size(p->cells[i].memory, size), p->cells[i].node,
                                 s->request->device_node == (int) p->cells[i].node ? ", next to " : "",
                                 s->request->device_node == (int) p->cells[i].node ? s->request->device : "");
        if (r >= 0 && p->n_cells == 1 && s->request->device_node >= 0 &&
            s->request->device_node != (int) p->cells[0].node)
                r = findings_add(s->findings, SEVERITY_WARN, ERROR_NONE, "memory-far",
                                 s->fixed ? "Use --numa auto, or another device."
                                          : "Give the VM less memory, or stop other VMs.",
                                 "The VM's memory is on node %u, but %s is on node %d", p->cells[0].node,
                                 s->request->device, s->request->device_node);
        if (r >= 0 && p->n_cells > 1)
                r = findings_add(s->findings, SEVERITY_INFO, ERROR_NONE, "guest-nodes",
                                 "Give the VM less memory or fewer CPUs to keep it on one node.",
                                 "No node alone has room for the VM: the guest sees %u nodes of its own",
                                 p->n_cells);
        return r;
}

static const Node *node_of_cell(const Search *s, const PlacementCell *cell) {
        return s->t->has_numa ? topology_node(s->t, cell->node) : &s->t->nodes[0];
}

static int tell_pages(Search *s) {
        const Placement *p = s->p;
        int r = 0;

        for (unsigned i = 0; r >= 0 && p->page_size > 0 && i < p->n_cells; i++) {
                uint64_t needed = p->cells[i].memory / p->page_size;
                uint64_t there = node_pool(node_of_cell(s, &p->cells[i]), p->page_size)->free;
                uint64_t more = needed > there ? needed - there : 0;
                const char *size = p->page_size == GIB ? "1G" : "2M";

                r = findings_add(s->findings, SEVERITY_INFO, ERROR_NONE, "huge-pages",
                                 more > 0 && p->page_size == GIB
                                         ? "Pages of 1G are sure to be had only when set aside at boot: "
                                           "hugepagesz=1G hugepages=N on the kernel's command line."
                                         : NULL,
                                 "%llu huge pages of %s on node %u: %llu are free, %llu are made when the VM "
                                 "starts and given back when it stops",
                                 (unsigned long long) needed, size, p->cells[i].node,
                                 (unsigned long long) MIN(needed, there), (unsigned long long) more);
        }
        return r;
}

static int tell_choice(Search *s) {
        int r = 0;

        if (wants_pins(s)) {
                choose_emulator(s);
                r = tell_pins(s);
                if (r >= 0)
                        r = warn_of_pins(s);
        }
        if (r >= 0)
                r = tell_memory(s);
        return r < 0 ? r : tell_pages(s);
}

/* --- what was not ------------------------------------------------------------------------------------- */

static const Node *roomiest_node(const Search *s) {
        const Node *most = &s->t->nodes[0];

        if (s->fixed)
                return s->fixed;
        if (s->preferred >= 0)
                return &s->t->nodes[s->preferred];
        for (unsigned i = 1; i < s->t->n_nodes; i++)
                if (s->t->nodes[i].available > most->available)
                        most = &s->t->nodes[i];
        return most;
}

static int refuse_pages(Search *s, const Node *node, const char *wanted) {
        const PageSize *last = &s->page_sizes[s->n_page_sizes - 1];
        const PagePool *pool = node_pool(node, last->size);
        uint64_t there = pool ? pool->free : 0, more = pages_to_be_had(node, last, false) - there;
        const char *size = last->size == GIB ? "1G" : "2M";

        return findings_add(s->findings, SEVERITY_FAIL, ERROR_INSUFFICIENT_MEMORY, "no-huge-pages",
                            "Give the VM less memory, stop other VMs, or set pages aside at boot with "
                            "hugepagesz= and hugepages= on the kernel's command line.",
                            "%s in huge pages of %s are %llu pages; on node %u %llu are free, and about %llu "
                            "more can be made",
                            wanted, size, (unsigned long long) (s->request->memory / last->size), node->id,
                            (unsigned long long) there, (unsigned long long) more);
}

static int refuse_memory(Search *s) {
        const Node *node = roomiest_node(s);
        char wanted[SIZE_TEXT_MAX], there[SIZE_TEXT_MAX];

        format_size(s->request->memory, wanted);
        format_size(node->available, there);
        if (s->page_sizes[0].size > 0)
                return refuse_pages(s, node, wanted);
        return findings_add(s->findings, SEVERITY_FAIL, ERROR_INSUFFICIENT_MEMORY, "no-node-memory",
                            s->fixed ? "Give the VM less memory, or choose another node or auto."
                                     : "Give the VM less memory, or leave numa out.",
                            "The VM needs %s, but %s%u has %s available%s", wanted,
                            s->fixed ? "node " : "no number of nodes has room for it: node ", node->id, there,
                            s->fixed ? "" : ", and equal shares on several do not fit either");
}

static bool memory_fits_somewhere(Search *s) {
        _cleanup_free_ unsigned *order = calloc(s->t->n_nodes, sizeof(unsigned));
        unsigned n;

        if (!order)
                return false;
        n = order_nodes(s, s->preferred >= 0 ? (unsigned) s->preferred : 0, order);
        for (unsigned i = 0; i < n; i++)
                if (try_memory(s, &order[i], 1))
                        return true;
        for (unsigned k = 2; k <= n; k++)
                if (try_memory(s, order, k))
                        return true;
        return false;
}

static int refuse(Search *s) {
        if (!memory_fits_somewhere(s))
                return refuse_memory(s);
        return findings_add(s->findings, SEVERITY_FAIL, ERROR_INVALID_OPTION, "cpus-undividable",
                            "Choose a number of CPUs that can be divided equally among the nodes, name CPUs "
                            "that are, or give the VM fewer.",
                            "The VM does not fit on one node, and its %u CPUs cannot be divided equally "
                            "among several that have room", s->request->cpus);
}

/* ------------------------------------------------------------------------------------------------------ */

static int allocate(Search *s) {
        s->p->cells = calloc(s->t->n_nodes, sizeof(PlacementCell));
        s->p->pins = calloc(s->request->cpus, sizeof(unsigned));
        return s->p->cells && s->p->pins ? 0 : -ENOMEM;
}

static void finish(Search *s) {
        s->p->dies = s->choice.dies;
        s->p->cores = s->choice.cores;
        s->p->threads = s->choice.threads;
        if (!wants_pins(s)) {
                free(s->p->pins);
                s->p->pins = NULL;
        }
}

int placement_choose(const Topology *t, const PlacementRequest *request, Placement *ret, Findings *findings) {
        _cleanup_placement_ Placement placement = {};
        Search s = { .t = t, .request = request, .p = &placement, .findings = findings };
        size_t before = findings->n;
        int r;

        r = search_init(&s);
        if (r < 0 || findings->n > before)
                return r;
        r = allocate(&s);
        if (r < 0)
                return r;

        r = search(&s);
        if (r < 0)
                return r;
        if (r == 0)
                return refuse(&s);

        r = tell_choice(&s);
        if (r < 0)
                return r;

        finish(&s);
        *ret = placement;
        placement = (Placement) {};
        return 0;
}
