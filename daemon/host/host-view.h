/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One look at what the host does with its devices, for the inspection of any number of them: what they all
 * would read again is read once, when the first needs it. */

#include <net/if.h>

#include "host-use.h"
#include "pci.h"

/* A whole disk that is not hidden. */
typedef struct HostDisk {
        char *name;  /* "nvme0n1" */
        char *path;  /* of its device: "pci0000:00/…/nvme/nvme0/nvme0n1"; NULL: unknown */
        char *nqn;   /* of its NVMe subsystem; NULL: it is no NVMe disk */
} HostDisk;

typedef struct HostController {
        char *name;    /* "nvme0" */
        char *address; /* as its driver says; NULL: unknown */
        char *nqn;
} HostController;

/* What the routing tables say of one network interface. */
typedef struct HostRoute {
        char interface[IFNAMSIZ];
        bool is_ipv4, is_default;
} HostRoute;

typedef struct HostView {
        int root_fd; /* borrowed */

        HostUse use;
        HostDisk *disks;
        size_t n_disks;
        HostController *controllers;
        size_t n_controllers;
        HostRoute *routes; /* one for each interface that has any, ordered by name */
        size_t n_routes;
        bool has_use, has_disks, has_routes; /* read by now */
} HostView;

#define HOST_VIEW(fd) ((HostView) { .root_fd = (fd) })
void host_view_clear(HostView *view);
#define _cleanup_host_view_ _cleanup_(host_view_clear)

/* Each reads its part if that has not been done. */
int host_view_use(HostView *view, const HostUse **ret);
int host_view_disks(HostView *view);
int host_view_routes(HostView *view);

/* What is known of an interface's routes; NULL: it has none. */
const HostRoute *host_view_route(const HostView *view, const char *interface);
