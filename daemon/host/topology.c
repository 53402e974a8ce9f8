/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sysfs has it all, in many small files: threads of a core and packages below each CPU, which share a cache
 * in its cache directory, memory below each node. A kernel without NUMA has no nodes; then the machine as a
 * whole is one. */

#include "base/parse.h"
#include "base/strv.h"
#include "sysfs.h"
#include "topology.h"

#define CPU_DIR "sys/devices/system/cpu"
#define NODE_DIR "sys/devices/system/node"
#define MEMINFO_MAX (256 * KIB)
#define MOUNTS_MAX (16 * MIB)
#define NUMBERS_MAX (64 * KIB)
#define CACHES_MAX 16

static int read_set_at(int root_fd, const char *path, CpuSet *ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = read_file_at(root_fd, path, NUMBERS_MAX, &text);
        if (r < 0)
                return r;

        text[strcspn(text, "\n")] = '\0';
        return cpu_set_parse(text, ret);
}

/* Files that older kernels do not have, or that a machine has no need of. */
static int read_set_if_exists(int root_fd, const char *path, CpuSet *ret) {
        int r = read_set_at(root_fd, path, ret);

        if (r == -ENOENT || r == -ENOTDIR) {
                *ret = (CpuSet) {};
                return 0;
        }
        return r;
}

static uint64_t read_number(int root_fd, const char *path, uint64_t fallback) {
        uint64_t value;

        return read_uint_at(root_fd, path, &value) >= 0 ? value : fallback;
}

/* --- memory ------------------------------------------------------------------------------------------- */

static uint64_t meminfo_value(const char *meminfo, const char *key) {
        const char *line = strstr(meminfo, key);

        return line ? strtoull(line + strlen(key), NULL, 10) * KIB : 0;
}

/* What the kernel calls available, as far as the node's own figures go: free, and what files can give up. */
static uint64_t node_available(const char *meminfo) {
        return meminfo_value(meminfo, " MemFree:") + meminfo_value(meminfo, " Active(file):") +
               meminfo_value(meminfo, " Inactive(file):") + meminfo_value(meminfo, " SReclaimable:");
}

static int read_node_memory(int root_fd, const Topology *t, Node *node) {
        _cleanup_free_ char *meminfo = NULL;
        int r;

        r = read_file_at(root_fd,
                         t->has_numa ? PATH_TEXT(NODE_DIR "/node%u/meminfo", node->id) : "proc/meminfo",
                         MEMINFO_MAX, &meminfo);
        if (r < 0)
                return r;

        if (t->has_numa) {
                node->memory = meminfo_value(meminfo, " MemTotal:");
                node->available = MIN(node_available(meminfo), node->memory);
        } else {
                node->memory = meminfo_value(meminfo, "MemTotal:");
                node->available = meminfo_value(meminfo, "MemAvailable:");
        }
        return 0;
}

char *page_pool_path(bool has_numa, unsigned node, uint64_t page_size, char buffer[POOL_PATH_MAX]) {
        unsigned long long kib = page_size / KIB;

        if (has_numa)
                snprintf(buffer, POOL_PATH_MAX, NODE_DIR "/node%u/hugepages/hugepages-%llukB", node, kib);
        else
                snprintf(buffer, POOL_PATH_MAX, "sys/kernel/mm/hugepages/hugepages-%llukB", kib);
        return buffer;
}

/* "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0"; 1G is written as 1024M. libvirt is not in
 * our mount namespace, but in that of PID 1. */
static bool is_mounted(int root_fd, uint64_t size) {
        _cleanup_free_ char *mounts = NULL;
        char option[32];

        snprintf(option, sizeof(option), "pagesize=%lluM", (unsigned long long) (size / MIB));
        if (read_file_at(root_fd, "proc/1/mounts", MOUNTS_MAX, &mounts) < 0)
                return false;

        for (char *rest = mounts, *line; (line = strsep(&rest, "\n"));) {
                char *found = strstr(line, " hugetlbfs ") ? strstr(line, option) : NULL;

                if (found && strchr(", ", found[strlen(option)]))
                        return true;
        }
        return false;
}

static void read_pools(int root_fd, const Topology *t, Node *node) {
        static const uint64_t sizes[] = { GIB, 2 * MIB };
        char path[POOL_PATH_MAX];

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                uint64_t total;

                page_pool_path(t->has_numa, node->id, sizes[i], path);
                if (read_uint_at(root_fd, PATH_TEXT("%s/nr_hugepages", path), &total) < 0)
                        continue;
                node->pools[node->n_pools++] = (PagePool) {
                        .size = sizes[i],
                        .mounted = is_mounted(root_fd, sizes[i]),
                        .total = total,
                        .free = read_number(root_fd, PATH_TEXT("%s/free_hugepages", path), 0),
                };
        }
}

