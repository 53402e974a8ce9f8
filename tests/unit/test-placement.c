/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/placement.h"
#include "machine.h"

typedef struct Case {
        Tree *tree;
        Topology *topology;
        PlacementRequest request;
        CpuSet taken;
        Placement placement;
        Findings findings;
} Case;

static int case_done(Case *c) {
        placement_clear(&c->placement);
        findings_clear(&c->findings);
        topology_freep(&c->topology);
        tree_freep(&c->tree);
        return 0;
}

static void case_donep(Case *c) {
        (void) case_done(c);
}
#define _cleanup_case_ _cleanup_(case_donep)

/* After a change of the tree. */
static void look(Case *c) {
        topology_freep(&c->topology);
        c->topology = NULL;
        assert_int_equal(topology_read(c->tree->fd, &c->topology), 0);
}

static void begin(Case *c, void (*machine)(Tree *t)) {
        *c = (Case) {
                .tree = tree_new(),
                .request = { .cpus = 4, .memory = 4 * GIB, .pin = "none", .hugepages = "none", .numa = "none",
                             .device_node = -1, .device = "0000:01:00.0" },
        };
        machine(c->tree);
        look(c);
}

/* May be called again after a change of the request. */
static void place(Case *c) {
        placement_clear(&c->placement);
        findings_clear(&c->findings);
        c->request.taken = &c->taken;
        assert_int_equal(placement_choose(c->topology, &c->request, &c->placement, &c->findings), 0);
}

static const Finding *finding(const Case *c, const char *code) {
        for (size_t i = 0; i < c->findings.n; i++)
                if (strcmp(c->findings.items[i].code, code) == 0)
                        return &c->findings.items[i];
        return NULL;
}

static void assert_pins(const Case *c, unsigned n, ...) {
        va_list ap;

        if (findings_fail(&c->findings))
                fail_msg("refused: %s", c->findings.items[0].detail);
        assert_int_equal(c->request.cpus, n);
        assert_non_null(c->placement.pins);
        va_start(ap, n);
        for (unsigned i = 0; i < n; i++)
                assert_int_equal(c->placement.pins[i], va_arg(ap, unsigned));
        va_end(ap);
}

static void assert_shape(const Case *c, unsigned sockets, unsigned dies, unsigned cores, unsigned threads) {
        assert_int_equal(c->placement.sockets, sockets);
        assert_int_equal(c->placement.dies, dies);
        assert_int_equal(c->placement.cores, cores);
        assert_int_equal(c->placement.threads, threads);
        assert_int_equal(sockets * dies * cores * threads, c->request.cpus);
}

static void assert_emulator(const Case *c, const char *cpus) {
        _cleanup_free_ char *text = cpu_set_format(&c->placement.emulator);

        assert_string_equal(text, cpus);
}

static void assert_refused(const Case *c, const char *code, ErrorCode error, const char *words) {
        const Finding *found = finding(c, code);

        if (!found)
                fail_msg("no finding %s; the first is %s", code,
                         c->findings.n > 0 ? c->findings.items[0].detail : "none");
        assert_int_equal(found->severity, SEVERITY_FAIL);
        assert_int_equal(found->error, error);
        if (!strstr(found->detail, words))
                fail_msg("'%s' does not say '%s'", found->detail, words);
        assert_true(*found->remedy);
        assert_true(findings_fail(&c->findings));
}

static void test_nothing_asked(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_two_sockets);
        c.request.device_node = 1;
        place(&c);
        assert_null(c.placement.pins);
        assert_int_equal(c.placement.n_cells, 0);
        assert_true(c.placement.page_size == 0);
        assert_int_equal(c.findings.n, 0);
        assert_shape(&c, 1, 1, 4, 1);

        /* More than the host has are slow, but not wrong, as long as they are not to be pinned. */
        c.request.cpus = 40;
        place(&c);
        assert_false(findings_fail(&c.findings));
        assert_shape(&c, 1, 1, 40, 1);
}

