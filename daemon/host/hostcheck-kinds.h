/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The checks of hostcheck.c and hostcheck-rest.c, which see the host as it was read once. */

#include "host-system.h"
#include "hostcheck.h"

typedef enum CpuVendor {
        CPU_OTHER,
        CPU_INTEL,
        CPU_AMD,
} CpuVendor;

/* What several checks need to know. */
typedef struct Host {
        int root_fd;
        const Inventory *inventory;
        CpuVendor vendor;
        bool x86, virtualization, hypervisor; /* CPU flags */
        char **iommus;                        /* "dmar0", "ivhd0" */
        size_t n_grouped;                     /* functions with an IOMMU group */
        char *cmdline;
        HostSystem system;
} Host;

/* Whether the word stands in the text, between spaces. */
bool host_has_word(const char *text, const char *word);

int host_check_lockdown(const Host *h, HostChecks *checks);
int host_check_bars(const Host *h, HostChecks *checks);
int host_check_memlock(const Host *h, HostChecks *checks);
int host_check_tools(const Host *h, HostChecks *checks);
