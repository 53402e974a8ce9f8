/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The connection for events. It is opened on a worker, its callbacks come on libvirt's event
 * thread, and everything they say is posted to the loop. A Session is one connection from the
 * attempt to make it until libvirt has dropped the last callback; it outlives the Virt if it
 * must. */

#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/strv.h"
#include "capabilities.h"
#include "connection.h"
#include "event-thread.h"
#include "rest.h"
#include "state.h"

#define RETRY_MIN_USEC (100 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (5 * USEC_PER_SEC)

typedef struct Event Event;

struct Session {
        atomic_uint n_refs;
        atomic_bool lost;
        atomic_bool has_close_ref; /* the close callback's reference */
        Virt *virt; /* the loop's; NULL: given up */

        pthread_mutex_t mutex;
        WorkerPool *workers; /* under the mutex; NULL: nothing is to be posted any more */

        /* What the worker finds; the loop's after that. */
        char *uri;
        virConnectPtr connection;
        int lifecycle_id, metadata_id, device_ids[2];
        VirtCapabilities capabilities;
        DomainInfo *domains;
        size_t n_domains;
        int r;
        char *failure;

        Event *first, *last; /* events that came before the loop knew of the connection */
};

typedef enum EventKind {
        EVENT_STATE,
        EVENT_DEFINED, /* or changed, or undefined: to be looked at */
        EVENT_LOST,
} EventKind;

struct Event {
        EventKind kind;
        Session *session;
        char uuid[VIR_UUID_STRING_BUFLEN];
        DomainState state;
        const char *stopped_for;
        Event *next;
};

static void domains_free(DomainInfo *domains, size_t n) {
        for (size_t i = 0; i < n; i++)
                vm_spec_free(domains[i].spec);
        free(domains);
}

static Session *session_ref(Session *s) {
        atomic_fetch_add(&s->n_refs, 1);
        return s;
}

static Session *session_unref(Session *s) {
        Event *e;

        if (!s || atomic_fetch_sub(&s->n_refs, 1) > 1)
                return NULL;

        while ((e = s->first)) {
                s->first = e->next;
                free(e);
        }
        domains_free(s->domains, s->n_domains);
        capabilities_clear(&s->capabilities);
        free(s->failure);
        free(s->uri);
        (void) pthread_mutex_destroy(&s->mutex);
        free(s);
        return NULL;
}

static void session_unref_opaque(void *opaque) {
        session_unref(opaque);
}

/* Drivers that never close take the callback and forget about it: then its reference is dropped
 * when the connection is. */
static void drop_close_ref(void *opaque) {
        Session *s = opaque;

        if (atomic_exchange(&s->has_close_ref, false))
                session_unref(s);
}

static Session *session_new(Virt *virt) {
        Session *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        s->uri = strdup(virt->uri);
        if (!s->uri) {
                free(s);
                return NULL;
        }
        atomic_init(&s->n_refs, 1);
        (void) pthread_mutex_init(&s->mutex, NULL);
        s->virt = virt;
        s->workers = virt->workers;
        s->lifecycle_id = s->metadata_id = s->device_ids[0] = s->device_ids[1] = -1;
        return s;
}

/* Events, posted from libvirt's thread. */

static void event_free(Event *e) {
        session_unref(e->session);
        free(e);
}

static void tell_state(Virt *virt, const Event *e) {
        VmSpec *none = NULL;

        virt_refresh_saw_state(virt, e->uuid, e->state);
        if (e->state == DOMAIN_STOPPED)
                virt_refresh(virt, e->uuid, true); /* a transient one is gone now, others are as defined */
        virt->handler.changed(e->uuid, e->state, &none, false, e->stopped_for, virt->userdata);
        vm_spec_free(none);
}

static void handle_event(Virt *virt, const Event *e) {
        rest_put_off(virt);
        if (e->kind == EVENT_STATE)
                tell_state(virt, e);
        else
                virt_refresh(virt, e->uuid, true);
}

static void session_lost(Session *s);

