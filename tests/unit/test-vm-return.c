/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What goes back, and what stays leased, when a VM has stopped: the step that returns the devices, with the
 * transfer that it starts caught. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "core/manager.h"
#include "core/transfer.h"
#include "core/vm-stop.h"
#include "tree.h"

#define VM "41e1d301-60ba-482f-95ac-c60ad74578a5"
#define DRIVE "0000:01:00.0"
#define SPARE "0000:02:00.0"
#define STRAY "0000:03:00.0"

static struct Fixture {
        Tree *tree;
        Manager manager;
        Vm *vm;
        Job *job;
        char started[512]; /* "release 0000:01:00.0; settle …; " */
        TransferDone done;
} f;

int __wrap_transfer_start(Manager *m, const char *vm_uuid, const TransferUnit *units, size_t n_units,
                          TransferDone done, void *userdata);

int __wrap_transfer_start(Manager *m, const char *vm_uuid, const TransferUnit *units, size_t n_units,
                          TransferDone done, void *userdata) {
        for (size_t i = 0; i < n_units; i++) {
                strcat(f.started, units[i].verb == TRANSFER_SETTLE ? "settle" : "release");
                for (size_t k = 0; k < units[i].functions.n; k++) {
                        strcat(f.started, " ");
                        strcat(f.started, PCI_ADDRESS_TEXT(&units[i].functions.items[k]->address));
                }
                strcat(f.started, "; ");
        }
        assert_ptr_equal(userdata, f.job);
        f.done = done;
        return 0;
}

void __wrap_job_step_done(Job *job, int r, const Error *error);

void __wrap_job_step_done(Job *job, int r, const Error *error) {
        assert_ptr_equal(job, f.job);
}

static Device *device(const char *address) {
        PciAddress parsed;

        assert_int_equal(pci_address_parse(address, &parsed), 0);
        return devices_find(&f.manager, &parsed);
}

static void write_claim(const char *address, ClaimState state) {
        Device *d = device(address);
        const Claim claim = { .address = d->pci->address, .vendor_id = 0x144d, .device_id = 0xa808,
                              .boot_id = (char *) "this-boot", .vm = (char *) VM, .state = state,
                              .original = { .driver = (char *) "nvme" } };

        assert_int_equal(claim_write(f.manager.claims_fd, &claim), 0);
        device_reload_claim(d);
}

static void give(const char *address) {
        write_claim(address, CLAIM_BOUND);
        device_set_lease(device(address), f.vm);
}

static void add_drive(const char *address, const char *below, int group) {
        free(tree_add_function(f.tree, &(TreeFunction) { .address = address, .below = below, .vendor = 0x144d,
                                                         .device = 0xa808, .class = 0x010802,
                                                         .driver = "vfio-pci", .group = group,
                                                         .reset_method = "flr" }));
}

static void add_vm(void) {
        VmSpec *spec = vm_spec_new();

        assert_non_null(spec);
        spec->name = strdup("vm");
        strcpy(spec->uuid, VM);
        for (unsigned bus = 1; bus <= 2; bus++) {
                VmDevice *d = vm_spec_add_device(spec);

                assert_non_null(d);
                d->address = d->requested = (PciAddress) { .bus = (uint8_t) bus };
                d->kind = strdup("nvme"); /* a drive waits on vfio-pci */
        }
        assert_int_equal(vm_new(&f.manager, spec, &f.vm), 0);
}

static int setup(void **state) {
        f = (struct Fixture) { .tree = tree_new() };
        tree_mkdir(f.tree, "claims");
        f.manager.root_fd = f.tree->fd;
        f.manager.claims_fd = open_dir_at(f.tree->fd, "claims");
        f.manager.boot_id = strdup("this-boot");
        assert_true(sd_event_new(&f.manager.event) >= 0);
        tree_add_iommu(f.tree, "dmar0");
        add_drive(DRIVE, "pci0000:00/0000:00:01.0", 1);
        add_drive(SPARE, "pci0000:00/0000:00:02.0", 2);
        add_drive(STRAY, "pci0000:00/0000:00:03.0", 3);
        assert_int_equal(devices_refresh(&f.manager), 0);
        add_vm();
        give(DRIVE);
        give(SPARE);

        assert_int_equal(job_new(&f.manager, "return-devices", 0, &f.job), 0);
        job_set_vm(f.job, f.vm);
        assert_int_equal(job_add_steps(f.job, &vm_return_step, 1), 0);
        return 0;
}

static int teardown(void **state) {
        f.job = job_free(f.job);
        while (f.manager.n_vms > 0)
                vm_free(f.manager.vms[0]);
        free(f.manager.vms);
        free(f.manager.jobs);
        devices_clear(&f.manager.devices);
        sd_event_unref(f.manager.event);
        close_fd(f.manager.claims_fd);
        free(f.manager.boot_id);
        tree_free(f.tree);
        return 0;
}

static void begin_return(void) {
        assert_int_equal(vm_return_step.run(f.job, NULL), STEP_ASYNC);
}

/* As if a unit had had another shape when it was taken. */
static void test_strays_go_back(void **state) {
        give(STRAY);
        begin_return();
        assert_string_equal(f.started, "settle " DRIVE "; settle " SPARE "; release " STRAY "; ");
}

static void test_others_are_left_alone(void **state) {
        write_claim(STRAY, CLAIM_BOUND); /* of this VM by its record, but not leased */
        begin_return();
        assert_string_equal(f.started, "settle " DRIVE "; settle " SPARE "; ");
}

/* One in quarantine is an administrator's. */
static void test_quarantined_stay(void **state) {
        write_claim(DRIVE, CLAIM_QUARANTINED);
        give(STRAY);
        write_claim(STRAY, CLAIM_QUARANTINED);
        begin_return();
        assert_string_equal(f.started, "settle " SPARE "; ");
}

static void end_return(ErrorCode code) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = code == ERROR_NONE ? 0 : error_set(&error, code, "it failed");

        f.done(r, &error, f.job);
}

/* What failed for one device is no reason to keep the others from everybody. */
static void test_leases_end(void **state) {
        begin_return();
        write_claim(DRIVE, CLAIM_QUARANTINED);
        end_return(ERROR_RESET_FAILED);
        assert_null(device(DRIVE)->lease);
        assert_null(device(SPARE)->lease);
}

/* But nobody else gets what QEMU may still have. */
static void test_leases_last(void **state) {
        begin_return();
        end_return(ERROR_BUSY);
        assert_ptr_equal(device(DRIVE)->lease, f.vm);
        assert_ptr_equal(device(SPARE)->lease, f.vm);

        begin_return();
        end_return(ERROR_NONE);
        assert_null(device(DRIVE)->lease);
        assert_null(device(SPARE)->lease);
}

/* Undefined and defined anew while its devices are on their way back: it stays. */
static void test_a_domain_that_is_there_again(void **state) {
        VmSpec *spec = NULL;

        f.vm->defined = true;
        manager_virt_handler.changed(VM, DOMAIN_STOPPED, &spec, true, NULL, &f.manager);
        assert_true(f.vm->gone);

        assert_int_equal(vm_spec_copy(f.vm->spec, &spec), 0);
        manager_virt_handler.changed(VM, DOMAIN_STOPPED, &spec, false, NULL, &f.manager);
        assert_false(f.vm->gone);
        vm_spec_free(spec);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_strays_go_back),
                TEST(test_others_are_left_alone),
                TEST(test_quarantined_stay),
                TEST(test_leases_end),
                TEST(test_leases_last),
                TEST(test_a_domain_that_is_there_again),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
