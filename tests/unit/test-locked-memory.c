/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who has how much memory locked, and who may. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/locked-memory.h"
#include "tree.h"

#define VM "41e1d301-60ba-482f-95ac-c60ad74578a5"

static void add_process(Tree *t, unsigned pid, const char *command, const char *status) {
        char path[64];

        (void) snprintf(path, sizeof(path), "proc/%u/comm", pid);
        tree_write(t, path, "%s\n", command);
        (void) snprintf(path, sizeof(path), "proc/%u/status", pid);
        tree_write(t, path, "Name:\t%s\n%s", command, status);
}

static void add_command_line(Tree *t, unsigned pid, const char *line, size_t size) {
        char path[64];

        (void) snprintf(path, sizeof(path), "proc/%u/cmdline", pid);
        tree_write_bytes(t, path, line, size);
}
#define ADD_COMMAND_LINE(t, pid, line) add_command_line(t, pid, line, sizeof(line))

static void test_locked(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        uint64_t locked;
        pid_t pid = 0;

        /* That a process speaks of the VM does not make it QEMU, nor that its name has the UUID in it. */
        add_process(t, 10, "vmkitctl", "VmLck:\t 5 kB\n");
        ADD_COMMAND_LINE(t, 10, "vmkitctl\0-uuid\0" VM);
        add_process(t, 11, "qemu-system-x86", "VmLck:\t 6 kB\n");
        ADD_COMMAND_LINE(t, 11, "qemu-system-x86_64\0-name\0guest=" VM);
        add_process(t, 12, "kworker", "");
        assert_int_equal(locked_memory_of(t->fd, VM, &pid, &locked), -ESRCH);
        assert_int_equal(pid, 0);

        add_process(t, 13, "qemu-system-x86", "VmPeak:\t 9 kB\nVmLck:\t  1024 kB\nVmPin:\t 0 kB\n");
        ADD_COMMAND_LINE(t, 13, "qemu-system-x86_64\0-uuid\0" VM "\0-S");
        assert_int_equal(locked_memory_of(t->fd, VM, &pid, &locked), 0);
        assert_int_equal(pid, 13);
        assert_int_equal(locked, MIB);

        add_process(t, 13, "qemu-system-x86", "VmLck:\t  0 kB\nVmPin:\t 2048 kB\n"); /* iommufd */
        assert_int_equal(locked_memory_of(t->fd, VM, &pid, &locked), 0);
        assert_int_equal(locked, 2 * MIB);

        tree_remove(t, "proc/13/status");
        assert_int_equal(locked_memory_of(t->fd, VM, &pid, &locked), -ESRCH);
        assert_int_equal(pid, 0);
}

static void expect_limit(const char *command, const char *status, uint64_t wanted) {
        _cleanup_tree_ Tree *t = tree_new();
        uint64_t limit;

        add_process(t, 20, command, status);
        tree_write(t, "proc/20/limits", "Limit                     Soft Limit           Hard Limit           Units\n"
                                        "Max processes             63000                63000                processes\n"
                                        "Max locked memory         1048576              67108864             bytes\n");
        assert_int_equal(locked_memory_limit(t->fd, &limit), wanted > 0 ? 0 : -ESRCH);
        if (wanted > 0)
                assert_int_equal(limit, wanted);
}

static void test_limit(void **state) {
        static const char root_can[] = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
                          root_cannot[] = "Uid:\t0\t0\t0\t0\nCapEff:\t000001fffeffffff\n",
                          user[] = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n";

        expect_limit("libvirtd", root_can, UINT64_MAX);
        expect_limit("libvirtd", root_cannot, 64 * MIB);
        expect_limit("virtqemud", root_cannot, 64 * MIB);
        expect_limit("libvirtd", user, 0);
        expect_limit("virtlogd", root_cannot, 0);
}

static void test_no_limit(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        uint64_t limit;

        add_process(t, 20, "libvirtd", "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\n");
        tree_write(t, "proc/20/limits", "Limit\nMax locked memory         unlimited            unlimited            bytes\n");
        assert_int_equal(locked_memory_limit(t->fd, &limit), 0);
        assert_int_equal(limit, UINT64_MAX);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_locked),
                cmocka_unit_test(test_limit),
                cmocka_unit_test(test_no_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