static void test_whole_cores(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_desktop);
        c.request.pin = "auto";
        place(&c);
        assert_pins(&c, 4, 1, 9, 2, 10);
        assert_shape(&c, 1, 1, 2, 2);
        assert_emulator(&c, "0,3-8,11-15");
        assert_non_null(finding(&c, "cpu-pins"));

        /* Core 0 is taken when there is no other way. */
        c.request.cpus = 14;
        place(&c);
        assert_int_equal(c.placement.pins[0], 1);
        assert_emulator(&c, "0,8");
        c.request.cpus = 16;
        place(&c);
        assert_shape(&c, 1, 1, 8, 2);
        assert_int_equal(c.placement.pins[0], 0);
        assert_int_equal(c.placement.pins[1], 8);
        assert_emulator(&c, "");
        assert_int_equal(finding(&c, "no-cpu-left")->severity, SEVERITY_WARN);

        /* An odd number has a core for each, so that the guest is not told of siblings that are none. */
        c.request.cpus = 3;
        place(&c);
        assert_pins(&c, 3, 1, 2, 3);
        assert_shape(&c, 1, 1, 3, 1);
        assert_null(finding(&c, "siblings-hidden"));
        assert_emulator(&c, "0,4-8,12-15");
        c.request.cpus = 9;
        place(&c);
        assert_shape(&c, 1, 1, 9, 1);
        assert_non_null(finding(&c, "siblings-hidden"));

        c.request.cpus = 17;
        place(&c);
        assert_refused(&c, "too-few-cpus", ERROR_INVALID_OPTION, "17");
}

static void test_next_to_the_device(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_two_sockets);
        c.request.pin = "auto";
        c.request.device_node = 1;
        place(&c);
        assert_pins(&c, 4, 8, 24, 9, 25);
        assert_emulator(&c, "10-15,26-31");
        assert_non_null(strstr(finding(&c, "cpu-pins")->detail, "next to 0000:01:00.0"));
        assert_null(finding(&c, "cpus-far"));

        /* Node 1 has all it needs, core 0 is on the other. */
        c.request.cpus = 16;
        place(&c);
        assert_int_equal(c.placement.pins[0], 8);
        assert_shape(&c, 1, 1, 8, 2);
        assert_emulator(&c, "0-7,16-23");

        /* On node 0, near comes before leaving core 0. */
        c.request.device_node = 0;
        place(&c);
        assert_int_equal(c.placement.pins[0], 0);
        assert_emulator(&c, "8-15,24-31");

        /* Without a device, core 0 is left. */
        c.request.device_node = -1;
        place(&c);
        assert_int_equal(c.placement.pins[0], 8);
}

static void test_both_sockets(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_two_sockets);
        c.request.pin = "auto";
        c.request.device_node = 1;
        c.request.cpus = 20;
        place(&c);
        assert_shape(&c, 2, 1, 5, 2);
        assert_int_equal(c.placement.pins[0], 8);
        assert_int_equal(c.placement.pins[10], 1);
        assert_int_equal(c.placement.pins[11], 17);
        assert_int_equal(c.placement.n_cells, 0); /* memory was not asked to be bound */

        c.request.cpus = 17;
        place(&c);
        assert_refused(&c, "cpus-undividable", ERROR_INVALID_OPTION, "17");
}

static void test_taken(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_two_sockets);
        c.request.pin = "auto";
        c.request.device_node = 1;
        c.request.cpus = 8;
        /* One thread of a core is enough to spoil it. */
        assert_int_equal(cpu_set_parse("8,9", &c.taken), 0);
        place(&c);
        assert_pins(&c, 8, 10, 26, 11, 27, 12, 28, 13, 29);
        assert_emulator(&c, "14-15,30-31");

        /* No room near: far is better than shared. */
        assert_int_equal(cpu_set_parse("8-13", &c.taken), 0);
        place(&c);
        assert_pins(&c, 8, 1, 17, 2, 18, 3, 19, 4, 20);
        assert_int_equal(finding(&c, "cpus-far")->severity, SEVERITY_WARN);

        /* Nowhere: shared, near, and said. */
        assert_int_equal(cpu_set_parse("0-5,8-13", &c.taken), 0);
        place(&c);
        assert_pins(&c, 8, 14, 30, 15, 31, 6, 22, 7, 23);
        assert_int_equal(cpu_set_parse("0-6,8-14", &c.taken), 0);
        place(&c);
        assert_int_equal(c.placement.pins[0], 8);
        assert_int_equal(finding(&c, "cpus-shared")->severity, SEVERITY_WARN);
}

