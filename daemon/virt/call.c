/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <libvirt/virterror.h>

#include "base/log.h"
#include "connection.h"

#define EXPIRY_USEC (30 * USEC_PER_SEC)

static void addresses_free(GuestAddress *addresses, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(addresses[i].family);
                free(addresses[i].address);
        }
        free(addresses);
}

static void unlink_call(Call *call) {
        if (!call->virt)
                return;
        if (call->previous)
                call->previous->next = call->next;
        else
                call->virt->calls = call->next;
        if (call->next)
                call->next->previous = call->previous;
        call->virt = NULL;
}

static void link_call(Virt *virt, Call *call) {
        call->virt = virt;
        call->next = virt->calls;
        if (call->next)
                call->next->previous = call;
        virt->calls = call;
}

Call *call_free(Call *call) {
        if (!call)
                return NULL;

        unlink_call(call);
        addresses_free(call->addresses, call->n_addresses);
        vm_spec_free(call->spec);
        vm_spec_free(call->added);
        vm_spec_free(call->removed);
        close_fd(call->fd);
        error_clear(&call->error);
        connection_pool_unref(call->pool);
        console_list_unref(call->consoles);
        free(call->uuid);
        free(call->text);
        free(call);
        return NULL;
}

Call *call_new(Virt *virt, Act act, CallRun run, const char *uuid, const char *text, Error *error) {
        _cleanup_(call_freep) Call *call = calloc(1, sizeof(*call));

        if (!call) {
                (void) error_set_errno(error, -ENOMEM, "cannot %s", act_to_string(act));
                return NULL;
        }
        call->act = act;
        call->run = run;
        call->fd = -EBADF;
        call->state = DOMAIN_UNKNOWN;
        call->pool = connection_pool_ref(virt->pool);
        call->consoles = console_list_ref(virt->consoles);
        link_call(virt, call);

        call->uuid = uuid ? strdup(uuid) : NULL;
        call->text = text ? strdup(text) : NULL;
        if ((uuid && !call->uuid) || (text && !call->text)) {
                (void) error_set_errno(error, -ENOMEM, "cannot %s", act_to_string(act));
                return NULL;
        }
        return TAKE_PTR(call);
}

static void log_failure(const Call *call, const char *text) {
        bool usual = call->act == ACT_READ || call->act == ACT_GET_ADDRESSES;

        log_message(usual ? LOG_DEBUG : LOG_WARNING, "libvirt cannot %s%s%s: %s",
                    act_to_string(call->act), call->uuid ? " " : "", call->uuid ? call->uuid : "",
                    text);
}

int call_fail(Call *call) {
        virErrorPtr e = virGetLastError();
        int code = e ? e->code : VIR_ERR_OK;
        /* The next call to libvirt overwrites it. */
        _cleanup_free_ char *text = strdup(e && e->message ? e->message : "libvirt gave no reason");

        if (!text)
                return error_set_errno(&call->error, -ENOMEM, "cannot %s",
                                       act_to_string(call->act));
        log_failure(call, text);

        if (!call->connection)
                return error_set(&call->error, ERROR_LIBVIRT_UNAVAILABLE,
                                 "cannot %s: libvirt cannot be reached", act_to_string(call->act));
        if (virConnectIsAlive(call->connection) != 1)
                return error_set(&call->error, ERROR_LIBVIRT_UNAVAILABLE,
                                 "cannot %s: the connection to libvirt was lost",
                                 act_to_string(call->act));
        return translate_error(call->act, code, text, &call->error);
}

static int find_domain(Call *call) {
        if (!call->uuid)
                return 0;

        call->domain = virDomainLookupByUUIDString(call->connection, call->uuid);
        return call->domain ? 0 : call_fail(call);
}

static int run_with_connection(Call *call) {
        int r;

        virResetLastError();
        call->connection = connection_pool_take(call->pool);
        if (!call->connection)
                return call_fail(call);

        r = find_domain(call);
        if (r >= 0)
                r = call->run(call);

        if (call->domain)
                (void) virDomainFree(call->domain);
        call->domain = NULL;
        connection_pool_give(call->pool, TAKE_PTR(call->connection));
        return r;
}

static void call_run(void *work) {
        Call *call = work;

        call->r = run_with_connection(call);
}

static int on_expiry(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata) {
        Virt *virt = userdata;

        connection_pool_flush(virt->pool, virt->workers);
        return 0;
}

/* Connections that wait keep libvirtd from exiting when it is idle, and wake both sides for
 * keepalive. */
static void arm_expiry(Virt *virt) {
        if (!virt->expiry) {
                if (sd_event_add_time_relative(virt->event, &virt->expiry, CLOCK_MONOTONIC,
                                               EXPIRY_USEC, USEC_PER_SEC, on_expiry, virt) < 0)
                        return;
                (void) sd_event_source_set_description(virt->expiry, "libvirt connections");
        } else
                (void) sd_event_source_set_time_relative(virt->expiry, EXPIRY_USEC);
        (void) sd_event_source_set_enabled(virt->expiry, SD_EVENT_ONESHOT);
}

static void call_done(void *work) {
        _cleanup_(call_freep) Call *call = work;
        Virt *virt = call->virt;

        if (!virt)
                return;
        if (!connection_pool_is_empty(virt->pool))
                arm_expiry(virt);

        /* The answer may free the Virt. */
        unlink_call(call);
        call->virt = virt;
        call->previous = call->next = NULL;
        call->answer(call);
        call->virt = NULL;
}

int call_submit(Call *call, Error *error) {
        _cleanup_(call_freep) Call *c = call;
        int r;

        if (!c->virt->connected)
                return error_set(error, ERROR_LIBVIRT_UNAVAILABLE,
                                 "cannot %s: libvirt is not connected", act_to_string(c->act));

        r = worker_submit(c->virt->workers, call_run, call_done, c);
        if (r < 0)
                return error_set_errno(error, r, "cannot %s", act_to_string(c->act));

        (void) TAKE_PTR(c);
        return 0;
}

void calls_abandon(Virt *virt) {
        Call *next;

        for (Call *call = virt->calls; call; call = next) {
                next = call->next;
                unlink_call(call);
                call->previous = call->next = NULL;
                if (worker_take_back(virt->workers, call))
                        call_free(call);
        }
}
