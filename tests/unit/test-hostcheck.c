/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What "check" says of hosts that are ready, half ready and not ready at all. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/hostcheck.h"
#include "tree.h"

#define CPUINFO                                                                                    \
        "processor\t: 0\nvendor_id\t: %s\nmodel name\t: Some CPU\nflags\t\t: fpu vme %s "          \
        "lm\n\nprocessor\t: 1\n"

static void check(Tree *t, HostChecks *ret) {
        _cleanup_(inventory_freep) Inventory *inventory = NULL;

        assert_int_equal(inventory_read(t->fd, &inventory), 0);
        assert_int_equal(host_check(t->fd, inventory, ret), 0);
}

static const HostCheck *find(const HostChecks *checks, const char *id) {
        for (size_t i = 0; i < checks->n; i++)
                if (streq(checks->items[i].id, id))
                        return &checks->items[i];
        fail_msg("no check %s", id);
        return NULL;
}

#define assert_status(checks, id, expected) assert_int_equal(find(checks, id)->status, expected)
#define assert_remedy(checks, id, words) assert_non_null(strstr(find(checks, id)->remedy, words))

static void add_device(Tree *t, int group) {
        free(tree_add_function(t, &(TreeFunction) { .address = "0000:00:02.0",
                                                   .vendor = 0x8086,
                                                   .device = 0x3e92,
                                                   .class = 0x030000,
                                                   .group = group }));
}

