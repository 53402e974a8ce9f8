/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two queues under one mutex: what is to be run, taken by the threads, and what is to be done on
 * the loop, announced by an eventfd. A thread that has had nothing to do for a while ends; the
 * loop joins it. */

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>

#include "idle.h"
#include "worker.h"

typedef struct Item {
        WorkFunc run;  /* NULL: posted */
        WorkFunc done;
        void *work;
        struct Item *next;
} Item;

typedef struct Queue {
        Item *first, *last;
} Queue;

typedef enum SlotState {
        SLOT_FREE,
        SLOT_RUNNING,
        SLOT_ENDED, /* to be joined */
} SlotState;

typedef struct Slot {
        WorkerPool *pool;
        pthread_t thread;
        SlotState state;
} Slot;

struct WorkerPool {
        sd_event_source *source;
        int event_fd;
        pthread_mutex_t mutex;
        pthread_cond_t wake;
        Queue to_run;
        Queue to_do;
        unsigned n_queued, n_idle;
        bool stopping;
        uint64_t idle_usec; /* when a thread that has nothing to do ends */
        size_t n_slots;
        Slot slots[];
};

static void queue_push(Queue *q, Item *item) {
        item->next = NULL;
        if (q->last)
                q->last->next = item;
        else
                q->first = item;
        q->last = item;
}

static Item *queue_pop(Queue *q) {
        Item *item = q->first;

        if (item) {
                q->first = item->next;
                if (!q->first)
                        q->last = NULL;
        }
        return item;
}

static Item *queue_remove_work(Queue *q, const void *work) {
        Item *previous = NULL;

        for (Item *item = q->first; item; previous = item, item = item->next) {
                if (item->work != work)
                        continue;
                if (previous)
                        previous->next = item->next;
                else
                        q->first = item->next;
                if (q->last == item)
                        q->last = previous;
                return item;
        }
        return NULL;
}

static void notify_loop(WorkerPool *p) {
        uint64_t one = 1;

        /* Fails only when the counter is full, and then the loop is awake anyway. */
        if (write(p->event_fd, &one, sizeof(one)) < 0)
                return;
}

/* Waits for work with the mutex held; NULL: there was none for so long that the thread may end. */
static Item *next_item(WorkerPool *p) {
        struct timespec until;
        int r = 0;

        if (p->stopping)
                return NULL;

        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t) (p->idle_usec / USEC_PER_SEC);

        p->n_idle++;
        while (!p->to_run.first && !p->stopping && r == 0)
                r = pthread_cond_timedwait(&p->wake, &p->mutex, &until);
        p->n_idle--;

        if (p->stopping || !p->to_run.first)
                return NULL;

        p->n_queued--;
        return queue_pop(&p->to_run);
}

static void *worker_thread(void *userdata) {
        Slot *slot = userdata;
        WorkerPool *p = slot->pool;
        Item *item;

        (void) pthread_mutex_lock(&p->mutex);
        while ((item = next_item(p))) {
                (void) pthread_mutex_unlock(&p->mutex);
                item->run(item->work);
                (void) pthread_mutex_lock(&p->mutex);

                queue_push(&p->to_do, item);
                notify_loop(p);
        }
        slot->state = SLOT_ENDED;
        notify_loop(p);
        (void) pthread_mutex_unlock(&p->mutex);
        return NULL;
}

int worker_thread_start(pthread_t *ret, void *(*func)(void *), void *userdata) {
        sigset_t all, old;
        int r;

        (void) sigfillset(&all);
        r = pthread_sigmask(SIG_SETMASK, &all, &old);
        if (r != 0)
                return -r;

        r = pthread_create(ret, NULL, func, userdata);
        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
        return -r;
}

/* Called with the mutex held, which it gives away meanwhile. */
static void join_slot(WorkerPool *p, Slot *slot) {
        (void) pthread_mutex_unlock(&p->mutex);
        (void) pthread_join(slot->thread, NULL);
        (void) pthread_mutex_lock(&p->mutex);
        slot->state = SLOT_FREE;
}

/* Joins the threads that have ended, which have nothing left to do but to return. */
static void join_ended(WorkerPool *p) {
        for (size_t i = 0; i < p->n_slots; i++)
                if (p->slots[i].state == SLOT_ENDED)
                        join_slot(p, &p->slots[i]);
}

