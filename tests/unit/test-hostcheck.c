/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What "check" says of hosts that are ready, half ready and not ready at all. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/hostcheck.h"
#include "host/sysfs.h"
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

/* A process of libvirt with these capabilities and this limit of locked memory. */
static void add_libvirt(Tree *t, const char *capabilities, const char *limit) {
        tree_write(t, "proc/meminfo", "MemTotal:       32768000 kB\nMemFree:        30000000 kB\n");
        tree_write(t, "proc/812/comm", "libvirtd\n");
        tree_write(t, "proc/812/status", "Name:\tlibvirtd\nCapPrm:\t0\nCapEff:\t%s\nCapBnd:\t0\n", capabilities);
        tree_write(t, "proc/812/limits",
                   "Limit                     Soft Limit           Hard Limit           Units     \n"
                   "Max locked memory         65536                %-20s bytes     \n"
                   "Max address space         unlimited            unlimited            bytes     \n", limit);
}

static void add_tools(Tree *t) {
        static const char *const names[] = { "qemu-img", "swtpm", "pkttyagent" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                tree_write(t, PATH_TEXT("usr/bin/%s", names[i]), "%s", "");
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
        add_libvirt(t, "000001ffffffffff", "65536");
        add_tools(t);
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
        assert_remedy(&checks, "iommu", "intel_iommu=on iommu=pt");
        assert_null(strstr(find(&checks, "iommu")->remedy, "firmware setup"));

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

/* --- what to do, by distribution and boot loader ---------------------------------------------- */

/* As systemd-boot and others leave it: attributes, then UTF-16. */
static void write_loader(Tree *t, const char *name) {
        char raw[128] = "\6";
        size_t size = 4;

        for (; *name; name++, size += 2)
                raw[size] = *name;
        tree_write_bytes(t, "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", raw, size);
}

static void test_kernel_parameters(void **state) {
        static const struct {
                const char *files[4];   /* of that system, empty but for os-release */
                const char *release;
                const char *loader;     /* what it wrote of itself; NULL: nothing */
                const char *add, *drop; /* words of the remedies */
        } systems[] = {
                { { "etc/default/grub", "usr/sbin/update-grub", "etc/default/grub.d/x.cfg" }, "ID=debian\n", NULL,
                  "  echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX intel_iommu=on iommu=pt\"' "
                  "> /etc/default/grub.d/vmkit.cfg\n  update-grub\n", "run 'update-grub'" },
                { { "etc/default/grub", "usr/sbin/update-grub" }, "ID=ubuntu\nID_LIKE=debian\n", NULL,
                  "to GRUB_CMDLINE_LINUX in /etc/default/grub, run 'update-grub'", "run 'update-grub'" },
                { { "etc/default/grub", "usr/sbin/grubby", "boot/grub2/grub.cfg" }, "ID=fedora\n", NULL,
                  "grubby --update-kernel=ALL --args=\"intel_iommu=on iommu=pt\"",
                  "grubby --update-kernel=ALL --remove-args=\"iommu=off\"" },
                { { "etc/default/grub", "boot/grub2/grub.cfg" }, "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n",
                  NULL, "grub2-mkconfig -o /boot/grub2/grub.cfg", "grub2-mkconfig" },
                { { "etc/default/grub", "boot/grub/grub.cfg" }, "ID=arch\n", NULL,
                  "grub-mkconfig -o /boot/grub/grub.cfg", "grub-mkconfig" },
                { { "boot/loader/loader.conf" }, "ID=arch\n", NULL, "/boot/loader/entries", "/boot/loader/entries" },
                { { "boot/loader/loader.conf", "etc/kernel/cmdline" }, "ID=arch\n", NULL, "mkinitcpio -P",
                  "mkinitcpio -P" },
                { { "etc/kernel/cmdline", "etc/default/grub" }, "ID=debian\n", "systemd-boot 252",
                  "dpkg-reconfigure linux-image-$(uname -r)", "/etc/kernel/cmdline" },
                { { "etc/kernel/cmdline", "etc/default/grub", "etc/kernel/proxmox-boot-uuids" }, "ID=debian\n",
                  "systemd-boot 252", "proxmox-boot-tool refresh", "proxmox-boot-tool refresh" },
                { { "etc/kernel/cmdline", "etc/default/grub", "etc/kernel/proxmox-boot-uuids", "usr/sbin/update-grub" },
                  "ID=debian\n", "GRUB 2.12", "update-grub", "update-grub" },
                { { "etc/kernel/cmdline" }, "ID=other\n", "systemd-stub 255", "kernel-install add", "kernel-install" },
                { { "etc/hostname" }, "ID=other\n", NULL, "boot loader's configuration", "boot loader's" },
        };

        for (size_t i = 0; i < ELEMENTSOF(systems); i++) {
                _cleanup_tree_ Tree *t = tree_new();
                _cleanup_host_checks_ HostChecks on = {}, off = {};

                for (size_t k = 0; k < ELEMENTSOF(systems[i].files) && systems[i].files[k]; k++)
                        tree_write(t, systems[i].files[k], "%s", "");
                tree_write(t, "etc/os-release", "%s", systems[i].release);
                if (systems[i].loader)
                        write_loader(t, systems[i].loader);
                tree_write(t, "sys/firmware/acpi/tables/DMAR", "DMAR");

                check(t, &on);
                assert_remedy(&on, "iommu", "'intel_iommu=on iommu=pt'");
                assert_remedy(&on, "iommu", systems[i].add);
                assert_remedy(&on, "iommu", "reboot");

                tree_write(t, "proc/cmdline", "BOOT_IMAGE=/vmlinuz iommu=off quiet\n");
                check(t, &off);
                assert_remedy(&off, "iommu", "'iommu=off'");
                assert_remedy(&off, "iommu", systems[i].drop);
        }
}

static void test_tools(void **state) {
        static const char *const expected[][2] = {
                { "ID=debian\n", "Run 'apt-get install qemu-utils swtpm swtpm-tools'." },
                { "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "'apt-get install qemu-utils swtpm swtpm-tools'" },
                { "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "'dnf install qemu-img swtpm swtpm-tools'" },
                { "ID=arch\n", "'pacman -S qemu-img swtpm'" },
                { "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", "'zypper install qemu-img swtpm'" },
                { "ID=gentoo\n", "Install qemu-img swtpm." },
        };

        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                _cleanup_tree_ Tree *t = intel_ready();
                _cleanup_host_checks_ HostChecks checks = {};

                tree_write(t, "usr/lib/os-release", "%s", expected[i][0]);
                tree_remove(t, "usr/bin/qemu-img");
                tree_remove(t, "usr/bin/swtpm");
                check(t, &checks);
                assert_status(&checks, "tools", CHECK_WARN);
                assert_remedy(&checks, "tools", expected[i][1]);
                assert_string_equal(find(&checks, "tools")->summary, "Missing: qemu-img (images of other formats), swtpm (--tpm)");
        }
}

static void test_nested_paging(void **state) {
        _cleanup_tree_ Tree *t = intel_ready();
        _cleanup_host_checks_ HostChecks intel = {}, amd = {};

        tree_write(t, "sys/module/kvm_intel/parameters/ept", "N\n");
        check(t, &intel);
        assert_status(&intel, "nested-paging", CHECK_WARN);
        assert_remedy(&intel, "nested-paging", "ept=0");
        assert_true(host_checks_ready(&intel));

        tree_write(t, "sys/module/kvm_intel/parameters/ept", "Y\n");
        tree_write(t, "sys/module/kvm_amd/parameters/npt", "0\n");
        check(t, &amd);
        assert_status(&amd, "nested-paging", CHECK_WARN);
        assert_remedy(&amd, "nested-paging", "modprobe kvm_amd");
}

static void test_resizable_bar(void **state) {
        static const char resource[] = "sys/bus/pci/devices/0000:00:02.0/resource";
        _cleanup_tree_ Tree *t = intel_ready();
        _cleanup_host_checks_ HostChecks fixed = {}, small = {}, large = {};

        tree_write(t, resource, "0x00000000e0000000 0x00000000efffffff 0x000000000014220c\n");
        check(t, &fixed);
        assert_status(&fixed, "resizable-bar", CHECK_OK);

        tree_write(t, "sys/bus/pci/devices/0000:00:02.0/resource0_resize", "0000000000003fc0\n");
        check(t, &small);
        assert_status(&small, "resizable-bar", CHECK_WARN);
        assert_remedy(&small, "resizable-bar", "Above 4G Decoding");
        assert_non_null(strstr(find(&small, "resizable-bar")->summary, "0000:00:02.0"));

        tree_write(t, resource, "0x0000004000000000 0x00000041ffffffff 0x000000000014220c\n");
        check(t, &large);
        assert_status(&large, "resizable-bar", CHECK_OK);
}

static void test_memlock(void **state) {
        _cleanup_tree_ Tree *t = intel_ready();
        _cleanup_host_checks_ HostChecks low = {}, high = {}, unlimited = {}, none = {};

        add_libvirt(t, "00000000fe7fffff", "67108864"); /* without CAP_SYS_RESOURCE */
        check(t, &low);
        assert_status(&low, "memlock", CHECK_WARN);
        assert_remedy(&low, "memlock", "LimitMEMLOCK=infinity");

        add_libvirt(t, "00000000fe7fffff", "34359738368");
        check(t, &high);
        assert_status(&high, "memlock", CHECK_OK);

        add_libvirt(t, "0", "unlimited");
        check(t, &unlimited);
        assert_status(&unlimited, "memlock", CHECK_OK);

        tree_write(t, "proc/812/comm", "bash\n");
        check(t, &none);
        assert_status(&none, "memlock", CHECK_UNKNOWN);
}

static void test_secure_boot(void **state) {
        static const char variable[] = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        _cleanup_tree_ Tree *t = intel_ready();
        _cleanup_host_checks_ HostChecks on = {}, off = {}, asked = {};

        tree_write(t, "sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        tree_write_bytes(t, variable, "\6\0\0\0\1", 5);
        check(t, &on);
        assert_status(&on, "kernel-lockdown", CHECK_OK);
        assert_non_null(strstr(find(&on, "kernel-lockdown")->summary, "Secure Boot is on"));
        tree_write_bytes(t, variable, "\6\0\0\0\0", 5);
        check(t, &off);
        assert_null(strstr(find(&off, "kernel-lockdown")->summary, "Secure Boot"));

        tree_write(t, "sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
        tree_write(t, "proc/cmdline", "quiet lockdown=confidentiality\n");
        tree_write(t, "usr/sbin/grubby", "%s", "");
        check(t, &asked);
        assert_remedy(&asked, "kernel-lockdown", "--remove-args=\"lockdown=confidentiality\"");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ready),         cmocka_unit_test(test_nothing),
                cmocka_unit_test(test_vendors),       cmocka_unit_test(test_firmware_only),
                cmocka_unit_test(test_no_groups),     cmocka_unit_test(test_interrupts),
                cmocka_unit_test(test_lockdown),      cmocka_unit_test(test_added),
                cmocka_unit_test(test_kernel_parameters), cmocka_unit_test(test_tools),
                cmocka_unit_test(test_nested_paging), cmocka_unit_test(test_resizable_bar),
                cmocka_unit_test(test_memlock),       cmocka_unit_test(test_secure_boot),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