static void test_caches(_unused_ void **state) {
        _cleanup_case_ Case c;

        /* The first chiplet, which lacks core 0, is just large enough for three cores. */
        begin(&c, machine_chiplets);
        c.request.pin = "auto";
        c.request.cpus = 6;
        place(&c);
        assert_pins(&c, 6, 1, 17, 2, 18, 3, 19);
        c.request.cpus = 8;
        place(&c);
        assert_pins(&c, 8, 4, 20, 5, 21, 6, 22, 7, 23);
        assert_shape(&c, 1, 1, 4, 2);

        /* Part of a chiplet is another VM's: the next whole one. */
        assert_int_equal(cpu_set_parse("5", &c.taken), 0);
        place(&c);
        assert_int_equal(c.placement.pins[0], 8);

        /* Over two, evenly, each a die of the guest's. */
        c.request.cpus = 16;
        c.taken = (CpuSet) {};
        place(&c);
        assert_shape(&c, 1, 2, 4, 2);
        assert_int_equal(c.placement.pins[0], 4);
        assert_int_equal(c.placement.pins[8], 8);
        c.request.cpus = 12;
        place(&c);
        assert_shape(&c, 1, 2, 3, 2);

        /* Seven cores cannot be divided. */
        c.request.cpus = 14;
        place(&c);
        assert_shape(&c, 1, 1, 7, 2);
}

static void test_hybrid(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_hybrid);
        c.request.pin = "auto";
        c.request.cpus = 8;
        place(&c);
        assert_pins(&c, 8, 2, 3, 4, 5, 6, 7, 8, 9);
        assert_shape(&c, 1, 1, 4, 2);
        assert_emulator(&c, "0-1,10-23");
        assert_null(finding(&c, "cores-mixed"));

        /* The performance cores do not suffice, but for the first. */
        c.request.cpus = 15;
        place(&c);
        assert_pins(&c, 15, 2, 4, 6, 8, 10, 12, 14, 16, 17, 18, 19, 20, 21, 22, 23);
        assert_shape(&c, 1, 1, 15, 1);
        assert_non_null(finding(&c, "cores-mixed"));
        assert_null(finding(&c, "siblings-hidden"));

        assert_int_equal(cpu_set_parse("0-15", &c.taken), 0);
        c.request.cpus = 4;
        place(&c);
        assert_pins(&c, 4, 16, 17, 18, 19);
        assert_shape(&c, 1, 1, 4, 1);
}

static void test_isolated(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_desktop);
        tree_write(c.tree, "sys/devices/system/cpu/isolated", "4-7,12-15\n");
        look(&c);
        c.request.pin = "auto";
        place(&c);
        assert_pins(&c, 4, 4, 12, 5, 13);
        assert_emulator(&c, "0-3,8-11"); /* the scheduler does not spread threads over isolated ones */
        c.request.cpus = 10;
        place(&c);
        assert_int_equal(c.placement.pins[0], 1);
}

