/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The inventory, as read from trees like those of real hosts. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>

#include "base/strv.h"
#include "host/pci.h"
#include "tree.h"

#define GPU "0000:01:00.0"
#define NQN "nqn.2014.08.org.nvmexpress:uuid:1"

static Inventory *inventory_of(Tree *t) {
        Inventory *inventory = NULL;

        assert_int_equal(inventory_read(t->fd, &inventory), 0);
        return inventory;
}

static PciDevice *device_at(const Inventory *inventory, const char *address) {
        PciAddress a;

        assert_int_equal(pci_address_parse(address, &a), 0);
        return inventory_find(inventory, &a);
}

static char *add_root_port(Tree *t, const char *address, int group) {
        return tree_add_function(t, &(TreeFunction) { .address = address,
                                                     .vendor = 0x8086,
                                                     .device = 0x1901,
                                                     .class = 0x060400,
                                                     .driver = "pcieport",
                                                     .bridge = true,
                                                     .group = group });
}

static void test_empty(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_(inventory_freep) Inventory *inventory = inventory_of(t);

        assert_int_equal(inventory->n_devices, 0);
        assert_false(inventory->has_iommu);
}

static void test_no_pci(void **state) {
        _cleanup_tree_ Tree *t = tree_new();

        tree_remove(t, "sys/bus/pci/devices");
        _cleanup_(inventory_freep) Inventory *inventory = inventory_of(t);
        assert_int_equal(inventory->n_devices, 0);
}

static void test_attributes(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *port = add_root_port(t, "0000:00:01.0", 1);

        free(tree_add_function(t, &(TreeFunction) {
                .below = port, .address = GPU, .vendor = 0x10de, .device = 0x1c82,
                .subsystem_vendor = 0x1462, .subsystem_device = 0x8c96, .class = 0x030000,
                .driver = "nouveau", .group = 1, .boot_vga = "1", .reset_method = "flr bus" }));
        tree_write(t, "sys/bus/pci/devices/" GPU "/numa_node", "1\n");
        tree_add_iommu(t, "dmar0");

        _cleanup_(inventory_freep) Inventory *inventory = inventory_of(t);
        assert_int_equal(inventory->n_devices, 2);
        assert_true(inventory->has_iommu);

        const PciDevice *d = device_at(inventory, GPU);
        assert_non_null(d);
        assert_int_equal(d->vendor_id, 0x10de);
        assert_int_equal(d->device_id, 0x1c82);
        assert_int_equal(d->subsystem_vendor_id, 0x1462);
        assert_int_equal(d->subsystem_device_id, 0x8c96);
        assert_int_equal(d->class, 0x030000);
        assert_int_equal(d->kind, KIND_GPU);
        assert_true(d->endpoint);
        assert_true(d->boot_vga);
        assert_string_equal(d->driver, "nouveau");
        assert_int_equal(d->iommu_group, 1);
        assert_int_equal(d->numa_node, 1);
        assert_string_equal(d->slot_path, "pci0000:00/0000:00:01.0/" GPU);
        assert_int_equal(strv_length(d->reset_methods), 2);
        assert_string_equal(d->reset_methods[0], "flr");
        assert_string_equal(d->reset_methods[1], "bus");
        assert_false(d->is_vf);
        assert_false(pci_device_is_integrated(d));

        const PciDevice *bridge = device_at(inventory, "0000:00:01.0");
        assert_int_equal(bridge->kind, KIND_BRIDGE);
        assert_false(bridge->endpoint);
        assert_int_equal(bridge->numa_node, -1);
        assert_null(bridge->reset_methods);
        assert_true(pci_device_is_integrated(bridge));
}

