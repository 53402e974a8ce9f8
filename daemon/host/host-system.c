/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is installed says more than the name of a distribution: an Arch with GRUB and a Debian with systemd-boot
 * are told what helps there. The name decides where only it can: what packages are called. */

#include <fcntl.h>
#include <stdarg.h>

#include "base/strv.h"
#include "base/util.h"
#include "host-system.h"
#include "sysfs.h"

#define OS_RELEASE_MAX (64 * KIB)
#define LOADER_INFO \
        "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
#define EFI_ATTRIBUTES_SIZE 4 /* before the value of a variable */

_printf_(1, 2) static char *text(const char *format, ...) {
        char *s = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&s, format, ap) < 0)
                s = NULL;
        va_end(ap);
        return s;
}

/* --- the distribution ------------------------------------------------------------------------- */

/* The value of KEY=value or KEY="value", allocated; NULL: none. */
static char *release_value(const char *release, const char *key) {
        size_t n = strlen(key);

        for (const char *line = release; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                if (strncmp(line, key, n) == 0 && line[n] == '=') {
                        const char *value = line + n + 1;
                        value += *value == '"';
                        return strndup(value, strcspn(value, "\"\n"));
                }

        return NULL;
}

static PackageManager packages_of(const char *id) {
        static const struct {
                const char *id;
                PackageManager packages;
        } known[] = {
                { "debian", PACKAGES_APT },    { "ubuntu", PACKAGES_APT },     { "fedora", PACKAGES_DNF },
                { "rhel", PACKAGES_DNF },      { "centos", PACKAGES_DNF },     { "arch", PACKAGES_PACMAN },
                { "suse", PACKAGES_ZYPPER },   { "opensuse", PACKAGES_ZYPPER },
        };

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (streq(known[i].id, id))
                        return known[i].packages;
        return PACKAGES_UNKNOWN;
}

/* ID first, then what it is like, in order. */
static PackageManager read_packages(int root_fd) {
        _cleanup_free_ char *release = NULL, *id = NULL, *like = NULL, *all = NULL;
        _cleanup_strv_ char **names = NULL;

        if (read_file_at(root_fd, "etc/os-release", OS_RELEASE_MAX, &release) < 0 &&
            read_file_at(root_fd, "usr/lib/os-release", OS_RELEASE_MAX, &release) < 0)
                return PACKAGES_UNKNOWN;

        id = release_value(release, "ID");
        like = release_value(release, "ID_LIKE");
        all = text("%s %s", id ?: "", like ?: "");
        if (!all || strv_split(all, " ", &names) < 0)
                return PACKAGES_UNKNOWN;

        STRV_FOREACH(name, names)
                if (packages_of(*name) != PACKAGES_UNKNOWN)
                        return packages_of(*name);
        return PACKAGES_UNKNOWN;
}

/* --- the boot loader -------------------------------------------------------------------------- */

/* What the loader that booted this system wrote of itself, in UTF-16 of which we keep the ASCII. */
static bool loader_says(int root_fd, const char *word) {
        _cleanup_close_ int fd = openat(root_fd, LOADER_INFO, O_RDONLY | O_CLOEXEC);
        char raw[256], said[sizeof raw] = "";
        ssize_t size = fd < 0 ? -1 : read(fd, raw, sizeof raw - 1);

        for (ssize_t i = EFI_ATTRIBUTES_SIZE, k = 0; i < size && raw[i]; i += 2)
                said[k++] = raw[i];
        return str_after(said, word);
}

static bool has_systemd_boot(int root_fd) {
        if (path_exists_at(root_fd, LOADER_INFO))
                return loader_says(root_fd, "systemd-boot") || loader_says(root_fd, "systemd-stub");

        return !path_exists_at(root_fd, "etc/default/grub") &&
               (path_exists_at(root_fd, "boot/loader/loader.conf") ||
                path_exists_at(root_fd, "efi/loader/loader.conf") ||
                path_exists_at(root_fd, "boot/efi/loader/loader.conf"));
}

static BootLoader read_loader(int root_fd) {
        if (has_systemd_boot(root_fd)) {
                if (path_exists_at(root_fd, "etc/kernel/proxmox-boot-uuids"))
                        return BOOT_PROXMOX;
                return path_exists_at(root_fd, "etc/kernel/cmdline") ? BOOT_KERNEL_INSTALL : BOOT_ENTRIES;
        }
        if (path_exists_at(root_fd, "usr/sbin/grubby") || path_exists_at(root_fd, "usr/bin/grubby"))
                return BOOT_GRUBBY;
        return path_exists_at(root_fd, "etc/default/grub") ? BOOT_GRUB : BOOT_UNKNOWN;
}

static const char *grub_command(int root_fd) {
        if (path_exists_at(root_fd, "usr/sbin/update-grub"))
                return "update-grub";
        return path_exists_at(root_fd, "boot/grub2") ? "grub2-mkconfig -o /boot/grub2/grub.cfg"
                                                     : "grub-mkconfig -o /boot/grub/grub.cfg";
}

HostSystem host_system_read(int root_fd) {
        return (HostSystem) {
                .packages = read_packages(root_fd),
                .loader = read_loader(root_fd),
                .grub_command = grub_command(root_fd),
                .grub_drop_ins = path_exists_at(root_fd, "etc/default/grub.d") &&
                                 path_exists_at(root_fd, "usr/sbin/update-grub"),
        };
}

/* --- what to say ------------------------------------------------------------------------------ */

/* What brings /etc/kernel/cmdline to where it is booted from. */
static const char *kernel_install_command(const HostSystem *system) {
        switch (system->packages) {
        case PACKAGES_APT:
                return "dpkg-reconfigure linux-image-$(uname -r)";
        case PACKAGES_PACMAN:
                return "mkinitcpio -P";
        default:
                return "kernel-install add $(uname -r) /lib/modules/$(uname -r)/vmlinuz";
        }
}

char *host_system_add_parameters(const HostSystem *system, const char *parameters) {
        switch (system->loader) {
        case BOOT_GRUB:
                if (system->grub_drop_ins)
                        return text("Add '%s' to the kernel command line:\n"
                                    "  echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX %s\"' "
                                    "> /etc/default/grub.d/vmkit.cfg\n  %s\nand reboot.",
                                    parameters, parameters, system->grub_command);
                return text("Add '%s' to GRUB_CMDLINE_LINUX in /etc/default/grub, run '%s', and reboot.", parameters,
                            system->grub_command);
        case BOOT_GRUBBY:
                return text("Add '%s' to the kernel command line:\n"
                            "  grubby --update-kernel=ALL --args=\"%s\"\nand reboot.", parameters, parameters);
        case BOOT_PROXMOX:
                return text("Add '%s' to the line in /etc/kernel/cmdline, run 'proxmox-boot-tool refresh', and reboot.",
                            parameters);
        case BOOT_KERNEL_INSTALL:
                return text("Add '%s' to the line in /etc/kernel/cmdline, run '%s', and reboot.", parameters,
                            kernel_install_command(system));
        case BOOT_ENTRIES:
                return text("Add '%s' to the line 'options' of the entry in /boot/loader/entries, and reboot.",
                            parameters);
        default:
                return text("Add '%s' to the kernel command line in the boot loader's configuration, and reboot.",
                            parameters);
        }
}

char *host_system_drop_parameters(const HostSystem *system, const char *parameters) {
        switch (system->loader) {
        case BOOT_GRUB:
                return text("Take '%s' out of GRUB_CMDLINE_LINUX and GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub%s, "
                            "run '%s', and reboot.", parameters,
                            system->grub_drop_ins ? " and /etc/default/grub.d" : "", system->grub_command);
        case BOOT_GRUBBY:
                return text("Take '%s' off the kernel command line:\n"
                            "  grubby --update-kernel=ALL --remove-args=\"%s\"\nand reboot.", parameters, parameters);
        case BOOT_PROXMOX:
                return text("Take '%s' out of the line in /etc/kernel/cmdline, run 'proxmox-boot-tool refresh', "
                            "and reboot.", parameters);
        case BOOT_KERNEL_INSTALL:
                return text("Take '%s' out of the line in /etc/kernel/cmdline, run '%s', and reboot.", parameters,
                            kernel_install_command(system));
        case BOOT_ENTRIES:
                return text("Take '%s' out of the line 'options' of the entry in /boot/loader/entries, and reboot.",
                            parameters);
        default:
                return text("Take '%s' off the kernel command line in the boot loader's configuration, and reboot.",
                            parameters);
        }
}

/* What a package is called; the first column is used where the distribution is not known. */
static const char *const package_names[_PACKAGE_MAX][_PACKAGES_MAX] = {
        [PACKAGE_LIBVIRT] = { "libvirt", "libvirt-daemon-system qemu-system-x86", "libvirt-daemon-kvm",
                              "libvirt qemu-base", "libvirt-daemon-qemu" },
        [PACKAGE_UEFI] = { "OVMF", "ovmf", "edk2-ovmf", "edk2-ovmf", "qemu-ovmf-x86_64" },
        [PACKAGE_QEMU_IMG] = { "qemu-img", "qemu-utils", "qemu-img", "qemu-img", "qemu-img" },
        [PACKAGE_SWTPM] = { "swtpm", "swtpm swtpm-tools", "swtpm swtpm-tools", "swtpm", "swtpm" },
        [PACKAGE_POLKIT] = { "polkit", "polkitd", "polkit", "polkit", "polkit" },
};

char *host_system_install(const HostSystem *system, const HostPackage *packages, size_t n) {
        static const char *const commands[_PACKAGES_MAX] = {
                [PACKAGES_APT] = "apt-get install",
                [PACKAGES_DNF] = "dnf install",
                [PACKAGES_PACMAN] = "pacman -S",
                [PACKAGES_ZYPPER] = "zypper install",
        };
        const char *command = commands[system->packages];
        _cleanup_strv_ char **names = NULL;
        _cleanup_free_ char *list = NULL;

        for (size_t i = 0; i < n; i++)
                if (strv_push(&names, package_names[packages[i]][system->packages]) < 0)
                        return NULL;

        list = strv_join(names, " ");
        if (!list)
                return NULL;
        return command ? text("Run '%s %s'.", command, list) : text("Install %s.", list);
}
