/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One request: made on the loop, run on a worker with a connection of its own, answered on the
 * loop. */

#include <libvirt/libvirt.h>

#include "pool.h"
#include "translate.h"
#include "virt.h"

typedef struct Call Call;
typedef struct ConsoleList ConsoleList;

typedef enum CallStage {
        CALL_NEW,
        CALL_HELD,   /* until the connection is back from its rest */
        CALL_WAITS,  /* until another of its kind is answered */
        CALL_QUEUED, /* for the workers, or with one */
        CALL_RUN,
} CallStage;

/* On a worker. A failure is reported with call_fail() or set in call->error. */
typedef int (*CallRun)(Call *call);

struct Call {
        Act act;
        CallRun run;

        /* What the worker needs, and nothing of the loop's. */
        ConnectionPool *pool;
        ConsoleList *consoles;
        virConnectPtr connection; /* taken away by a call that keeps it */
        virDomainPtr domain;      /* looked up by uuid, where that is set */
        char *uuid, *text;
        VmSpec *added, *removed;  /* of their devices alone */

        /* What it answers. */
        int r;
        Error error;
        int fd;
        GuestAddress *addresses;
        size_t n_addresses;
        VmSpec *spec;
        DomainState state;

        /* The loop's. */
        Virt *virt; /* NULL: freed meanwhile, nobody wants the answer */
        CallStage stage;
        void (*answer)(Call *call);
        VirtDone done;
        VirtFdDone fd_done;
        VirtAddressesDone addresses_done;
        void *userdata;
        Call *previous, *next;
};

/* NULL: out of memory, set in error. uuid and text are copied and may be NULL. */
Call *call_new(Virt *virt, Act act, CallRun run, const char *uuid, const char *text, Error *error);
Call *call_free(Call *call);
DEFINE_CLEANUP(Call *, call_free);

/* Takes the call; refuses with LibvirtUnavailable where there is no connection. */
int call_submit(Call *call, Error *error);

/* What waited for the connection to be back from its rest is begun, or has waited in vain. *alive: NULL once an
 * answer has freed the Virt. */
void calls_submit_held(Virt *virt, Virt *const *alive);
void calls_refuse_held(Virt *virt, Virt *const *alive);

/* On a worker: libvirt's last error, logged and translated into call->error. Returns the
 * negative errno. */
int call_fail(Call *call);

/* On the loop, when the Virt goes: those that have not begun are freed, the others have nobody
 * to answer. */
void calls_abandon(Virt *virt);

/* Whether it is an address of this type (virIPAddrType), and of more than the guest itself or its link. */
bool guest_address_is_wanted(int type, const char *address);
