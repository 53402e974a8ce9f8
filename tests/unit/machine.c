/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "machine.h"

#define CPU "sys/devices/system/cpu"
#define NODE "sys/devices/system/node"

_printf_(1, 2) static const char *path(const char *format, ...) {
        static char buffers[16][256];
        static unsigned next;
        char *buffer = buffers[next++ % ELEMENTSOF(buffers)];
        va_list ap;

        va_start(ap, format);
        vsnprintf(buffer, sizeof(buffers[0]), format, ap);
        va_end(ap);
        return buffer;
}

static void add_cpu(Tree *t, unsigned cpu, unsigned package, unsigned core, const char *siblings,
                    const char *cache) {
        tree_write(t, path(CPU "/cpu%u/topology/physical_package_id", cpu), "%u\n", package);
        tree_write(t, path(CPU "/cpu%u/topology/core_id", cpu), "%u\n", core);
        tree_write(t, path(CPU "/cpu%u/topology/thread_siblings_list", cpu), "%s\n", siblings);
        tree_write(t, path(CPU "/cpu%u/cache/index0/level", cpu), "1\n");
        tree_write(t, path(CPU "/cpu%u/cache/index0/shared_cpu_list", cpu), "%s\n", siblings);
        tree_write(t, path(CPU "/cpu%u/cache/index1/level", cpu), "2\n");
        tree_write(t, path(CPU "/cpu%u/cache/index1/shared_cpu_list", cpu), "%s\n", siblings);
        tree_write(t, path(CPU "/cpu%u/cache/index2/level", cpu), "3\n");
        tree_write(t, path(CPU "/cpu%u/cache/index2/shared_cpu_list", cpu), "%s\n", cache);
}

static void set_cpus(Tree *t, const char *all) {
        tree_write(t, CPU "/online", "%s\n", all);
        tree_write(t, CPU "/present", "%s\n", all);
        tree_write(t, CPU "/isolated", "\n");
        tree_write(t, "proc/cpuinfo",
                   "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R)\n"
                   "address sizes\t: 46 bits physical, 48 bits virtual\n\n");
        machine_mount_pages(t, true, true);
}

void machine_mount_pages(Tree *t, bool small, bool large) {
        tree_write(t, "proc/1/mounts",
                   "proc /proc proc rw,nosuid 0 0\n%s%stmpfs /tmp/hugetlbfs tmpfs rw,pagesize=2M1 0 0\n",
                   small ? "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n" : "",
                   large ? "none /dev/hugepages1G hugetlbfs rw,relatime,mode=755,pagesize=1024M 0 0\n" : "");
}

void machine_set_memory(Tree *t, unsigned node, unsigned total_gib, unsigned free_gib) {
        tree_write(t, path(NODE "/node%u/meminfo", node),
                   "Node %u MemTotal:       %u kB\nNode %u MemFree:        %u kB\n"
                   "Node %u Active:           1024 kB\nNode %u Active(file):      0 kB\n"
                   "Node %u Inactive(file):    0 kB\nNode %u SReclaimable:      0 kB\n",
                   node, total_gib << 20, node, free_gib << 20, node, node, node, node);
}

void machine_set_pages(Tree *t, unsigned node, unsigned kib, unsigned total, unsigned free) {
        tree_write(t, path(NODE "/node%u/hugepages/hugepages-%ukB/nr_hugepages", node, kib), "%u\n", total);
        tree_write(t, path(NODE "/node%u/hugepages/hugepages-%ukB/free_hugepages", node, kib), "%u\n", free);
}

static void add_node(Tree *t, unsigned node, const char *cpus, unsigned gib, const char *distances) {
        tree_write(t, path(NODE "/node%u/cpulist", node), "%s\n", cpus);
        tree_write(t, path(NODE "/node%u/distance", node), "%s\n", distances);
        machine_set_memory(t, node, gib, gib);
        machine_set_pages(t, node, 2048, 0, 0);
        machine_set_pages(t, node, 1048576, 0, 0);
}

void machine_desktop(Tree *t) {
        set_cpus(t, "0-15");
        for (unsigned cpu = 0; cpu < 16; cpu++)
                add_cpu(t, cpu, 0, cpu % 8, path("%u,%u", cpu % 8, cpu % 8 + 8), "0-15");
        tree_write(t, NODE "/online", "0\n");
        add_node(t, 0, "0-15", 32, "10");
}

void machine_two_sockets(Tree *t) {
        set_cpus(t, "0-31");
        for (unsigned cpu = 0; cpu < 32; cpu++) {
                unsigned core = cpu % 16, package = core / 8;
                add_cpu(t, cpu, package, core % 8, path("%u,%u", core, core + 16),
                        package ? "8-15,24-31" : "0-7,16-23");
        }
        tree_write(t, NODE "/online", "0-1\n");
        add_node(t, 0, "0-7,16-23", 64, "10 21");
        add_node(t, 1, "8-15,24-31", 64, "21 10");
}

void machine_chiplets(Tree *t) {
        set_cpus(t, "0-31");
        tree_write(t, "proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n"
                                      "address sizes\t: 48 bits physical, 48 bits virtual\n\n");
        for (unsigned cpu = 0; cpu < 32; cpu++) {
                unsigned core = cpu % 16, first = core / 4 * 4;
                add_cpu(t, cpu, 0, core, path("%u,%u", core, core + 16),
                        path("%u-%u,%u-%u", first, first + 3, first + 16, first + 19));
        }
        tree_write(t, NODE "/online", "0\n");
        add_node(t, 0, "0-31", 128, "10");
}

void machine_hybrid(Tree *t) {
        set_cpus(t, "0-23");
        for (unsigned cpu = 0; cpu < 16; cpu++)
                add_cpu(t, cpu, 0, cpu / 2, path("%u-%u", cpu & ~1U, cpu | 1), "0-23");
        for (unsigned cpu = 16; cpu < 24; cpu++)
                add_cpu(t, cpu, 0, cpu, path("%u", cpu), "0-23");
        tree_write(t, "sys/devices/cpu_core/cpus", "0-15\n");
        tree_write(t, "sys/devices/cpu_atom/cpus", "16-23\n");
        tree_write(t, NODE "/online", "0\n");
        add_node(t, 0, "0-23", 64, "10");
}

void machine_plain(Tree *t) {
        set_cpus(t, "0-3");
        for (unsigned cpu = 0; cpu < 4; cpu++)
                add_cpu(t, cpu, 0, cpu, path("%u", cpu), "0-3");
        tree_write(t, "proc/meminfo", "MemTotal:        8388608 kB\nMemFree:         1048576 kB\n"
                                      "MemAvailable:    6291456 kB\n");
        tree_write(t, "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "8\n");
        tree_write(t, "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "4\n");
}

void machine_memoryless(Tree *t) {
        machine_two_sockets(t);
        machine_set_memory(t, 1, 0, 0);
}

/* As the kernel does it: its topology and caches go, and nobody lists it any more. */
void machine_set_offline(Tree *t, unsigned cpu, const char *online) {
        static const char *const files[] = {
                "topology/physical_package_id", "topology/core_id", "topology/thread_siblings_list", "topology",
                "cache/index0/level", "cache/index0/shared_cpu_list", "cache/index0",
                "cache/index1/level", "cache/index1/shared_cpu_list", "cache/index1",
                "cache/index2/level", "cache/index2/shared_cpu_list", "cache/index2", "cache",
        };

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                tree_remove(t, path(CPU "/cpu%u/%s", cpu, files[i]));
        tree_write(t, CPU "/online", "%s\n", online);
        tree_write(t, NODE "/node0/cpulist", "%s\n", online);
}
