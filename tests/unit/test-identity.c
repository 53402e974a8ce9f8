/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Devices that are found again after their addresses changed, and those that must not be mistaken for them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/strv.h"
#include "core/driver-wait.h"
#include "core/identity.h"
#include "core/manager.h"
#include "tree.h"

typedef struct Fixture {
        Tree *tree;
        Manager manager;
        Vm *vm;
} Fixture;

static Vm *add_vm(Fixture *f, const char *name) {
        VmSpec *spec = vm_spec_new();
        Vm *vm;

        assert_non_null(spec);
        spec->name = strdup(name);
        assert_non_null(spec->name);
        (void) snprintf(spec->uuid, sizeof(spec->uuid), "41e1d301-60ba-482f-95ac-c60ad74578a%zu",
                        f->manager.n_vms);
        assert_int_equal(vm_new(&f->manager, spec, &vm), 0);
        return vm;
}

static void make_tree(Fixture *f) {
        f->tree = tree_new();
        tree_mkdir(f->tree, "claims");
        tree_add_iommu(f->tree, "dmar0");
        f->manager.root_fd = f->tree->fd;
        f->manager.claims_fd = open_dir_at(f->tree->fd, "claims");
        assert_true(f->manager.claims_fd >= 0);
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        make_tree(f);
        f->manager.boot_id = strdup("this-boot");
        assert_true(sd_event_new(&f->manager.event) >= 0);
        f->vm = add_vm(f, "gaming");
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        while (f->manager.n_vms > 0)
                vm_free(f->manager.vms[0]);
        free(f->manager.vms);
        devices_clear(&f->manager.devices);
        sd_event_unref(f->manager.event);
        close_fd(f->manager.claims_fd);
        free(f->manager.boot_id);
        tree_free(f->tree);
        free(f);
        return 0;
}

/* --- hosts ------------------------------------------------------------------------------------------------ */

static void add_port(Fixture *f, const char *address) {
        const TreeFunction port = { .address = address, .vendor = 0x8086, .device = 1, .class = 0x060400,
                                    .bridge = true, .driver = "pcieport", .group = 1 };

        free(tree_add_function(f->tree, &port));
}

static void add(Fixture *f, const char *port, const char *address, unsigned device, unsigned class, int group) {
        char below[64];
        const TreeFunction function = { .below = below, .address = address, .vendor = 0x10de, .device = device,
                                        .class = class, .driver = class == 0x010802 ? "nvme" : "nouveau",
                                        .group = group, .reset_method = "flr" };

        (void) snprintf(below, sizeof(below), "pci0000:00/0000:00:%s", port);
        free(tree_add_function(f->tree, &function));
}

static void add_card(Fixture *f, const char *port, const char *bus, int group) {
        char address[PCI_ADDRESS_TEXT_MAX];

        (void) snprintf(address, sizeof(address), "0000:%s:00.0", bus);
        add(f, port, address, 0x2484, 0x030000, group);
        (void) snprintf(address, sizeof(address), "0000:%s:00.1", bus);
        add(f, port, address, 0x228b, 0x040300, group);
}

static void add_drive(Fixture *f, const char *port, const char *bus, int group, const char *serial) {
        char address[PCI_ADDRESS_TEXT_MAX], path[128];

        (void) snprintf(address, sizeof(address), "0000:%s:00.0", bus);
        add(f, port, address, 0xa808, 0x010802, group);
        if (!serial)
                return;
        (void) snprintf(path, sizeof(path), "sys/devices/pci0000:00/0000:00:%s/%s/nvme/nvme%d/serial", port,
                        address, group);
        tree_write(f->tree, path, "%-20s\n", serial);
}

static void refresh(Fixture *f) {
        assert_int_equal(devices_refresh(&f->manager), 0);
}

/* The machine with nothing in its slots, as after it was switched off. */
static void empty_slots(Fixture *f) {
        tree_free(f->tree);
        close_fd(f->manager.claims_fd);
        make_tree(f);
        add_port(f, "0000:00:01.0");
        add_port(f, "0000:00:01.1");
        add_port(f, "0000:00:01.2");
}

