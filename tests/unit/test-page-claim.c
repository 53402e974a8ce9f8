/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kernel's side of the pools is played by write_attribute_at(): it makes what there is room for, counts what
 * is new as free, and says nothing if that is less than was asked for. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>

#include "base/io.h"
#include "base/strv.h"
#include "core/page-claim.h"
#include "machine.h"

#define VM_1 "11111111-1111-4111-8111-111111111111"
#define VM_2 "22222222-2222-4222-8222-222222222222"

static unsigned room[2];       /* pages that each node can still make */
static unsigned n_writes;
static unsigned fail_at;       /* the write that dies, and all after it; 0: none */
static bool cancel, cancel_later;

int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value);
int __wrap_fsync(int fd);

/* What a crash of the host would leave is not looked at here, and waiting for the disk takes long. */
int __wrap_fsync(int fd) {
        return 0;
}

static void put(int dir_fd, const char *path, uint64_t value) {
        char text[32];
        int fd = openat(dir_fd, path, O_WRONLY | O_TRUNC);

        assert_true(fd >= 0);
        snprintf(text, sizeof(text), "%llu\n", (unsigned long long) value);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
        close_fd(fd);
}

int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value) {
        unsigned node = strstr(path, "node1") ? 1 : 0;
        uint64_t total, unused, wanted = strtoull(value, NULL, 10);
        char free_path[256];

        if (fail_at > 0 && ++n_writes >= fail_at)
                return -EIO;

        snprintf(free_path, sizeof(free_path), "%.*s/free_hugepages", (int) (strrchr(path, '/') - path), path);
        assert_int_equal(read_uint_at(dir_fd, path, &total), 0);
        assert_int_equal(read_uint_at(dir_fd, free_path, &unused), 0);

        if (wanted > total) {
                uint64_t more = MIN(wanted - total, (uint64_t) room[node]);
                room[node] -= (unsigned) more;
                put(dir_fd, path, total + more);
                put(dir_fd, free_path, unused + more);
        } else {
                uint64_t less = MIN(total - wanted, unused);
                room[node] += (unsigned) less;
                put(dir_fd, path, total - less);
                put(dir_fd, free_path, unused - less);
        }
        cancel |= cancel_later;
        return 0;
}

typedef struct Case {
        Tree *tree, *records;
        PageHost host;
        bool made;
        Error error;
} Case;

static void begin(Case *c) {
        *c = (Case) { .tree = tree_new(), .records = tree_new() };
        machine_two_sockets(c->tree);
        machine_set_pages(c->tree, 0, 2048, 10, 4);
        machine_set_pages(c->tree, 1, 2048, 0, 0);
        c->host = (PageHost) { .root_fd = c->tree->fd, .has_numa = true, .boot_id = "boot" };
        tree_mkdir(c->records, "hugepages");
        c->host.records_fd = open_dir_at(c->records->fd, "hugepages");
        assert_true(c->host.records_fd >= 0);
        room[0] = room[1] = 100;
        n_writes = fail_at = 0;
        cancel = cancel_later = false;
}

static void end(Case *c) {
        close_fd(c->host.records_fd);
        error_clear(&c->error);
        tree_freep(&c->tree);
        tree_freep(&c->records);
}
#define _cleanup_case_ _cleanup_(end)

static int take(Case *c, const char *uuid, const PageNeed *needs, size_t n) {
        c->made = false;
        error_clear(&c->error);
        return pages_take(&c->host, uuid, needs, n, &cancel, &c->made, &c->error);
}

static void assert_pool(const Case *c, unsigned node, unsigned total, unsigned unused) {
        char path[128];
        uint64_t value;

        snprintf(path, sizeof(path), "sys/devices/system/node/node%u/hugepages/hugepages-2048kB/nr_hugepages", node);
        assert_int_equal(read_uint_at(c->tree->fd, path, &value), 0);
        assert_int_equal(value, total);
        snprintf(path, sizeof(path), "sys/devices/system/node/node%u/hugepages/hugepages-2048kB/free_hugepages",
                 node);
        assert_int_equal(read_uint_at(c->tree->fd, path, &value), 0);
        assert_int_equal(value, unused);
}

static size_t n_records(const Case *c) {
        _cleanup_strv_ char **uuids = NULL;

        assert_int_equal(pages_list(c->host.records_fd, &uuids), 0);
        return strv_length(uuids);
}

#define NEED(n, p) (PageNeed) { .node = (n), .size = 2 * MIB, .pages = (p) }

static void test_there_are_enough(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c);
        assert_int_equal(take(&c, VM_1, &NEED(0, 4), 1), 0);
        assert_false(c.made);
        assert_pool(&c, 0, 10, 4);
        assert_int_equal(n_records(&c), 0);
        assert_int_equal(pages_give_back(&c.host, VM_1), 0);
        assert_pool(&c, 0, 10, 4);
}

