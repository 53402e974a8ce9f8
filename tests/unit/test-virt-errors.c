/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Texts of libvirt 9.0 and QEMU 7.2 as they were seen, and what a caller is told. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <libvirt/virterror.h>

#include "virt/translate.h"

#define CLOSED "internal error: qemu unexpectedly closed the monitor: "
#define EXITED "internal error: process exited while connecting to monitor: "
#define QEMU "2026-11-23T01:31:29.214370Z qemu-system-x86_64: "
#define VFIO_DEVICE(host)                                                                            \
        "-device {\"driver\":\"vfio-pci\",\"host\":\"" host "\",\"id\":\"hostdev0\",\"bus\":\"pci.7\"," \
        "\"addr\":\"0x0\"}: "

typedef struct Example {
        Act act;
        int number;
        const char *text;
        ErrorCode code;
        const char *message;    /* occurs in what is told */
        const char *remedy;     /* occurs in the remedy; NULL: any */
} Example;

static const Example examples[] = {
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU VFIO_DEVICE("0000:03:00.0") "vfio 0000:03:00.0: group 10 is not viable\n"
          "Please ensure all devices within the iommu_group are bound to their vfio bus driver.",
          ERROR_GROUP_NOT_VIABLE,
          "cannot start the VM: IOMMU group 10 of 0000:03:00.0 has another function", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU VFIO_DEVICE("0000:01:00.0")
          "vfio 0000:01:00.0: failed to open /dev/vfio/12: Device or resource busy",
          ERROR_DEVICE_IN_USE, "another program has IOMMU group 12 of 0000:01:00.0 open", "fuser" },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU VFIO_DEVICE("0000:01:00.0")
          "vfio 0000:01:00.0: failed to open /dev/vfio/12: No such file or directory",
          ERROR_BIND_FAILED, "0000:01:00.0 is not on vfio-pci", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU VFIO_DEVICE("0000:01:00.0")
          "vfio 0000:01:00.0: error getting device from group 12: No such device\n"
          "Verify all devices in group 12 are bound to vfio-<bus> or pci-stub and not already in use",
          ERROR_GROUP_NOT_VIABLE, "not every function of IOMMU group 12", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU VFIO_DEVICE("0000:0a:00.0")
          "vfio 0000:0a:00.0: failed to setup container for group 12: memory listener initialization "
          "failed: Region pc.ram: vfio_dma_map(0x55d0c2b5d2a0, 0x100000000, 0x380000000, 0x7f1ac0000000) = "
          "-12 (Cannot allocate memory)",
          ERROR_INSUFFICIENT_MEMORY, "could not be pinned for 0000:0a:00.0", "MEMLOCK" },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU "VFIO_MAP_DMA failed: Cannot allocate memory\n" QEMU
          "vfio_dma_map(0x5581a6d2e0c0, 0x0, 0xa0000, 0x7f3c8be00000) = -12 (Cannot allocate memory)",
          ERROR_INSUFFICIENT_MEMORY, "could not be pinned", "MEMLOCK" },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU "VFIO_MAP_DMA failed: Invalid argument", ERROR_NOT_SUPPORTED,
          "the IOMMU cannot reach", "address width" },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU "vfio_dma_map(0x5581a6d2e0c0, 0x380000000000, 0x10000000, 0x7f3c) = -22 "
          "(Invalid argument)", ERROR_NOT_SUPPORTED, "the IOMMU cannot reach", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU VFIO_DEVICE("0000:01:00.0")
          "vfio 0000:01:00.0: Unable to power on device, stuck in D3",
          ERROR_RESET_FAILED, "0000:01:00.0 does not wake up", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          "internal error: Unknown PCI header type '127' for device '0000:0b:00.0'", ERROR_RESET_FAILED,
          "0000:0b:00.0 does not answer", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          "internal error: Unable to reset PCI device 0000:01:00.0: no FLR, PM reset or bus reset available",
          ERROR_RESET_FAILED, "0000:01:00.0 could not be reset", NULL },
        { ACT_START, VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: host doesn't support passthrough of host PCI devices",
          ERROR_NO_IOMMU, "no IOMMU", NULL },
        { ACT_START, VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: host doesn't support VFIO PCI passthrough", ERROR_NO_IOMMU,
          "no IOMMU", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU VFIO_DEVICE("0000:01:00.0") "vfio 0000:01:00.0: no iommu_group found: No such file or "
          "directory", ERROR_NO_IOMMU, "0000:01:00.0 is not behind an IOMMU", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU VFIO_DEVICE("0000:01:00.0") "vfio 0000:01:00.0: failed to setup container for group "
          "1: Failed to set iommu for container: Operation not permitted", ERROR_NO_IOMMU,
          "no interrupt remapping", "interrupt remapping" },
        { ACT_START, VIR_ERR_OPERATION_INVALID,
          "Requested operation is not valid: PCI device 0000:01:00.0 is in use by driver QEMU, domain other",
          ERROR_DEVICE_CLAIMED, "0000:01:00.0 is in use by the libvirt domain other", NULL },
        { ACT_START, VIR_ERR_OPERATION_INVALID,
          "Requested operation is not valid: Unmanaged PCI device 0000:01:00.0 must be manually detached "
          "from the host", ERROR_BIND_FAILED, "0000:01:00.0 is not on vfio-pci", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          "internal error: Device 0000:01:00.0 not found: could not access "
          "/sys/bus/pci/devices/0000:01:00.0/config", ERROR_NO_SUCH_DEVICE, "0000:01:00.0", NULL },
        { ACT_START, VIR_ERR_SYSTEM_ERROR,
          "cannot limit locked memory of process 4711 to 2147483648: Operation not permitted",
          ERROR_INSUFFICIENT_MEMORY, "locked memory", "CAP_SYS_RESOURCE" },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          EXITED QEMU "cannot set up guest memory 'pc.ram': Cannot allocate memory",
          ERROR_INSUFFICIENT_MEMORY, "not enough memory", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          EXITED QEMU "unable to map backing store for guest RAM: Cannot allocate memory",
          ERROR_INSUFFICIENT_MEMORY, "huge pages", "nr_hugepages" },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          EXITED QEMU "qemu_prealloc_mem: preallocating memory failed: Insufficient free host memory pages "
          "available to allocate guest RAM", ERROR_INSUFFICIENT_MEMORY, "huge pages", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          "internal error: hugetlbfs filesystem is not mounted or disabled by administrator config",
          ERROR_NOT_SUPPORTED, "huge pages", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          "internal error: Unable to find any usable hugetlbfs mount for 1048576 KiB", ERROR_NOT_SUPPORTED,
          "huge pages", NULL },
        { ACT_DEFINE, VIR_ERR_OPERATION_FAILED,
          "operation failed: Unable to find any firmware to satisfy 'efi'", ERROR_NOT_SUPPORTED,
          "cannot define the VM: this host has no firmware", "ovmf" },
        { ACT_DEFINE, VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: TPM version '2.0' is not supported", ERROR_NOT_SUPPORTED, "TPM",
          "swtpm-tools" },
        { ACT_START, VIR_ERR_OPERATION_UNSUPPORTED, "Unable to find 'swtpm_setup' binary in $PATH: No such "
          "file or directory", ERROR_NOT_SUPPORTED, "swtpm", "swtpm-tools" },
        { ACT_DEFINE, VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Emulator '/usr/bin/qemu-system-x86_64' does not support virt type 'kvm'",
          ERROR_NOT_SUPPORTED, "KVM", "firmware setup" },
        { ACT_DEFINE, VIR_ERR_INVALID_ARG,
          "invalid argument: could not find capabilities for arch=x86_64 domaintype=kvm",
          ERROR_NOT_SUPPORTED, "KVM", "firmware setup" },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          EXITED "Could not access KVM kernel module: No such file or directory\n" QEMU
          "failed to initialize kvm: No such file or directory", ERROR_NOT_SUPPORTED, "KVM", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU "-device {\"driver\":\"virtio-blk-pci\",\"iothread\":\"iothread1\",\"bus\":\"pci.1\","
          "\"addr\":\"0x0\",\"drive\":\"libvirt-1-format\",\"id\":\"virtio-disk0\",\"bootindex\":1}: Failed "
          "to get shared \"write\" lock\nIs another process using the image [/tmp/vk/boot.img]?",
          ERROR_BUSY, "another program has the VM's disk open", NULL },
        { ACT_START, VIR_ERR_SYSTEM_ERROR,
          "Cannot access storage file '/var/lib/vmkit/images/a/disk.qcow2': No such file or directory",
          ERROR_START_FAILED, "'/var/lib/vmkit/images/a/disk.qcow2' is missing", NULL },
        { ACT_START, VIR_ERR_SYSTEM_ERROR,
          "Cannot access storage file '/var/lib/vmkit/images/a/disk.qcow2' (as uid:64055, gid:64055): "
          "Permission denied", ERROR_START_FAILED, "QEMU may not open '/var/lib/vmkit", "AppArmor" },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          EXITED QEMU "-blockdev {\"driver\":\"file\",\"filename\":\"/srv/disk.img\"}: Could not open "
          "'/srv/disk.img': Permission denied", ERROR_START_FAILED, "QEMU may not open '/srv/disk.img'",
          "AppArmor" },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          EXITED QEMU "-blockdev {\"node-name\":\"libvirt-1-format\",\"driver\":\"qcow2\"}: Image is not in "
          "qcow2 format", ERROR_START_FAILED, "another format", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU VFIO_DEVICE("0000:01:00.0") "failed to find romfile \"/srv/a.rom\"",
          ERROR_START_FAILED, "VBIOS file of 0000:01:00.0", NULL },
        { ACT_START, VIR_ERR_NO_NETWORK, "Network not found: no network with matching name 'nonet'",
          ERROR_INVALID_OPTION, "no network 'nonet'", "net-list" },
        { ACT_START, VIR_ERR_OPERATION_INVALID,
          "Requested operation is not valid: network 'default' is not active", ERROR_NOT_READY,
          "network 'default' is not active", "net-start" },
        { ACT_DEFINE, VIR_ERR_OPERATION_FAILED,
          "operation failed: domain 'a' already exists with uuid c7a5fdbd-edaf-9455-926a-d65c16db1809",
          ERROR_VM_EXISTS, "libvirt has a domain 'a' already", NULL },
        { ACT_DEFINE, VIR_ERR_OPERATION_FAILED,
          "operation failed: domain 'a' is already defined with uuid c7a5fdbd-edaf-9455-926a-d65c16db1809",
          ERROR_VM_EXISTS, "libvirt has a domain 'a' already", NULL },
        { ACT_START, VIR_ERR_OPERATION_TIMEOUT,
          "Timed out during operation: cannot acquire state change lock (held by "
          "monitor=remoteDispatchDomainCreate)", ERROR_BUSY, "libvirt is still busy", NULL },
        { ACT_START, VIR_ERR_OPERATION_INVALID, "Requested operation is not valid: domain is already running",
          ERROR_WRONG_STATE, "cannot start the VM: the VM is running already", NULL },
        { ACT_SUSPEND, VIR_ERR_OPERATION_INVALID, "Requested operation is not valid: domain is not running",
          ERROR_WRONG_STATE, "cannot pause the VM: the VM is not running", NULL },
        { ACT_OPEN_CONSOLE, VIR_ERR_OPERATION_FAILED,
          "operation failed: Active console session exists for this domain", ERROR_BUSY, "open elsewhere",
          "Close the other viewer" },
        { ACT_OPEN_CONSOLE, VIR_ERR_NO_SUPPORT,
          "this function is not supported by the connection driver: virDomainOpenConsole",
          ERROR_NOT_SUPPORTED, "cannot open the VM's console", NULL },
        { ACT_START, VIR_ERR_NO_DOMAIN, "Domain not found: no domain with matching uuid 'x'",
          ERROR_NO_SUCH_VM, "no such domain", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR, "internal error: client socket is closed", ERROR_START_FAILED,
          "client socket is closed", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR,
          CLOSED QEMU "-device {\"driver\":\"foo\"}: 'foo' is not a valid device model name",
          ERROR_START_FAILED, "cannot start the VM: 'foo' is not a valid device model name", NULL },
        { ACT_START, VIR_ERR_INTERNAL_ERROR, CLOSED QEMU "\x1b[2Jbad\n\n", ERROR_START_FAILED,
          "cannot start the VM:  [2Jbad", NULL },
        { ACT_DESTROY, VIR_ERR_INTERNAL_ERROR, "internal error: something else", ERROR_INTERNAL,
          "cannot stop the VM: internal error: something else", NULL },
        { ACT_DEFINE, VIR_ERR_INTERNAL_ERROR, NULL, ERROR_INTERNAL, "gave no reason", NULL },
        { ACT_DEFINE, VIR_ERR_INTERNAL_ERROR, "", ERROR_INTERNAL, "cannot define the VM: ", NULL },
};