static void test_bare(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        free(tree_add_function(t, &(TreeFunction) { .address = "0000:00:02.0",
                                                   .vendor = 0x8086,
                                                   .device = 0x3e92,
                                                   .class = 0x030000,
                                                   .boot_vga = "0" }));
        tree_remove(t, "sys/devices/pci0000:00/0000:00:02.0/modalias");
        tree_remove(t, "sys/devices/pci0000:00/0000:00:02.0/numa_node");

        _cleanup_(inventory_freep) Inventory *inventory = inventory_of(t);
        const PciDevice *d = device_at(inventory, "0000:00:02.0");

        assert_int_equal(d->vendor_id, 0x8086);
        assert_int_equal(d->device_id, 0x3e92);
        assert_int_equal(d->class, 0x030000);
        assert_null(d->driver);
        assert_int_equal(d->iommu_group, -1);
        assert_int_equal(d->numa_node, -1);
        assert_false(d->boot_vga);
        assert_false(inventory->has_iommu);
}

static void test_kinds(void **state) {
        static const struct {
                unsigned class;
                DeviceKind kind;
        } cases[] = {
                { 0x030000, KIND_GPU },     { 0x030200, KIND_GPU },     { 0x038000, KIND_GPU },
                { 0x010802, KIND_NVME },    { 0x040100, KIND_AUDIO },   { 0x040300, KIND_AUDIO },
                { 0x0c0330, KIND_USB },     { 0x020000, KIND_NETWORK }, { 0x028000, KIND_NETWORK },
                { 0x010601, KIND_STORAGE }, { 0x010400, KIND_STORAGE }, { 0x060100, KIND_BRIDGE },
                { 0x060000, KIND_BRIDGE },  { 0x0c0500, KIND_OTHER },   { 0xff0000, KIND_OTHER },
        };
        _cleanup_tree_ Tree *t = tree_new();

        for (unsigned i = 0; i < ELEMENTSOF(cases); i++) {
                char address[16];

                snprintf(address, sizeof(address), "0000:00:%02x.0", i);
                free(tree_add_function(t, &(TreeFunction) { .address = address,
                                                           .vendor = 0x1234,
                                                           .device = i,
                                                           .class = cases[i].class }));
        }

        _cleanup_(inventory_freep) Inventory *inventory = inventory_of(t);
        assert_int_equal(inventory->n_devices, ELEMENTSOF(cases));
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(inventory->devices[i]->kind, cases[i].kind);

        for (int kind = 0; kind < _KIND_MAX; kind++)
                assert_int_equal(device_kind_from_string(device_kind_to_string((DeviceKind) kind)),
                                 kind);
        assert_int_equal(device_kind_from_string("gpus"), -EINVAL);
        assert_int_equal(device_kind_from_string(NULL), -EINVAL);
}

static void test_nvme_serial(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *path = tree_add_function(t, &(TreeFunction) {
                .address = "0000:00:04.0", .vendor = 0x1b36, .device = 0x0010, .class = 0x010802,
                .driver = "nvme", .group = 4 });
        tree_add_controller(t, path, "nvme0", NQN);

        _cleanup_(inventory_freep) Inventory *inventory = inventory_of(t);
        assert_string_equal(inventory->devices[0]->serial, "S1234");
}

