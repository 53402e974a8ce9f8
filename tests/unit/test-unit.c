/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* IOMMU groups, and which functions move together. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/strv.h"
#include "host/pci.h"
#include "tree.h"

static char *list_to_string(const DeviceList *l) {
        _cleanup_strv_ char **addresses = NULL;

        for (size_t i = 0; i < l->n; i++)
                assert_int_equal(strv_push(&addresses, PCI_ADDRESS_TEXT(&l->items[i]->address)), 0);
        return strv_join(addresses, " ");
}

typedef int (*Query)(const Inventory *inventory, const PciDevice *device, DeviceList *ret);

static void expect(Tree *t, Query query, const char *address, const char *expected) {
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        _cleanup_device_list_ DeviceList l = {};
        PciAddress a;

        assert_int_equal(inventory_read(t->fd, &inventory), 0);
        assert_int_equal(pci_address_parse(address, &a), 0);
        assert_int_equal(query(inventory, inventory_find(inventory, &a), &l), 0);

        _cleanup_free_ char *found = list_to_string(&l);
        assert_string_equal(found, expected);
        assert_true(device_list_contains(&l, &a));
}

#define expect_unit(t, address, expected) expect(t, inventory_unit, address, expected)
#define expect_group(t, address, expected) expect(t, inventory_group, address, expected)

static char *add_port(Tree *t, const char *address, int group) {
        return tree_add_function(t, &(TreeFunction) { .address = address,
                                                     .vendor = 0x8086,
                                                     .device = 0x1901,
                                                     .class = 0x060400,
                                                     .driver = "pcieport",
                                                     .bridge = true,
                                                     .group = group });
}

static void add(Tree *t, const char *below, const char *address, unsigned class, int group,
                const char *reset_method) {
        free(tree_add_function(t, &(TreeFunction) { .below = below,
                                                   .address = address,
                                                   .vendor = 0x10de,
                                                   .device = 0x1c82,
                                                   .class = class,
                                                   .group = group,
                                                   .reset_method = reset_method }));
}

static void test_single(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *port = add_port(t, "0000:00:01.0", 1);

        add(t, port, "0000:01:00.0", 0x010802, 2, "flr bus");
        add(t, NULL, "0000:00:1f.0", 0x0c0500, 0, NULL);

        expect_unit(t, "0000:01:00.0", "0000:01:00.0");
        expect_group(t, "0000:01:00.0", "0000:01:00.0");
        expect_unit(t, "0000:00:1f.0", "0000:00:1f.0");
        expect_group(t, "0000:00:1f.0", "0000:00:1f.0");
}

/* A graphics card without ACS above it: the port is in the group, but stays. */
static void test_group(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *port = add_port(t, "0000:00:01.0", 1);

        add(t, port, "0000:01:00.0", 0x030000, 1, "flr");
        add(t, port, "0000:01:00.1", 0x040300, 1, "flr");
        add(t, port, "0000:01:00.2", 0x0c0330, 1, "flr");
        add(t, port, "0000:01:00.3", 0x0c8000, 1, "flr");

        expect_group(t, "0000:01:00.1",
                     "0000:00:01.0 0000:01:00.0 0000:01:00.1 0000:01:00.2 0000:01:00.3");
        expect_unit(t, "0000:01:00.0", "0000:01:00.0 0000:01:00.1 0000:01:00.2 0000:01:00.3");
        expect_unit(t, "0000:01:00.1", "0000:01:00.0 0000:01:00.1 0000:01:00.2 0000:01:00.3");
        expect_unit(t, "0000:00:01.0", "0000:00:01.0");
}

/* Each function in a group of its own: display, audio and USB still belong together, others do
 * not. */
static void test_slot(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *port = add_port(t, "0000:00:01.0", 1);

        add(t, port, "0000:01:00.0", 0x030200, 2, "flr");
        add(t, port, "0000:01:00.1", 0x040300, 3, "flr");
        add(t, port, "0000:01:00.2", 0x0c0330, 4, "flr");
        add(t, port, "0000:01:00.3", 0x020000, 5, "flr");
        /* The chipset's: no display in the slot. */
        add(t, NULL, "0000:00:14.0", 0x0c0330, 6, "pm");
        add(t, NULL, "0000:00:14.3", 0x040300, 7, "pm");

        expect_unit(t, "0000:01:00.2", "0000:01:00.0 0000:01:00.1 0000:01:00.2");
        expect_unit(t, "0000:01:00.3", "0000:01:00.3");
        expect_unit(t, "0000:00:14.0", "0000:00:14.0");
}

static void expect_kind(const Inventory *inventory, const char *address, DeviceKind kind) {
        PciAddress a;

        assert_int_equal(pci_address_parse(address, &a), 0);
        assert_int_equal(inventory_card_kind(inventory, inventory_find(inventory, &a)), kind);
}