static void give(Fixture *f, Vm *vm, const char *address, const char *requested) {
        VmDevice *device = vm_spec_add_device(vm->spec);

        assert_non_null(device);
        assert_int_equal(pci_address_parse(address, &device->address), 0);
        assert_int_equal(pci_address_parse(requested, &device->requested), 0);
        assert_int_equal(identity_describe(device, devices_find(&f->manager, &device->address)->pci), 0);
}

/* --- what becomes of them --------------------------------------------------------------------------------- */

static void assert_in_place(Fixture *f) {
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;
        _cleanup_free_ char *note = NULL;
        _cleanup_error_ Error error = ERROR_INIT;

        refresh(f);
        assert_int_equal(identity_follow(f->vm, &spec, &note, &error), 0);
        assert_null(spec);
}

static VmSpec *assert_moved(Fixture *f, const char *words) {
        VmSpec *spec = NULL;
        _cleanup_free_ char *note = NULL;
        _cleanup_error_ Error error = ERROR_INIT;

        refresh(f);
        assert_int_equal(identity_follow(f->vm, &spec, &note, &error), 1);
        assert_string_equal(note, words);
        return spec;
}

static void assert_refused(Fixture *f, ErrorCode code, const char *words) {
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;
        _cleanup_free_ char *note = NULL;
        _cleanup_error_ Error error = ERROR_INIT;

        refresh(f);
        assert_true(identity_follow(f->vm, &spec, &note, &error) < 0);
        assert_int_equal(error.code, code);
        if (!strstr(error.message, words))
                fail_msg("'%s' lacks '%s'", error.message, words);
}

static void assert_address(const VmSpec *spec, size_t i, const char *address, const char *requested) {
        assert_string_equal(PCI_ADDRESS_TEXT(&spec->devices[i].address), address);
        assert_string_equal(PCI_ADDRESS_TEXT(&spec->devices[i].requested), requested);
}

/* --- tests ------------------------------------------------------------------------------------------------ */