/* The serial number counts only from a controller that is live, whatever it reads as. */
static void test_nvme_states(void **state) {
        static const struct {
                const char *state, *serial;
                NvmePhase phase;
                const char *believed;
        } cases[] = {
                { "new", "(efault)", NVME_AT_WORK, NULL },
                { "connecting", "(efault)", NVME_AT_WORK, NULL },
                { "connecting", "S1", NVME_AT_WORK, NULL },
                { "live", "S1", NVME_LIVE, "S1" },
                { "live", "(efault)", NVME_LIVE, NULL },
                { "live", "(null)", NVME_LIVE, NULL },
                { "live", "", NVME_LIVE, NULL },
                { "resetting", "S1", NVME_AT_WORK, NULL },
                { "resetting", "(efault)", NVME_AT_WORK, NULL },
                { "deleting", "S1", NVME_AT_WORK, NULL },
                { "deleting (no IO)", "S1", NVME_AT_WORK, NULL },
                { "dead", "S1", NVME_DEAD, NULL },
                { "unknown state", "S1", NVME_AT_WORK, NULL },
                { "", "S1", NVME_AT_WORK, NULL },
                { NULL, "S1", NVME_LIVE, "S1" },
                { NULL, "(efault)", NVME_AT_WORK, NULL },
                { NULL, "", NVME_LIVE, NULL },
        };
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *path = tree_add_function(t, &(TreeFunction) {
                .address = "0000:00:04.0", .vendor = 0x1b36, .device = 0x0010, .class = 0x010802,
                .driver = "nvme", .group = 4 });

        tree_add_controller(t, path, "nvme0", NQN);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                tree_set_controller(t, path, "nvme0", cases[i].state, cases[i].serial);
                _cleanup_(inventory_freep) Inventory *inventory = inventory_of(t);
                const PciDevice *d = inventory->devices[0];

                if (d->nvme != cases[i].phase || !streq_ptr(d->serial, cases[i].believed))
                        fail_msg("'%s', '%s': %d, %s", str_na(cases[i].state), cases[i].serial, (int) d->nvme,
                                 str_na(d->serial));
        }
}

/* The driver has it and has no controller yet; the old one is not gone yet; another driver has it. */
static void test_nvme_controllers(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *path = tree_add_function(t, &(TreeFunction) {
                .address = "0000:00:04.0", .vendor = 0x1b36, .device = 0x0010, .class = 0x010802,
                .driver = "nvme", .group = 4 });
        Inventory *inventory = inventory_of(t);

        assert_int_equal(inventory->devices[0]->nvme, NVME_AT_WORK);
        assert_null(inventory->devices[0]->serial);
        inventory_free(inventory);

        /* Its directory comes first. */
        tree_mkdir(t, "sys/bus/pci/devices/0000:00:04.0/nvme/nvme0");
        inventory = inventory_of(t);
        assert_int_equal(inventory->devices[0]->nvme, NVME_AT_WORK);
        inventory_free(inventory);

        tree_add_controller(t, path, "nvme0", NQN);
        tree_set_controller(t, path, "nvme0", "deleting", "S1");
        tree_add_controller(t, path, "nvme1", NQN);
        tree_set_controller(t, path, "nvme1", "live", "S2");
        inventory = inventory_of(t);
        assert_int_equal(inventory->devices[0]->nvme, NVME_LIVE);
        assert_string_equal(inventory->devices[0]->serial, "S2");
        inventory_free(inventory);

        tree_set_driver(t, "0000:00:04.0", "vfio-pci");
        inventory = inventory_of(t);
        assert_int_equal(inventory->devices[0]->nvme, NVME_NONE);
        assert_null(inventory->devices[0]->serial);
        inventory_free(inventory);
}

static void test_virtual_functions(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *port = add_root_port(t, "0000:00:01.0", 1);
        free(tree_add_function(t, &(TreeFunction) { .below = port,
                                                   .address = "0000:03:00.0",
                                                   .vendor = 0x8086,
                                                   .device = 0x1572,
                                                   .class = 0x020000,
                                                   .driver = "i40e",
                                                   .group = 2 }));
        free(tree_add_function(t, &(TreeFunction) { .below = port,
                                                   .address = "0000:03:02.0",
                                                   .vendor = 0x8086,
                                                   .device = 0x154c,
                                                   .class = 0x020000,
                                                   .group = 3,
                                                   .physfn = "0000:03:00.0" }));
        free(tree_add_function(t, &(TreeFunction) { .below = port,
                                                   .address = "0000:03:02.1",
                                                   .vendor = 0x8086,
                                                   .device = 0x154c,
                                                   .class = 0x020000,
                                                   .group = 4,
                                                   .physfn = "0000:03:00.0" }));

        _cleanup_(inventory_freep) Inventory *inventory = inventory_of(t);
        const PciDevice *physical = device_at(inventory, "0000:03:00.0");
        const PciDevice *virtual = device_at(inventory, "0000:03:02.1");

        assert_int_equal(physical->n_vfs, 2);
        assert_false(physical->is_vf);
        assert_true(virtual->is_vf);
        assert_true(pci_address_equal(&virtual->physical_function, &physical->address));
}