/* Starts another thread if those that wait are fewer than the work, and one more is allowed. */
static int start_thread_if_needed(WorkerPool *p) {
        Slot *free_slot = NULL;
        size_t n_running = 0;
        int r;

        for (size_t i = 0; i < p->n_slots; i++)
                if (p->slots[i].state == SLOT_RUNNING)
                        n_running++;
                else if (p->slots[i].state == SLOT_FREE)
                        free_slot = &p->slots[i];

        if (p->n_queued <= p->n_idle || !free_slot)
                return 0;

        free_slot->pool = p;
        r = worker_thread_start(&free_slot->thread, worker_thread, free_slot);
        if (r < 0)
                return n_running > 0 ? 0 : r;
        free_slot->state = SLOT_RUNNING;
        return 0;
}

static void do_finished(WorkerPool *p) {
        Item *item;

        (void) pthread_mutex_lock(&p->mutex);
        while ((item = queue_pop(&p->to_do))) {
                (void) pthread_mutex_unlock(&p->mutex);
                item->done(item->work);
                free(item);
                (void) pthread_mutex_lock(&p->mutex);
        }
        join_ended(p);
        (void) pthread_mutex_unlock(&p->mutex);
}

static int on_event_fd(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents,
                       void *userdata) {
        uint64_t count;

        if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
                return -errno;

        do_finished(userdata);
        return 0;
}

int worker_submit(WorkerPool *p, WorkFunc run, WorkFunc done, void *work) {
        Item *item = malloc(sizeof(*item));
        int r;

        if (!item)
                return -ENOMEM;
        *item = (Item) { .run = run, .done = done, .work = work };

        (void) pthread_mutex_lock(&p->mutex);
        join_ended(p);
        queue_push(&p->to_run, item);
        p->n_queued++;
        r = p->stopping ? -ESHUTDOWN : start_thread_if_needed(p);
        if (r < 0) {
                free(queue_remove_work(&p->to_run, work));
                p->n_queued--;
        }
        (void) pthread_cond_signal(&p->wake);
        (void) pthread_mutex_unlock(&p->mutex);
        return r;
}

bool worker_take_back(WorkerPool *p, const void *work) {
        Item *item;

        (void) pthread_mutex_lock(&p->mutex);
        item = queue_remove_work(&p->to_run, work);
        if (item)
                p->n_queued--;
        (void) pthread_mutex_unlock(&p->mutex);

        free(item);
        return item;
}

int worker_post(WorkerPool *p, WorkFunc func, void *data) {
        Item *item = malloc(sizeof(*item));

        if (!item)
                return -ENOMEM;
        *item = (Item) { .done = func, .work = data };

        (void) pthread_mutex_lock(&p->mutex);
        queue_push(&p->to_do, item);
        notify_loop(p);
        (void) pthread_mutex_unlock(&p->mutex);
        return 0;
}

static int init_sync(WorkerPool *p) {
        pthread_condattr_t attributes;

        if (pthread_mutex_init(&p->mutex, NULL) != 0)
                return -ENOMEM;
        if (pthread_condattr_init(&attributes) != 0)
                return -ENOMEM;
        (void) pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void) pthread_cond_init(&p->wake, &attributes);
        (void) pthread_condattr_destroy(&attributes);
        return 0;
}

int worker_pool_new(sd_event *event, unsigned max_threads, WorkerPool **ret) {
        _cleanup_(worker_pool_freep) WorkerPool *p = NULL;
        int r;

        p = calloc(1, sizeof(*p) + max_threads * sizeof(Slot));
        if (!p)
                return -ENOMEM;
        p->idle_usec = idle_usec();
        p->n_slots = max_threads;
        p->event_fd = -EBADF;

        r = init_sync(p);
        if (r < 0)
                return r;

        p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (p->event_fd < 0)
                return -errno;

        r = sd_event_add_io(event, &p->source, p->event_fd, EPOLLIN, on_event_fd, p);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(p->source, "workers");

        *ret = TAKE_PTR(p);
        return 0;
}

static void stop_threads(WorkerPool *p) {
        (void) pthread_mutex_lock(&p->mutex);
        p->stopping = true;
        (void) pthread_cond_broadcast(&p->wake);
        for (size_t i = 0; i < p->n_slots; i++)
                if (p->slots[i].state != SLOT_FREE)
                        join_slot(p, &p->slots[i]);
        (void) pthread_mutex_unlock(&p->mutex);
}

WorkerPool *worker_pool_free(WorkerPool *p) {
        Item *item;

        if (!p)
                return NULL;

        stop_threads(p);
        do_finished(p);
        while ((item = queue_pop(&p->to_run)))
                free(item);

        sd_event_source_disable_unref(p->source);
        p->event_fd = close_fd(p->event_fd);
        (void) pthread_cond_destroy(&p->wake);
        (void) pthread_mutex_destroy(&p->mutex);
        free(p);
        return NULL;
}
