/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The journal of claims: one record per device that vmkit has moved or is about to move, with what neither
 * the kernel nor libvirt can tell later: what to restore. A record is on disk before the first write to
 * sysfs and gone only after the last. Written by the device helper, read by both. */

#include "base/parse.h"
#include "host/binding.h"
#include "host/pci.h"

typedef enum ClaimState {
        CLAIM_BINDING,     /* on the way to vfio-pci */
        CLAIM_BOUND,       /* on vfio-pci */
        CLAIM_RELEASING,   /* on the way back */
        CLAIM_QUARANTINED, /* failed; given to nobody until an administrator says so, or the next boot */
        _CLAIM_STATE_MAX,
} ClaimState;

typedef struct Claim {
        PciAddress address;
        uint16_t vendor_id, device_id;
        uint16_t subsystem_vendor_id, subsystem_device_id; /* both 0: unknown */
        char *serial;           /* of a drive that was live when it was claimed; NULL: unknown */
        char *vm;               /* UUID of the VM it was claimed for; NULL: by hand */
        char *boot_id;          /* a record of another boot says nothing about this one */
        ClaimState state;
        DeviceState original;
        bool used;              /* a guest may have had it since it was reset last */
        char *reason;           /* of a quarantine */
        bool needs_reboot;      /* it was tried to end the quarantine, and it failed again */
        pid_t helper;           /* the helper at work on it; 0: none */
        uint64_t helper_start;  /* its start time, so that a reused PID is not mistaken for it */
} Claim;

typedef struct Claims {
        Claim **items;
        size_t n;
} Claims;

Claim *claim_free(Claim *claim);
DEFINE_CLEANUP(Claim *, claim_free);
void claims_clear(Claims *claims);
#define _cleanup_claims_ _cleanup_(claims_clear)

/* claims_fd: the directory of the journal. Both are durable when they return. */
int claim_write(int claims_fd, const Claim *claim);
int claim_remove(int claims_fd, const PciAddress *address);

/* -ENOENT: no record; -EBADMSG: one that cannot be understood. */
int claim_read(int claims_fd, const PciAddress *address, Claim **ret);

/* All records. One that cannot be understood is logged and left out, and stays where it is. */
int claims_read_all(int claims_fd, Claims *ret);

/* Whether the record is about the function that is there now. One of another boot is not, nor one of what is
 * for certain another device; what is unknown of either makes no difference. */
bool claim_is_about(const Claim *claim, const char *boot_id, const PciDevice *device);

/* Takes down which device it is about. */
int claim_set_device(Claim *claim, const PciDevice *device);

/* Whether the helper that the record names still runs. */
bool claim_helper_is_alive(const Claim *claim);
/* What that helper waits for, in words; NULL without memory. */
char *claim_describe_helper(const Claim *claim);
int process_start_time(pid_t pid, uint64_t *ret);

int boot_id_read(char **ret);