static void test_slot_path(void **state) {
        static const struct {
                const char *sysfs, *path;
        } cases[] = {
                { "pci0000:00/0000:00:1d.0/0000:03:00.0", "pci0000:00/1d.0/00.0" },
                { "pci0000:00/1d.0/00.0", "pci0000:00/1d.0/00.0" },
                { "pci0000:80/0000:80:01.0/0000:81:00.0/0000:82:10.0/0000:84:00.1",
                  "pci0000:80/01.0/00.0/10.0/00.1" },
                { "0000:03:00.0", "0000:03:00.0" },
                { "", "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *path = NULL;

                assert_int_equal(identity_slot_path(cases[i].sysfs, &path), 0);
                assert_string_equal(path, cases[i].path);
        }
}

static void test_in_place(void **state) {
        Fixture *f = *state;

        empty_slots(f);
        add_card(f, "01.0", "01", 2);
        add_drive(f, "01.1", "02", 3, "S1");
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");
        give(f, f->vm, "0000:01:00.1", "0000:01:00.0");
        give(f, f->vm, "0000:02:00.0", "0000:02:00.0");
        assert_string_equal(f->vm->spec->devices[2].serial, "S1");
        assert_string_equal(f->vm->spec->devices[2].slot_path, "pci0000:00/01.1/00.0");
        assert_in_place(f);
}

/* Another card in front of it: all buses behind are numbered anew. The sound comes along. */
static void test_renumbered(void **state) {
        Fixture *f = *state;

        empty_slots(f);
        add_card(f, "01.1", "01", 2);
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");
        give(f, f->vm, "0000:01:00.1", "0000:01:00.0");

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S1");
        add_card(f, "01.1", "02", 3);
        _cleanup_(vm_spec_freep) VmSpec *spec = assert_moved(f, "0000:01:00.0 has moved to 0000:02:00.0");
        assert_address(spec, 0, "0000:02:00.0", "0000:02:00.0");
        assert_address(spec, 1, "0000:02:00.1", "0000:02:00.0");
        assert_string_equal(spec->devices[1].kind, "audio");
}

/* Twins without serial numbers, renumbered together: the slot says which is which. */
static void test_twins(void **state) {
        Fixture *f = *state;

        empty_slots(f);
        add_card(f, "01.0", "01", 2);
        add_card(f, "01.1", "02", 3);
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");
        give(f, f->vm, "0000:01:00.1", "0000:01:00.0");
        give(f, f->vm, "0000:02:00.0", "0000:02:00.0");
        give(f, f->vm, "0000:02:00.1", "0000:02:00.0");

        empty_slots(f);
        add_card(f, "01.0", "02", 2);
        add_card(f, "01.1", "03", 3);
        _cleanup_(vm_spec_freep) VmSpec *spec = assert_moved(
                f, "0000:01:00.0 has moved to 0000:02:00.0; 0000:02:00.0 has moved to 0000:03:00.0");
        assert_address(spec, 0, "0000:02:00.0", "0000:02:00.0");
        assert_address(spec, 1, "0000:02:00.1", "0000:02:00.0");
        assert_address(spec, 2, "0000:03:00.0", "0000:03:00.0");
        assert_address(spec, 3, "0000:03:00.1", "0000:03:00.0");
}

/* Put into another slot, it is known where it is the only one of its kind. */
static void test_another_slot(void **state) {
        Fixture *f = *state;

        empty_slots(f);
        add_card(f, "01.0", "01", 2);
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");
        give(f, f->vm, "0000:01:00.1", "0000:01:00.0");

        empty_slots(f);
        add_card(f, "01.2", "05", 2);
        _cleanup_(vm_spec_freep) VmSpec *spec = assert_moved(f, "0000:01:00.0 has moved to 0000:05:00.0");
        assert_string_equal(spec->devices[0].slot_path, "pci0000:00/01.2/00.0");

        add_card(f, "01.1", "04", 3);
        assert_refused(f, ERROR_IDENTITY_CHANGED, "0000:04:00.0, 0000:05:00.0");
}

/* What the host uses is not the one that the VM has lost. */
static void test_used_by_the_host(void **state) {
        Fixture *f = *state;

        empty_slots(f);
        add_card(f, "01.0", "01", 2);
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");

        empty_slots(f);
        add_card(f, "01.1", "04", 2);
        tree_write(f->tree, "sys/devices/pci0000:00/0000:00:01.1/0000:04:00.0/boot_vga", "1\n");
        assert_refused(f, ERROR_NO_SUCH_DEVICE, "gone");
        assert_int_equal(strv_push(&f->vm->spec->devices[0].allow, "boot-display"), 0);
        vm_spec_free(assert_moved(f, "0000:01:00.0 has moved to 0000:04:00.0"));
}

/* A drive that never said its number is not guessed: another one like it may have somebody's data. */
static void test_drive_without_serial(void **state) {
        Fixture *f = *state;

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, NULL);
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");

        empty_slots(f);
        add_drive(f, "01.0", "02", 2, "S1");
        vm_spec_free(assert_moved(f, "0000:01:00.0 has moved to 0000:02:00.0"));

        empty_slots(f);
        add_drive(f, "01.1", "02", 2, "S1");
        assert_refused(f, ERROR_NO_SUCH_DEVICE, "gone");

        empty_slots(f);
        add_drive(f, "01.1", "01", 2, "S1");
        assert_refused(f, ERROR_IDENTITY_CHANGED, "in another slot");
}

/* One of the two is another VM's: then it can be told after all. */
static void test_assigned_to_another(void **state) {
        Fixture *f = *state;
        Vm *other = add_vm(f, "other");

        empty_slots(f);
        add_card(f, "01.0", "01", 2);
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");

        empty_slots(f);
        add_card(f, "01.1", "04", 2);
        add_card(f, "01.2", "05", 3);
        refresh(f);
        give(f, other, "0000:04:00.0", "0000:04:00.0");
        _cleanup_(vm_spec_freep) VmSpec *spec = assert_moved(f, "0000:01:00.0 has moved to 0000:05:00.0");

        assert_non_null(spec);
        device_set_lease(devices_find(&f->manager, &spec->devices[0].address), other);
        assert_refused(f, ERROR_NO_SUCH_DEVICE, "gone");
}

