/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The checks of what can do without: a VM with devices runs, but slowly, or not with everything. */

#include <fcntl.h>

#include "base/parse.h"
#include "base/strv.h"
#include "bar.h"
#include "hostcheck-kinds.h"
#include "sysfs.h"

#define CAP_SYS_RESOURCE_BIT (1u << 24)
#define SECURE_BOOT "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
#define SMALL_BAR (256 * MIB) /* what firmware without resizable BARs gives a display */

/* --- Secure Boot ------------------------------------------------------------------------------ */

/* Four bytes of attributes, then 1 or 0. */
static bool secure_boot_is_on(const Host *h) {
        _cleanup_close_ int fd = openat(h->root_fd, SECURE_BOOT, O_RDONLY | O_CLOEXEC);
        unsigned char value[5] = {};

        return fd >= 0 && read(fd, value, sizeof value) == sizeof value && value[4] == 1;
}

static char *lockdown_remedy(const Host *h) {
        static const char parameter[] = "lockdown=confidentiality";

        if (host_has_word(h->cmdline, parameter))
                return host_system_drop_parameters(&h->system, parameter);
        return strdup("If devices cannot be handed out, boot a kernel that is not built to lock itself down for "
                      "confidentiality, or switch Secure Boot off in the firmware setup.");
}

int host_check_lockdown(const Host *h, HostChecks *checks) {
        static const char id[] = "kernel-lockdown";
        _cleanup_free_ char *modes = NULL, *remedy = NULL;
        const char *boot = secure_boot_is_on(h) ? "Secure Boot is on; the" : "The";

        if (read_line_at(h->root_fd, "sys/kernel/security/lockdown", &modes) < 0 || strstr(modes, "[none]"))
                return host_checks_add(checks, id, CHECK_OK, NULL, "%s kernel is not locked down", boot);
        if (strstr(modes, "[integrity]"))
                return host_checks_add(checks, id, CHECK_OK, NULL,
                                       "%s kernel is locked down for integrity, which VFIO works with", boot);

        remedy = lockdown_remedy(h);
        return host_checks_add(checks, id, CHECK_WARN, remedy,
                               "%s kernel is locked down for confidentiality, which may hide what is needed", boot);
}

/* --- displays --------------------------------------------------------------------------------- */

/* A window that could be larger, but has the size that every firmware gives. What sizes there are is not asked:
 * that would wake the device. */
static bool has_small_bar(const Host *h, const PciDevice *device) {
        BarRoom room;
        bool resizable = false;

        for (unsigned bar = 0; bar < 6; bar++)
                resizable |= path_exists_at(h->root_fd, PATH_TEXT("%s/resource%u_resize",
                                                                  SYSFS_PCI_PATH(&device->address), bar));

        return resizable && pci_bar_room(h->root_fd, &device->address, &room) >= 0 && room.largest > 0 &&
               room.largest <= SMALL_BAR;
}

int host_check_bars(const Host *h, HostChecks *checks) {
        static const char id[] = "resizable-bar";

        for (size_t i = 0; i < h->inventory->n_devices; i++) {
                const PciDevice *device = h->inventory->devices[i];

                if (has_small_bar(h, device))
                        return host_checks_add(
                                checks, id, CHECK_WARN,
                                "For games and computing, switch on 'Above 4G Decoding' and 'Resizable BAR' (Smart "
                                "Access Memory) in the firmware setup, with the compatibility module (CSM) off.",
                                "%s shows no more than 256M of its memory at a time, and could show all of it",
                                PCI_ADDRESS_TEXT(&device->address));
        }

        return host_checks_add(checks, id, CHECK_OK, NULL, "No device has a resizable BAR that was left small");
}

/* --- memory ----------------------------------------------------------------------------------- */

static bool is_libvirt(const Host *h, const char *pid) {
        _cleanup_free_ char *command = NULL;

        return pid[0] >= '1' && pid[0] <= '9' &&
               read_line_at(h->root_fd, PATH_TEXT("proc/%s/comm", pid), &command) >= 0 &&
               (streq(command, "libvirtd") || streq(command, "virtqemud"));
}

