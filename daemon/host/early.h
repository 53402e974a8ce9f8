/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is done about a reserved unit before the drivers of the host are loaded. */

#include "reservation.h"

typedef enum EarlyVerdict {
        EARLY_HOLD,      /* it is the one, and no driver has it yet */
        EARLY_HELD,      /* on vfio-pci */
        EARLY_ABSENT,    /* nothing is there */
        EARLY_CHANGED,   /* another device, or the same in another place */
        EARLY_AMBIGUOUS, /* another of its model is on the host: only a driver can tell */
        EARLY_TAKEN,     /* a driver of the host has it */
        EARLY_NO_IOMMU,  /* VFIO could not have it */
        EARLY_DISPLAY,   /* what the firmware shows is on it now, to which nobody has consented */
        _EARLY_MAX,
} EarlyVerdict;

/* In words, for the kernel's log. */
const char *early_verdict_to_string(EarlyVerdict verdict);

EarlyVerdict early_judge(int root_fd, const Reservation *reservation, const ReservedFunction *f);

/* The worst of its functions: a unit is held whole or not at all. ret_function names it. */
EarlyVerdict early_judge_unit(int root_fd, const Reservation *reservation,
                              const ReservedFunction **ret_function);

/* Sets the driver override of each, so that no driver but vfio-pci binds, and has vfio-pci bind where it is
 * loaded. Never unbinds anything. */
int early_hold(int root_fd, const Reservation *reservation);

bool early_vfio_is_loaded(int root_fd);

/* What this boot held early, in the initramfs or after: a line per function, its address and the driver of the
 * host. An initramfs that is older than the last change of the reservations may hold what is none any more. */
#define EARLY_RECORD "run/vmkit-reserve"
#define EARLY_RECORD_SIZE_MAX (1 * MIB)

/* The host's driver of a function that is in the record, allocated, NULL: none. -ENOENT: it is not in it. */
int early_record_find(int root_fd, const PciAddress *address, char **ret_driver);
