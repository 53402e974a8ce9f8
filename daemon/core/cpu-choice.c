/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "cpu-choice.h"

/* What the pool has of a core. */
typedef struct Entry {
        const Core *core;
        CpuSet cpus;
        unsigned n;
        bool used;
} Entry;

typedef struct Pool {
        Entry *entries;
        unsigned n;
} Pool;

typedef struct Cache {
        unsigned id;
        unsigned n_cores; /* that can be chosen */
} Cache;

typedef struct Caches {
        Cache *items; /* the smallest first */
        unsigned n;
} Caches;

/* What is looked for: cores of one type with so many threads. */
typedef struct Wish {
        CoreType type;
        unsigned threads;
} Wish;

typedef struct Pins {
        unsigned *items;
        unsigned n;
} Pins;

static int pool_init(Pool *p, const Topology *t, const CpuSet *cpus) {
        p->entries = calloc(t->n_cores + 1, sizeof(Entry));
        if (!p->entries)
                return -ENOMEM;

        for (unsigned i = 0; i < t->n_cores; i++) {
                Entry *e = &p->entries[p->n];

                *e = (Entry) { .core = &t->cores[i] };
                CPU_SET_FOREACH(cpu, &e->core->cpus)
                        if (cpu_set_has(cpus, cpu))
                                cpu_set_add(&e->cpus, cpu);
                e->n = cpu_set_count(&e->cpus);
                if (e->n > 0)
                        p->n++;
        }
        return 0;
}

static void pool_done(Pool *p) {
        free(p->entries);
}

static bool fits(const Entry *e, const Wish *wish) {
        return !e->used && e->core->type == wish->type && e->n >= wish->threads;
}

static void take(Entry *e, unsigned threads, Pins *pins) {
        unsigned cpu = cpu_set_next(&e->cpus, 0);

        for (unsigned i = 0; i < threads; i++, cpu = cpu_set_next(&e->cpus, cpu + 1))
                pins->items[pins->n++] = cpu;
        e->used = true;
}

/* --- whole cores, by the cache they share ------------------------------------------------------------- */

static int compare_caches(const void *a, const void *b) {
        const Cache *x = a, *y = b;

        if (x->n_cores != y->n_cores)
                return x->n_cores < y->n_cores ? -1 : 1;
        return x->id < y->id ? -1 : x->id > y->id;
}

static Cache *find_cache(Caches *caches, unsigned id) {
        for (unsigned i = 0; i < caches->n; i++)
                if (caches->items[i].id == id)
                        return &caches->items[i];

        caches->items[caches->n] = (Cache) { .id = id };
        return &caches->items[caches->n++];
}

static int caches_init(Caches *caches, const Pool *p, const Wish *wish) {
        caches->items = calloc(p->n + 1, sizeof(Cache));
        if (!caches->items)
                return -ENOMEM;

        for (unsigned i = 0; i < p->n; i++)
                if (fits(&p->entries[i], wish))
                        find_cache(caches, p->entries[i].core->cache)->n_cores++;
        qsort(caches->items, caches->n, sizeof(Cache), compare_caches);
        return 0;
}

static void caches_done(Caches *caches) {
        free(caches->items);
}

static void take_from_cache(Pool *p, const Wish *wish, unsigned cache, unsigned n_cores, Pins *pins) {
        for (unsigned i = 0; i < p->n && n_cores > 0; i++) {
                if (p->entries[i].core->cache != cache || !fits(&p->entries[i], wish))
                        continue;
                take(&p->entries[i], wish->threads, pins);
                n_cores--;
        }
}

static unsigned first_with(const Caches *caches, unsigned n_cores) {
        unsigned i = 0;

        while (i < caches->n && caches->items[i].n_cores < n_cores)
                i++;
        return i;
}

/* The fewest caches that can share the cores evenly, and of these the smallest: larger ones are kept for
 * larger guests. Returns how many; 0: it cannot be done evenly. */
static unsigned take_evenly(Pool *p, const Wish *wish, const Caches *caches, unsigned n_cores, Pins *pins) {
        for (unsigned parts = 1; parts <= caches->n; parts++) {
                unsigned first = first_with(caches, n_cores / parts);

                if (n_cores % parts != 0 || caches->n - first < parts)
                        continue;
                for (unsigned i = 0; i < parts; i++)
                        take_from_cache(p, wish, caches->items[first + i].id, n_cores / parts, pins);
                return parts;
        }
        return 0;
}

