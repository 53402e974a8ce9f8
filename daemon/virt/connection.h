/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of this folder share: the Virt itself, the connection for events, and the
 * connections for calls. Fields are the loop's, but for what says otherwise. */

#include <libvirt/libvirt.h>

#include "call.h"
#include "console.h"
#include "pool.h"
#include "virt.h"

typedef struct Session Session;
typedef struct Refresh Refresh;

#define REST_WATCHES 2

/* rest.h */
typedef struct Rest {
        sd_event_source *timer; /* nothing has happened for a while */
        sd_event_source *watches[REST_WATCHES];
} Rest;

struct Virt {
        sd_event *event;
        WorkerPool *workers;
        char *uri;
        VirtHandler handler;
        void *userdata;

        Session *session; /* the connection for events, or the attempt to make one; NULL: none, or at rest */
        bool adopted;     /* it stands, and what it found has been told */
        bool connected;   /* what was told still holds: also while it is at rest, and until it is back from there */
        Rest rest;
        sd_event_source *retry;
        uint64_t retry_delay;
        uint64_t connected_at;
        bool complained;

        bool has_capabilities;
        VirtCapabilities capabilities;

        ConnectionPool *pool;
        ConsoleList *consoles;
        Call *calls;
        Refresh *refreshes;
};

/* Looks at a domain afresh and tells the handler: it was defined or changed, or may be gone. */
void virt_refresh(Virt *virt, const char *uuid, bool want_spec);
/* An event says what a domain's state is; a refresh under way must not tell an older one. */
void virt_refresh_saw_state(Virt *virt, const char *uuid, DomainState state);
/* The connection was lost: what they find is not told. */
void virt_refresh_all_stale(Virt *virt);
/* Only when no call is answered any more. */
void virt_refresh_free_all(Virt *virt);

/* The connection for events is closed, to be at rest; and made again, if it is. */
void connection_give_up(Virt *virt);
void connection_take_up(Virt *virt);
