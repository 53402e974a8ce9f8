/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each check looks at one thing and says what to do about it. What a VM with devices cannot do
 * without fails; what only makes it slow, or what cannot be told from here, does not. */

#include <stdarg.h>

#include "base/parse.h"
#include "base/strv.h"
#include "hostcheck-kinds.h"
#include "sysfs.h"

#define CPUINFO_MAX (16 * MIB)
#define IRQS_TRIED_MAX 64

#define INTEL_PARAMETERS "intel_iommu=on iommu=pt"
#define AMD_PARAMETERS "amd_iommu=on iommu=pt"

const char *check_status_to_string(CheckStatus status) {
        static const char *const names[] = {
                [CHECK_OK] = "ok",
                [CHECK_WARN] = "warn",
                [CHECK_FAIL] = "fail",
                [CHECK_UNKNOWN] = "unknown",
        };
        return (unsigned) status < ELEMENTSOF(names) ? names[status] : NULL;
}

int host_checks_add(HostChecks *checks, const char *id, CheckStatus status, const char *remedy,
                    const char *summary_format, ...) {
        HostCheck check = { .id = id, .status = status };
        va_list ap;

        HostCheck *grown = reallocarray(checks->items, checks->n + 1, sizeof(HostCheck));
        if (!grown)
                return -ENOMEM;
        checks->items = grown;

        va_start(ap, summary_format);
        if (vasprintf(&check.summary, summary_format, ap) < 0)
                check.summary = NULL;
        va_end(ap);
        check.remedy = strdup(remedy ? remedy : "");

        if (!check.summary || !check.remedy) {
                free(check.summary);
                free(check.remedy);
                return -ENOMEM;
        }

        checks->items[checks->n++] = check;
        return 0;
}

bool host_checks_ready(const HostChecks *checks) {
        for (size_t i = 0; i < checks->n; i++)
                if (checks->items[i].status == CHECK_FAIL)
                        return false;
        return true;
}

void host_checks_clear(HostChecks *checks) {
        for (size_t i = 0; i < checks->n; i++) {
                free(checks->items[i].summary);
                free(checks->items[i].remedy);
        }
        free(checks->items);
        *checks = (HostChecks) {};
}

/* --- what there is ---------------------------------------------------------------------------- */

bool host_has_word(const char *text, const char *word) {
        size_t n = strlen(word);

        for (const char *p = text; p && (p = strstr(p, word)); p += n)
                if ((p == text || strchr(" \t\n", p[-1])) && strchr(" \t\n", p[n]))
                        return true;
        return false;
}

static int read_cpu(Host *h) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = read_file_at(h->root_fd, "proc/cpuinfo", CPUINFO_MAX, &text);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return 0;

        /* The first processor speaks for all. */
        char *end = strstr(text, "\n\n");
        if (end)
                end[1] = '\0';

        h->vendor = strstr(text, "GenuineIntel")                                      ? CPU_INTEL
                    : strstr(text, "AuthenticAMD") || strstr(text, "HygonGenuine") ? CPU_AMD
                                                                                   : CPU_OTHER;
        h->x86 = strstr(text, "vendor_id");
        h->virtualization = host_has_word(text, "vmx") || host_has_word(text, "svm");
        h->hypervisor = host_has_word(text, "hypervisor");
        return 0;
}

static int host_read(int root_fd, const Inventory *inventory, Host *h) {
        int r;

        h->root_fd = root_fd;
        h->inventory = inventory;

        for (size_t i = 0; i < inventory->n_devices; i++)
                if (inventory->devices[i]->iommu_group >= 0)
                        h->n_grouped++;

        r = read_cpu(h);
        if (r >= 0)
                r = list_dir_if_exists_at(root_fd, "sys/class/iommu", &h->iommus);
        if (r >= 0 && read_line_at(root_fd, "proc/cmdline", &h->cmdline) < 0)
                h->cmdline = NULL;
        h->system = host_system_read(root_fd);
        return r;
}

static void host_clear(Host *h) {
        strv_free(h->iommus);
        free(h->cmdline);
}