static Tree *intel_ready(void) {
        Tree *t = tree_new();

        tree_write(t, "proc/cpuinfo", CPUINFO, "GenuineIntel", "vmx");
        tree_mkdir(t, "sys/module/kvm_intel");
        tree_add_iommu(t, "dmar0");
        tree_write(t, "sys/devices/virtual/iommu/dmar0/intel-iommu/ecap", "f020df\n");
        tree_write(t, "sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
        tree_add_driver(t, "vfio-pci");
        add_device(t, 1);
        return t;
}

static void test_ready(void **state) {
        _cleanup_tree_ Tree *t = intel_ready();
        _cleanup_host_checks_ HostChecks checks = {};

        check(t, &checks);
        assert_true(host_checks_ready(&checks));
        for (size_t i = 0; i < checks.n; i++) {
                assert_int_equal(checks.items[i].status, CHECK_OK);
                assert_string_equal(checks.items[i].remedy, "");
                assert_string_not_equal(checks.items[i].summary, "");
        }
}

static void test_nothing(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_host_checks_ HostChecks checks = {};

        check(t, &checks);
        assert_false(host_checks_ready(&checks));
        assert_status(&checks, "iommu", CHECK_FAIL);
        assert_remedy(&checks, "iommu", "intel_iommu=on iommu=pt");
        assert_remedy(&checks, "iommu", "amd_iommu=on iommu=pt");
        assert_remedy(&checks, "iommu", "VT-d");
        assert_remedy(&checks, "iommu", "update-grub");
        assert_status(&checks, "iommu-groups", CHECK_FAIL);
        assert_status(&checks, "vfio-module", CHECK_FAIL);
        assert_remedy(&checks, "vfio-module", "modprobe vfio-pci");
        assert_remedy(&checks, "vfio-module", "modules-load.d");
        assert_status(&checks, "interrupt-remapping", CHECK_UNKNOWN);
        assert_status(&checks, "cpu-virtualization", CHECK_UNKNOWN);
}

static void test_vendors(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_host_checks_ HostChecks intel = {}, amd = {};

        tree_write(t, "proc/cpuinfo", CPUINFO, "GenuineIntel", "vmx");
        check(t, &intel);
        assert_status(&intel, "cpu-virtualization", CHECK_OK);
        assert_remedy(&intel, "iommu", "intel_iommu=on");
        assert_ptr_not_equal(strstr(find(&intel, "iommu")->remedy, "amd_iommu"), NULL);
        assert_true(strstr(find(&intel, "iommu")->remedy, "intel_iommu") <
                    strstr(find(&intel, "iommu")->remedy, "amd_iommu"));

        tree_write(t, "proc/cpuinfo", CPUINFO, "AuthenticAMD", "svmlock");
        check(t, &amd);
        assert_status(&amd, "cpu-virtualization", CHECK_WARN);
        assert_remedy(&amd, "cpu-virtualization", "SVM");
        assert_remedy(&amd, "iommu", "amd_iommu=on");
        assert_ptr_not_equal(strstr(find(&amd, "iommu")->remedy, "intel_iommu"), NULL);
        assert_true(strstr(find(&amd, "iommu")->remedy, "amd_iommu") <
                    strstr(find(&amd, "iommu")->remedy, "intel_iommu"));
}

static void test_firmware_only(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_host_checks_ HostChecks checks = {}, off = {};

        tree_write(t, "sys/firmware/acpi/tables/DMAR", "DMAR");
        check(t, &checks);
        assert_non_null(strstr(find(&checks, "iommu")->summary, "firmware offers"));

        tree_write(t, "proc/cmdline", "BOOT_IMAGE=/vmlinuz intel_iommu=off quiet\n");
        check(t, &off);
        assert_status(&off, "iommu", CHECK_FAIL);
        assert_remedy(&off, "iommu", "intel_iommu=off");
}

static void test_no_groups(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_host_checks_ HostChecks checks = {};

        tree_add_iommu(t, "ivhd0");
        add_device(t, 0);
        check(t, &checks);
        assert_status(&checks, "iommu", CHECK_OK);
        assert_status(&checks, "iommu-groups", CHECK_FAIL);
        assert_remedy(&checks, "iommu-groups", "iommu=pt");
        assert_status(&checks, "interrupt-remapping", CHECK_UNKNOWN);
}

static void test_interrupts(void **state) {
        _cleanup_tree_ Tree *t = intel_ready();
        _cleanup_host_checks_ HostChecks cannot = {}, seen = {}, unsafe = {}, off = {};

        tree_write(t, "sys/devices/virtual/iommu/dmar0/intel-iommu/ecap", "f020d7\n");
        check(t, &cannot);
        assert_status(&cannot, "interrupt-remapping", CHECK_FAIL);
        assert_false(host_checks_ready(&cannot));

        tree_write(t, "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n");
        check(t, &unsafe);
        assert_status(&unsafe, "interrupt-remapping", CHECK_WARN);
        tree_write(t, "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n");

        tree_write(t, "sys/devices/virtual/iommu/dmar0/intel-iommu/ecap", "f020df\n");
        tree_write(t, "proc/cmdline", "quiet intremap=off\n");
        check(t, &off);
        assert_status(&off, "interrupt-remapping", CHECK_FAIL);

        tree_write(t, "sys/kernel/irq/0/chip_name", "XT-PIC\n");
        tree_write(t, "sys/kernel/irq/9/chip_name", "IR-IO-APIC\n");
        check(t, &seen);
        assert_status(&seen, "interrupt-remapping", CHECK_OK);
}

static void test_lockdown(void **state) {
        _cleanup_tree_ Tree *t = intel_ready();
        _cleanup_host_checks_ HostChecks integrity = {}, confidentiality = {};

        tree_write(t, "sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        check(t, &integrity);
        assert_status(&integrity, "kernel-lockdown", CHECK_OK);

        tree_write(t, "sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
        check(t, &confidentiality);
        assert_status(&confidentiality, "kernel-lockdown", CHECK_WARN);
        assert_true(host_checks_ready(&confidentiality));
}

static void test_added(void **state) {
        _cleanup_host_checks_ HostChecks checks = {};

        assert_true(host_checks_ready(&checks));
        assert_int_equal(host_checks_add(&checks, "libvirt", CHECK_OK, NULL, "libvirt %d", 9), 0);
        assert_true(host_checks_ready(&checks));
        assert_string_equal(checks.items[0].summary, "libvirt 9");
        assert_string_equal(checks.items[0].remedy, "");
        assert_int_equal(host_checks_add(&checks, "libvirt", CHECK_FAIL, "Start it.", "away"), 0);
        assert_false(host_checks_ready(&checks));

        assert_string_equal(check_status_to_string(CHECK_UNKNOWN), "unknown");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ready),         cmocka_unit_test(test_nothing),
                cmocka_unit_test(test_vendors),       cmocka_unit_test(test_firmware_only),
                cmocka_unit_test(test_no_groups),     cmocka_unit_test(test_interrupts),
                cmocka_unit_test(test_lockdown),      cmocka_unit_test(test_added),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