static void test_list(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_desktop);
        c.request.pin = "2-3,10-11";
        place(&c);
        assert_pins(&c, 4, 2, 10, 3, 11);
        assert_shape(&c, 1, 1, 2, 2);
        assert_emulator(&c, "0-1,4-9,12-15");

        c.request.pin = "0-3";
        place(&c);
        assert_pins(&c, 4, 0, 1, 2, 3);
        assert_shape(&c, 1, 1, 4, 1);
        assert_emulator(&c, "4-7,12-15");

        /* More than the VM has: whole cores of them. */
        c.request.pin = "1-3,9-11";
        place(&c);
        assert_pins(&c, 4, 1, 9, 2, 10);

        c.request.pin = "1-2,9";
        c.request.cpus = 3;
        place(&c);
        assert_pins(&c, 3, 1, 2, 9);
        assert_non_null(finding(&c, "siblings-hidden"));

        c.request.cpus = 4;
        place(&c);
        assert_refused(&c, "too-few-cpus", ERROR_INVALID_OPTION, "3 CPUs");
        c.request.pin = "1-3,20-22";
        place(&c);
        assert_refused(&c, "no-such-cpu", ERROR_INVALID_OPTION, "20-22");
        machine_set_offline(c.tree, 3, "0-2,4-15");
        look(&c);
        c.request.pin = "1-4";
        place(&c);
        assert_refused(&c, "cpu-offline", ERROR_INVALID_OPTION, ": 3");

        _cleanup_case_ Case shared;
        begin(&shared, machine_two_sockets);
        shared.request.pin = "0-1,16-17";
        shared.request.device_node = 1;
        assert_int_equal(cpu_set_parse("16", &shared.taken), 0);
        place(&shared);
        assert_pins(&shared, 4, 0, 16, 1, 17);
        assert_non_null(finding(&shared, "cpus-shared"));
        assert_null(strstr(finding(&shared, "cpu-pins")->detail, "next to"));
        assert_non_null(finding(&shared, "cpus-far"));
}

static void assert_cell(const Case *c, unsigned i, unsigned node, unsigned cpus, uint64_t memory) {
        if (findings_fail(&c->findings))
                fail_msg("refused: %s", c->findings.items[0].detail);
        assert_true(i < c->placement.n_cells);
        assert_int_equal(c->placement.cells[i].node, node);
        assert_int_equal(c->placement.cells[i].cpus, cpus);
        assert_int_equal(c->placement.cells[i].memory, memory);
}

static void test_memory_near(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_two_sockets);
        c.request.numa = "auto";
        c.request.device_node = 1;
        place(&c);
        assert_int_equal(c.placement.n_cells, 1);
        assert_cell(&c, 0, 1, 4, 4 * GIB);
        assert_null(c.placement.pins);
        assert_non_null(finding(&c, "memory-node"));

        /* Too little there, enough beside it. */
        machine_set_memory(c.tree, 1, 64, 3);
        look(&c);
        place(&c);
        assert_int_equal(c.placement.n_cells, 1);
        assert_cell(&c, 0, 0, 4, 4 * GIB);
        assert_int_equal(finding(&c, "memory-far")->severity, SEVERITY_WARN);

        /* CPUs and memory stay together. */
        c.request.pin = "auto";
        place(&c);
        assert_pins(&c, 4, 1, 17, 2, 18);

        /* Neither alone, both together: the guest has nodes of its own. */
        machine_set_memory(c.tree, 0, 64, 3);
        look(&c);
        place(&c);
        assert_int_equal(c.placement.n_cells, 2);
        assert_cell(&c, 0, 1, 2, 2 * GIB);
        assert_cell(&c, 1, 0, 2, 2 * GIB);
        assert_pins(&c, 4, 8, 24, 1, 17);
        assert_shape(&c, 2, 1, 1, 2);
        assert_non_null(finding(&c, "guest-nodes"));

        c.request.pin = "none";
        c.request.memory = 3 * GIB + 3 * MIB;
        place(&c);
        assert_int_equal(c.placement.n_cells, 2);
        assert_cell(&c, 0, 1, 2, 3 * GIB / 2 + 2 * MIB);
        assert_cell(&c, 1, 0, 2, 3 * GIB / 2 + MIB);
        assert_shape(&c, 2, 1, 2, 1);

        c.request.memory = 8 * GIB;
        place(&c);
        assert_refused(&c, "no-node-memory", ERROR_INSUFFICIENT_MEMORY, "8G");
}