/* What is part of a graphics card, and what is only beside it: in its slot, or in its group. */
static void test_card(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *port = add_port(t, "0000:00:01.0", 1);
        _cleanup_(inventory_freep) Inventory *inventory = NULL;

        add(t, port, "0000:01:00.0", 0x030000, 2, "flr");
        add(t, port, "0000:01:00.1", 0x040300, 2, "flr");
        add(t, port, "0000:01:00.2", 0x0c0330, 3, "flr");
        add(t, port, "0000:01:00.3", 0x0c8000, 4, "flr");
        add(t, port, "0000:01:00.4", 0x020000, 2, "flr");
        add(t, port, "0000:01:00.5", 0x010802, 2, "flr");
        add(t, port, "0000:02:00.0", 0x040300, 2, "flr");
        add(t, NULL, "0000:00:14.0", 0x0c8000, 6, "pm");
        assert_int_equal(inventory_read(t->fd, &inventory), 0);

        expect_kind(inventory, "0000:01:00.0", KIND_GPU);
        expect_kind(inventory, "0000:01:00.1", KIND_GPU);
        expect_kind(inventory, "0000:01:00.2", KIND_GPU);
        expect_kind(inventory, "0000:01:00.3", KIND_GPU);
        expect_kind(inventory, "0000:01:00.4", KIND_NETWORK);
        expect_kind(inventory, "0000:01:00.5", KIND_NVME);
        expect_kind(inventory, "0000:02:00.0", KIND_AUDIO);
        expect_kind(inventory, "0000:00:14.0", KIND_OTHER);

        expect_unit(t, "0000:01:00.3", "0000:01:00.0 0000:01:00.1 0000:01:00.2 0000:01:00.3 0000:01:00.4 "
                                       "0000:01:00.5 0000:02:00.0");
}

/* What a sibling's group holds moves too: each group has to be viable. */
static void test_closure(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *port = add_port(t, "0000:00:01.0", 1);

        add(t, port, "0000:01:00.0", 0x030000, 2, "flr");
        add(t, port, "0000:01:00.1", 0x040300, 3, "flr");
        add(t, NULL, "0000:00:1f.3", 0x0c0500, 3, "pm");

        expect_unit(t, "0000:01:00.0", "0000:00:1f.3 0000:01:00.0 0000:01:00.1");
}

/* Without a reset of its own, the bus below the bridge is reset, and all on it with it. */
static void test_reset(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *port = add_port(t, "0000:00:01.0", 1);
        _cleanup_free_ char *bridge = tree_add_function(t,
                                                        &(TreeFunction) { .below = port,
                                                                         .address = "0000:01:02.0",
                                                                         .vendor = 1,
                                                                         .device = 1,
                                                                         .class = 0x060400,
                                                                         .bridge = true,
                                                                         .group = 4 });

        add(t, port, "0000:01:00.0", 0x020000, 2, "bus");
        add(t, port, "0000:01:01.0", 0x010802, 3, "flr bus");
        add(t, bridge, "0000:02:00.0", 0x0c0330, 5, "flr");
        add(t, NULL, "0000:00:02.0", 0x020000, 6, NULL);
        add(t, NULL, "0000:00:03.0", 0x020000, 7, NULL);

        expect_unit(t, "0000:01:00.0", "0000:01:00.0 0000:01:01.0 0000:02:00.0");
        expect_unit(t, "0000:01:01.0", "0000:01:01.0");
        /* On the root bus there is none. */
        expect_unit(t, "0000:00:02.0", "0000:00:02.0");
}

static void add_function_of(Tree *t, const char *port, const char *address, unsigned class,
                            const char *physfn, int group) {
        free(tree_add_function(t, &(TreeFunction) { .below = port,
                                                   .address = address,
                                                   .vendor = 0x8086,
                                                   .device = 0x154c,
                                                   .class = class,
                                                   .group = group,
                                                   .physfn = physfn,
                                                   .reset_method = "flr" }));
}

/* One group for all: a virtual function moves with its like, never with the physical one. */
static void test_virtual_functions(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *port = add_port(t, "0000:00:01.0", 1);

        add_function_of(t, port, "0000:03:00.0", 0x020000, NULL, 2);
        add_function_of(t, port, "0000:03:02.0", 0x020000, "0000:03:00.0", 2);
        add_function_of(t, port, "0000:03:02.1", 0x020000, "0000:03:00.0", 2);

        expect_unit(t, "0000:03:02.0", "0000:03:02.0 0000:03:02.1");
        expect_unit(t, "0000:03:00.0", "0000:03:00.0");
}

/* A graphics function that is virtual lends its kind to nothing beside it. */
static void test_card_of_virtual_functions(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *port = add_port(t, "0000:00:01.0", 1);
        _cleanup_(inventory_freep) Inventory *inventory = NULL;

        add_function_of(t, port, "0000:03:00.0", 0x030000, NULL, 2);
        add_function_of(t, port, "0000:03:02.0", 0x030000, "0000:03:00.0", 3);
        add(t, port, "0000:03:02.1", 0x040300, 4, "flr");
        assert_int_equal(inventory_read(t->fd, &inventory), 0);

        expect_kind(inventory, "0000:03:02.1", KIND_AUDIO);
        expect_unit(t, "0000:03:02.1", "0000:03:02.1");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_single),  cmocka_unit_test(test_group),
                cmocka_unit_test(test_slot),    cmocka_unit_test(test_closure),
                cmocka_unit_test(test_card),    cmocka_unit_test(test_card_of_virtual_functions),
                cmocka_unit_test(test_reset),   cmocka_unit_test(test_virtual_functions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
