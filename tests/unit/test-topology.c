/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "host/bar.h"
#include "host/topology.h"
#include "machine.h"

static Topology *read_topology(Tree *t) {
        Topology *topology = NULL;

        assert_int_equal(topology_read(t->fd, &topology), 0);
        assert_non_null(topology);
        return topology;
}

static void assert_set(const CpuSet *set, const char *expected) {
        _cleanup_free_ char *text = cpu_set_format(set);

        assert_non_null(text);
        assert_string_equal(text, expected);
}

static void test_sets(_unused_ void **state) {
        static const char *const good[] = { "", "0", "3-5", "0-3,8", "0,2,4-6,63-65,127", "8191" };
        static const char *const bad[] = { "1-", "x", "9-3", "-1", ",", "1,", ",1", "1,,2", " 1", "1 ", "8192",
                                           "0-99999999999999999999", "1-2-3", "+1", "0x1" };
        CpuSet set;

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                assert_int_equal(cpu_set_parse(good[i], &set), 0);
                assert_set(&set, good[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_true(cpu_set_parse(bad[i], &set) < 0);

        assert_int_equal(cpu_set_parse("5,1,2,3-4", &set), 0);
        assert_set(&set, "1-5");
        assert_int_equal(cpu_set_count(&set), 5);
        cpu_set_remove(&set, 3);
        assert_set(&set, "1-2,4-5");
        assert_true(cpu_set_has(&set, 4));
        assert_false(cpu_set_has(&set, 3));
        assert_false(cpu_set_has(&set, CPU_SET_MAX));
}

static void test_desktop(_unused_ void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_(topology_freep) Topology *topology = NULL;

        machine_desktop(t);
        machine_set_pages(t, 0, 1048576, 8, 3);
        topology = read_topology(t);
        assert_set(&topology->online, "0-15");
        assert_int_equal(topology->n_cores, 8);
        assert_int_equal(topology->n_nodes, 1);
        assert_true(topology->has_numa);
        assert_false(topology->is_hybrid);
        assert_false(topology->is_amd);
        assert_int_equal(topology->physical_bits, 46);
        for (unsigned i = 0; i < 8; i++) {
                assert_int_equal(topology->cores[i].n_cpus, 2);
                assert_int_equal(topology->cores[i].cache, 0);
                assert_int_equal(topology->cores[i].type, CORE_PERFORMANCE);
        }
        assert_set(&topology->cores[3].cpus, "3,11");
        assert_ptr_equal(topology_core_of(topology, 11), &topology->cores[3]);
        assert_null(topology_core_of(topology, 16));
        assert_true(topology->nodes[0].memory == 32 * GIB);
        assert_true(topology->nodes[0].available == 32 * GIB);
        assert_int_equal(node_pool(&topology->nodes[0], GIB)->total, 8);
        assert_int_equal(node_pool(&topology->nodes[0], GIB)->free, 3);
        assert_int_equal(node_pool(&topology->nodes[0], 2 * MIB)->total, 0);
        assert_null(node_pool(&topology->nodes[0], 64 * KIB));
}

static void test_two_sockets(_unused_ void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_(topology_freep) Topology *topology = NULL;

        machine_two_sockets(t);
        tree_write(t, "sys/devices/system/cpu/isolated", "10,26\n");
        topology = read_topology(t);
        assert_int_equal(topology->n_cores, 16);
        assert_int_equal(topology->n_nodes, 2);
        assert_set(&topology->nodes[1].cpus, "8-15,24-31");
        assert_int_equal(topology->nodes[0].distances[0], 10);
        assert_int_equal(topology->nodes[0].distances[1], 21);
        assert_int_equal(topology->cores[7].node, 0);
        assert_int_equal(topology->cores[8].node, 1);
        assert_int_equal(topology->cores[8].package, 1);
        assert_int_equal(topology->cores[8].cache, 8);
        assert_true(topology->cores[10].isolated);
        assert_false(topology->cores[9].isolated);
        assert_ptr_equal(topology_node(topology, 1), &topology->nodes[1]);
        assert_null(topology_node(topology, 2));
}

static void test_chiplets(_unused_ void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_(topology_freep) Topology *topology = NULL;

        machine_chiplets(t);
        topology = read_topology(t);
        assert_int_equal(topology->n_cores, 16);
        for (unsigned i = 0; i < 16; i++)
                assert_int_equal(topology->cores[i].cache, i / 4 * 4);
        assert_true(topology->is_amd);
        assert_int_equal(topology->physical_bits, 48);
}

static void test_hybrid(_unused_ void **state) {
        _cleanup_tree_ Tree *t = tree_new(), *arm = tree_new();
        _cleanup_(topology_freep) Topology *topology = NULL, *other = NULL;

        machine_hybrid(t);
        topology = read_topology(t);
        assert_true(topology->is_hybrid);
        assert_int_equal(topology->n_cores, 16);
        for (unsigned i = 0; i < 16; i++) {
                assert_int_equal(topology->cores[i].type, i < 8 ? CORE_PERFORMANCE : CORE_EFFICIENCY);
                assert_int_equal(topology->cores[i].n_cpus, i < 8 ? 2 : 1);
        }

        machine_plain(arm);
        for (unsigned cpu = 0; cpu < 4; cpu++) {
                char path[64];
                snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/cpu_capacity", cpu);
                tree_write(arm, path, "%u\n", cpu < 2 ? 446 : 1024);
        }
        other = read_topology(arm);
        assert_true(other->is_hybrid);
        assert_int_equal(other->cores[1].type, CORE_EFFICIENCY);
        assert_int_equal(other->cores[2].type, CORE_PERFORMANCE);
}

static void test_without_numa(_unused_ void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_(topology_freep) Topology *topology = NULL;
        char path[POOL_PATH_MAX];

        machine_plain(t);
        topology = read_topology(t);
        assert_false(topology->has_numa);
        assert_int_equal(topology->n_nodes, 1);
        assert_set(&topology->nodes[0].cpus, "0-3");
        assert_true(topology->nodes[0].memory == 8 * GIB);
        assert_true(topology->nodes[0].available == 6 * GIB);
        assert_int_equal(node_pool(&topology->nodes[0], 2 * MIB)->free, 4);
        assert_null(node_pool(&topology->nodes[0], GIB));
        assert_string_equal(page_pool_path(false, 0, 2 * MIB, path),
                            "sys/kernel/mm/hugepages/hugepages-2048kB");
        assert_string_equal(page_pool_path(true, 3, GIB, path),
                            "sys/devices/system/node/node3/hugepages/hugepages-1048576kB");
}

static void test_offline(_unused_ void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_(topology_freep) Topology *topology = NULL;

        machine_desktop(t);
        machine_set_offline(t, 11, "0-10,12-15");
        machine_set_offline(t, 4, "0-3,5-10,12-15");
        topology = read_topology(t);
        assert_set(&topology->online, "0-3,5-10,12-15");
        assert_set(&topology->present, "0-15");
        assert_int_equal(topology->n_cores, 8);
        assert_set(&topology_core_of(topology, 3)->cpus, "3");
        assert_set(&topology_core_of(topology, 12)->cpus, "12");
        assert_null(topology_core_of(topology, 4));
}

static void test_memoryless(_unused_ void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_(topology_freep) Topology *topology = NULL;

        machine_memoryless(t);
        topology = read_topology(t);
        assert_int_equal(topology->n_nodes, 2);
        assert_true(topology->nodes[1].memory == 0);
        assert_set(&topology->nodes[1].cpus, "8-15,24-31");
}

static void test_mounts(_unused_ void **state) {
        _cleanup_tree_ Tree *t = tree_new();

        machine_desktop(t);
        for (int small = 0; small <= 1; small++)
                for (int large = 0; large <= 1; large++) {
                        _cleanup_(topology_freep) Topology *topology = NULL;

                        machine_mount_pages(t, small, large);
                        topology = read_topology(t);
                        assert_int_equal(node_pool(&topology->nodes[0], 2 * MIB)->mounted, small);
                        assert_int_equal(node_pool(&topology->nodes[0], GIB)->mounted, large);
                }
}

static void test_no_processors(_unused_ void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        Topology *topology = NULL;

        assert_int_equal(topology_read(t->fd, &topology), -ENOENT);
        assert_null(topology);
}

/* A virtual machine whose hypervisor says nothing of caches. */
static void test_no_caches(_unused_ void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_(topology_freep) Topology *topology = NULL;

        tree_write(t, "sys/devices/system/cpu/online", "0-3\n");
        tree_write(t, "proc/meminfo", "MemTotal: 1024 kB\nMemAvailable: 512 kB\n");
        for (unsigned cpu = 0; cpu < 4; cpu++) {
                char path[96];
                snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/physical_package_id", cpu);
                tree_write(t, path, "%u\n", cpu / 2);
        }
        topology = read_topology(t);
        assert_int_equal(topology->n_cores, 4);
        assert_int_equal(topology->cores[0].cache, topology->cores[1].cache);
        assert_int_not_equal(topology->cores[1].cache, topology->cores[2].cache);
}

static void test_bars(_unused_ void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *path = NULL;
        PciAddress address, absent;
        BarRoom room;

        path = tree_add_function(t, &(TreeFunction) { .address = "0000:01:00.0", .vendor = 0x10de,
                                                      .device = 0x2684, .class = 0x030000 });
        /* As an accelerator of 80 GiB shows itself: registers below 4 GiB, memory above. */
        tree_write(t, "sys/bus/pci/devices/0000:01:00.0/resource",
                   "0x00000000fb000000 0x00000000fbffffff 0x0000000000040200\n"
                   "0x0000004000000000 0x0000005fffffffff 0x000000000014220c\n"
                   "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                   "0x0000006000000000 0x0000006001ffffff 0x000000000014220c\n"
                   "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                   "0x000000000000e000 0x000000000000e07f 0x0000000000040101\n"
                   "0x00000000fc000000 0x00000000fc07ffff 0x0000000000046200\n");
        assert_int_equal(pci_address_parse("0000:01:00.0", &address), 0);
        assert_int_equal(pci_bar_room(t->fd, &address, &room), 0);
        assert_true(room.total == 128 * GIB + 32 * MIB);
        assert_true(room.largest == 128 * GIB);

        assert_int_equal(pci_address_parse("0000:02:00.0", &absent), 0);
        assert_true(pci_bar_room(t->fd, &absent, &room) < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sets),
                cmocka_unit_test(test_desktop),
                cmocka_unit_test(test_two_sockets),
                cmocka_unit_test(test_chiplets),
                cmocka_unit_test(test_hybrid),
                cmocka_unit_test(test_without_numa),
                cmocka_unit_test(test_offline),
                cmocka_unit_test(test_memoryless),
                cmocka_unit_test(test_mounts),
                cmocka_unit_test(test_no_processors),
                cmocka_unit_test(test_no_caches),
                cmocka_unit_test(test_bars),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
