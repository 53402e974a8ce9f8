/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the device helper works on: the functions of one unit, moved as one transaction, and the journal's record
 * of each. */

#include "claim.h"
#include "host/usage.h"
#include "host/vfio.h"

#define ROOT_FD 3
#define CLAIMS_FD 4

struct json_object;

typedef struct Function {
        PciDevice *device;      /* of the inventory */
        Claim *claim;
        bool recorded;          /* undo ends the claim: it began with this transaction */
        char *previous_vm;      /* of a record that was there before */
        bool touched;           /* this transaction wrote to sysfs */
        bool unfinished;        /* on vfio-pci, and who was at it last died before its reset or in it */
        char *illness;          /* why it is to be quarantined; NULL: it is not */
        DiskLocks locks;
        uint64_t looked_at;     /* when the last look at its users began; µs, monotonic; 0: never */
        uint64_t window;        /* from there until it was on vfio-pci */
} Function;

typedef struct Transaction {
        Inventory *inventory;
        Function *functions;
        size_t n_functions;
        const char *vm;
        pid_t daemon;           /* that asked for this */
        char **allow;
        char *boot_id;
        VfioGroups groups;      /* held, so that nobody else opens them */
        bool taking_back;       /* what is gone by now cannot be, and is no reason to leave the rest */
        uint64_t setup_usec;    /* how long drivers that have just got a drive are waited for */
        unsigned count;         /* of virtual functions */
        bool by_hand;           /* resets what waits on vfio-pci too, and leaves it to whose it is */
        bool clearing;          /* a quarantine is to end … */
        bool hopeless;          /* … and cannot be ended */
} Transaction;

void transaction_clear(Transaction *t);

/* The functions that the request names, as the host has them now. NoSuchDevice, InvalidAddress. */
int transaction_init(Transaction *t, struct json_object *request, Error *error);

bool is_on_vfio(const PciDevice *device);

/* How long a driver that has just been given a drive may take until it can be told what is on that. Drives that
 * have to start up first take some seconds. */
#define DRIVER_SETUP_USEC (10 * USEC_PER_SEC)

/* Writes the record; working: this process is at it. */
int claim_record(Claim *claim, ClaimState state, bool working);
int claim_set_state(Claim *claim, ClaimState state);
int claim_set_vm(Claim *claim, const char *vm);

/* Whether vmkitd is still there that asked for this. To be seen once the first record is written, and before anything
 * is moved: one that ends later leaves a record for the next to find, and of one that ended before, the next knows of
 * nothing to wait for. Interrupted. */
int check_wanted(const Transaction *t, Error *error);

int refuse_quarantined(Function *f, Error *error);