static void test_memory_by_node(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_two_sockets);
        c.request.numa = "1";
        c.request.pin = "auto";
        place(&c);
        assert_cell(&c, 0, 1, 4, 4 * GIB);
        assert_pins(&c, 4, 8, 24, 9, 25);

        machine_set_memory(c.tree, 1, 64, 3);
        look(&c);
        place(&c);
        assert_refused(&c, "no-node-memory", ERROR_INSUFFICIENT_MEMORY, "node 1 has 3G");

        c.request.numa = "2";
        place(&c);
        assert_refused(&c, "no-such-node", ERROR_INVALID_OPTION, "node 2");

        /* More CPUs than the node has: the rest from the nearest, memory where it was asked for. */
        c.request.numa = "0";
        c.request.cpus = 20;
        place(&c);
        assert_int_equal(c.placement.n_cells, 1);
        assert_cell(&c, 0, 0, 20, 4 * GIB);
        assert_shape(&c, 2, 1, 5, 2);
        assert_int_equal(c.placement.pins[0], 1);
        assert_int_equal(c.placement.pins[10], 8);
}

static void test_without_numa(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_plain);
        c.request.numa = "auto";
        c.request.pin = "auto";
        c.request.cpus = 2;
        place(&c);
        assert_int_equal(c.placement.n_cells, 0);
        assert_pins(&c, 2, 1, 2);
        assert_emulator(&c, "0,3");
        assert_int_equal(finding(&c, "one-node")->severity, SEVERITY_INFO);

        c.request.numa = "0";
        place(&c);
        assert_refused(&c, "no-such-node", ERROR_INVALID_OPTION, "no NUMA");

        c.request.numa = "none";
        c.request.hugepages = "2M";
        place(&c);
        assert_int_equal(c.placement.page_size, 2 * MIB);
        assert_cell(&c, 0, 0, 2, 4 * GIB);
        c.request.hugepages = "1G";
        place(&c);
        assert_refused(&c, "no-such-pages", ERROR_NOT_SUPPORTED, "1G");
}

static void test_memoryless(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_memoryless);
        c.request.numa = "auto";
        c.request.pin = "auto";
        c.request.device_node = 1;
        place(&c);
        assert_cell(&c, 0, 0, 4, 4 * GIB);
        assert_pins(&c, 4, 1, 17, 2, 18);
        assert_non_null(finding(&c, "memory-far"));

        c.request.numa = "none";
        place(&c);
        assert_pins(&c, 4, 8, 24, 9, 25);
}

static void test_pages(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_two_sockets);
        c.request.device_node = 1;
        c.request.hugepages = "auto";
        machine_set_pages(c.tree, 1, 1048576, 8, 4);
        look(&c);
        place(&c);
        assert_int_equal(c.placement.page_size, GIB);
        assert_cell(&c, 0, 1, 4, 4 * GIB); /* pages on a node are only had by memory bound to it */

        /* What is set aside is not enough: small ones can be made. */
        machine_set_pages(c.tree, 1, 1048576, 8, 3);
        look(&c);
        place(&c);
        assert_int_equal(c.placement.page_size, 2 * MIB);
        assert_cell(&c, 0, 1, 4, 4 * GIB);
        assert_non_null(strstr(finding(&c, "huge-pages")->detail, "2048"));

        /* Asked for by name, large ones are made as well. */
        c.request.hugepages = "1G";
        place(&c);
        assert_int_equal(c.placement.page_size, GIB);
        assert_non_null(strstr(finding(&c, "huge-pages")->detail, "3 are free, 1 are made"));
        assert_true(*finding(&c, "huge-pages")->remedy);

        /* On neither node, and not half of it on each. */
        c.request.memory = 8 * GIB;
        machine_set_memory(c.tree, 0, 64, 3);
        machine_set_memory(c.tree, 1, 64, 3);
        machine_set_pages(c.tree, 1, 1048576, 0, 0);
        look(&c);
        place(&c);
        assert_refused(&c, "no-huge-pages", ERROR_INSUFFICIENT_MEMORY, "node 1");
        c.request.hugepages = "2M";
        place(&c);
        assert_refused(&c, "no-huge-pages", ERROR_INSUFFICIENT_MEMORY, "4096 pages");
        machine_set_memory(c.tree, 0, 64, 10);
        look(&c);
        place(&c);
        assert_cell(&c, 0, 0, 4, 8 * GIB);

        c.request.memory = 4 * GIB + MIB;
        place(&c);
        assert_refused(&c, "odd-memory", ERROR_INVALID_OPTION, "2M");
        c.request.memory = 4 * GIB + 512 * MIB;
        c.request.hugepages = "1G";
        place(&c);
        assert_refused(&c, "odd-memory", ERROR_INVALID_OPTION, "1G");
        c.request.numa = "0";
        c.request.hugepages = "auto";
        c.request.memory = 12 * GIB;
        place(&c);
        assert_refused(&c, "no-huge-pages", ERROR_INSUFFICIENT_MEMORY, "node 0");
}