/* --- the processor ---------------------------------------------------------------------------- */

static int check_cpu(const Host *h, HostChecks *checks) {
        static const char id[] = "cpu-virtualization";

        if (!h->x86)
                return host_checks_add(
                        checks, id, CHECK_UNKNOWN, NULL,
                        "Only x86 processors say in /proc/cpuinfo whether they can run guests");
        if (h->virtualization)
                return host_checks_add(checks, id, CHECK_OK, NULL,
                                       "The processor can run guests itself");

        const char *remedy = "Switch on VT-x (Intel) or SVM Mode (AMD) in the firmware setup.";
        if (h->hypervisor)
                remedy = "This host is a guest itself: allow nested virtualization in the host "
                         "below.";
        return host_checks_add(
                checks, id, CHECK_WARN, remedy,
                "The processor offers no virtualization (vmx, svm): guests are emulated, slowly");
}

static int check_kvm(const Host *h, HostChecks *checks) {
        static const char id[] = "kvm";

        if (path_exists_at(h->root_fd, "sys/class/misc/kvm") ||
            path_exists_at(h->root_fd, "sys/devices/virtual/misc/kvm") ||
            path_exists_at(h->root_fd, "sys/module/kvm_intel") ||
            path_exists_at(h->root_fd, "sys/module/kvm_amd"))
                return host_checks_add(checks, id, CHECK_OK, NULL, "KVM is there");

        return host_checks_add(checks, id, CHECK_WARN,
                               h->vendor == CPU_INTEL ? "'modprobe kvm_intel' loads it."
                               : h->vendor == CPU_AMD ? "'modprobe kvm_amd' loads it."
                                                      : "Load the KVM module of this processor.",
                               "KVM is not loaded: guests are emulated, slowly");
}

/* Without it every memory access of a guest costs exits. */
static int check_nested_paging(const Host *h, HostChecks *checks) {
        static const char id[] = "nested-paging";
        bool intel = attribute_is(h->root_fd, "sys/module/kvm_intel/parameters/ept", "N");
        bool amd = attribute_is(h->root_fd, "sys/module/kvm_amd/parameters/npt", "N") ||
                   attribute_is(h->root_fd, "sys/module/kvm_amd/parameters/npt", "0");

        if (!intel && !amd)
                return host_checks_add(checks, id, CHECK_OK, NULL, "Nested paging is not switched off");

        return host_checks_add(
                checks, id, CHECK_WARN,
                intel ? "If a file in /etc/modprobe.d or the kernel command line says 'ept=0', take that away; then "
                        "'modprobe -r kvm_intel && modprobe kvm_intel'. A processor without EPT has no other way."
                      : "If a file in /etc/modprobe.d or the kernel command line says 'npt=0', take that away; then "
                        "'modprobe -r kvm_amd && modprobe kvm_amd'. A processor without NPT has no other way.",
                "KVM runs without nested paging (%s): guests are slow", intel ? "EPT" : "NPT");
}

/* --- the IOMMU -------------------------------------------------------------------------------- */

/* The firmware describes its IOMMU in a table when it is switched on there. */
static bool firmware_has_iommu(const Host *h) {
        return path_exists_at(h->root_fd, "sys/firmware/acpi/tables/DMAR") ||
               path_exists_at(h->root_fd, "sys/firmware/acpi/tables/IVRS");
}

/* The word on the kernel command line that does it; NULL: none. */
static const char *switched_off(const Host *h) {
        static const char *const words[] = { "intel_iommu=off", "amd_iommu=off", "iommu=off" };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (host_has_word(h->cmdline, words[i]))
                        return words[i];
        return NULL;
}

/* Where the firmware has its part done, the kernel's is left. Where it has not, what this processor needs comes
 * first, but not alone: in a VM an IOMMU of either kind may sit beside a processor of the other. */