static void test_what_is_missing(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c);
        assert_int_equal(take(&c, VM_1, (PageNeed[]) { NEED(0, 9), NEED(1, 7) }, 2), 0);
        assert_true(c.made);
        assert_pool(&c, 0, 15, 9);
        assert_pool(&c, 1, 7, 7);
        assert_int_equal(n_records(&c), 1);

        /* An administrator who makes some meanwhile keeps them. */
        machine_set_pages(c.tree, 0, 2048, 18, 12);
        assert_int_equal(pages_give_back(&c.host, VM_1), 0);
        assert_pool(&c, 0, 13, 7);
        assert_pool(&c, 1, 0, 0);
        assert_int_equal(n_records(&c), 0);
        assert_int_equal(pages_give_back(&c.host, VM_1), 0);
        assert_pool(&c, 0, 13, 7);
}

/* What looks free may be another VM's that has not touched it yet. */
static void test_promises(_unused_ void **state) {
        _cleanup_case_ Case c;
        PageNeed need = NEED(0, 3);

        begin(&c);
        need.promised = 3;
        assert_int_equal(take(&c, VM_1, &need, 1), 0);
        assert_pool(&c, 0, 12, 6);
        need.promised = 20;
        assert_int_equal(take(&c, VM_2, &need, 1), 0);
        assert_pool(&c, 0, 15, 9);
}

/* The kernel gives fewer and says nothing. */
static void test_shortage(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c);
        room[1] = 5;
        assert_true(take(&c, VM_1, (PageNeed[]) { NEED(0, 9), NEED(1, 7) }, 2) < 0);
        assert_int_equal(c.error.code, ERROR_INSUFFICIENT_MEMORY);
        assert_non_null(strstr(c.error.message, "5 of 7"));
        assert_non_null(strstr(c.error.message, "node 1"));
        assert_non_null(strstr(error_remedy(&c.error), "hugepagesz=2M"));
        assert_false(c.made);
        assert_pool(&c, 0, 10, 4);
        assert_pool(&c, 1, 0, 0);
        assert_int_equal(n_records(&c), 0);
}

static void test_cancel(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c);
        cancel_later = true;
        room[1] = 10000;
        assert_true(take(&c, VM_1, &NEED(1, 9000), 1) < 0);
        assert_int_equal(c.error.code, ERROR_CANCELLED);
        assert_pool(&c, 1, 0, 0);
        assert_int_equal(n_records(&c), 0);
}

/* vmkitd dies at any write: whoever comes next leaves the pools as they were. */
static void test_death_at_any_point(_unused_ void **state) {
        for (unsigned at = 1; at <= 3; at++) {
                _cleanup_case_ Case c;

                begin(&c);
                fail_at = at;
                (void) take(&c, VM_1, (PageNeed[]) { NEED(0, 9), NEED(1, 7) }, 2);
                assert_int_equal(n_records(&c), at > 1); /* before the first there was nothing to undo */
                fail_at = n_writes = 0;
                assert_int_equal(pages_give_back(&c.host, VM_1), 0);
                assert_pool(&c, 0, 10, 4);
                assert_pool(&c, 1, 0, 0);
                assert_int_equal(n_records(&c), 0);
        }
}

static void test_another_boot(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c);
        assert_int_equal(take(&c, VM_1, &NEED(0, 9), 1), 0);
        c.host.boot_id = "later";
        assert_int_equal(pages_give_back(&c.host, VM_1), 0);
        assert_pool(&c, 0, 15, 9);
        assert_int_equal(n_records(&c), 0);
}

static void test_damaged_records(_unused_ void **state) {
        static const char *const records[] = {
                "", "{", "[]", "{\"version\":2,\"pools\":[]}",
                "{\"version\":1,\"boot_id\":\"boot\",\"pools\":[{\"node\":-1,\"size\":2097152,\"before\":0,\"made\":1}]}",
                ("{\"version\":1,\"boot_id\":\"boot\",\"complete\":true,\"pools\":[{\"node\":0,\"size\":0,"
                 "\"before\":0,\"made\":1}]}"),
        };

        for (size_t i = 0; i < ELEMENTSOF(records); i++) {
                _cleanup_case_ Case c;

                begin(&c);
                tree_write(c.records, "hugepages/" VM_1, "%s", records[i]);
                tree_write(c.records, "hugepages/not-a-uuid", "x");
                assert_int_equal(n_records(&c), 1);
                assert_int_equal(pages_give_back(&c.host, VM_1), 0);
                assert_int_equal(n_records(&c), 0);
                assert_pool(&c, 0, 10, 4);
        }
}

/* A start that found a record of its own VM begins afresh. */
static void test_again(_unused_ void **state) {
        _cleanup_case_ Case c;

        begin(&c);
        assert_int_equal(take(&c, VM_1, &NEED(0, 9), 1), 0);
        assert_int_equal(take(&c, VM_1, &NEED(0, 9), 1), 0);
        assert_pool(&c, 0, 15, 9);
        assert_int_equal(pages_give_back(&c.host, VM_1), 0);
        assert_pool(&c, 0, 10, 4);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_there_are_enough),
                cmocka_unit_test(test_what_is_missing),
                cmocka_unit_test(test_promises),
                cmocka_unit_test(test_shortage),
                cmocka_unit_test(test_cancel),
                cmocka_unit_test(test_death_at_any_point),
                cmocka_unit_test(test_another_boot),
                cmocka_unit_test(test_damaged_records),
                cmocka_unit_test(test_again),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