/* Two drives of one model that have changed places: each VM gets its own, by its serial number. */
static void test_serial(void **state) {
        Fixture *f = *state;

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S1");
        add_drive(f, "01.1", "02", 3, "S2");
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S2");
        add_drive(f, "01.1", "02", 3, "S1");
        _cleanup_(vm_spec_freep) VmSpec *spec = assert_moved(f, "0000:01:00.0 has moved to 0000:02:00.0");
        assert_string_equal(spec->devices[0].serial, "S1");

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S2");
        add_drive(f, "01.1", "02", 3, "S3");
        assert_refused(f, ERROR_IDENTITY_CHANGED, "serial S2 now, but the VM was given 10de:a808 serial S1");

        empty_slots(f);
        add_drive(f, "01.1", "02", 3, "S2");
        assert_refused(f, ERROR_NO_SUCH_DEVICE, "serial S1");
}

/* The inventory of a daemon that has just begun. */
static void start_anew(Fixture *f) {
        devices_clear(&f->manager.devices);
}

/* On vfio-pci a drive says no serial number: in its slot it is believed to be the one. */
static void test_unknown_serial(void **state) {
        Fixture *f = *state;

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S1");
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, NULL);
        start_anew(f);
        assert_in_place(f);

        empty_slots(f);
        add_drive(f, "01.0", "02", 2, NULL);
        start_anew(f);
        vm_spec_free(assert_moved(f, "0000:01:00.0 has moved to 0000:02:00.0"));

        empty_slots(f);
        add_drive(f, "01.1", "02", 2, NULL);
        start_anew(f);
        assert_refused(f, ERROR_NO_SUCH_DEVICE, "serial S1");

        empty_slots(f);
        add_drive(f, "01.1", "01", 2, NULL);
        start_anew(f);
        assert_refused(f, ERROR_IDENTITY_CHANGED, "in another slot");

        /* What is held for this VM is its own. */
        const Claim claim = { .address = f->vm->spec->devices[0].address, .vendor_id = 0x10de,
                              .device_id = 0xa808, .vm = f->vm->spec->uuid, .boot_id = f->manager.boot_id,
                              .state = CLAIM_BOUND };
        assert_int_equal(claim_write(f->manager.claims_fd, &claim), 0);
        start_anew(f);
        assert_in_place(f);
}

/* A drive that says its number elsewhere is surer than one that says none in the old place. */
static void test_serial_before_slot(void **state) {
        Fixture *f = *state;

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S1");
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");

        empty_slots(f);
        add_drive(f, "01.0", "02", 2, NULL);
        add_drive(f, "01.1", "03", 3, "S1");
        start_anew(f);
        vm_spec_free(assert_moved(f, "0000:01:00.0 has moved to 0000:03:00.0"));
}

/* The number that a drive said before it went to vfio-pci is still known then. */
static void test_serial_is_kept(void **state) {
        Fixture *f = *state;
        const PciAddress address = { .bus = 1 };

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S1");
        refresh(f);
        tree_set_driver(f->tree, "0000:01:00.0", "vfio-pci");
        refresh(f);
        assert_string_equal(devices_find(&f->manager, &address)->pci->driver, "vfio-pci");
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");
        assert_string_equal(f->vm->spec->devices[0].serial, "S1");
}

/* Put into the domain with virsh: where it is it stays, and it is looked for nowhere else. */
static void test_unknown_device(void **state) {
        Fixture *f = *state;
        VmDevice *device = vm_spec_add_device(f->vm->spec);

        assert_non_null(device);
        device->address = device->requested = (PciAddress) { .bus = 1 };
        empty_slots(f);
        add_card(f, "01.0", "01", 2);
        assert_in_place(f);

        empty_slots(f);
        add_card(f, "01.0", "02", 2);
        assert_refused(f, ERROR_NO_SUCH_DEVICE, "0000:01:00.0");
}

/* --- while a driver is at work ------------------------------------------------------------------------------ */

#define DRIVE "0000:01:00.0"
#define DRIVE_PATH "pci0000:00/0000:00:01.0/" DRIVE

/* What the drive is on, and what its controller says of itself. */
static void set_drive(Fixture *f, const char *driver, const char *controller_state, const char *serial) {
        tree_set_driver(f->tree, DRIVE, driver);
        tree_set_controller(f->tree, DRIVE_PATH, "nvme2", controller_state, serial);
        refresh(f);
}

static Device *drive(Fixture *f) {
        const PciAddress address = { .bus = 1 };

        return devices_find(&f->manager, &address);
}

static bool has_record(Fixture *f) {
        return tree_exists(f->tree, "claims/" DRIVE);
}

