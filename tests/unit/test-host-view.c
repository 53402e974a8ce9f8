/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One look at the host for many functions: what is read grows with the number of functions and no faster, and the
 * routes of each interface are found in it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/strv.h"
#include "host/sysfs.h"
#include "host/usage.h"
#include "tree.h"

static unsigned n_reads;

int __real_read_file_at(int dir_fd, const char *path, size_t max, char **ret);
int __wrap_read_file_at(int dir_fd, const char *path, size_t max, char **ret);
int __real_read_line_at(int dir_fd, const char *path, char **ret);
int __wrap_read_line_at(int dir_fd, const char *path, char **ret);
int __real_read_link_at(int dir_fd, const char *path, char **ret);
int __wrap_read_link_at(int dir_fd, const char *path, char **ret);
int __real_list_dir_at(int dir_fd, const char *path, char ***ret);
int __wrap_list_dir_at(int dir_fd, const char *path, char ***ret);

int __wrap_read_file_at(int dir_fd, const char *path, size_t max, char **ret) {
        n_reads++;
        return __real_read_file_at(dir_fd, path, max, ret);
}

int __wrap_read_line_at(int dir_fd, const char *path, char **ret) {
        n_reads++;
        return __real_read_line_at(dir_fd, path, ret);
}

int __wrap_read_link_at(int dir_fd, const char *path, char **ret) {
        n_reads++;
        return __real_read_link_at(dir_fd, path, ret);
}

int __wrap_list_dir_at(int dir_fd, const char *path, char ***ret) {
        n_reads++;
        return __real_list_dir_at(dir_fd, path, ret);
}

/* --- growth ----------------------------------------------------------------------------------------------- */

static void add_drive(Tree *t, unsigned n) {
        char address[32], controller[32], disk[32], number[32], nqn[64];
        _cleanup_free_ char *path = NULL;

        snprintf(address, sizeof(address), "0000:01:%02x.0", n);
        snprintf(controller, sizeof(controller), "nvme%u", n);
        snprintf(disk, sizeof(disk), "nvme%un1", n);
        snprintf(number, sizeof(number), "259:%u", n);
        snprintf(nqn, sizeof(nqn), "nqn.2019-08.org.qemu:nvme%u", n);
        path = tree_add_function(t, &(TreeFunction) { .address = address, .vendor = 0x144d, .device = 0xa808,
                                                      .class = 0x010802, .driver = "nvme", .reset_method = "flr",
                                                      .group = (int) n + 1 });
        tree_add_controller(t, path, controller, nqn);
        tree_add_namespace(t, path, controller, disk, number);
}

static void add_card(Tree *t, unsigned n) {
        char address[32], interface[32], directory[256];
        _cleanup_free_ char *path = NULL;

        snprintf(address, sizeof(address), "0000:02:%02x.0", n);
        snprintf(interface, sizeof(interface), "eth%u", n);
        path = tree_add_function(t, &(TreeFunction) { .address = address, .vendor = 0x8086, .device = 0x1572,
                                                      .class = 0x020000, .driver = "i40e", .reset_method = "flr",
                                                      .group = (int) n + 100 });
        snprintf(directory, sizeof(directory), "sys/devices/%s/net/%s", path, interface);
        tree_mkdir(t, directory);
        tree_link(t, PATH_TEXT("sys/class/net/%s", interface), directory);
        tree_write(t, PATH_TEXT("%s/flags", directory), "0x1002\n");
}

/* What is read for a host with so many drives and cards. */
static unsigned reads_of(unsigned n) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        _cleanup_host_view_ HostView view = HOST_VIEW(t->fd);

        for (unsigned i = 0; i < n; i++) {
                add_drive(t, i);
                add_card(t, i);
        }
        assert_int_equal(inventory_read(t->fd, &inventory), 0);

        n_reads = 0;
        for (size_t i = 0; i < inventory->n_devices; i++) {
                _cleanup_reasons_ Reasons reasons = {};

                assert_int_equal(usage_inspect_unit_in(&view, inventory, inventory->devices[i], &reasons), 0);
        }
        return n_reads;
}

static void test_reads_grow_with_the_host(void **state) {
        unsigned few = reads_of(5), more = reads_of(10), many = reads_of(15);

        assert_true(more > few);
        assert_int_equal(many - more, more - few);
}

/* --- routes ----------------------------------------------------------------------------------------------- */

static const char ipv4[] =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "wan0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        "lan1\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
        "wan0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
        "lan0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";

static const char ipv6[] =
        "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 "
        "00000000000000000000000000000000 00000100 00000001 00000000 00000001 quiet0\n"
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
        "fe800000000000000000000000000001 00000400 00000001 00000000 00000003 six0\n"
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
        "fe800000000000000000000000000001 00000400 00000001 00000000 00000003 lan0\n";

static void expect_route(const HostView *view, const char *interface, bool is_ipv4, bool is_default) {
        const HostRoute *route = host_view_route(view, interface);

        assert_non_null(route);
        assert_string_equal(route->interface, interface);
        assert_int_equal(route->is_ipv4, is_ipv4);
        assert_int_equal(route->is_default, is_default);
}

static void test_routes(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_host_view_ HostView view = HOST_VIEW(t->fd);

        tree_write(t, "proc/1/net/route", "%s", ipv4);
        tree_write(t, "proc/1/net/ipv6_route", "%s", ipv6);
        assert_int_equal(host_view_routes(&view), 0);

        assert_int_equal(view.n_routes, 4);
        expect_route(&view, "wan0", true, true);
        expect_route(&view, "lan1", true, false);
        expect_route(&view, "lan0", true, true);
        expect_route(&view, "six0", false, true);
        assert_null(host_view_route(&view, "quiet0"));
        assert_null(host_view_route(&view, "lan"));
        assert_null(host_view_route(&view, "a-name-that-no-interface-can-have"));
}

static void test_no_routes(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_host_view_ HostView view = HOST_VIEW(t->fd);

        assert_int_equal(host_view_routes(&view), 0);
        assert_null(host_view_route(&view, "eth0"));
}

/* Each part is read when it is first needed, and is the same until the view is cleared. */
static void test_once(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_host_view_ HostView view = HOST_VIEW(t->fd);
        const HostUse *use;

        add_drive(t, 0);
        assert_int_equal(host_view_disks(&view), 0);
        assert_int_equal(view.n_disks, 1);
        assert_int_equal(view.n_controllers, 1);
        assert_int_equal(host_view_use(&view, &use), 0);

        add_drive(t, 1);
        n_reads = 0;
        assert_int_equal(host_view_disks(&view), 0);
        assert_int_equal(host_view_use(&view, &use), 0);
        assert_int_equal(n_reads, 0);
        assert_int_equal(view.n_disks, 1);

        host_view_clear(&view);
        assert_int_equal(host_view_disks(&view), 0);
        assert_int_equal(view.n_disks, 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_reads_grow_with_the_host),
                cmocka_unit_test(test_routes),
                cmocka_unit_test(test_no_routes),
                cmocka_unit_test(test_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
