/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A console is relayed between libvirt's stream and one end of a socket pair.
 *
 * From the guest: on libvirt's event thread, when the stream has something. libvirt's client
 * takes data off the wire and queues it without bound whether it is read or not, so the stream
 * must always be read; what a slow viewer does not take is dropped beyond a fixed buffer, as on
 * a serial line, and the viewer is told how much.
 *
 * To the guest: on a thread of the console's own, because libvirt blocks in sending while a
 * guest does not read its serial port (a paused one, for instance), and the event thread must
 * not.
 *
 * When such a guest holds up the thread and the viewer is gone, the next viewer takes the
 * console over by force, which ends the old stream and so frees the thread. */

#include <libvirt/libvirt.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/log.h"
#include "call.h"
#include "console.h"

#define BUFFER_SIZE (16 * KIB)
#define CLOSE_SECONDS 2

typedef struct Console Console;

struct ConsoleList {
        pthread_mutex_t mutex;
        pthread_cond_t ended;
        unsigned n_refs, n_consoles;
        bool closed;
        Console *first;
};

/* Its thread's, but for what is marked. */
struct Console {
        ConsoleList *list;
        Console *next; /* under the list's mutex */
        char *uuid;
        virConnectPtr connection;
        virStreamPtr stream;
        int fd;       /* our end */
        int ended_fd; /* readable: the guest's side has ended */

        bool detached; /* under the list's mutex: the event thread has let go */

        /* The event thread's. */
        int watch, detach_timer;
        char pending[BUFFER_SIZE];
        size_t n_pending;
        uint64_t n_dropped;
};

int console_list_new(ConsoleList **ret) {
        pthread_condattr_t attributes;
        ConsoleList *l = calloc(1, sizeof(*l));

        if (!l)
                return -ENOMEM;
        l->n_refs = 1;
        (void) pthread_mutex_init(&l->mutex, NULL);
        (void) pthread_condattr_init(&attributes);
        (void) pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void) pthread_cond_init(&l->ended, &attributes);
        (void) pthread_condattr_destroy(&attributes);
        *ret = l;
        return 0;
}

ConsoleList *console_list_ref(ConsoleList *l) {
        (void) pthread_mutex_lock(&l->mutex);
        l->n_refs++;
        (void) pthread_mutex_unlock(&l->mutex);
        return l;
}

ConsoleList *console_list_unref(ConsoleList *l) {
        unsigned n;

        if (!l)
                return NULL;

        (void) pthread_mutex_lock(&l->mutex);
        n = --l->n_refs;
        (void) pthread_mutex_unlock(&l->mutex);
        if (n > 0)
                return NULL;

        (void) pthread_cond_destroy(&l->ended);
        (void) pthread_mutex_destroy(&l->mutex);
        free(l);
        return NULL;
}

static void notify_ended(Console *c) {
        uint64_t one = 1;

        if (write(c->ended_fd, &one, sizeof(one)) < 0)
                log_debug("console of %s: %m", c->uuid);
}

void console_list_end_all(ConsoleList *l) {
        (void) pthread_mutex_lock(&l->mutex);
        for (Console *c = l->first; c; c = c->next)
                notify_ended(c);
        (void) pthread_mutex_unlock(&l->mutex);
}

void console_list_close_all(ConsoleList *l) {
        struct timespec until;
        int r = 0;

        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += CLOSE_SECONDS;

        (void) pthread_mutex_lock(&l->mutex);
        l->closed = true;
        for (Console *c = l->first; c; c = c->next)
                (void) shutdown(c->fd, SHUT_RDWR);
        while (l->n_consoles > 0 && r == 0)
                r = pthread_cond_timedwait(&l->ended, &l->mutex, &until);
        if (l->n_consoles > 0)
                log_warning("a console does not end: its guest does not read");
        (void) pthread_mutex_unlock(&l->mutex);
}

static void count(ConsoleList *l, int change) {
        (void) pthread_mutex_lock(&l->mutex);
        l->n_consoles += (unsigned) change;
        (void) pthread_cond_broadcast(&l->ended);
        (void) pthread_mutex_unlock(&l->mutex);
}