static char *iommu_remedy(const Host *h) {
        bool ivrs = path_exists_at(h->root_fd, "sys/firmware/acpi/tables/IVRS");
        bool dmar = path_exists_at(h->root_fd, "sys/firmware/acpi/tables/DMAR");
        bool amd = ivrs || (!dmar && h->vendor == CPU_AMD);
        _cleanup_free_ char *add = NULL;
        char *remedy = NULL;

        if (switched_off(h))
                return host_system_drop_parameters(&h->system, switched_off(h));

        add = host_system_add_parameters(&h->system, amd ? AMD_PARAMETERS : INTEL_PARAMETERS);
        if (!add || ivrs || dmar)
                return TAKE_PTR(add);

        if (asprintf(&remedy, "Switch on %s in the firmware setup. %s\nWith an %s IOMMU: %s, and '%s'.",
                     amd ? "IOMMU (AMD-Vi) and SVM Mode" : "VT-d", add, amd ? "Intel" : "AMD",
                     amd ? "VT-d" : "IOMMU (AMD-Vi) and SVM Mode", amd ? INTEL_PARAMETERS : AMD_PARAMETERS) < 0)
                return NULL;
        return remedy;
}

static int check_iommu(const Host *h, HostChecks *checks) {
        static const char id[] = "iommu";
        size_t n = strv_length(h->iommus);
        _cleanup_free_ char *remedy = n > 0 ? NULL : iommu_remedy(h);

        if (n > 0)
                return host_checks_add(checks, id, CHECK_OK, NULL, "%zu IOMMU unit%s (%s%s)", n,
                                       n == 1 ? "" : "s", h->iommus[0], n == 1 ? "" : ", …");
        if (h->n_grouped > 0)
                return host_checks_add(checks, id, CHECK_WARN, remedy,
                                       "There are IOMMU groups, but no IOMMU: devices would be "
                                       "isolated by nothing");

        const char *summary = "The kernel found no IOMMU";
        if (switched_off(h))
                summary = "The IOMMU is switched off on the kernel command line";
        else if (firmware_has_iommu(h))
                summary = "The firmware offers an IOMMU, but the kernel does not use it";
        return host_checks_add(checks, id, CHECK_FAIL, remedy, "%s", summary);
}

static int check_groups(const Host *h, HostChecks *checks) {
        static const char id[] = "iommu-groups";
        _cleanup_free_ char *remedy = h->n_grouped > 0 ? NULL : iommu_remedy(h);

        if (h->n_grouped == 0)
                return host_checks_add(
                        checks, id, CHECK_FAIL, remedy, "%s",
                        h->iommus ? "There is an IOMMU, but no device is in an IOMMU group"
                                  : "Without an IOMMU there are no IOMMU groups");
        if (h->n_grouped < h->inventory->n_devices)
                return host_checks_add(checks, id, CHECK_OK, NULL,
                                       "%zu of %zu PCI functions are in IOMMU groups", h->n_grouped,
                                       h->inventory->n_devices);
        return host_checks_add(checks, id, CHECK_OK, NULL,
                               "All %zu PCI functions are in IOMMU groups", h->n_grouped);
}

/* --- VFIO ------------------------------------------------------------------------------------- */

static int check_vfio(const Host *h, HostChecks *checks) {
        static const char id[] = "vfio-module";

        if (path_exists_at(h->root_fd, "sys/bus/pci/drivers/vfio-pci"))
                return host_checks_add(checks, id, CHECK_OK, NULL, "The module vfio-pci is loaded");

        return host_checks_add(checks, id, CHECK_FAIL,
                               "Load it with 'modprobe vfio-pci', and at each boot with "
                               "'echo vfio-pci > /etc/modules-load.d/vfio-pci.conf'.",
                               "The module vfio-pci is not loaded");
}

/* Interrupts that go through the IOMMU have a controller named "IR-…". */
static bool sees_remapped_interrupts(const Host *h) {
        _cleanup_strv_ char **irqs = NULL;
        size_t n = 0;

        if (list_dir_at(h->root_fd, "sys/kernel/irq", &irqs) < 0)
                return false;

        STRV_FOREACH(irq, irqs) {
                _cleanup_free_ char *chip = NULL;

                if (n++ >= IRQS_TRIED_MAX)
                        break;
                if (read_line_at(h->root_fd, PATH_TEXT("sys/kernel/irq/%s/chip_name", *irq),
                                 &chip) >= 0 &&
                    str_after(chip, "IR-"))
                        return true;
        }
        return false;
}