static void on_event(void *data) {
        Event *e = data;
        Session *s = e->session;
        Virt *virt = s->virt;

        if (!virt)
                event_free(e);
        else if (e->kind == EVENT_LOST) {
                session_lost(s);
                event_free(e);
        } else if (!virt->adopted) {
                /* Kept until connected() has been called; the list holds no references to its
                 * owner. */
                e->next = NULL;
                if (s->last)
                        s->last->next = e;
                else
                        s->first = e;
                s->last = e;
                e->session = NULL;
                session_unref(s);
        } else {
                handle_event(virt, e);
                event_free(e);
        }
}

static void post_event(Session *s, const Event *what) {
        Event *e = malloc(sizeof(*e));
        int r = -ENOMEM;

        if (e) {
                *e = *what;
                e->session = session_ref(s);
                (void) pthread_mutex_lock(&s->mutex);
                r = s->workers ? worker_post(s->workers, on_event, e) : -ESHUTDOWN;
                (void) pthread_mutex_unlock(&s->mutex);
        }
        if (r < 0 && e)
                event_free(e);
        if (r == -ENOMEM)
                log_error("out of memory: an event of libvirt's is lost");
}

static int on_lifecycle(_unused_ virConnectPtr connection, virDomainPtr domain, int event,
                        int detail, void *opaque) {
        Event e = { .kind = EVENT_STATE };

        if (virDomainGetUUIDString(domain, e.uuid) < 0)
                return 0;
        if (!domain_state_from_event(event, &e.state))
                e.kind = EVENT_DEFINED;
        e.stopped_for = stopped_for_from_event(event, detail);
        post_event(opaque, &e);
        return 0;
}

static void on_metadata_change(_unused_ virConnectPtr connection, virDomainPtr domain,
                               _unused_ int type, const char *uri, void *opaque) {
        Event e = { .kind = EVENT_DEFINED };

        if (streq_ptr(uri, VMKIT_METADATA_URI) && virDomainGetUUIDString(domain, e.uuid) >= 0)
                post_event(opaque, &e);
}

/* A device was plugged in, or has gone: of both kinds of event. */
static void on_device_change(_unused_ virConnectPtr connection, virDomainPtr domain, _unused_ const char *alias,
                             void *opaque) {
        Event e = { .kind = EVENT_DEFINED };

        if (virDomainGetUUIDString(domain, e.uuid) >= 0)
                post_event(opaque, &e);
}

static void on_close(_unused_ virConnectPtr connection, _unused_ int reason, void *opaque) {
        Session *s = opaque;

        atomic_store(&s->lost, true);
        post_event(s, &(Event) { .kind = EVENT_LOST });
}

/* On a worker: connects, and finds what there is. */

static int session_fail(Session *s) {
        virErrorPtr e = virGetLastError();

        if (!s->failure)
                s->failure = strdup(e && e->message ? e->message : "libvirt gave no reason");
        return -ENOTCONN;
}

/* Drivers that plug nothing have no such events. */
static void register_device_callbacks(Session *s) {
        static const int events[] = { VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED };

        for (size_t i = 0; i < ELEMENTSOF(events); i++) {
                s->device_ids[i] = virConnectDomainEventRegisterAny(
                        s->connection, NULL, events[i], VIR_DOMAIN_EVENT_CALLBACK(on_device_change),
                        session_ref(s), session_unref_opaque);
                if (s->device_ids[i] < 0)
                        session_unref(s);
        }
}

static int register_callbacks(Session *s) {
        (void) session_ref(s);
        atomic_store(&s->has_close_ref, true);
        if (virConnectRegisterCloseCallback(s->connection, on_close, s, drop_close_ref) < 0)
                drop_close_ref(s);

        s->lifecycle_id =
                virConnectDomainEventRegisterAny(s->connection, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                                 VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle),
                                                 session_ref(s), session_unref_opaque);
        if (s->lifecycle_id < 0) {
                session_unref(s);
                return session_fail(s);
        }

        s->metadata_id =
                virConnectDomainEventRegisterAny(s->connection, NULL,
                                                 VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
                                                 VIR_DOMAIN_EVENT_CALLBACK(on_metadata_change),
                                                 session_ref(s), session_unref_opaque);
        if (s->metadata_id < 0)
                session_unref(s);
        register_device_callbacks(s);
        return 0;
}