static unsigned take_greedily(Pool *p, const Wish *wish, const Caches *caches, unsigned n_cores, Pins *pins) {
        unsigned n = 0;

        for (unsigned i = caches->n; i-- > 0 && n_cores > 0; n++) {
                unsigned part = MIN(n_cores, caches->items[i].n_cores);

                take_from_cache(p, wish, caches->items[i].id, part, pins);
                n_cores -= part;
        }
        return n;
}

static int choose_whole(Pool *p, const Wish *wish, unsigned n, Pins *pins, CpuChoice *ret) {
        _cleanup_(caches_done) Caches caches = {};
        unsigned n_cores = n / wish->threads, there = 0;
        int r;

        if (n % wish->threads != 0)
                return -ENOSPC;

        r = caches_init(&caches, p, wish);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < caches.n; i++)
                there += caches.items[i].n_cores;
        if (there < n_cores)
                return -ENOSPC;

        *ret = (CpuChoice) { .dies = 1, .threads = wish->threads, .n_cores = n_cores };
        ret->n_caches = ret->dies = take_evenly(p, wish, &caches, n_cores, pins);
        if (ret->dies == 0) {
                ret->dies = 1;
                ret->n_caches = take_greedily(p, wish, &caches, n_cores, pins);
        }
        ret->cores = n_cores / ret->dies;
        return 0;
}

/* --- what there is ------------------------------------------------------------------------------------ */

/* A thread of each fast core, then the small cores, then what is left. The guest cannot be told of two kinds
 * of cores: it sees as many single ones. */
static int choose_any(Pool *p, unsigned n, Pins *pins, CpuChoice *ret) {
        *ret = (CpuChoice) { .dies = 1, .cores = n, .threads = 1, .n_caches = 1 };

        for (CoreType type = CORE_PERFORMANCE; type <= CORE_EFFICIENCY; type++)
                for (unsigned i = 0; i < p->n && pins->n < n; i++)
                        if (p->entries[i].core->type == type)
                                take(&p->entries[i], 1, pins);

        for (unsigned i = 0; i < p->n; i++)
                ret->n_cores += p->entries[i].used;

        for (unsigned i = 0; i < p->n && pins->n < n; i++) {
                Entry *e = &p->entries[i];
                unsigned cpu = cpu_set_next(&e->cpus, 0);

                while ((cpu = cpu_set_next(&e->cpus, cpu + 1)) < CPU_SET_MAX && pins->n < n) {
                        pins->items[pins->n++] = cpu;
                        ret->hides_siblings = true;
                }
        }

        for (unsigned i = 0; i < p->n; i++)
                ret->is_mixed |= p->entries[i].used && p->entries[i].core->type != p->entries[0].core->type;
        return pins->n == n ? 0 : -ENOSPC;
}

static unsigned most_threads(const Pool *p, CoreType type) {
        unsigned most = 0;

        for (unsigned i = 0; i < p->n; i++)
                if (p->entries[i].core->type == type)
                        most = MAX(most, p->entries[i].n);
        return most;
}

int cpus_choose(const Topology *t, const CpuSet *cpus, unsigned n, unsigned *pins, CpuChoice *ret) {
        _cleanup_(pool_done) Pool pool = {};
        int r;

        r = pool_init(&pool, t, cpus);
        if (r < 0)
                return r;

        Wish wish = { .type = most_threads(&pool, CORE_PERFORMANCE) > 0 ? CORE_PERFORMANCE : CORE_EFFICIENCY };
        wish.threads = MAX(most_threads(&pool, wish.type), 1U);

        r = choose_whole(&pool, &wish, n, &(Pins) { .items = pins }, ret);
        if (r == -ENOSPC && wish.threads > 1) {
                wish.threads = 1;
                r = choose_whole(&pool, &wish, n, &(Pins) { .items = pins }, ret);
        }
        return r == -ENOSPC ? choose_any(&pool, n, &(Pins) { .items = pins }, ret) : r;
}
