/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <time.h>

#include "base/fault.h"
#include "base/log.h"
#include "job-record.h"
#include "job.h"
#include "manager.h"
#include "observer.h"

/* How long a job that has ended stays readable. */
#define JOB_EXPIRY_USEC (120 * USEC_PER_SEC)
#define PROGRESS_INTERVAL_USEC (100 * USEC_PER_MSEC)

static const char *const state_names[_JOB_STATE_MAX] = {
        [JOB_RUNNING] = "running",
        [JOB_DONE] = "done",
        [JOB_FAILED] = "failed",
        [JOB_CANCELLED] = "cancelled",
};

const char *job_state_to_string(JobState state) {
        return state_names[state];
}

static uint64_t now_realtime(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_REALTIME, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

int job_new(Manager *manager, const char *operation, uid_t started_by, Job **ret) {
        _cleanup_(job_freep) Job *job = calloc(1, sizeof(Job));
        int r;

        if (!job)
                return -ENOMEM;

        job->operation = operation;
        job->started_by = started_by;
        job->started_at = now_realtime();
        job->phase = "";

        r = manager_add_job(manager, job);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(job);
        return 0;
}

Job *job_free(Job *job) {
        if (!job)
                return NULL;

        if (job->manager)
                manager_remove_job(job->manager, job);
        if (job->vm && job->vm->job == job)
                job->vm->job = NULL;
        if (job->free_data)
                job->free_data(job->data);
        sd_event_source_disable_unref(job->start_source);
        sd_event_source_disable_unref(job->timer);
        sd_event_source_disable_unref(job->expiry);
        error_clear(&job->error);
        free(job->note);
        free(job->steps);
        free(job);
        return NULL;
}

int job_add_steps(Job *job, const JobStep *steps, size_t n) {
        JobStep *grown = reallocarray(job->steps, job->n_steps + n, sizeof(JobStep));
        if (!grown)
                return -ENOMEM;

        job->steps = grown;
        memcpy(job->steps + job->n_steps, steps, n * sizeof(JobStep));
        job->n_steps += n;
        return 0;
}

void job_set_vm(Job *job, Vm *vm) {
        job->vm = vm;
        strcpy(job->vm_uuid, vm->spec->uuid);
        vm->job = job;
}

void job_set_device(Job *job, const PciAddress *address) {
        job->has_device = true;
        job->device = *address;
}

static int on_expiry(sd_event_source *source, uint64_t usec, void *userdata) {
        (void) job_free(userdata);
        return 0;
}

static void job_log_end(const Job *job) {
        char address[PCI_ADDRESS_TEXT_MAX];
        const char *target = job->has_device ? pci_address_format(&job->device, address)
                             : job->vm       ? job->vm->spec->name
                                             : job->vm_uuid;

        if (job->state == JOB_DONE)
                log_info("Job %llu: %s%s%s for uid %u is done", (unsigned long long) job->id, job->operation,
                         *target ? " " : "", target, job->started_by);
        else
                log_notice("Job %llu: %s%s%s for uid %u is %s: %s (%s)", (unsigned long long) job->id,
                           job->operation, *target ? " " : "", target, job->started_by, job_state_to_string(job->state),
                           str_na(job->error.message), str_na(error_code_name(job->error.code)));
}

static void job_end(Job *job) {
        Vm *vm = job->vm;

        job->state = job->error.code == ERROR_NONE        ? JOB_DONE
                     : job->error.code == ERROR_CANCELLED ? JOB_CANCELLED
                                                          : JOB_FAILED;
        if (job->state == JOB_DONE) {
                job->progress = 1;
                job->progress_known = true;
        }

        job_log_end(job);
        job_record_end(job);
        if (vm && vm->job == job)
                vm->job = NULL;
        if (job->ended)
                job->ended(job);
        observer_job_ended(job);
        if (job->vm)
                vm_job_ended(job->vm, job);

        if (sd_event_add_time_relative(job->manager->event, &job->expiry, CLOCK_MONOTONIC, JOB_EXPIRY_USEC,
                                       10 * USEC_PER_SEC, on_expiry, job) < 0)
                log_warning("Job %llu stays listed for ever", (unsigned long long) job->id);
        manager_job_ended(job->manager);
}

static void job_leave_step(Job *job) {
        job->in_step = false;
        job->timer = sd_event_source_disable_unref(job->timer);
}

static int error_set_interrupted(const Job *job, Error *error) {
        return error_set(error, ERROR_INTERRUPTED, "vmkitd was stopped during the %s%s%s%s", job->operation,
                         str_empty(job->phase) ? "" : " (", str_empty(job->phase) ? "" : job->phase,
                         str_empty(job->phase) ? "" : ")");
}

/* Nobody has cancelled a step that was cut short because vmkitd stops. */
static void job_fail(Job *job, int r, Error *error) {
        if (job->interrupted && !job->cancel_requested && error->code == ERROR_CANCELLED)
                (void) error_set_interrupted(job, &job->error);
        else if (error_is_set(error))
                error_move(&job->error, error);
        else
                (void) error_set_errno(&job->error, r, "%s failed", job->operation);
        job->undoing = true;
}

/* What runs after the last step is the end of the job, which does not fail. */
static void job_step_has_run(Job *job) {
        _cleanup_error_ Error error = ERROR_INIT;

        job->current++;
        int r = FAULT(JOB_RUN_AFTER, &error);
        if (r < 0 && job->current < job->n_steps)
                job_fail(job, r, &error);
}

/* Whether the step that has just run is over; takes note of its failure. */
static bool job_take_outcome(Job *job, int r, Error *error) {
        if (r == STEP_ASYNC)
                return false;

        job_leave_step(job);
        if (r < 0 && job->undoing) {
                log_error("Job %llu: undo of \"%s\": %s", (unsigned long long) job->id,
                          job->steps[job->current].phase, error_is_set(error) ? error->message : strerror(-r));
                error_clear(error);
        } else if (r < 0)
                job_fail(job, r, error);
        else if (!job->undoing)
                job_step_has_run(job);
        else
                (void) FAULT(JOB_UNDO_AFTER, error);
        return true;
}

void job_end_recovered(Job *job, Error *error) {
        error_move(&job->error, error);
        job_end(job);
}

static int job_run_step(Job *job, Error *error) {
        const JobStep *step = &job->steps[job->current];

        job->phase = step->phase;
        job->progress = 0;
        job->progress_known = false;
        job->progress_at = 0;
        job->bytes = 0;
        job_record_begin(job);

        job->in_step = true;
        int r = FAULT(JOB_RUN_BEFORE, error);
        return r < 0 ? r : step->run(job, error);
}

static int job_undo_step(Job *job, Error *error) {
        const JobStep *step = &job->steps[--job->current];

        if (!step->undo)
                return STEP_DONE;

        job->phase = "undoing";
        observer_job_changed(job);
        job->in_step = true;
        (void) FAULT(JOB_UNDO_BEFORE, error);
        return step->undo(job, error);
}

/* The steps that can neither be undone nor cut short are those that clean up. */
static bool step_is_optional(const JobStep *step) {
        return step->undo || step->cancel;
}

static void job_check_wishes(Job *job) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        if (job->undoing || job->current == job->n_steps)
                return;

        if (job->interrupted && step_is_optional(&job->steps[job->current]))
                r = error_set_interrupted(job, &error);
        else if (job->cancel_requested)
                r = error_set(&error, ERROR_CANCELLED, "The %s was cancelled", job->operation);
        else
                return;
        job_fail(job, r, &error);
}