/* "10 21" */
static int read_distances(int root_fd, const Topology *t, Node *node) {
        _cleanup_free_ char *line = NULL;
        _cleanup_strv_ char **words = NULL;
        size_t index = (size_t) (node - t->nodes);
        int r;

        node->distances = calloc(t->n_nodes, sizeof(unsigned));
        if (!node->distances)
                return -ENOMEM;
        for (size_t i = 0; i < t->n_nodes; i++)
                node->distances[i] = i == index ? 10 : 20;

        r = read_line_at(root_fd, PATH_TEXT(NODE_DIR "/node%u/distance", node->id), &line);
        if (r < 0)
                return 0;
        r = strv_split(line, " ", &words);
        if (r < 0)
                return r;
        for (size_t i = 0; strv_length(words) == t->n_nodes && i < t->n_nodes; i++)
                node->distances[i] = (unsigned) strtoul(words[i], NULL, 10);
        return 0;
}

static int read_node(int root_fd, const Topology *t, Node *node) {
        int r = 0;

        if (t->has_numa)
                r = read_set_at(root_fd, PATH_TEXT(NODE_DIR "/node%u/cpulist", node->id), &node->cpus);
        else
                node->cpus = t->online;
        if (r >= 0)
                r = read_node_memory(root_fd, t, node);
        if (r >= 0)
                r = read_distances(root_fd, t, node);
        if (r < 0)
                return r;

        read_pools(root_fd, t, node);
        return 0;
}

