/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The host's picture on a display that is given away: what is found, let go and put back. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "host/console.h"
#include "tree.h"

#define GPU "0000:01:00.0"
#define GPU_PATH "pci0000:00/0000:00:01.0/" GPU
#define VTCON "sys/class/vtconsole/vtcon1/"
#define PLATFORM "sys/bus/platform/devices/efi-framebuffer.0"

static struct Kernel {
        Tree *tree;
        bool refuses;
} kernel;

int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value);
int __real_write_attribute_at(int dir_fd, const char *path, const char *value);

int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value) {
        if (kernel.refuses)
                return 0; /* says yes, and does nothing: it is read back */
        if (streq(path, PLATFORM "/driver/unbind")) {
                assert_string_equal(value, "efi-framebuffer.0");
                tree_remove(kernel.tree, PLATFORM "/driver");
                return 0;
        }
        return __real_write_attribute_at(dir_fd, path, value);
}

static int setup(void **state) {
        Tree *t = tree_new();

        free(tree_add_function(
                t, &(TreeFunction) { .below = "pci0000:00/0000:00:01.0", .address = GPU, .vendor = 0x10de,
                                     .device = 1, .class = 0x030000, .boot_vga = "1", .group = 1 }));
        tree_write(t, "sys/class/vtconsole/vtcon0/name", "(S) dummy device\n");
        tree_write(t, "sys/class/vtconsole/vtcon0/bind", "0\n");
        tree_write(t, VTCON "name", "(M) frame buffer device\n");
        tree_write(t, VTCON "bind", "1\n");
        kernel = (struct Kernel) { .tree = t };
        return 0;
}

static int teardown(void **state) {
        kernel.tree = tree_free(kernel.tree);
        return 0;
}

static void framebuffer_of_the_card(void) {
        tree_mkdir(kernel.tree, "sys/devices/" GPU_PATH "/graphics/fb0");
        tree_link(kernel.tree, "sys/class/graphics/fb0", "sys/devices/" GPU_PATH "/graphics/fb0");
}

static void framebuffer_of_the_firmware(void) {
        tree_mkdir(kernel.tree, "sys/devices/platform/efi-framebuffer.0/graphics/fb0");
        tree_link(kernel.tree, "sys/class/graphics/fb0", "sys/devices/platform/efi-framebuffer.0/graphics/fb0");
        tree_mkdir(kernel.tree, PLATFORM);
        tree_symlink(kernel.tree, PLATFORM "/driver", "../../drivers/efi-framebuffer");
        tree_mkdir(kernel.tree, "sys/bus/platform/drivers/efi-framebuffer");
        tree_write(kernel.tree, "proc/iomem",
                   "c0000000-cfffffff : " GPU "\n  c0000000-c02fffff : BOOTFB\n");
}

static void find(DeviceState *found) {
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        PciAddress address;

        assert_int_equal(inventory_read(kernel.tree->fd, &inventory), 0);
        assert_int_equal(pci_address_parse(GPU, &address), 0);
        assert_int_equal(console_find(kernel.tree->fd, inventory_find(inventory, &address), found), 0);
}

static void assert_console(const char *bound) {
        _cleanup_free_ char *line = NULL;

        assert_int_equal(read_line_at(kernel.tree->fd, VTCON "bind", &line), 0);
        assert_string_equal(line, bound);
}

static void test_console_goes_and_comes_back(void **state) {
        _cleanup_device_state_ DeviceState found = {};
        _cleanup_error_ Error error = ERROR_INIT;

        framebuffer_of_the_card();
        find(&found);
        assert_string_equal(found.console, "vtcon1");
        assert_null(found.firmware_framebuffer);

        assert_int_equal(console_let_go(kernel.tree->fd, &found, &error), 0);
        assert_console("0");
        assert_int_equal(console_take_back(kernel.tree->fd, &found), 0);
        assert_console("1");
}

static void test_firmware_framebuffer_goes(void **state) {
        _cleanup_device_state_ DeviceState found = {};
        _cleanup_error_ Error error = ERROR_INIT;

        framebuffer_of_the_firmware();
        find(&found);
        assert_string_equal(found.console, "vtcon1");
        assert_string_equal(found.firmware_framebuffer, "efi-framebuffer.0");

        assert_int_equal(console_let_go(kernel.tree->fd, &found, &error), 0);
        assert_console("0");
        assert_false(tree_exists(kernel.tree, PLATFORM "/driver"));
        assert_int_equal(console_let_go(kernel.tree->fd, &found, &error), 0);
}

static void test_console_elsewhere_stays(void **state) {
        _cleanup_device_state_ DeviceState found = {};
        _cleanup_error_ Error error = ERROR_INIT;

        tree_mkdir(kernel.tree, "sys/devices/pci0000:00/0000:00:02.0/graphics/fb0");
        tree_link(kernel.tree, "sys/class/graphics/fb0", "sys/devices/pci0000:00/0000:00:02.0/graphics/fb0");
        find(&found);
        assert_null(found.console);
        assert_int_equal(console_let_go(kernel.tree->fd, &found, &error), 0);
        assert_console("1");
}

static void test_refusal_of_the_kernel_is_said(void **state) {
        _cleanup_device_state_ DeviceState found = {};
        _cleanup_error_ Error error = ERROR_INIT, other = ERROR_INIT;

        framebuffer_of_the_firmware();
        find(&found);
        kernel.refuses = true;
        assert_true(console_let_go(kernel.tree->fd, &found, &error) < 0);
        assert_int_equal(error.code, ERROR_BIND_FAILED);
        assert_non_null(strstr(error.message, "vtcon1"));

        tree_write(kernel.tree, VTCON "bind", "0\n");
        assert_true(console_let_go(kernel.tree->fd, &found, &other) < 0);
        assert_non_null(strstr(other.message, "efi-framebuffer.0"));
        assert_true(console_take_back(kernel.tree->fd, &found) < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_console_goes_and_comes_back, setup, teardown),
                cmocka_unit_test_setup_teardown(test_firmware_framebuffer_goes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_console_elsewhere_stays, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refusal_of_the_kernel_is_said, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