static Console *console_free(Console *c) {
        if (!c)
                return NULL;

        if (c->stream)
                (void) virStreamFree(c->stream);
        if (c->connection)
                (void) virConnectClose(c->connection);
        close_fd(c->fd);
        close_fd(c->ended_fd);
        count(c->list, -1);
        console_list_unref(c->list);
        free(c->uuid);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(Console *, console_free);

/* From the guest, on the event thread. */

static void append_pending(Console *c, const char *data, size_t n) {
        size_t take = MIN(n, sizeof(c->pending) - c->n_pending);

        memcpy(c->pending + c->n_pending, data, take);
        c->n_pending += take;
        c->n_dropped += n - take;
}

static size_t send_some(Console *c, const char *data, size_t n) {
        ssize_t k = send(c->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);

        /* A viewer that is gone is noticed by the thread. */
        return k < 0 ? 0 : (size_t) k;
}

static void flush_pending(Console *c) {
        size_t k;

        if (c->n_pending == 0)
                return;
        k = send_some(c, c->pending, c->n_pending);
        memmove(c->pending, c->pending + k, c->n_pending - k);
        c->n_pending -= k;
}

/* Tells the viewer what it missed, once there is room. */
static void tell_dropped(Console *c) {
        char text[80];
        int n;

        if (c->n_dropped == 0 || c->n_pending > 0)
                return;
        n = snprintf(text, sizeof(text),
                     "\r\n[vmkit: %llu bytes were lost, the viewer is too slow]\r\n",
                     (unsigned long long) c->n_dropped);
        c->n_dropped = 0;
        append_pending(c, text, (size_t) n);
        flush_pending(c);
}

static void watch_for_room(Console *c) {
        virEventUpdateHandle(c->watch, c->n_pending > 0 ? VIR_EVENT_HANDLE_WRITABLE : 0);
}

static void forward_to_viewer(Console *c, const char *data, size_t n) {
        size_t k = 0;

        flush_pending(c);
        tell_dropped(c);
        if (c->n_pending == 0)
                k = send_some(c, data, n);
        append_pending(c, data + k, n - k);
        watch_for_room(c);
}

static void on_room(_unused_ int watch, _unused_ int fd, _unused_ int events, void *opaque) {
        Console *c = opaque;

        flush_pending(c);
        tell_dropped(c);
        watch_for_room(c);
}


static void on_stream(virStreamPtr stream, int events, void *opaque) {
        Console *c = opaque;
        char data[BUFFER_SIZE];
        int n;

        if (events & VIR_STREAM_EVENT_READABLE) {
                n = virStreamRecv(stream, data, sizeof(data));
                if (n > 0)
                        forward_to_viewer(c, data, (size_t) n);
                if (n > 0 || n == -2)
                        return;
        }
        /* The end, an error or a hang-up. */
        (void) virStreamEventUpdateCallback(stream, 0);
        notify_ended(c);
}

/* To the guest, on the console's thread. */

static bool wait_for_viewer(Console *c) {
        struct pollfd fds[] = {
                { .fd = c->fd, .events = POLLIN },
                { .fd = c->ended_fd, .events = POLLIN },
        };

        while (poll(fds, ELEMENTSOF(fds), -1) < 0)
                if (errno != EINTR)
                        return false;
        return !fds[1].revents;
}

static int send_all(Console *c, const char *data, size_t n) {
        while (n > 0) {
                int k = virStreamSend(c->stream, data, n);

                if (k == -2)
                        (void) usleep(10 * USEC_PER_MSEC);
                else if (k < 0)
                        return -EIO;
                else {
                        data += k;
                        n -= (size_t) k;
                }
        }
        return 0;
}

static void relay_to_guest(Console *c) {
        char data[BUFFER_SIZE];

        while (wait_for_viewer(c)) {
                ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);

                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (n <= 0 || send_all(c, data, (size_t) n) < 0)
                        return;
        }
}

/* On the event thread: after this none of its callbacks can come. (libvirt's remote driver never
 * calls the free function of a stream's callback, so that cannot tell.) */
static void on_detach(int timer, void *opaque) {
        Console *c = opaque;

        (void) virStreamEventRemoveCallback(c->stream);
        if (c->watch >= 0)
                (void) virEventRemoveHandle(c->watch);
        (void) virEventRemoveTimeout(timer);

        (void) pthread_mutex_lock(&c->list->mutex);
        c->detached = true;
        (void) pthread_cond_broadcast(&c->list->ended);
        (void) pthread_mutex_unlock(&c->list->mutex);
}

static void detach_from_events(Console *c) {
        virEventUpdateTimeout(c->detach_timer, 0);

        (void) pthread_mutex_lock(&c->list->mutex);
        while (!c->detached)
                (void) pthread_cond_wait(&c->list->ended, &c->list->mutex);
        (void) pthread_mutex_unlock(&c->list->mutex);
}

static void leave_list(Console *c) {
        ConsoleList *l = c->list;

        (void) pthread_mutex_lock(&l->mutex);
        for (Console **p = &l->first; *p; p = &(*p)->next)
                if (*p == c) {
                        *p = c->next;
                        break;
                }
        (void) shutdown(c->fd, SHUT_RDWR);
        (void) pthread_mutex_unlock(&l->mutex);
}

