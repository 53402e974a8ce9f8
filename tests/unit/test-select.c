/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The automatic choice: who is eligible, in which order, and why the others are not. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "core/manager.h"
#include "core/select.h"
#include "host/sysfs.h"
#include "tree.h"

typedef struct Fixture {
        Tree *tree;
        Manager manager;
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        f->tree = tree_new();
        tree_mkdir(f->tree, "claims");
        f->manager.root_fd = f->tree->fd;
        f->manager.claims_fd = open_dir_at(f->tree->fd, "claims");
        f->manager.boot_id = strdup("this-boot");
        assert_true(f->manager.claims_fd >= 0);
        assert_true(sd_event_new(&f->manager.event) >= 0);
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

static void add(Fixture *f, const char *below, const char *address, unsigned vendor, unsigned class,
                const char *driver, int group) {
        const TreeFunction function = {
                .below = below,
                .address = address,
                .vendor = vendor,
                .device = 0x1111,
                .class = class,
                .driver = driver,
                .group = group,
                .reset_method = "flr",
        };

        free(tree_add_function(f->tree, &function));
}

/* A card that is integrated, two in slots (one with its audio function), a drive. */
static void build_host(Fixture *f) {
        const TreeFunction ports[] = {
                { .address = "0000:00:01.0", .vendor = 0x8086, .device = 1, .class = 0x060400, .bridge = true,
                  .driver = "pcieport", .group = 1 },
                { .address = "0000:00:01.1", .vendor = 0x8086, .device = 1, .class = 0x060400, .bridge = true,
                  .driver = "pcieport", .group = 2 },
        };

        tree_add_iommu(f->tree, "dmar0");
        free(tree_add_function(f->tree, &ports[0]));
        free(tree_add_function(f->tree, &ports[1]));
        add(f, NULL, "0000:00:02.0", 0x8086, 0x030000, "i915", 3);
        add(f, "pci0000:00/0000:00:01.0", "0000:01:00.0", 0x1002, 0x030000, "amdgpu", 4);
        add(f, "pci0000:00/0000:00:01.0", "0000:01:00.1", 0x1002, 0x040300, "snd_hda_intel", 4);
        add(f, "pci0000:00/0000:00:01.1", "0000:02:00.0", 0x10de, 0x030000, "nouveau", 5);
        assert_int_equal(devices_refresh(&f->manager), 0);
}

static const char *address_of(const Candidate *candidate, char buffer[PCI_ADDRESS_TEXT_MAX]) {
        return pci_address_format(&candidate->device->pci->address, buffer);
}

#define ADDRESS(candidate) address_of((candidate), (char[PCI_ADDRESS_TEXT_MAX]) {})

static bool has_reason(const Candidate *candidate, ReasonCode code) {
        for (size_t i = 0; i < candidate->reasons.n; i++)
                if (candidate->reasons.items[i].code == code)
                        return true;
        return false;
}

static void assign(Fixture *f, const char *name, const char *address) {
        VmSpec *spec = vm_spec_new();
        VmDevice *device;
        Vm *vm;

        assert_non_null(spec);
        spec->name = strdup(name);
        strcpy(spec->uuid, "41e1d301-60ba-482f-95ac-c60ad74578a5");
        device = vm_spec_add_device(spec);
        assert_non_null(device);
        assert_int_equal(pci_address_parse(address, &device->address), 0);
        device->requested = device->address;
        device->kind = strdup("gpu");
        assert_int_equal(vm_new(&f->manager, spec, &vm), 0);
}

/* --- tests ------------------------------------------------------------------------------------------------ */

static void test_slot_before_integrated(void **state) {
        Fixture *f = *state;
        const Selection selection = { .kind = KIND_GPU };
        _cleanup_candidates_ Candidates candidates = {};

        build_host(f);
        assert_int_equal(select_candidates(&f->manager, &selection, &candidates), 0);
        assert_int_equal(candidates.n, 3);
        assert_string_equal(ADDRESS(&candidates.items[0]), "0000:01:00.0");
        assert_string_equal(ADDRESS(&candidates.items[1]), "0000:02:00.0");
        assert_string_equal(ADDRESS(&candidates.items[2]), "0000:00:02.0");
        assert_ptr_equal(candidates_best(&candidates), candidates.items[0].device);
}

static void test_vendor(void **state) {
        Fixture *f = *state;
        const Selection selection = { .kind = KIND_GPU, .vendor = "nvidia" };
        _cleanup_candidates_ Candidates candidates = {};

        build_host(f);
        assert_int_equal(select_candidates(&f->manager, &selection, &candidates), 0);
        assert_int_equal(candidates.n, 1);
        assert_string_equal(ADDRESS(&candidates.items[0]), "0000:02:00.0");
}

/* What another VM names is left alone, running or not, and the candidate says whose it is. */
static void test_assigned_is_passed_over(void **state) {
        Fixture *f = *state;
        const Selection selection = { .kind = KIND_GPU };
        _cleanup_candidates_ Candidates candidates = {};

        build_host(f);
        assign(f, "gaming", "0000:01:00.0");
        assert_int_equal(select_candidates(&f->manager, &selection, &candidates), 0);
        assert_string_equal(ADDRESS(candidates.items), "0000:02:00.0");

        const Candidate *last = &candidates.items[candidates.n - 1];
        assert_string_equal(ADDRESS(last), "0000:01:00.0");
        assert_false(last->eligible);
        assert_true(has_reason(last, REASON_CLAIMED));
        assert_non_null(strstr(last->reasons.items[0].detail, "gaming"));
}

/* A lease of one function keeps its whole slot. */
static void test_leased_sibling(void **state) {
        Fixture *f = *state;
        const Selection selection = { .kind = KIND_GPU, .vendor = "amd" };
        const PciAddress audio = { .bus = 1, .function = 1 };
        _cleanup_candidates_ Candidates candidates = {};

        build_host(f);
        assign(f, "other", "0000:09:00.0");
        device_set_lease(devices_find(&f->manager, &audio), f->manager.vms[0]);
        assert_int_equal(select_candidates(&f->manager, &selection, &candidates), 0);
        assert_int_equal(candidates.n, 1);
        assert_false(candidates.items[0].eligible);
        assert_null(candidates_best(&candidates));
}

static void test_taken_for_the_same_vm(void **state) {
        Fixture *f = *state;
        PciDevice *first;
        const PciAddress address = { .bus = 1 };
        _cleanup_candidates_ Candidates candidates = {};

        build_host(f);
        first = devices_find(&f->manager, &address)->pci;
        const DeviceList taken = { .items = &first, .n = 1 };
        const Selection selection = { .kind = KIND_GPU, .taken = &taken };
        assert_int_equal(select_candidates(&f->manager, &selection, &candidates), 0);
        assert_int_equal(candidates.n, 2);
        assert_string_equal(ADDRESS(candidates.items), "0000:02:00.0");
}

static void test_without_iommu(void **state) {
        Fixture *f = *state;
        const Selection selection = { .kind = KIND_GPU };
        _cleanup_candidates_ Candidates candidates = {};

        add(f, NULL, "0000:00:02.0", 0x8086, 0x030000, "i915", 0);
        assert_int_equal(devices_refresh(&f->manager), 0);
        assert_int_equal(select_candidates(&f->manager, &selection, &candidates), 0);
        assert_int_equal(candidates.n, 1);
        assert_false(candidates.items[0].eligible);
        assert_true(has_reason(&candidates.items[0], REASON_NO_IOMMU));
}

static void set_numa_node(Fixture *f, const char *device, const char *node) {
        char path[128];

        (void) snprintf(path, sizeof(path), "sys/devices/%s/numa_node", device);
        tree_write(f->tree, path, "%s\n", node);
}

/* Beside a device on the second node, the card of the second node is the better one. */
static void test_near_the_others(void **state) {
        Fixture *f = *state;
        const PciAddress address = { .bus = 0, .slot = 3 };
        _cleanup_candidates_ Candidates candidates = {}, alone = {};

        build_host(f);
        add(f, NULL, "0000:00:03.0", 0x8086, 0x020000, "e1000e", 6);
        set_numa_node(f, "pci0000:00/0000:00:03.0", "1");
        set_numa_node(f, "pci0000:00/0000:00:01.1/0000:02:00.0", "1");
        set_numa_node(f, "pci0000:00/0000:00:02.0", "1");
        set_numa_node(f, "pci0000:00/0000:00:01.0/0000:01:00.0", "0");
        assert_int_equal(devices_refresh(&f->manager), 0);

        PciDevice *network = devices_find(&f->manager, &address)->pci;
        const DeviceList taken = { .items = &network, .n = 1 };
        const Selection selection = { .kind = KIND_GPU, .taken = &taken }, any = { .kind = KIND_GPU };
        assert_int_equal(select_candidates(&f->manager, &selection, &candidates), 0);
        assert_string_equal(ADDRESS(&candidates.items[0]), "0000:02:00.0");
        assert_string_equal(ADDRESS(&candidates.items[1]), "0000:01:00.0");
        assert_string_equal(ADDRESS(&candidates.items[2]), "0000:00:02.0"); /* near, but integrated */

        assert_int_equal(select_candidates(&f->manager, &any, &alone), 0);
        assert_string_equal(ADDRESS(alone.items), "0000:01:00.0");
}

/* Not the display that the host boots with, also where the caller would allow it. */
static void test_boot_display_last(void **state) {
        Fixture *f = *state;
        char *allow[] = { (char *) "boot-display", NULL };
        const Selection strict = { .kind = KIND_GPU }, lax = { .kind = KIND_GPU, .allow = allow };
        _cleanup_candidates_ Candidates a = {}, b = {};

        build_host(f);
        tree_write(f->tree, "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/boot_vga", "1\n");
        assert_int_equal(devices_refresh(&f->manager), 0);

        assert_int_equal(select_candidates(&f->manager, &strict, &a), 0);
        assert_string_equal(ADDRESS(a.items), "0000:02:00.0");
        assert_string_equal(ADDRESS(&a.items[2]), "0000:01:00.0");
        assert_false(a.items[2].eligible);
        assert_true(has_reason(&a.items[2], REASON_BOOT_DISPLAY));

        assert_int_equal(select_candidates(&f->manager, &lax, &b), 0);
        assert_string_equal(ADDRESS(b.items), "0000:02:00.0");
        assert_string_equal(ADDRESS(&b.items[2]), "0000:01:00.0");
        assert_true(b.items[2].eligible);
}

/* Its driver is done with it. */
static void add_live_drive(Fixture *f, const char *address, int group) {
        const TreeFunction drive = { .address = address, .vendor = 0x144d, .device = 0x1111, .class = 0x010802,
                                     .driver = "nvme", .group = group, .reset_method = "flr" };
        _cleanup_free_ char *path = tree_add_function(f->tree, &drive);

        tree_add_controller(f->tree, path, PATH_TEXT("nvme%d", group), PATH_TEXT("nqn.%d", group));
        assert_int_equal(devices_refresh(&f->manager), 0);
}

static void add_drive(Fixture *f, const char *address, int group, bool has_data) {
        _cleanup_reasons_ Reasons found = {};
        PciAddress parsed;

        add_live_drive(f, address, group);
        assert_int_equal(pci_address_parse(address, &parsed), 0);
        if (has_data)
                assert_int_equal(reasons_add(&found, REASON_HAS_DATA, "it has an old file system"), 0);
        device_set_deep(devices_find(&f->manager, &parsed), &found);
}

/* An empty drive before one with data, which is taken only with the caller's word. */
static void test_data_last(void **state) {
        Fixture *f = *state;
        char *allow[] = { (char *) "has-data", NULL };
        const Selection strict = { .kind = KIND_NVME }, lax = { .kind = KIND_NVME, .allow = allow };
        _cleanup_candidates_ Candidates a = {}, b = {};

        build_host(f);
        assert_true(sd_event_run(f->manager.event, 0) >= 0); /* there is a time now */
        add_drive(f, "0000:00:04.0", 7, true);
        add_drive(f, "0000:00:05.0", 8, false);
        add_drive(f, "0000:00:06.0", 9, false);

        assert_int_equal(select_candidates(&f->manager, &strict, &a), 0);
        assert_int_equal(a.n, 3);
        assert_string_equal(ADDRESS(&a.items[0]), "0000:00:05.0");
        assert_string_equal(ADDRESS(&a.items[1]), "0000:00:06.0");
        assert_false(a.items[2].eligible);
        assert_non_null(strstr(a.items[2].reasons.items[0].detail, "old file system"));

        assert_int_equal(select_candidates(&f->manager, &lax, &b), 0);
        assert_string_equal(ADDRESS(&b.items[2]), "0000:00:04.0");
        assert_true(b.items[2].eligible);
}

/* What nobody has looked at is not for the caller to allow. */
static void test_not_inspected(void **state) {
        Fixture *f = *state;
        char *allow[] = { (char *) "has-data", (char *) "not-inspected", NULL };
        const Selection lax = { .kind = KIND_NVME, .allow = allow };
        _cleanup_candidates_ Candidates found = {};
        _cleanup_free_ char *remedy = NULL;

        build_host(f);
        add_live_drive(f, "0000:00:04.0", 7);

        assert_int_equal(select_candidates(&f->manager, &lax, &found), 0);
        assert_int_equal(found.n, 1);
        assert_false(found.items[0].eligible);

        const Reason *reason = &found.items[0].reasons.items[0];
        assert_string_equal(reason_code_to_string(reason->code), "not-inspected");
        assert_non_null(strstr(reason->detail, "0000:00:04.0 could not be looked at"));
        remedy = reason_code_remedy(reason->code);
        assert_non_null(strstr(remedy, "again"));
        assert_null(strstr(remedy, "--allow"));
}

static void test_no_such_kind(void **state) {
        Fixture *f = *state;
        const Selection selection = { .kind = KIND_NVME };
        _cleanup_candidates_ Candidates candidates = {};

        build_host(f);
        assert_int_equal(select_candidates(&f->manager, &selection, &candidates), 0);
        assert_int_equal(candidates.n, 0);
        assert_null(candidates_best(&candidates));
}

/* --- the table of devices --------------------------------------------------------------------------------- */

static void test_devices_come_and_go(void **state) {
        Fixture *f = *state;
        const PciAddress card = { .bus = 2 }, audio = { .bus = 1, .function = 1 };

        build_host(f);
        Device *kept = devices_find(&f->manager, &card);
        assert_non_null(kept);

        tree_remove(f->tree, "sys/bus/pci/devices/0000:01:00.1");
        assert_int_equal(devices_refresh(&f->manager), 0);
        assert_null(devices_find(&f->manager, &audio));
        assert_ptr_equal(devices_find(&f->manager, &card), kept);
        assert_string_equal(kept->pci->driver, "nouveau");
}

/* A record of another boot, or of another device at the address, is not about what is there now. */
static void test_stale_claims(void **state) {
        Fixture *f = *state;
        const PciAddress address = { .bus = 2 };
        Claim claim = { .address = address, .vendor_id = 0x10de, .device_id = 0x1111,
                        .boot_id = (char *) "last-boot", .state = CLAIM_QUARANTINED };

        build_host(f);
        Device *d = devices_find(&f->manager, &address);

        assert_int_equal(claim_write(f->manager.claims_fd, &claim), 0);
        device_reload_claim(d);
        assert_null(d->claim);
        assert_int_equal(d->health, HEALTH_READY);

        claim.boot_id = (char *) "this-boot";
        claim.device_id = 0x2222;
        assert_int_equal(claim_write(f->manager.claims_fd, &claim), 0);
        device_reload_claim(d);
        assert_null(d->claim);

        claim.device_id = 0x1111;
        assert_int_equal(claim_write(f->manager.claims_fd, &claim), 0);
        device_reload_claim(d);
        assert_non_null(d->claim);
        assert_int_equal(d->health, HEALTH_QUARANTINED);
        assert_false(device_is_available(d));
        assert_true(device_is_quarantined(d));
}

static bool is_said_of(Device *d, ReasonCode code, const char *words) {
        const Reasons *reasons = device_in_use(d);

        for (size_t i = 0; i < reasons->n; i++)
                if (reasons->items[i].code == code && strstr(reasons->items[i].detail, words))
                        return true;
        return false;
}

/* What ails a device can be read where its users are, and in the error of whoever wants it. */
static void test_quarantine_is_said(void **state) {
        Fixture *f = *state;
        const PciAddress address = { .bus = 2 };
        Claim claim = { .address = address, .vendor_id = 0x10de, .device_id = 0x1111,
                        .boot_id = (char *) "this-boot", .state = CLAIM_QUARANTINED,
                        .reason = (char *) "it did not come through its reset" };
        _cleanup_reasons_ Reasons reasons = {};

        build_host(f);
        Device *d = devices_find(&f->manager, &address);
        assert_false(is_said_of(d, REASON_QUARANTINED, ""));

        assert_int_equal(claim_write(f->manager.claims_fd, &claim), 0);
        device_reload_claim(d);
        assert_true(is_said_of(d, REASON_QUARANTINED, "did not come through its reset"));

        claim.needs_reboot = true;
        assert_int_equal(claim_write(f->manager.claims_fd, &claim), 0);
        device_reload_claim(d);
        assert_int_equal(d->health, HEALTH_NEEDS_REBOOT);
        assert_string_equal(device_health_to_string(d->health), "needs-reboot");
        assert_true(device_is_quarantined(d));
        assert_true(is_said_of(d, REASON_QUARANTINED, "switched off and on"));
        assert_int_equal(device_reasons(d, NULL, &reasons), 0);
        assert_int_equal(reasons_blocking(&reasons, NULL)->code, REASON_QUARANTINED);

        assert_int_equal(claim_remove(f->manager.claims_fd, &address), 0);
        device_reload_claim(d);
        assert_false(is_said_of(d, REASON_QUARANTINED, ""));
        assert_int_equal(d->health, HEALTH_READY);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_slot_before_integrated),
                TEST(test_vendor),
                TEST(test_assigned_is_passed_over),
                TEST(test_leased_sibling),
                TEST(test_taken_for_the_same_vm),
                TEST(test_without_iommu),
                TEST(test_near_the_others),
                TEST(test_boot_display_last),
                TEST(test_data_last),
                TEST(test_not_inspected),
                TEST(test_no_such_kind),
                TEST(test_devices_come_and_go),
                TEST(test_stale_claims),
                TEST(test_quarantine_is_said),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