/* 0 for a domain that is not ours, or that has vanished meanwhile. */
static int read_domain(Session *s, virDomainPtr domain) {
        _cleanup_free_ char *xml = NULL;
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;
        int state, reason, r;

        xml = virDomainGetXMLDesc(domain, 0);
        if (!xml || virDomainGetState(domain, &state, &reason, 0) < 0)
                return virConnectIsAlive(s->connection) == 1 ? 0 : session_fail(s);

        r = vm_spec_from_xml(xml, &spec);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                if (r != -ENODATA)
                        log_warning("domain %s carries vmkit's metadata but cannot be read; it is "
                                    "left alone",
                                    virDomainGetName(domain));
                return 0;
        }

        s->domains[s->n_domains++] = (DomainInfo) {
                .spec = TAKE_PTR(spec),
                .state = domain_state_from_libvirt(state, reason),
                .stopped_for = stopped_for_from_reason(state, reason),
        };
        return 0;
}

static int read_domains(Session *s) {
        virDomainPtr *domains = NULL;
        int n, r = 0;

        n = virConnectListAllDomains(s->connection, &domains, 0);
        if (n < 0)
                return session_fail(s);

        s->domains = calloc((size_t) n + 1, sizeof(*s->domains));
        if (!s->domains)
                r = -ENOMEM;
        for (int i = 0; i < n; i++) {
                if (r >= 0)
                        r = read_domain(s, domains[i]);
                (void) virDomainFree(domains[i]);
        }
        free(domains);
        return r;
}

static int session_connect(Session *s) {
        int r;

        virResetLastError();
        s->connection = connection_open(s->uri);
        if (!s->connection)
                return session_fail(s);

        r = register_callbacks(s);
        if (r < 0)
                return r;
        r = capabilities_read(s->connection, &s->capabilities);
        if (r < 0)
                return r;
        return read_domains(s);
}

static void connect_run(void *work) {
        Session *s = work;

        s->r = session_connect(s);
}

/* Blocks for a round trip, or until keepalive gives a dead libvirtd up. */
static void session_close(Session *s) {
        virConnectPtr connection = TAKE_PTR(s->connection);

        if (!connection)
                return;
        if (s->lifecycle_id >= 0)
                (void) virConnectDomainEventDeregisterAny(connection, s->lifecycle_id);
        if (s->metadata_id >= 0)
                (void) virConnectDomainEventDeregisterAny(connection, s->metadata_id);
        for (size_t i = 0; i < ELEMENTSOF(s->device_ids); i++)
                if (s->device_ids[i] >= 0)
                        (void) virConnectDomainEventDeregisterAny(connection, s->device_ids[i]);
        (void) virConnectUnregisterCloseCallback(connection, on_close);
        drop_close_ref(s);
        (void) virConnectClose(connection);
}

static void close_run(void *work) {
        session_close(work);
}

static void close_done(void *work) {
        session_unref(work);
}

/* On the loop: nothing of it is to be heard any more. */
static void session_silence(Session *s) {
        s->virt = NULL;
        (void) pthread_mutex_lock(&s->mutex);
        s->workers = NULL;
        (void) pthread_mutex_unlock(&s->mutex);
}

/* Takes the reference, and closes on a worker. */
static void session_drop(Session *s, WorkerPool *workers) {
        session_silence(s);
        if (s->connection && worker_submit(workers, close_run, close_done, s) >= 0)
                return;
        session_close(s);
        session_unref(s);
}

static void start_connecting(Virt *virt);

static int on_retry(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata) {
        Virt *virt = userdata;

        if (!virt->session)
                start_connecting(virt);
        return 0;
}

