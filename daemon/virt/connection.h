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

struct Virt {
        sd_event *event;
        WorkerPool *workers;
        char *uri;
        VirtHandler handler;
        void *userdata;

        Session *session; /* the connection for events, or the attempt to make one */
        bool connected;
        sd_event_source *retry;
        uint64_t retry_delay;
        uint64_t connected_at;
        bool complained;

        bool has_capabilities;
        VirtCapabilities capabilities;

        ConnectionPool *pool;
        sd_event_source *expiry; /* closes connections that nobody has used for a while */
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
