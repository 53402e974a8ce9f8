/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon's side of the device helper: moves whole units, each in a child of its own and all at once,
 * and tells when the last has ended. */

#include "devices.h"
#include "manager.h"

typedef struct Transfer Transfer;

/* Exactly once. error is the first that was seen. */
typedef void (*TransferDone)(int r, const Error *error, void *userdata);

typedef enum TransferVerb {
        TRANSFER_BIND,
        TRANSFER_RELEASE,
        TRANSFER_SETTLE,
        TRANSFER_RESET,
        TRANSFER_CLEAR,
        TRANSFER_SET_VFS,
        _TRANSFER_VERB_MAX,
} TransferVerb;

/* What one helper moves together. */
typedef struct TransferUnit {
        DeviceList functions;
        char **allow;       /* borrowed */
        TransferVerb verb;
        unsigned count;     /* of virtual functions, for TRANSFER_SET_VFS */
} TransferUnit;

/* With nothing to move, done() follows all the same, from the loop. The units' lists are copied. */
int transfer_start(Manager *m, const char *vm_uuid, const TransferUnit *units, size_t n_units,
                   TransferDone done, void *userdata);

/* vmkitd stops: what is under way is waited for, but not as long as usual. */
void transfer_hurry(Manager *m);

/* Looks closely at the functions (who has them open, what is on the drives), keeps what it finds in each
 * Device, and answers with done(). Takes at most a few seconds: a device that does not answer by then
 * keeps what was known. */
void transfer_free_inspections(Manager *m);
int transfer_inspect(Manager *m, const DeviceList *functions, TransferDone done, void *userdata);
