/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Is this host ready for passthrough, and what to do if not. Reads sysfs and procfs only. */

#include "host-system.h"
#include "pci.h"

typedef enum CheckStatus {
        CHECK_OK,
        CHECK_WARN,
        CHECK_FAIL,
        CHECK_UNKNOWN,
} CheckStatus;

const char *check_status_to_string(CheckStatus status);

typedef struct HostCheck {
        const char *id;  /* "iommu", "vfio-module", "interrupt-remapping", … */
        CheckStatus status;
        char *summary;
        char *remedy;    /* empty when there is nothing to do */
} HostCheck;

typedef struct HostChecks {
        HostCheck *items;
        size_t n;
} HostChecks;

/* cpu-virtualization, iommu, iommu-groups, vfio-module, interrupt-remapping, memlock, tools, … */
int host_check(int root_fd, const Inventory *inventory, HostChecks *ret);

/* The remedy for a package that is missing, allocated. */
char *host_install_remedy(int root_fd, HostPackage package);

/* For checks of other layers (libvirt). */
int host_checks_add(HostChecks *checks, const char *id, CheckStatus status, const char *remedy,
                    const char *summary_format, ...) _printf_(5, 6);
bool host_checks_ready(const HostChecks *checks); /* no fail among them */
void host_checks_clear(HostChecks *checks);
#define _cleanup_host_checks_ _cleanup_(host_checks_clear)