static void schedule_retry(Virt *virt) {
        uint64_t delay = virt->retry_delay;
        int r;

        virt->retry_delay = MIN(2 * delay, RETRY_MAX_USEC);
        if (virt->retry)
                r = sd_event_source_set_time_relative(virt->retry, delay);
        else
                r = sd_event_add_time_relative(virt->event, &virt->retry, CLOCK_MONOTONIC, delay, 0,
                                               on_retry, virt);
        if (r >= 0)
                r = sd_event_source_set_enabled(virt->retry, SD_EVENT_ONESHOT);
        if (r < 0)
                log_errno(r, "cannot wait to connect to libvirt again");
}

static uint64_t now_usec(Virt *virt) {
        uint64_t now = 0;

        (void) sd_event_now(virt->event, CLOCK_MONOTONIC, &now);
        return now;
}

static void complain(Virt *virt, const char *failure) {
        if (virt->complained)
                log_debug("still no libvirt at %s: %s", virt->uri, str_na(failure));
        else
                log_warning("cannot connect to libvirt at %s, trying again: %s", virt->uri,
                            str_na(failure));
        virt->complained = true;
}

static void session_lost(Session *s) {
        Virt *virt = s->virt;

        /* An attempt that is still on its worker sees it by itself. */
        if (!virt->adopted || virt->session != s)
                return;

        log_warning("the connection to libvirt at %s was lost", virt->uri);
        virt->complained = true;
        virt->connected = virt->adopted = false;
        virt->session = NULL;
        if (now_usec(virt) - virt->connected_at > RETRY_MAX_USEC)
                virt->retry_delay = RETRY_MIN_USEC;

        session_drop(s, virt->workers);
        connection_pool_flush(virt->pool, virt->workers);
        virt_refresh_all_stale(virt);
        console_list_end_all(virt->consoles);
        schedule_retry(virt);
        virt->handler.disconnected(virt->userdata);
}

static void adopt_session(Virt *virt, Session *s) {
        DomainInfo *domains = TAKE_PTR(s->domains);
        size_t n = s->n_domains;
        Event *e;

        if (virt->complained)
                log_info("connected to libvirt at %s", virt->uri);
        virt->complained = false;
        virt->connected = virt->adopted = true;
        virt->connected_at = now_usec(virt);

        capabilities_clear(&virt->capabilities);
        virt->capabilities = s->capabilities;
        s->capabilities = (VirtCapabilities) {};
        virt->has_capabilities = true;

        s->n_domains = 0;
        (void) session_ref(s);
        virt->handler.connected(domains, n, virt->userdata);
        domains_free(domains, n);

        /* The handler may have freed the Virt. */
        while (s->virt && (e = s->first)) {
                s->first = e->next;
                if (!s->first)
                        s->last = NULL;
                handle_event(s->virt, e);
                free(e);
        }
        if (s->virt) {
                rest_put_off(s->virt);
                calls_submit_held(s->virt, &s->virt);
        }
        session_unref(s);
}

/* It was at rest, and does not come back: what waited for it has waited in vain. */
static void not_back_from_rest(Session *s) {
        Virt *virt = s->virt;

        virt->connected = false;
        calls_refuse_held(virt, &s->virt);
        if (s->virt)
                virt->handler.disconnected(virt->userdata);
}

static void connect_done(void *work) {
        Session *s = work;
        Virt *virt = s->virt;

        if (!virt) {
                session_close(s);
                session_unref(s);
                return;
        }

        if (s->r >= 0 && !atomic_load(&s->lost)) {
                adopt_session(virt, s);
                return;
        }

        complain(virt, s->failure);
        (void) session_ref(s);
        if (virt->connected)
                not_back_from_rest(s);
        if (s->virt) {
                virt->session = NULL;
                session_drop(s, virt->workers);
                schedule_retry(virt);
        } else { /* an answer has freed the Virt */
                session_close(s);
                session_unref(s);
        }
        session_unref(s);
}