/* The number behind a word at the beginning of a line; UINT64_MAX for "unlimited" and where there is none. */
static uint64_t number_after(const char *lines, const char *word, unsigned skip, unsigned base) {
        const char *p = strstr(lines, word);
        uint64_t n;

        if (!p)
                return UINT64_MAX;
        for (p += strlen(word); skip > 0; skip--) {
                p += strspn(p, " \t");
                p += strcspn(p, " \t");
        }
        p += strspn(p, " \t");

        _cleanup_free_ char *digits = strndup(p, strcspn(p, " \t\n"));
        return digits && parse_uint(digits, base, UINT64_MAX, &n) >= 0 ? n : UINT64_MAX;
}

/* Whether libvirt's process may let QEMU lock all of the host's memory: by raising the limit, or because it is
 * high enough. */
static bool may_lock_memory(const Host *h, const char *pid) {
        _cleanup_free_ char *status = NULL, *limits = NULL, *meminfo = NULL;

        if (read_file_at(h->root_fd, PATH_TEXT("proc/%s/status", pid), 64 * KIB, &status) < 0 ||
            read_file_at(h->root_fd, PATH_TEXT("proc/%s/limits", pid), 64 * KIB, &limits) < 0 ||
            read_file_at(h->root_fd, "proc/meminfo", 64 * KIB, &meminfo) < 0)
                return true;

        return (number_after(status, "CapEff:", 0, 16) & CAP_SYS_RESOURCE_BIT) ||
               number_after(limits, "Max locked memory", 1, 10) / KIB >= number_after(meminfo, "MemTotal:", 0, 10);
}

int host_check_memlock(const Host *h, HostChecks *checks) {
        static const char id[] = "memlock";
        _cleanup_strv_ char **pids = NULL;
        int r;

        r = list_dir_at(h->root_fd, "proc", &pids);
        if (r == -ENOMEM)
                return r;

        STRV_FOREACH(pid, pids) {
                if (!is_libvirt(h, *pid))
                        continue;
                if (may_lock_memory(h, *pid))
                        return host_checks_add(checks, id, CHECK_OK, NULL,
                                               "libvirt may lock the memory of VMs with devices");
                return host_checks_add(
                        checks, id, CHECK_WARN,
                        "Raise it with 'systemctl edit libvirtd' (or virtqemud):\n  [Service]\n  "
                        "LimitMEMLOCK=infinity\nand 'systemctl restart libvirtd'. In a container, give it "
                        "CAP_SYS_RESOURCE.",
                        "libvirt may not lock the memory of large VMs with devices: its limit is too low, and it "
                        "may not raise it");
        }

        return host_checks_add(checks, id, CHECK_UNKNOWN, NULL,
                               "libvirt does not run, so its limit of locked memory cannot be told");
}

/* --- packages --------------------------------------------------------------------------------- */

typedef struct Tool {
        const char *path; /* in usr/bin */
        const char *purpose;
        HostPackage package;
} Tool;

static const Tool tools[] = {
        { "qemu-img", "images of other formats", PACKAGE_QEMU_IMG },
        { "swtpm", "--tpm", PACKAGE_SWTPM },
        { "pkttyagent", "passwords on a terminal", PACKAGE_POLKIT },
};

int host_check_tools(const Host *h, HostChecks *checks) {
        static const char id[] = "tools";
        HostPackage missing[ELEMENTSOF(tools)];
        _cleanup_strv_ char **words = NULL;
        _cleanup_free_ char *remedy = NULL, *list = NULL;
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(tools); i++) {
                char *word;

                if (path_exists_at(h->root_fd, PATH_TEXT("usr/bin/%s", tools[i].path)))
                        continue;
                if (asprintf(&word, "%s (%s)", tools[i].path, tools[i].purpose) < 0 || strv_consume(&words, word) < 0)
                        return -ENOMEM;
                missing[n++] = tools[i].package;
        }
        if (n == 0)
                return host_checks_add(checks, id, CHECK_OK, NULL, "The tools for images, TPMs and passwords are there");

        list = strv_join(words, ", ");
        remedy = host_system_install(&h->system, missing, n);
        if (!list || !remedy)
                return -ENOMEM;
        return host_checks_add(checks, id, CHECK_WARN, remedy, "Missing: %s", list);
}
