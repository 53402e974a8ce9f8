/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/clock.h"
#include "base/log.h"
#include "driver-wait.h"
#include "manager.h"

/* A drive that has to start up takes some seconds; one that takes longer is refused by name. */
#define WAIT_USEC (30 * USEC_PER_SEC)
#define STEP_USEC (100 * USEC_PER_MSEC)

typedef struct DriverWait {
        Manager *manager;
        DriverWaitWanted wanted;
        const void *data;
        DriverWaitDone done;
        void *userdata;
        uint64_t deadline;
} DriverWait;

bool drivers_are_at_work(const Manager *m, DriverWaitWanted wanted, const void *data) {
        for (size_t i = 0; i < devices_count(m); i++) {
                const Device *d = m->devices.items[i];

                if (d->pci->nvme == NVME_AT_WORK && wanted(d, data))
                        return true;
        }
        return false;
}

/* done() may let go of the source, and of the wait with it. */
static int on_step(sd_event_source *source, uint64_t usec, void *userdata) {
        const DriverWait wait = *(const DriverWait *) userdata;
        int r;

        r = devices_refresh_if_old(wait.manager);
        if (r < 0)
                log_errno(r, "Could not read the host's devices");

        if (now_usec() < wait.deadline && drivers_are_at_work(wait.manager, wait.wanted, wait.data)) {
                r = sd_event_source_set_time_relative(source, STEP_USEC);
                if (r >= 0)
                        r = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
                if (r >= 0)
                        return 0;
                log_errno(r, "Could not wait for a driver");
        }
        wait.done(wait.userdata);
        return 0;
}

int driver_wait(Manager *m, DriverWaitWanted wanted, const void *data, DriverWaitDone done, void *userdata,
                sd_event_source **ret) {
        _cleanup_free_ DriverWait *wait = calloc(1, sizeof(DriverWait));
        int r;

        if (!wait)
                return -ENOMEM;
        *wait = (DriverWait) { .manager = m, .wanted = wanted, .data = data, .done = done,
                               .userdata = userdata, .deadline = now_usec() + WAIT_USEC };

        r = sd_event_add_time_relative(m->event, ret, CLOCK_MONOTONIC, STEP_USEC, 0, on_step, wait);
        if (r < 0)
                return r;
        (void) sd_event_source_set_destroy_callback(*ret, free);
        TAKE_PTR(wait);
        return 0;
}