/* As the helper has recorded it. */
static void claim_drive(Fixture *f, const char *serial) {
        const Claim claim = { .address = { .bus = 1 }, .vendor_id = 0x10de, .device_id = 0xa808,
                              .serial = (char *) serial, .vm = f->vm->spec->uuid,
                              .boot_id = f->manager.boot_id, .state = CLAIM_BOUND,
                              .original.driver = (char *) "nvme" };

        assert_int_equal(claim_write(f->manager.claims_fd, &claim), 0);
        device_reload_claim(drive(f));
        device_set_lease(drive(f), f->vm);
}

/* A VM has the drive S1, which is on vfio-pci. */
static void give_drive(Fixture *f) {
        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S1");
        set_drive(f, "nvme", "live", "S1");
        if (f->vm->spec->n_devices == 0)
                give(f, f->vm, DRIVE, DRIVE);
        set_drive(f, "vfio-pci", "live", "S1");
        claim_drive(f, "S1");
}

static const struct {
        const char *state, *serial;
} unsure[] = {
        { "new", "(efault)" },
        { "connecting", "(efault)" },
        { "connecting", "(null)" },
        { "connecting", "" },
        { "resetting", "(efault)" },
        { "resetting", "S1" },
        { "deleting", "(efault)" },
        { "deleting (no IO)", "(efault)" },
        { "dead", "(efault)" },
        { "live", "(efault)" },
        { NULL, "(efault)" },
};

/* From vfio-pci to its driver and back, whatever it says meanwhile: it is the same one all the time. */
static void test_probing_is_no_other_drive(void **state) {
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(unsure); i++) {
                give_drive(f);
                Device *before = drive(f);

                set_drive(f, "nvme", unsure[i].state, unsure[i].serial);
                assert_ptr_equal(drive(f), before);
                assert_ptr_equal(before->lease, f->vm);
                assert_non_null(before->claim);
                assert_true(has_record(f));
                assert_string_equal(before->pci->serial, "S1");
                assert_in_place(f);

                set_drive(f, "nvme", "live", "S1");
                assert_ptr_equal(drive(f), before);
                assert_ptr_equal(before->lease, f->vm);
                assert_true(has_record(f));
                start_anew(f);
        }
}

/* A vmkitd that begins meanwhile knows from the record alone which one it is. */
static void test_begun_while_a_driver_probes(void **state) {
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(unsure); i++) {
                give_drive(f);
                start_anew(f);
                set_drive(f, "nvme", unsure[i].state, unsure[i].serial);
                assert_non_null(drive(f)->claim);
                assert_null(drive(f)->pci->serial);
                assert_in_place(f);

                Device *before = drive(f);
                set_drive(f, "nvme", "live", "S1");
                assert_ptr_equal(drive(f), before);
                assert_string_equal(before->pci->serial, "S1");
                assert_non_null(before->claim);
                assert_true(has_record(f));
                assert_in_place(f);
                start_anew(f);
        }
}

/* For certain another one: nothing of the old record holds for it, and the VM does not get it. */
static void test_another_drive_once_it_is_live(void **state) {
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(unsure); i++) {
                give_drive(f);
                set_drive(f, "nvme", unsure[i].state, unsure[i].serial);
                set_drive(f, "nvme", "live", "S2");
                assert_null(drive(f)->lease);
                assert_null(drive(f)->claim);
                assert_false(has_record(f));
                assert_refused(f, ERROR_IDENTITY_CHANGED, "serial S2 now");

                give_drive(f);
                start_anew(f);
                set_drive(f, "nvme", unsure[i].state, unsure[i].serial);
                set_drive(f, "nvme", "live", "S2");
                assert_null(drive(f)->claim);
                assert_refused(f, ERROR_IDENTITY_CHANGED, "serial S2 now");
                start_anew(f);
        }
}

/* Whatever a driver makes of it, another card is another card. */
static void test_other_ids(void **state) {
        Fixture *f = *state;

        give_drive(f);
        tree_remove(f->tree, "sys/bus/pci/devices/" DRIVE);
        add(f, "01.0", DRIVE, 0xa80a, 0x010802, 2);
        set_drive(f, "nvme", "connecting", "(efault)");
        assert_null(drive(f)->claim);
        assert_null(drive(f)->lease);
        assert_false(has_record(f));
        assert_refused(f, ERROR_IDENTITY_CHANGED, "10de:a80a");
}