static void test_examples(_unused_ void **state) {
        for (size_t i = 0; i < ELEMENTSOF(examples); i++) {
                const Example *x = &examples[i];
                _cleanup_error_ Error error = ERROR_INIT;
                int r = translate_error(x->act, x->number, x->text, &error);

                if (error.code != x->code)
                        fail_msg("%s: %s instead of %s", x->text, error_code_name(error.code),
                                 error_code_name(x->code));
                assert_int_equal(r, -error_code_errno(x->code));
                if (!strstr(error.message, x->message))
                        fail_msg("'%s' is not in '%s'", x->message, error.message);
                if (x->remedy && !strstr(error_remedy(&error), x->remedy))
                        fail_msg("'%s' is not in '%s'", x->remedy, error_remedy(&error));
                assert_null(strchr(error.message, '\n'));
                assert_null(strchr(error.message, '{'));
        }
}

/* A text that names a device, cut off anywhere: never a crash, and always a sentence. */
static void test_cut_off(_unused_ void **state) {
        for (size_t i = 0; i < ELEMENTSOF(examples); i++) {
                size_t n = examples[i].text ? strlen(examples[i].text) : 0;

                for (size_t cut = 0; cut < n; cut++) {
                        _cleanup_free_ char *text = strndup(examples[i].text, cut);
                        _cleanup_error_ Error error = ERROR_INIT;

                        assert_non_null(text);
                        assert_true(translate_error(ACT_START, 0, text, &error) < 0);
                        assert_non_null(error.message);
                }
        }
}

static void test_long_text(_unused_ void **state) {
        char text[10000];
        _cleanup_error_ Error error = ERROR_INIT;

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        (void) translate_error(ACT_START, VIR_ERR_INTERNAL_ERROR, text, &error);
        assert_true(strlen(error.message) < 400);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_examples),
                cmocka_unit_test(test_cut_off),
                cmocka_unit_test(test_long_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