static void job_advance(Job *job) {
        for (;;) {
                _cleanup_error_ Error error = ERROR_INIT;
                int r;

                job_check_wishes(job);

                if (job->undoing ? job->current == 0 : job->current == job->n_steps) {
                        job_end(job);
                        return;
                }

                r = job->undoing ? job_undo_step(job, &error) : job_run_step(job, &error);
                if (!job_take_outcome(job, r, &error)) {
                        /* Only now: what is over at once, or had nothing to do, is not worth a word. */
                        observer_job_changed(job);
                        return;
                }
        }
}

void job_step_done(Job *job, int r, const Error *error) {
        _cleanup_error_ Error copy = ERROR_INIT;

        /* Each step ends once, and so does the job: an answer that comes late belongs to none. */
        if (!job->in_step) {
                log_error("Job %llu: an answer came when none was waited for", (unsigned long long) job->id);
                return;
        }

        error_copy(&copy, error);
        if (!job_take_outcome(job, r < 0 ? r : STEP_DONE, &copy))
                return;
        job_advance(job);
}

void job_vm_state_changed(Job *job) {
        if (job->in_step && !job->undoing && job->steps[job->current].state_changed)
                job->steps[job->current].state_changed(job);
}

static int on_start(sd_event_source *source, void *userdata) {
        Job *job = userdata;

        job->start_source = sd_event_source_disable_unref(job->start_source);
        job_advance(job);
        return 0;
}

int job_begin(Job *job) {
        job_record_begin(job);
        observer_job_added(job);
        return sd_event_add_defer(job->manager->event, &job->start_source, on_start, job);
}

void job_set_phase(Job *job, const char *phase) {
        (void) snprintf(job->phase_text, sizeof(job->phase_text), "%s", phase);
        job->phase = job->phase_text;
}

/* The step's phase, unless a helper is at something else than that. */
static const char *phase_while(const Job *job, const char *said) {
        static const char *const others[][2] = {
                { "checking", "checking the image" },
                { "converting", "converting the image" },
                { "merging", "merging the image with what it lies over" },
                { "writing to disk", "waiting for the disk" },
        };

        for (size_t i = 0; said && i < ELEMENTSOF(others); i++)
                if (streq(others[i][0], said))
                        return others[i][1];
        return job->steps[job->current].phase;
}

void job_set_copy_progress(Job *job, const char *said, double fraction, uint64_t bytes) {
        const char *phase = phase_while(job, said);

        if (!streq(phase, job->phase))
                job->progress_at = 0; /* worth telling at once */
        job->phase = phase;
        job->bytes = bytes;
        job_set_progress(job, fraction);
}

void job_set_progress(Job *job, double fraction) {
        uint64_t now = 0;

        job->progress = fraction < 0 ? 0 : MIN(fraction, 1.0);
        job->progress_known = fraction >= 0;

        (void) sd_event_now(job->manager->event, CLOCK_MONOTONIC, &now);
        if (now - job->progress_at < PROGRESS_INTERVAL_USEC)
                return;
        job->progress_at = now;
        observer_job_changed(job);
}

bool job_is_cancelable(const Job *job) {
        if (job->state != JOB_RUNNING || job->undoing)
                return false;
        return !job->in_step || job->steps[job->current].cancel;
}

void job_interrupt(Job *job) {
        job->interrupted = true;
        if (job->state == JOB_RUNNING && job->in_step && !job->undoing && job->steps[job->current].cancel)
                job->steps[job->current].cancel(job);
}

int job_cancel(Job *job, Error *error) {
        if (job->state != JOB_RUNNING)
                return error_set(error, ERROR_WRONG_STATE, "The job has ended already");

        /* A step that cannot be cut short still ends by itself; the job then stops there. */
        job->cancel_requested = true;
        if (job->in_step && !job->undoing && job->steps[job->current].cancel)
                job->steps[job->current].cancel(job);
        return 0;
}