/* The subsystem tells as much as the model does. */
static void test_record_of_another_subsystem(void **state) {
        Fixture *f = *state;
        Claim claim = { .vendor_id = 0x10de, .device_id = 0xa808, .subsystem_vendor_id = 0x1043,
                        .boot_id = f->manager.boot_id };
        PciDevice device = { .vendor_id = 0x10de, .device_id = 0xa808, .subsystem_vendor_id = 0x1043 };

        assert_true(claim_is_about(&claim, "this-boot", &device));
        assert_false(claim_is_about(&claim, "another", &device));
        device.subsystem_vendor_id = 0x144d;
        assert_false(claim_is_about(&claim, "this-boot", &device));
        claim.subsystem_vendor_id = 0; /* of an earlier version */
        assert_true(claim_is_about(&claim, "this-boot", &device));
        claim.serial = (char *) "(efault)";
        device.serial = (char *) "S1";
        assert_true(claim_is_about(&claim, "this-boot", &device));
        claim.serial = (char *) "S2";
        assert_false(claim_is_about(&claim, "this-boot", &device));
}

/* The inventory leaves out what it cannot read; that is not gone before sysfs says so. */
static void test_unreadable_is_not_gone(void **state) {
        Fixture *f = *state;

        give_drive(f);
        tree_remove(f->tree, "sys/bus/pci/devices/" DRIVE "/modalias");
        tree_remove(f->tree, "sys/bus/pci/devices/" DRIVE "/vendor");
        refresh(f);
        assert_null(drive(f));
        assert_true(has_record(f));

        tree_write(f->tree, "sys/bus/pci/devices/" DRIVE "/vendor", "0x10de\n");
        refresh(f);
        assert_non_null(drive(f)->claim);

        tree_remove(f->tree, "sys/bus/pci/devices/" DRIVE);
        refresh(f);
        assert_null(drive(f));
        assert_false(has_record(f));
}

/* What was found on it before it was reset is not what is on it now. */
static void test_close_look_ends_with_the_state(void **state) {
        Fixture *f = *state;
        _cleanup_reasons_ Reasons reasons = {};

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S1");
        set_drive(f, "nvme", "live", "S1");
        device_set_deep(drive(f), &reasons);
        drive(f)->deep_at = 1;
        refresh(f);
        assert_int_equal(drive(f)->deep_at, 1);
        set_drive(f, "nvme", "resetting", "S1");
        assert_int_equal(drive(f)->deep_at, 0);

        /* The helper, which looks for itself, may have seen it live before the inventory says so. */
        device_set_deep(drive(f), &reasons);
        drive(f)->deep_at = 1;
        set_drive(f, "nvme", "live", "S1");
        assert_int_equal(drive(f)->deep_at, 1);
}

/* It is live, but which one it is was read before: nobody is given it yet. */
static void test_not_given_before_it_is_known(void **state) {
        Fixture *f = *state;
        _cleanup_reasons_ Reasons early = {}, late = {};

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S1");
        set_drive(f, "nvme", "connecting", "(efault)");
        tree_set_controller(f->tree, DRIVE_PATH, "nvme2", "live", "S1");
        assert_int_equal(device_reasons(drive(f), NULL, &early), 0);
        assert_true(reasons_contain(&early, REASON_CLAIMED));

        refresh(f);
        assert_int_equal(device_reasons(drive(f), NULL, &late), 0);
        assert_false(reasons_contain(&late, REASON_CLAIMED));
}

static void test_reservation_while_a_driver_probes(void **state) {
        Fixture *f = *state;
        const PciAddress address = { .bus = 1 };
        _cleanup_(reservation_freep) Reservation *reservation = calloc(1, sizeof(Reservation));
        Reservations all = { .items = &reservation, .n = 1 };

        give_drive(f);
        ReservedFunction *function = reservation_add(reservation);
        assert_int_equal(pci_identity_read(f->tree->fd, &address, &function->id), 0);
        function->serial = strdup("S1");
        for (size_t i = 0; i < ELEMENTSOF(unsure); i++) {
                start_anew(f);
                set_drive(f, "nvme", unsure[i].state, unsure[i].serial);
                assert_ptr_equal(reservations_find(&all, drive(f)->pci, NULL), function);
                set_drive(f, "nvme", "live", "S1");
                assert_ptr_equal(reservations_find(&all, drive(f)->pci, NULL), function);
                set_drive(f, "nvme", "live", "S2");
                assert_null(reservations_find(&all, drive(f)->pci, NULL));
        }
}