static void start_connecting(Virt *virt) {
        Session *s = session_new(virt);

        if (s && worker_submit(virt->workers, connect_run, connect_done, s) >= 0) {
                virt->session = s;
                return;
        }
        session_unref(s);
        schedule_retry(virt);
}

void connection_give_up(Virt *virt) {
        virt->adopted = false;
        session_drop(TAKE_PTR(virt->session), virt->workers);
}

void connection_take_up(Virt *virt) {
        if (virt->connected && !virt->session)
                start_connecting(virt);
}

int virt_new(sd_event *event, WorkerPool *workers, const char *uri, const VirtHandler *handler,
             void *userdata, Virt **ret) {
        _cleanup_(virt_freep) Virt *virt = NULL;
        int r;

        r = event_thread_ref();
        if (r < 0)
                return r;

        virt = calloc(1, sizeof(*virt));
        if (!virt) {
                event_thread_unref();
                return -ENOMEM;
        }
        virt->event = sd_event_ref(event);
        virt->workers = workers;
        virt->handler = *handler;
        virt->userdata = userdata;
        virt->retry_delay = RETRY_MIN_USEC;

        virt->uri = strdup(uri);
        if (!virt->uri)
                return -ENOMEM;
        r = connection_pool_new(uri, &virt->pool);
        if (r < 0)
                return r;
        r = console_list_new(&virt->consoles);
        if (r < 0)
                return r;

        start_connecting(virt);
        *ret = TAKE_PTR(virt);
        return 0;
}

typedef struct Leftover {
        Session *session;
        ConnectionPool *pool;
} Leftover;

static void *close_leftover(void *userdata) {
        Leftover *l = userdata;

        if (l->session) {
                session_close(l->session);
                session_unref(l->session);
        }
        connection_pool_unref(l->pool);
        free(l);
        return NULL;
}

#define CLOSE_SECONDS 2

/* A libvirtd that hangs answers no good-bye: then the thread is left behind with it. */
static void close_in_time(Leftover *leftover) {
        struct timespec until;
        pthread_t thread;

        if (worker_thread_start(&thread, close_leftover, leftover) < 0) {
                (void) close_leftover(leftover);
                return;
        }
        (void) clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += CLOSE_SECONDS;
        if (pthread_timedjoin_np(thread, NULL, &until) != 0) {
                log_warning("libvirt does not answer; its connections are left behind");
                (void) pthread_detach(thread);
        }
}

static Session *take_session(Virt *virt) {
        Session *s = TAKE_PTR(virt->session);

        if (!s)
                return NULL;
        session_silence(s);
        if (!virt->adopted && !worker_take_back(virt->workers, s))
                return NULL; /* on its worker: connect_done() closes it */
        return s;
}

static void close_connections(Virt *virt) {
        Session *s = take_session(virt);
        Leftover *leftover = calloc(1, sizeof(*leftover));

        if (!leftover) {
                session_unref(s); /* libvirt's callbacks keep it */
                connection_pool_unref(virt->pool);
                return;
        }
        *leftover = (Leftover) { .session = s, .pool = virt->pool };
        close_in_time(leftover);
}

Virt *virt_free(Virt *virt) {
        if (!virt)
                return NULL;

        calls_abandon(virt);
        virt_refresh_free_all(virt);
        if (virt->consoles)
                console_list_close_all(virt->consoles);
        console_list_unref(virt->consoles);
        close_connections(virt);
        event_thread_unref();

        sd_event_source_disable_unref(virt->retry);
        rest_clear(virt);
        sd_event_unref(virt->event);
        capabilities_clear(&virt->capabilities);
        free(virt->uri);
        free(virt);
        return NULL;
}

bool virt_is_being_asked(const Virt *virt) {
        return !virt->connected && virt->session;
}

bool virt_is_connected(const Virt *virt) {
        return virt->connected;
}

const char *virt_uri(const Virt *virt) {
        return virt->uri;
}

const VirtCapabilities *virt_capabilities(const Virt *virt) {
        return virt->has_capabilities ? &virt->capabilities : NULL;
}