static void *console_thread(void *userdata) {
        _cleanup_(console_freep) Console *c = userdata;

        relay_to_guest(c);
        (void) virStreamAbort(c->stream);
        detach_from_events(c);
        leave_list(c);
        return NULL;
}

/* Opening, on a worker. */

static bool viewer_is_gone(const Console *c) {
        struct pollfd fd = { .fd = c->fd };

        return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLHUP | POLLERR));
}

typedef enum Presence {
        NOBODY,
        LEFT_OVER, /* of ours, without a viewer */
        VIEWED,
} Presence;

static Presence find_viewer(ConsoleList *l, const char *uuid) {
        Presence presence = NOBODY;

        (void) pthread_mutex_lock(&l->mutex);
        for (Console *c = l->first; c && presence != VIEWED; c = c->next)
                if (streq(c->uuid, uuid))
                        presence = viewer_is_gone(c) ? LEFT_OVER : VIEWED;
        (void) pthread_mutex_unlock(&l->mutex);
        return presence;
}

static int join_list(Console *c) {
        ConsoleList *l = c->list;
        int r = 0;

        (void) pthread_mutex_lock(&l->mutex);
        if (l->closed)
                r = -ESHUTDOWN;
        else {
                c->next = l->first;
                l->first = c;
        }
        (void) pthread_mutex_unlock(&l->mutex);
        return r;
}

static int console_new(Call *call, Console **ret) {
        _cleanup_(console_freep) Console *c = calloc(1, sizeof(*c));
        int fds[2];

        if (!c)
                return -ENOMEM;
        c->fd = c->ended_fd = -EBADF;
        c->watch = c->detach_timer = -1;
        c->list = console_list_ref(call->consoles);
        count(c->list, 1);

        c->uuid = strdup(call->uuid);
        if (!c->uuid)
                return -ENOMEM;
        c->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (c->ended_fd < 0)
                return -errno;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        c->fd = fds[0];
        call->fd = fds[1];

        *ret = TAKE_PTR(c);
        return 0;
}

static int open_stream(Call *call, Console *c, Presence presence) {
        unsigned flags =
                VIR_DOMAIN_CONSOLE_SAFE | (presence == LEFT_OVER ? VIR_DOMAIN_CONSOLE_FORCE : 0);

        c->stream = virStreamNew(call->connection, VIR_STREAM_NONBLOCK);
        if (!c->stream || virDomainOpenConsole(call->domain, NULL, c->stream, flags) < 0)
                return call_fail(call);
        return 0;
}

static int attach_to_events(Call *call, Console *c) {
        const int events =
                VIR_STREAM_EVENT_READABLE | VIR_STREAM_EVENT_ERROR | VIR_STREAM_EVENT_HANGUP;

        c->detach_timer = virEventAddTimeout(-1, on_detach, c, NULL);
        if (c->detach_timer < 0)
                return -ENOMEM;

        c->watch = virEventAddHandle(c->fd, 0, on_room, c, NULL);
        if (c->watch < 0 || virStreamEventAddCallback(c->stream, events, on_stream, c, NULL) < 0) {
                int r = call_fail(call);
                detach_from_events(c);
                return r;
        }
        return 0;
}

static int start_thread(Console *c) {
        pthread_t thread;
        int r;

        r = join_list(c);
        if (r < 0)
                return r;
        r = worker_thread_start(&thread, console_thread, c);
        if (r < 0) {
                leave_list(c);
                return r;
        }
        (void) pthread_detach(thread);
        return 0;
}

static int start_relay(Call *call, Console *c) {
        int r;

        r = attach_to_events(call, c);
        if (r < 0)
                return r;
        r = start_thread(c);
        if (r < 0) {
                (void) virStreamAbort(c->stream);
                detach_from_events(c);
        }
        return r;
}

int console_open(Call *call) {
        _cleanup_(console_freep) Console *c = NULL;
        Presence presence = find_viewer(call->consoles, call->uuid);
        int r;

        if (presence == VIEWED) {
                r = error_set(&call->error, ERROR_BUSY, "the console of '%s' is open elsewhere",
                              virDomainGetName(call->domain));
                error_set_remedy(&call->error, "Close the other viewer of the console.");
                return r;
        }

        r = console_new(call, &c);
        if (r >= 0)
                r = open_stream(call, c, presence);
        if (r >= 0) {
                /* From here on the connection is the console's. */
                (void) virConnectRef(call->connection);
                c->connection = call->connection;
                r = start_relay(call, c);
        }
        if (r < 0) {
                if (!error_is_set(&call->error))
                        (void) error_set_errno(&call->error, r, "cannot %s",
                                               act_to_string(call->act));
                return r;
        }

        (void) TAKE_PTR(c);
        (void) virConnectClose(TAKE_PTR(call->connection));
        return 0;
}
