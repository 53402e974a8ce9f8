/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a function that was moved or reset must answer with. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/health.h"
#include "tree.h"

#define DEVICE "sys/bus/pci/devices/0000:01:00.0/"

typedef struct Fixture {
        Tree *tree;
        Inventory *inventory;
        PciDevice *device;
} Fixture;

static int setup(void **state) {
        static Fixture f;
        const PciAddress address = { .bus = 1 };

        f.tree = tree_new();
        free(tree_add_function(f.tree, &(TreeFunction) { .address = "0000:01:00.0",
                                                         .below = "pci0000:00/0000:00:01.0",
                                                         .vendor = 0x1b36,
                                                         .device = 0x10,
                                                         .class = 0x010802 }));
        assert_int_equal(inventory_read(f.tree->fd, &f.inventory), 0);
        f.device = inventory_find(f.inventory, &address);
        *state = &f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        inventory_free(f->inventory);
        tree_free(f->tree);
        return 0;
}

static void set_header(const Fixture *f, unsigned vendor, unsigned device, unsigned char type) {
        unsigned char header[64] = {
                [0] = vendor & 0xff, [1] = (unsigned char) (vendor >> 8),
                [2] = device & 0xff, [3] = (unsigned char) (device >> 8),
                [14] = type,
        };
        tree_write_bytes(f->tree, DEVICE "config", header, sizeof(header));
}

static void assert_ill(const Fixture *f, const char *words) {
        _cleanup_error_ Error error = ERROR_INIT;

        assert_true(health_check_powered(f->tree->fd, f->device, &error) < 0);
        assert_int_equal(error.code, ERROR_RESET_FAILED);
        assert_non_null(strstr(error.message, words));
}

static void assert_well(const Fixture *f) {
        assert_int_equal(health_check_powered(f->tree->fd, f->device, NULL), 0);
}

static void test_header(void **state) {
        const Fixture *f = *state;
        unsigned char ones[64];

        assert_well(f);
        set_header(f, 0x1b36, 0x10, 0x80); /* one of several functions of its slot */
        assert_well(f);

        memset(ones, 0xff, sizeof(ones));
        tree_write_bytes(f->tree, DEVICE "config", ones, sizeof(ones));
        assert_ill(f, "does not answer on the bus");

        set_header(f, 0x1b36, 0x11, 0);
        assert_ill(f, "answers as 1b36:0011 now, but it is 1b36:0010");
        set_header(f, 0, 0, 0);
        assert_ill(f, "answers as 0000:0000");
        set_header(f, 0x1b36, 0x10, 0x7f);
        assert_ill(f, "type 7f");
        set_header(f, 0x1b36, 0x10, 1);
        assert_ill(f, "type 01");

        tree_write_bytes(f->tree, DEVICE "config", ones, 7);
        assert_ill(f, "cannot be read");
        tree_remove(f->tree, DEVICE "config");
        assert_ill(f, "No such file");
}

/* Their IDs are those of the physical function; what they answer themselves is ones. */
static void test_virtual_function(void **state) {
        Fixture *f = *state;
        unsigned char ones[64];

        f->device->is_vf = true;
        set_header(f, 0xffff, 0xffff, 0);
        assert_well(f);

        memset(ones, 0xff, sizeof(ones));
        tree_write_bytes(f->tree, DEVICE "config", ones, sizeof(ones));
        assert_ill(f, "does not answer");
}

static void test_power(void **state) {
        const Fixture *f = *state;

        tree_write(f->tree, DEVICE "power_state", "D0\n");
        assert_well(f);
        tree_write(f->tree, DEVICE "power_state", "unknown\n");
        assert_well(f);
        tree_write(f->tree, DEVICE "power_state", "D3cold\n");
        assert_ill(f, "power state D3cold");

        /* At home it may sleep. */
        assert_int_equal(health_check(f->tree->fd, f->device, NULL), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_header),
                TEST(test_virtual_function),
                TEST(test_power),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
