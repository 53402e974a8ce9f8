/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <libvirt/virterror.h>

#include "base/log.h"
#include "connection.h"
#include "rest.h"

/* A QEMU that hangs keeps each call a worker, and these can be asked for again and again: so many of one VM at a
 * time, and there are workers left for the others. */
#define OPENING_MAX 4

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

/* The answer may free the Virt. */
static void call_answer(Call *call) {
        Virt *virt = call->virt;

        unlink_call(call);
        call->virt = virt;
        call->previous = call->next = NULL;
        call->answer(call);
        call->virt = NULL;
}

static void call_done(void *work);

static int call_queue(Call *call, Error *error) {
        int r = worker_submit(call->virt->workers, call_run, call_done, call);

        if (r < 0)
                return error_set_errno(error, r, "cannot %s", act_to_string(call->act));
        call->stage = CALL_QUEUED;
        return 0;
}

static bool is_opening(const Call *call) {
        return call->act == ACT_OPEN_CONSOLE || call->act == ACT_OPEN_DISPLAY;
}

static bool must_wait(const Call *call) {
        unsigned n = 0;

        if (!is_opening(call))
                return false;
        for (const Call *c = call->virt->calls; c; c = c->next)
                n += c->stage == CALL_QUEUED && is_opening(c) && streq(c->uuid, call->uuid);
        return n >= OPENING_MAX;
}

static int call_queue_in_turn(Call *call, Error *error) {
        if (!must_wait(call))
                return call_queue(call, error);
        call->stage = CALL_WAITS;
        return 0;
}

int call_submit(Call *call, Error *error) {
        _cleanup_(call_freep) Call *c = call;
        int r = 0;

        if (!c->virt->connected)
                return error_set(error, ERROR_LIBVIRT_UNAVAILABLE,
                                 "cannot %s: libvirt is not connected", act_to_string(c->act));

        /* What it changes is to be heard of: not before the connection is back from its rest. */
        if (!c->virt->adopted) {
                c->stage = CALL_HELD;
                rest_end(c->virt);
        } else
                r = call_queue_in_turn(c, error);
        if (r < 0)
                return r;

        (void) TAKE_PTR(c);
        return 0;
}

/* The one that has been at this stage longest: the list has the latest first. uuid: NULL: of any domain. */
static Call *first_at(const Virt *virt, CallStage stage, const char *uuid) {
        Call *first = NULL;

        for (Call *call = virt->calls; call; call = call->next)
                if (call->stage == stage && (!uuid || streq(call->uuid, uuid)))
                        first = call;
        return first;
}

static void answer_failed(Call *call, int r) {
        _cleanup_(call_freep) Call *c = call;

        c->r = r;
        call_answer(c);
}

static void queue_or_fail(Call *call) {
        int r = call_queue_in_turn(call, &call->error);

        if (r < 0)
                answer_failed(call, r);
}

static void call_done(void *work) {
        _cleanup_(call_freep) Call *call = work;
        Call *next;

        if (!call->virt)
                return;

        rest_put_off(call->virt);
        call->stage = CALL_RUN;
        next = is_opening(call) ? first_at(call->virt, CALL_WAITS, call->uuid) : NULL;
        if (next)
                queue_or_fail(next);
        if (call->virt) /* the answer to that may have freed it */
                call_answer(call);
}

void calls_refuse_held(Virt *virt, Virt *const *alive) {
        Call *call;

        while (*alive && (call = first_at(virt, CALL_HELD, NULL)))
                answer_failed(call, error_set(&call->error, ERROR_LIBVIRT_UNAVAILABLE,
                                              "cannot %s: libvirt cannot be reached", act_to_string(call->act)));
}

void calls_submit_held(Virt *virt, Virt *const *alive) {
        Call *call;

        while (*alive && (call = first_at(virt, CALL_HELD, NULL)))
                queue_or_fail(call);
}

void calls_abandon(Virt *virt) {
        Call *next;

        for (Call *call = virt->calls; call; call = next) {
                next = call->next;
                unlink_call(call);
                call->previous = call->next = NULL;
                if (call->stage == CALL_HELD || call->stage == CALL_WAITS || worker_take_back(virt->workers, call))
                        call_free(call);
        }
}
