/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which distribution and boot loader the host has, as far as what to tell its administrator depends on it. */

#include <stdbool.h>

typedef enum PackageManager {
        PACKAGES_UNKNOWN,
        PACKAGES_APT,
        PACKAGES_DNF,
        PACKAGES_PACMAN,
        PACKAGES_ZYPPER,
        _PACKAGES_MAX,
} PackageManager;

typedef enum BootLoader {
        BOOT_UNKNOWN,
        BOOT_GRUB,           /* /etc/default/grub, made into a configuration by a command */
        BOOT_GRUBBY,         /* grubby changes the entries */
        BOOT_PROXMOX,        /* systemd-boot as Proxmox VE keeps it */
        BOOT_KERNEL_INSTALL, /* systemd-boot or a unified image: /etc/kernel/cmdline */
        BOOT_ENTRIES,        /* systemd-boot with entries written by hand */
} BootLoader;

typedef struct HostSystem {
        PackageManager packages;
        BootLoader loader;
        const char *grub_command; /* makes GRUB's configuration anew */
        bool grub_drop_ins;       /* /etc/default/grub.d is read too */
} HostSystem;

typedef enum HostPackage {
        PACKAGE_LIBVIRT,
        PACKAGE_UEFI,
        PACKAGE_QEMU_IMG,
        PACKAGE_SWTPM,
        PACKAGE_POLKIT,
        _PACKAGE_MAX,
} HostPackage;

HostSystem host_system_read(int root_fd);

/* Sentences that say how parameters get onto the kernel command line, or off it. Allocated; NULL: no memory. */
char *host_system_add_parameters(const HostSystem *system, const char *parameters);
char *host_system_drop_parameters(const HostSystem *system, const char *parameters);

/* The command that installs these packages, or what they are called elsewhere. */
char *host_system_install(const HostSystem *system, const HostPackage *packages, size_t n);