/* --- waiting for it ----------------------------------------------------------------------------------------- */

typedef struct Wait {
        Fixture *f;
        sd_event_source *source;
        unsigned n_done;
} Wait;

static bool is_any(const Device *d, const void *data) {
        return true;
}

static bool is_none(const Device *d, const void *data) {
        return false;
}

static void on_done(void *userdata) {
        Wait *wait = userdata;

        wait->n_done++;
        wait->source = sd_event_source_disable_unref(wait->source);
        assert_string_equal(drive(wait->f)->pci->serial, "S1");
}

static int on_live(sd_event_source *source, uint64_t usec, void *userdata) {
        Wait *wait = userdata;

        assert_int_equal(wait->n_done, 0);
        tree_set_controller(wait->f->tree, DRIVE_PATH, "nvme2", "live", "S1");
        return 0;
}

static void test_wait_for_a_driver(void **state) {
        Fixture *f = *state;
        Manager *m = &f->manager;
        Wait wait = { .f = f };

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S1");
        set_drive(f, "nvme", "connecting", "(efault)");
        assert_true(drivers_are_at_work(m, is_any, NULL));
        assert_false(drivers_are_at_work(m, is_none, NULL));

        assert_int_equal(driver_wait(m, is_any, NULL, on_done, &wait, &wait.source), 0);
        assert_true(sd_event_add_time_relative(m->event, NULL, CLOCK_MONOTONIC, 300 * USEC_PER_MSEC, 0, on_live,
                                               &wait) >= 0);
        for (unsigned i = 0; wait.n_done == 0 && i < 1000; i++)
                assert_true(sd_event_run(m->event, 50 * USEC_PER_MSEC) >= 0);
        assert_int_equal(wait.n_done, 1);
        assert_false(drivers_are_at_work(m, is_any, NULL));
}

static void test_something_else(void **state) {
        Fixture *f = *state;

        empty_slots(f);
        add_card(f, "01.0", "01", 2);
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");

        empty_slots(f);
        add_drive(f, "01.0", "01", 2, "S1");
        assert_refused(f, ERROR_IDENTITY_CHANGED, "0000:01:00.0 is 10de:a808 serial S1 now");
}

/* A card of the same kind without its second function is not the one that the VM was given. */
static void test_sibling_missing(void **state) {
        Fixture *f = *state;

        empty_slots(f);
        add_card(f, "01.0", "01", 2);
        refresh(f);
        give(f, f->vm, "0000:01:00.0", "0000:01:00.0");
        give(f, f->vm, "0000:01:00.1", "0000:01:00.0");

        empty_slots(f);
        add(f, "01.1", "0000:03:00.0", 0x2484, 0x030000, 2);
        assert_refused(f, ERROR_NO_SUCH_DEVICE, "0000:01:00.1");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_slot_path),
                TEST(test_in_place),
                TEST(test_renumbered),
                TEST(test_twins),
                TEST(test_another_slot),
                TEST(test_used_by_the_host),
                TEST(test_drive_without_serial),
                TEST(test_assigned_to_another),
                TEST(test_serial),
                TEST(test_unknown_serial),
                TEST(test_serial_before_slot),
                TEST(test_serial_is_kept),
                TEST(test_unknown_device),
                TEST(test_probing_is_no_other_drive),
                TEST(test_begun_while_a_driver_probes),
                TEST(test_another_drive_once_it_is_live),
                TEST(test_other_ids),
                TEST(test_record_of_another_subsystem),
                TEST(test_unreadable_is_not_gone),
                TEST(test_close_look_ends_with_the_state),
                TEST(test_not_given_before_it_is_known),
                TEST(test_reservation_while_a_driver_probes),
                TEST(test_wait_for_a_driver),
                TEST(test_something_else),
                TEST(test_sibling_missing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