/* libvirt uses no pages whose file system is not mounted. */
static void test_mounts(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c, machine_desktop);
        machine_set_pages(c.tree, 0, 1048576, 8, 8);
        machine_mount_pages(c.tree, true, false);
        look(&c);
        c.request.hugepages = "auto";
        place(&c);
        assert_int_equal(c.placement.page_size, 2 * MIB);
        c.request.hugepages = "1G";
        place(&c);
        assert_refused(&c, "no-hugetlbfs", ERROR_NOT_READY, "1G");
        assert_non_null(strstr(finding(&c, "no-hugetlbfs")->remedy, "pagesize=1G"));
        machine_mount_pages(c.tree, false, false);
        look(&c);
        c.request.hugepages = "auto";
        place(&c);
        assert_refused(&c, "no-hugetlbfs", ERROR_NOT_READY, "2M");
}

static void test_words(_unused_ void **state) {
        static const char *const good[] = { "none", "auto", "0", "2-5,8" };
        static const char *const bad[] = { "", "1-", "x", "9-3", "auto ", "-1", "99999" };

        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                assert_int_equal(pin_check(good[i], NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_true(pin_check(bad[i], NULL) < 0);
        assert_int_equal(numa_check("0", NULL), 0);
        assert_int_equal(numa_check("auto", NULL), 0);
        assert_true(numa_check("0-1", NULL) < 0);
        assert_true(numa_check("-1", NULL) < 0);
        assert_true(numa_check("", NULL) < 0);
}

/* Whatever is asked of whatever machine: each CPU once, all of them online, the shape as large as the VM. */
static void test_all_sizes(_unused_ void **state) {
        void (*const machines[])(Tree *) = { machine_desktop, machine_two_sockets, machine_chiplets,
                                             machine_hybrid, machine_plain, machine_memoryless };

        for (size_t i = 0; i < ELEMENTSOF(machines); i++) {
                _cleanup_case_ Case c;

                begin(&c, machines[i]);
                c.request.pin = "auto";
                c.request.numa = i % 2 ? "auto" : "none";
                for (c.request.cpus = 1; c.request.cpus <= 32; c.request.cpus++) {
                        CpuSet seen = {};

                        place(&c);
                        if (findings_fail(&c.findings))
                                continue;
                        for (unsigned k = 0; k < c.request.cpus; k++) {
                                assert_true(cpu_set_has(&c.topology->online, c.placement.pins[k]));
                                assert_false(cpu_set_has(&seen, c.placement.pins[k]));
                                cpu_set_add(&seen, c.placement.pins[k]);
                        }
                        assert_shape(&c, c.placement.sockets, c.placement.dies, c.placement.cores,
                                     c.placement.threads);
                        assert_false(cpu_set_intersects(&seen, &c.placement.emulator));
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nothing_asked),
                cmocka_unit_test(test_whole_cores),
                cmocka_unit_test(test_next_to_the_device),
                cmocka_unit_test(test_both_sockets),
                cmocka_unit_test(test_taken),
                cmocka_unit_test(test_caches),
                cmocka_unit_test(test_hybrid),
                cmocka_unit_test(test_isolated),
                cmocka_unit_test(test_list),
                cmocka_unit_test(test_memory_near),
                cmocka_unit_test(test_memory_by_node),
                cmocka_unit_test(test_without_numa),
                cmocka_unit_test(test_memoryless),
                cmocka_unit_test(test_pages),
                cmocka_unit_test(test_mounts),
                cmocka_unit_test(test_words),
                cmocka_unit_test(test_all_sizes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
