/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A job around the jobs of the VMs: it begins a stop of each, at the same time, because they share one
 * deadline: that of the host. Operations that are in the way are cancelled, and undo themselves. It looks
 * again whenever a job ends, and each second, since libvirt may be away for a while. */

#include "base/log.h"
#include "base/strv.h"
#include "manager.h"
#include "stop-all.h"
#include "vm-stop.h"

#define LOOK_USEC USEC_PER_SEC

/* After the deadline guests are cut off and devices returned, which takes seconds. What takes longer than
 * this hangs. */
#define GRACE_USEC (60 * USEC_PER_SEC)

typedef struct StopAllData {
        StopOptions options;
        uint64_t deadline; /* µs, monotonic */
        Error error;       /* ends the step */
} StopAllData;

static uint64_t now_monotonic(const Manager *m) {
        uint64_t now = 0;

        (void) sd_event_now(m->event, CLOCK_MONOTONIC, &now);
        return now;
}

/* --- one VM ----------------------------------------------------------------------------------------------- */

/* The stop that somebody began may take longer than there is time, or give up. */
static bool stop_is_in_the_way(const StopAllData *data, Job *job) {
        const StopData *stop = stop_data_of(job);

        return !stop->cut_off && (!stop->options.force || stop->deadline > data->deadline);
}

static bool is_in_the_way(const StopAllData *data, Job *job, bool time_is_over) {
        if (streq(job->operation, "stop"))
                return time_is_over && data->options.force && stop_is_in_the_way(data, job);
        return !streq(job->operation, "destroy") && !streq(job->operation, "return-devices");
}

static void hurry(const StopAllData *data, Job *job, bool time_is_over) {
        _cleanup_error_ Error error = ERROR_INIT;

        if (!job->cancel_requested && is_in_the_way(data, job, time_is_over))
                (void) job_cancel(job, &error);
}

/* Where it cannot begin, libvirt is away: the next look tries again. */
static void stop_one(const Job *all, Vm *vm, uint64_t time_left) {
        const StopAllData *data = all->data;
        const StopOptions options = { .timeout = time_left, .force = data->options.force };
        _cleanup_error_ Error error = ERROR_INIT;
        Job *job;
        int r;

        r = vm_stop(vm, all->started_by, &options, &job, &error);
        if (r < 0)
                log_debug("The VM %s cannot be stopped now: %s", vm->spec->name, str_na(error.message));
}

/* --- all of them ------------------------------------------------------------------------------------------ */

static bool is_left(const Vm *vm) {
        return vm->job || vm_is_active(vm);
}

static int give_up(const Job *all) {
        StopAllData *data = all->data;
        const Manager *m = all->manager;
        _cleanup_strv_ char **left = NULL;
        _cleanup_free_ char *names = NULL;

        for (size_t i = 0; i < m->n_vms; i++)
                if (is_left(m->vms[i]) && strv_push(&left, m->vms[i]->spec->name) < 0)
                        return -ENOMEM;

        names = strv_join(left, ", ");
        return error_set(&data->error, ERROR_TIMEOUT, "Not stopped in time: %s", str_na(names));
}

/* The end of a job can be the end of its VM: the list is walked from behind. */
static size_t stop_each(const Job *all, uint64_t now) {
        const StopAllData *data = all->data;
        Manager *m = all->manager;
        bool time_is_over = now >= data->deadline;
        size_t left = 0;

        for (size_t i = m->n_vms; i-- > 0;) {
                Vm *vm = m->vms[i];

                if (vm->job)
                        hurry(data, vm->job, time_is_over);
                else if (vm_is_active(vm) && (!time_is_over || data->options.force))
                        stop_one(all, vm, time_is_over ? 0 : data->deadline - now);
        }
        for (size_t i = 0; i < m->n_vms; i++)
                left += is_left(m->vms[i]);
        return left;
}

/* Without force the VMs' own jobs say that their guests run on, right after the deadline. */
static bool is_hopeless(const Job *all, uint64_t now) {
        const StopAllData *data = all->data;
        bool busy = false;

        if (now >= data->deadline + GRACE_USEC)
                return true;
        for (size_t i = 0; i < all->manager->n_vms; i++)
                busy |= all->manager->vms[i]->job != NULL;
        return now >= data->deadline && !data->options.force && !busy;
}

static int look(Job *all) {
        StopAllData *data = all->data;
        uint64_t now = now_monotonic(all->manager);
        size_t left = stop_each(all, now);
        int r = 0;

        if (left > 0 && !error_is_set(&data->error)) {
                if (!is_hopeless(all, now))
                        return STEP_ASYNC;
                r = give_up(all);
        }
        return error_is_set(&data->error) ? -error_code_errno(data->error.code) : r < 0 ? r : STEP_DONE;
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        Job *all = userdata;
        StopAllData *data = all->data;
        int r = look(all);

        if (r != STEP_ASYNC) {
                job_step_done(all, r, &data->error);
                return 0;
        }

        (void) sd_event_source_set_time_relative(source, LOOK_USEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

static int run_stop_all(Job *all, Error *error) {
        int r = sd_event_add_time_relative(all->manager->event, &all->timer, CLOCK_MONOTONIC, 0, 0, on_look,
                                           all);

        return r < 0 ? r : STEP_ASYNC;
}

static void look_soon(const Job *all) {
        if (all->timer)
                (void) sd_event_source_set_time_relative(all->timer, 0);
}

static void cancel_stop_all(Job *all) {
        StopAllData *data = all->data;

        if (!error_is_set(&data->error))
                (void) error_set(&data->error, ERROR_CANCELLED,
                                 "Guests that were asked to stop may still do so");
        look_soon(all);
}

static const JobStep stop_all_step = {
        .phase = "waiting for the guests",
        .run = run_stop_all,
        .cancel = cancel_stop_all,
};

/* --- the job ---------------------------------------------------------------------------------------------- */

static void forget(Job *all) {
        if (all->manager->stop_all == all)
                all->manager->stop_all = NULL;
}

static void free_data(void *p) {
        StopAllData *data = p;

        error_clear(&data->error);
        free(data);
}

static int begin(Manager *m, uid_t caller, const StopOptions *options, Job **ret) {
        _cleanup_(job_freep) Job *job = NULL;
        StopAllData *data;
        int r;

        r = job_new(m, "stop-all", caller, &job);
        if (r < 0)
                return r;

        data = calloc(1, sizeof(StopAllData));
        if (!data)
                return -ENOMEM;
        data->options = *options;
        data->deadline = now_monotonic(m) + options->timeout;
        job->data = data;
        job->free_data = free_data;
        job->ended = forget;

        r = job_add_steps(job, &stop_all_step, 1);
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(job);
        return 0;
}

static void join(const Job *all, const StopOptions *options) {
        StopAllData *data = all->data;

        data->options.force |= options->force;
        data->deadline = MIN(data->deadline, now_monotonic(all->manager) + options->timeout);
        look_soon(all);
}

int stop_all(Manager *m, uid_t caller, const StopOptions *options, Job **ret) {
        int r = 0;

        if (m->stop_all)
                join(m->stop_all, options);
        else
                r = begin(m, caller, options, &m->stop_all);
        if (r < 0)
                return r;

        *ret = m->stop_all;
        return 0;
}

void stop_all_job_ended(Manager *m) {
        if (m->stop_all)
                look_soon(m->stop_all);
}

int stop_all_check_start(const Manager *m, Error *error) {
        if (!m->stop_all)
                return 0;
        return error_set(error, ERROR_BUSY, "All VMs are being stopped (job %llu)",
                         (unsigned long long) m->stop_all->id);
}
