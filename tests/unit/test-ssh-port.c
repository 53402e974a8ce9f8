/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A port for ssh that is nobody else's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/ssh-port.h"
#include "tree.h"

#define HEAD "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#define REST " 00000000:00000000 00:00000000 00000000     0        0 1 1 0000 100 0 0 10 0\n"
#define LOOPBACK(n, port, state) "   " n ": 0100007F:" port " 00000000:0000 " state REST
#define REMOTE(n, port) "   " n ": 0100007F:1234 0100007F:" port " 0A" REST
#define ALL6(n, port) "   " n ": 00000000000000000000000000000000:" port \
        " 00000000000000000000000000000000:0000 0A" REST

enum { FIRST = 0x55f1 };

static unsigned choose(const char *tcp, const char *tcp6) {
        _cleanup_tree_ Tree *tree = tree_new();
        const Manager m = { .root_fd = tree->fd };

        if (tcp)
                tree_write(tree, "proc/net/tcp", "%s", tcp);
        if (tcp6)
                tree_write(tree, "proc/net/tcp6", "%s", tcp6);
        return ssh_port_choose(&m);
}

static void test_nobody_listens(void **state) {
        assert_int_equal(choose(NULL, NULL), FIRST);
        assert_int_equal(choose(HEAD, HEAD), FIRST);
        assert_int_equal(choose(HEAD LOOPBACK("0", "0016", "0A"), HEAD ALL6("0", "0016")), FIRST);
}

static void test_listened_on(void **state) {
        assert_int_equal(choose(HEAD LOOPBACK("0", "55F1", "0A"), HEAD), FIRST + 1);
        assert_int_equal(choose(HEAD LOOPBACK("0", "0016", "0A") LOOPBACK("1", "55F1", "0A"), NULL), FIRST + 1);
        assert_int_equal(choose(HEAD LOOPBACK("0", "55F1", "0A"), HEAD ALL6("0", "55F2")), FIRST + 2);
}

/* A connection, or the port of the other side. */
static void test_not_listened_on(void **state) {
        assert_int_equal(choose(HEAD LOOPBACK("0", "55F1", "01"), HEAD), FIRST);
        assert_int_equal(choose(HEAD REMOTE("0", "55F1"), HEAD), FIRST);
}

static void test_of_other_vms(void **state) {
        VmSpec running = { .ssh_port = FIRST }, stopped = { .ssh_port = FIRST + 2 }, without = {};
        Vm vms[] = { { .spec = &running }, { .spec = &stopped }, { .spec = &without } };
        Vm *all[] = { &vms[0], &vms[1], &vms[2] };
        _cleanup_tree_ Tree *tree = tree_new();
        Manager m = { .root_fd = tree->fd, .vms = all, .n_vms = ELEMENTSOF(all) };

        assert_int_equal(ssh_port_choose(&m), FIRST + 1);
        tree_write(tree, "proc/net/tcp", HEAD LOOPBACK("0", "55F2", "0A"));
        assert_int_equal(ssh_port_choose(&m), FIRST + 3);
}

/* All but the last are taken, among many more sockets, each of which is looked at once. */
static void test_many_sockets(void **state) {
        enum { SOCKETS = 20000, LAST = 22999 };
        _cleanup_tree_ Tree *tree = tree_new();
        const Manager m = { .root_fd = tree->fd };
        _cleanup_free_ char *table = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&table, &size);

        assert_non_null(f);
        fputs(HEAD, f);
        for (unsigned i = 0; i < SOCKETS; i++)
                fprintf(f, "%4u: 0100007F:%04X 00000000:0000 0A" REST, i, 1024 + i);
        for (unsigned port = FIRST; port < LAST; port++)
                fprintf(f, "%4u: 0100007F:%04X 00000000:0000 0A" REST, SOCKETS + port, port);
        assert_int_equal(fclose(f), 0);
        tree_write(tree, "proc/net/tcp", "%s", table);
        assert_int_equal(ssh_port_choose(&m), LAST);
}

static void test_lines_of_another_kind(void **state) {
        assert_int_equal(choose("\n\n:::\n  0: 0100007F:55F1\n  1: 0100007F:FFFFFFFFFF 0:0 0A\n", ""), FIRST);
        assert_int_equal(choose(HEAD LOOPBACK("12345", "55F1", "0A"), NULL), FIRST + 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nobody_listens),
                cmocka_unit_test(test_listened_on),
                cmocka_unit_test(test_not_listened_on),
                cmocka_unit_test(test_of_other_vms),
                cmocka_unit_test(test_many_sockets),
                cmocka_unit_test(test_lines_of_another_kind),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
