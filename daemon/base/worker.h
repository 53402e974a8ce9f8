/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Threads for calls that block but always return (libvirt's). run() gets plain values on a
 * worker thread; done() follows on the loop. */

#include <pthread.h>
#include <systemd/sd-event.h>

#include "util.h"

typedef struct WorkerPool WorkerPool;

typedef void (*WorkFunc)(void *work);

/* Worker threads are started as they are needed, up to max_threads. */
int worker_pool_new(sd_event *event, unsigned max_threads, WorkerPool **ret);

/* Waits for the work under way; done() is called for what has run, not for what has not. Whoever
 * has submitted work is freed before, and takes back what has not run. */
WorkerPool *worker_pool_free(WorkerPool *p);
DEFINE_CLEANUP(WorkerPool *, worker_pool_free);

/* Runs run(work) on a thread, then done(work) on the loop. The work belongs to them. */
int worker_submit(WorkerPool *p, WorkFunc run, WorkFunc done, void *work);

/* Takes back work that no thread has begun: true, and it is the caller's again; neither run()
 * nor done() is called. On the loop only. */
bool worker_take_back(WorkerPool *p, const void *work);

/* Calls func(data) on the loop; may be called from any thread. */
int worker_post(WorkerPool *p, WorkFunc func, void *data);

/* Starts a thread that takes no signals: those are the loop's. */
int worker_thread_start(pthread_t *ret, void *(*func)(void *), void *userdata);
