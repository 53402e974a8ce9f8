/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <libxml/parser.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/worker.h"
#include "event-thread.h"

static unsigned n_refs;
static pthread_t thread;
static atomic_bool stopping;
static int wake_timer = -1; /* its time-out being set wakes the thread */

/* libvirt would print every error to stderr; what matters is logged where the error is handled. */
static void on_libvirt_error(_unused_ void *userdata, virErrorPtr e) {
        log_debug("libvirt: %s", e && e->message ? e->message : "unknown error");
}

static int setup_once(void) {
        static bool done = false;

        if (done)
                return 0;

        xmlInitParser();
        if (virInitialize() < 0)
                return -EIO;
        virSetErrorFunc(NULL, on_libvirt_error);
        if (virEventRegisterDefaultImpl() < 0)
                return -EIO;
        done = true;
        return 0;
}

static void *run_events(_unused_ void *userdata) {
        while (!atomic_load(&stopping))
                if (virEventRunDefaultImpl() < 0) {
                        log_warning("libvirt's event loop failed");
                        (void) usleep(100 * USEC_PER_MSEC);
                }
        return NULL;
}

static void on_wake(int timer, _unused_ void *userdata) {
        virEventUpdateTimeout(timer, -1);
}

static int start(void) {
        int r;

        r = setup_once();
        if (r < 0)
                return r;

        wake_timer = virEventAddTimeout(-1, on_wake, NULL, NULL);
        if (wake_timer < 0)
                return -ENOMEM;

        atomic_store(&stopping, false);
        r = worker_thread_start(&thread, run_events, NULL);
        if (r < 0)
                (void) virEventRemoveTimeout(wake_timer);
        return r;
}

int event_thread_ref(void) {
        if (n_refs == 0) {
                int r = start();
                if (r < 0)
                        return r;
        }
        n_refs++;
        return 0;
}

void event_thread_unref(void) {
        if (n_refs == 0 || --n_refs > 0)
                return;

        atomic_store(&stopping, true);
        virEventUpdateTimeout(wake_timer, 0);
        (void) pthread_join(thread, NULL);

        /* One more round by hand frees what was removed meanwhile. */
        virEventUpdateTimeout(wake_timer, 0);
        (void) virEventRunDefaultImpl();
        (void) virEventRemoveTimeout(wake_timer);
}
