/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the nvme driver has made of a function so far. A controller is in sysfs before the driver has asked it
 * who it is. Until it is live, nothing that it says of itself counts, and that no namespace of it is seen does
 * not mean that it has none. */

#include "base/pci-address.h"

#define NVME_DRIVER "nvme"

typedef enum NvmePhase {
        NVME_NONE,    /* the function is on another driver, or on none */
        NVME_LIVE,
        NVME_AT_WORK, /* the driver sets the controller up, resets it, or takes it down */
        NVME_DEAD,    /* the driver has given it up */
} NvmePhase;

typedef struct NvmeController {
        NvmePhase phase;
        char *name;  /* "nvme0"; NULL: there is none yet, or none any more */
        char *state; /* in the kernel's word; NULL: the kernel does not tell */
} NvmeController;

/* The controller of the function whose directory in sysfs function_fd is. */
int nvme_controller_read(int function_fd, NvmeController *ret);
void nvme_controller_clear(NvmeController *c);
#define _cleanup_nvme_controller_ _cleanup_(nvme_controller_clear)

/* Waits until the driver is not at work on the function, or for so long. Only for the device helper. */
NvmePhase nvme_wait_for_driver(int root_fd, const PciAddress *address, uint64_t usec);

/* A text that the controller has, without the spaces that pad it. NULL: unknown. */
int nvme_read_text(int function_fd, const NvmeController *c, const char *name, char **ret);

/* The serial number, which only a live controller has told. NULL: unknown. */
int nvme_read_serial(int function_fd, const NvmeController *c, char **ret);
