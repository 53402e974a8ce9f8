/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <pthread.h>

#include "pool.h"

#define MAX_WAITING 2
#define KEEPALIVE_INTERVAL 5 /* seconds */
#define KEEPALIVE_COUNT 3

struct ConnectionPool {
        pthread_mutex_t mutex;
        unsigned n_refs;
        char *uri;
        virConnectPtr waiting[MAX_WAITING];
        size_t n_waiting;
};

typedef struct Closing {
        virConnectPtr connections[MAX_WAITING];
        size_t n;
} Closing;

virConnectPtr connection_open(const char *uri) {
        virConnectPtr connection = virConnectOpen(uri);

        /* The test driver has no keepalive, which is no failure. */
        if (connection)
                (void) virConnectSetKeepAlive(connection, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT);
        return connection;
}

int connection_pool_new(const char *uri, ConnectionPool **ret) {
        ConnectionPool *p = calloc(1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        p->n_refs = 1;
        p->uri = strdup(uri);
        if (!p->uri) {
                free(p);
                return -ENOMEM;
        }
        (void) pthread_mutex_init(&p->mutex, NULL);
        *ret = p;
        return 0;
}

ConnectionPool *connection_pool_ref(ConnectionPool *p) {
        (void) pthread_mutex_lock(&p->mutex);
        p->n_refs++;
        (void) pthread_mutex_unlock(&p->mutex);
        return p;
}

ConnectionPool *connection_pool_unref(ConnectionPool *p) {
        unsigned n;

        if (!p)
                return NULL;

        (void) pthread_mutex_lock(&p->mutex);
        n = --p->n_refs;
        (void) pthread_mutex_unlock(&p->mutex);
        if (n > 0)
                return NULL;

        for (size_t i = 0; i < p->n_waiting; i++)
                (void) virConnectClose(p->waiting[i]);
        (void) pthread_mutex_destroy(&p->mutex);
        free(p->uri);
        free(p);
        return NULL;
}

const char *connection_pool_uri(const ConnectionPool *p) {
        return p->uri;
}

static virConnectPtr take_waiting(ConnectionPool *p) {
        virConnectPtr connection = NULL;

        (void) pthread_mutex_lock(&p->mutex);
        if (p->n_waiting > 0)
                connection = p->waiting[--p->n_waiting];
        (void) pthread_mutex_unlock(&p->mutex);
        return connection;
}

virConnectPtr connection_pool_take(ConnectionPool *p) {
        virConnectPtr connection;

        while ((connection = take_waiting(p))) {
                if (virConnectIsAlive(connection) == 1)
                        return connection;
                (void) virConnectClose(connection);
        }
        return connection_open(p->uri);
}

void connection_pool_give(ConnectionPool *p, virConnectPtr connection) {
        if (!connection)
                return;

        if (virConnectIsAlive(connection) == 1) {
                (void) pthread_mutex_lock(&p->mutex);
                if (p->n_waiting < MAX_WAITING)
                        p->waiting[p->n_waiting++] = TAKE_PTR(connection);
                (void) pthread_mutex_unlock(&p->mutex);
        }
        if (connection)
                (void) virConnectClose(connection);
}

static void close_run(void *work) {
        Closing *c = work;

        for (size_t i = 0; i < c->n; i++)
                (void) virConnectClose(c->connections[i]);
}

void connection_pool_flush(ConnectionPool *p, WorkerPool *workers) {
        Closing *c = calloc(1, sizeof(*c));

        if (!c)
                return;
        while (c->n < MAX_WAITING && (c->connections[c->n] = take_waiting(p)))
                c->n++;

        if (c->n > 0 && worker_submit(workers, close_run, free, c) >= 0)
                return;
        close_run(c);
        free(c);
}