static void test_order(void **state) {
        static const char *const addresses[] = { "10000:01:00.0", "0000:0a:00.0", "0000:02:00.0",
                                                 "0001:00:00.0" };
        _cleanup_tree_ Tree *t = tree_new();

        for (size_t i = 0; i < ELEMENTSOF(addresses); i++)
                free(tree_add_function(
                        t, &(TreeFunction) { .address = addresses[i], .vendor = 1, .device = 1 }));

        _cleanup_(inventory_freep) Inventory *inventory = inventory_of(t);
        assert_int_equal(inventory->n_devices, 4);
        for (size_t i = 0; i + 1 < inventory->n_devices; i++)
                assert_true(pci_address_compare(&inventory->devices[i]->address,
                                                &inventory->devices[i + 1]->address) < 0);
        assert_null(device_at(inventory, "0000:03:00.0"));
}

/* What goes away while it is read is left out, and so is what is no function. */
static void test_vanished(void **state) {
        _cleanup_tree_ Tree *t = tree_new();

        free(tree_add_function(
                t, &(TreeFunction) { .address = "0000:00:02.0", .vendor = 1, .device = 1 }));
        tree_symlink(t, "sys/bus/pci/devices/0000:00:03.0",
                     "../../../devices/pci0000:00/0000:00:03.0");
        tree_mkdir(t, "sys/bus/pci/devices/junk");

        _cleanup_(inventory_freep) Inventory *inventory = inventory_of(t);
        assert_int_equal(inventory->n_devices, 1);
}

/* VMD: a PCI domain of its own below a function; ARM: a platform device above the root bus. */
static void test_odd_places(void **state) {
        _cleanup_tree_ Tree *t = tree_new();

        free(tree_add_function(t, &(TreeFunction) { .below = "pci0000:00/0000:00:0e.0/pci10000:e0",
                                                   .address = "10000:e0:06.0",
                                                   .vendor = 1,
                                                   .device = 1 }));
        free(tree_add_function(t, &(TreeFunction) { .below = "platform/40000000.pcie/pci0000:00",
                                                   .address = "0000:00:01.0",
                                                   .vendor = 1,
                                                   .device = 1 }));

        _cleanup_(inventory_freep) Inventory *inventory = inventory_of(t);
        assert_string_equal(inventory->devices[0]->slot_path,
                            "platform/40000000.pcie/pci0000:00/0000:00:01.0");
        assert_true(pci_device_is_integrated(inventory->devices[0]));
        assert_string_equal(inventory->devices[1]->slot_path,
                            "pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0");
}

/* The machine that runs the test, whatever it has. */
static void test_this_host(void **state) {
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        _cleanup_close_ int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(root_fd >= 0);
        assert_int_equal(inventory_read(root_fd, &inventory), 0);
        for (size_t i = 0; i < inventory->n_devices; i++)
                assert_non_null(inventory->devices[i]->slot_path);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_empty),        cmocka_unit_test(test_no_pci),
                cmocka_unit_test(test_attributes),   cmocka_unit_test(test_bare),
                cmocka_unit_test(test_kinds),        cmocka_unit_test(test_nvme_serial),
                cmocka_unit_test(test_nvme_states),
                cmocka_unit_test(test_nvme_controllers),
                cmocka_unit_test(test_virtual_functions), cmocka_unit_test(test_order),
                cmocka_unit_test(test_vanished),     cmocka_unit_test(test_odd_places),
                cmocka_unit_test(test_this_host),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