static int read_nodes(int root_fd, Topology *t) {
        CpuSet ids = {};
        int r;

        r = read_set_if_exists(root_fd, NODE_DIR "/online", &ids);
        if (r < 0)
                return r;

        t->has_numa = !cpu_set_is_empty(&ids);
        if (!t->has_numa)
                cpu_set_add(&ids, 0);

        t->n_nodes = 0;
        t->nodes = calloc(cpu_set_count(&ids), sizeof(Node));
        if (!t->nodes)
                return -ENOMEM;
        CPU_SET_FOREACH(id, &ids)
                t->nodes[t->n_nodes++].id = id;

        for (unsigned i = 0; i < t->n_nodes; i++) {
                r = read_node(root_fd, t, &t->nodes[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- processors --------------------------------------------------------------------------------------- */

/* The CPUs that share the outermost cache with this one. */
static void read_shared_cache(int root_fd, unsigned cpu, const Core *core, CpuSet *ret) {
        uint64_t outermost = 0;

        *ret = core->cpus;
        for (unsigned i = 0; i < CACHES_MAX; i++) {
                const char *path = PATH_TEXT(CPU_DIR "/cpu%u/cache/index%u/level", cpu, i);
                uint64_t level = read_number(root_fd, path, 0);
                CpuSet shared;

                if (level == 0)
                        return;
                if (level > outermost &&
                    read_set_at(root_fd, PATH_TEXT(CPU_DIR "/cpu%u/cache/index%u/shared_cpu_list", cpu, i),
                                &shared) >= 0) {
                        outermost = level;
                        *ret = shared;
                }
        }
}

static bool knows_caches(int root_fd, unsigned cpu) {
        return path_exists_at(root_fd, PATH_TEXT(CPU_DIR "/cpu%u/cache/index0/level", cpu));
}

/* The number of a cache is the first CPU at it. Where the kernel does not tell, as in some virtual machines, a
 * package counts as one. */
static unsigned read_cache(int root_fd, unsigned cpu, const Core *core) {
        CpuSet shared;

        if (!knows_caches(root_fd, cpu))
                return CPU_SET_MAX + core->package;

        read_shared_cache(root_fd, cpu, core, &shared);
        return cpu_set_next(&shared, 0);
}

static unsigned node_of_cpu(const Topology *t, unsigned cpu) {
        for (unsigned i = 0; i < t->n_nodes; i++)
                if (cpu_set_has(&t->nodes[i].cpus, cpu))
                        return i;
        return 0;
}

static int read_core(int root_fd, const Topology *t, unsigned cpu, const CpuSet *isolated, Core *ret) {
        Core core = { .node = node_of_cpu(t, cpu), .isolated = cpu_set_has(isolated, cpu) };
        int r;

        r = read_set_if_exists(root_fd, PATH_TEXT(CPU_DIR "/cpu%u/topology/thread_siblings_list", cpu),
                               &core.cpus);
        if (r < 0)
                return r;

        cpu_set_add(&core.cpus, cpu);
        CPU_SET_FOREACH(sibling, &core.cpus)
                if (!cpu_set_has(&t->online, sibling))
                        cpu_set_remove(&core.cpus, sibling);

        core.n_cpus = cpu_set_count(&core.cpus);
        core.package = (unsigned) read_number(
                root_fd, PATH_TEXT(CPU_DIR "/cpu%u/topology/physical_package_id", cpu), 0);
        core.cache = read_cache(root_fd, cpu, &core);
        *ret = core;
        return 0;
}

static int read_cores(int root_fd, Topology *t) {
        CpuSet seen = {}, isolated;
        int r;

        r = read_set_if_exists(root_fd, CPU_DIR "/isolated", &isolated);
        if (r < 0)
                return r;

        t->cores = calloc(cpu_set_count(&t->online) + 1, sizeof(Core));
        if (!t->cores)
                return -ENOMEM;

        CPU_SET_FOREACH(cpu, &t->online) {
                if (cpu_set_has(&seen, cpu))
                        continue;
                r = read_core(root_fd, t, cpu, &isolated, &t->cores[t->n_cores]);
                if (r < 0)
                        return r;
                cpu_set_add_all(&seen, &t->cores[t->n_cores++].cpus);
        }
        return 0;
}

/* Intel's hybrid processors show two kinds of cores as two devices of perf's; Arm's, a capacity for each. */
static int read_core_types(int root_fd, Topology *t) {
        CpuSet small;
        uint64_t most = 0;
        int r;

        r = read_set_if_exists(root_fd, "sys/devices/cpu_atom/cpus", &small);
        if (r < 0)
                return r;

        for (unsigned i = 0; i < t->n_cores; i++) {
                unsigned cpu = cpu_set_next(&t->cores[i].cpus, 0);
                most = MAX(most, read_number(root_fd, PATH_TEXT(CPU_DIR "/cpu%u/cpu_capacity", cpu), 0));
        }

        for (unsigned i = 0; i < t->n_cores; i++) {
                Core *core = &t->cores[i];
                unsigned cpu = cpu_set_next(&core->cpus, 0);
                uint64_t capacity = read_number(root_fd, PATH_TEXT(CPU_DIR "/cpu%u/cpu_capacity", cpu), most);

                core->type = cpu_set_has(&small, cpu) || capacity < most ? CORE_EFFICIENCY : CORE_PERFORMANCE;
                t->is_hybrid |= core->type == CORE_EFFICIENCY;
        }
        return 0;
}

/* "vendor_id	: AuthenticAMD", "address sizes	: 39 bits physical, 48 bits virtual" */
static void read_cpuinfo(int root_fd, Topology *t) {
        _cleanup_free_ char *cpuinfo = NULL;
        const char *line;

        if (read_file_at(root_fd, "proc/cpuinfo", 16 * MIB, &cpuinfo) < 0)
                return;

        t->is_amd = strstr(cpuinfo, "\nvendor_id\t: AuthenticAMD") ||
                    strstr(cpuinfo, "\nvendor_id\t: HygonGenuine");
        line = strstr(cpuinfo, "\naddress sizes\t: ");
        if (line)
                t->physical_bits = (unsigned) strtoul(line + strlen("\naddress sizes\t: "), NULL, 10);
}

/* ------------------------------------------------------------------------------------------------------ */

int topology_read(int root_fd, Topology **ret) {
        _cleanup_(topology_freep) Topology *t = calloc(1, sizeof(Topology));
        int r;

        if (!t)
                return -ENOMEM;

        r = read_set_at(root_fd, CPU_DIR "/online", &t->online);
        if (r >= 0)
                r = read_set_if_exists(root_fd, CPU_DIR "/present", &t->present);
        if (r >= 0)
                r = read_nodes(root_fd, t);
        if (r >= 0)
                r = read_cores(root_fd, t);
        if (r >= 0)
                r = read_core_types(root_fd, t);
        if (r < 0)
                return r;

        cpu_set_add_all(&t->present, &t->online);
        read_cpuinfo(root_fd, t);
        *ret = TAKE_PTR(t);
        return 0;
}

Topology *topology_free(Topology *t) {
        if (!t)
                return NULL;

        for (unsigned i = 0; i < t->n_nodes; i++)
                free(t->nodes[i].distances);
        free(t->nodes);
        free(t->cores);
        free(t);
        return NULL;
}

const Core *topology_core_of(const Topology *t, unsigned cpu) {
        for (unsigned i = 0; i < t->n_cores; i++)
                if (cpu_set_has(&t->cores[i].cpus, cpu))
                        return &t->cores[i];
        return NULL;
}

const Node *topology_node(const Topology *t, unsigned id) {
        for (unsigned i = 0; i < t->n_nodes; i++)
                if (t->nodes[i].id == id)
                        return &t->nodes[i];
        return NULL;
}

const PagePool *node_pool(const Node *node, uint64_t page_size) {
        for (unsigned i = 0; i < node->n_pools; i++)
                if (node->pools[i].size == page_size)
                        return &node->pools[i];
        return NULL;
}
