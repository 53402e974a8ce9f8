/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the administrator and the command line decide. 0 as a limit: none. */

#include <stdint.h>

#include "base/strv.h"

typedef struct Limits {
        uint64_t vms, jobs, cpus, devices;  /* per user */
        uint64_t memory, image_bytes;       /* bytes, per user */
} Limits;

typedef struct Config {
        const char *version;
        char *libvirt_uri;
        char *domain_type;  /* "auto", "kvm", "qemu" */
        char *state_dir;
        char *host_root;
        char *helper_dir;   /* where vmkit-device and vmkit-image are */
        int log_level;
        uint64_t shutdown_timeout; /* µs that guests have when the host goes down */
        uint64_t driver_timeout; /* s: a driver that takes longer to let go of a device is wedged */
        char **networks;    /* libvirt networks that users may join */
        Limits limits;
} Config;