/* Bit 3 of an Intel unit's extended capabilities. 1: all units can; 0: one cannot; negative: not
 * told. */
static int intel_can_remap(const Host *h) {
        int answer = -ENODATA;

        STRV_FOREACH(unit, h->iommus) {
                _cleanup_free_ char *text = NULL;
                uint64_t capabilities;

                if (!str_after(*unit, "dmar"))
                        continue;
                if (read_line_at(h->root_fd,
                                 PATH_TEXT("sys/class/iommu/%s/intel-iommu/ecap", *unit),
                                 &text) < 0 ||
                    parse_uint(text, 16, UINT64_MAX, &capabilities) < 0)
                        return -ENODATA;
                if (!(capabilities & (1u << 3)))
                        return 0;
                answer = 1;
        }
        return answer;
}

static int check_interrupts(const Host *h, HostChecks *checks) {
        static const char id[] = "interrupt-remapping";
        const char *off = host_has_word(h->cmdline, "intremap=off")  ? "intremap=off"
                          : host_has_word(h->cmdline, "nointremap") ? "nointremap"
                                                               : NULL;
        _cleanup_free_ char *remedy = off ? host_system_drop_parameters(&h->system, off) : NULL;
        int capable = intel_can_remap(h);

        if (!h->iommus)
                return host_checks_add(checks, id, CHECK_UNKNOWN, NULL,
                                       "It cannot be told without an IOMMU");
        if (sees_remapped_interrupts(h))
                return host_checks_add(checks, id, CHECK_OK, NULL,
                                       "Interrupts of devices are remapped");
        if (attribute_is(h->root_fd,
                         "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y"))
                return host_checks_add(
                        checks, id, CHECK_WARN,
                        "A malicious guest can send interrupts to the host. Take "
                        "allow_unsafe_interrupts away where the host can remap interrupts.",
                        "Unsafe interrupts are allowed (vfio_iommu_type1)");
        if (off)
                return host_checks_add(
                        checks, id, CHECK_FAIL,
                        remedy,
                        "Interrupt remapping is switched off on the kernel command line");
        if (capable == 0)
                return host_checks_add(
                        checks, id, CHECK_FAIL,
                        "Look for interrupt remapping or x2APIC in the firmware setup. For guests "
                        "that are trusted, 'options vfio_iommu_type1 allow_unsafe_interrupts=1' in "
                        "/etc/modprobe.d goes without.",
                        "The IOMMU cannot remap interrupts, and VFIO refuses devices without it");
        if (capable > 0)
                return host_checks_add(checks, id, CHECK_OK, NULL,
                                       "The IOMMU can remap interrupts");
        return host_checks_add(checks, id, CHECK_UNKNOWN, NULL,
                               "The kernel does not say whether interrupts are remapped");
}

char *host_install_remedy(int root_fd, HostPackage package) {
        HostSystem system = host_system_read(root_fd);

        return host_system_install(&system, &package, 1);
}

int host_check(int root_fd, const Inventory *inventory, HostChecks *ret) {
        static int (*const run[])(const Host *h, HostChecks *checks) = {
                check_cpu,        check_kvm,           check_nested_paging, check_iommu,
                check_groups,     check_vfio,          check_interrupts,    host_check_lockdown,
                host_check_bars,  host_check_memlock,  host_check_tools,
        };
        _cleanup_(host_clear) Host host = {};
        _cleanup_host_checks_ HostChecks checks = {};
        int r;

        r = host_read(root_fd, inventory, &host);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(run); i++)
                r = run[i](&host, &checks);
        if (r < 0)
                return r;

        *ret = checks;
        checks = (HostChecks) {};
        return 0;
}
