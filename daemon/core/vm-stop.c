/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Stopping a VM: the guest is asked, and asked again while it may still be booting; with force it is cut off
 * when the time is over. The step ends when libvirt says that QEMU has ended. */

#include "base/log.h"
#include "manager.h"
#include "observer.h"
#include "pages.h"
#include "vm-stop.h"

/* A guest that boots does not hear the first request. */
#define ASK_AGAIN_USEC (10 * USEC_PER_SEC)

StopData *stop_data_of(Job *job) {
        return job->data;
}

static void stop_evaluate(Job *job) {
        StopData *data = stop_data_of(job);

        /* The answers of the calls under way name the job, so the step lasts until they are there. */
        if (data->n_pending > 0)
                return;

        if (job->vm->state == DOMAIN_STOPPED)
                job_step_done(job, 0, NULL);
        else if (error_is_set(&data->error))
                job_step_done(job, -error_code_errno(data->error.code), &data->error);
}

static void ask(Job *job, bool cut_off);

static int on_recheck(sd_event_source *source, uint64_t usec, void *userdata) {
        Job *job = userdata;

        error_move(&stop_data_of(job)->error, &stop_data_of(job)->suspended);
        stop_evaluate(job);
        return 0;
}

/* "It is not running" can come before the event that says so; then the event is on its way. */
static void wait_for_event(Job *job, const Error *error) {
        StopData *data = stop_data_of(job);

        error_clear(&data->suspended);
        error_copy(&data->suspended, error);
        sd_event_source_disable_unref(job->timer);
        job->timer = NULL;
        if (sd_event_add_time_relative(job->manager->event, &job->timer, CLOCK_MONOTONIC, VM_EVENT_DELAY_USEC, 0,
                                       on_recheck, job) < 0)
                error_copy(&data->error, error);
}

static void on_asked(int r, const Error *error, void *userdata) {
        Job *job = userdata;
        StopData *data = stop_data_of(job);

        data->n_pending--;
        if (r < 0 && error->code == ERROR_WRONG_STATE)
                wait_for_event(job, error);
        else if (r < 0 && data->options.force && !data->cut_off)
                ask(job, true);
        else if (r < 0)
                error_copy(&data->error, error);
        stop_evaluate(job);
}

/* The cut-off does not wait for the answer to a request that may never come. */
static void ask(Job *job, bool cut_off) {
        StopData *data = stop_data_of(job);
        Virt *virt = job->manager->virt;
        int r;

        if (data->n_pending > 0 && !cut_off)
                return;

        data->cut_off |= cut_off;
        r = cut_off ? virt_destroy(virt, job->vm_uuid, on_asked, job, &data->error)
                    : virt_shutdown(virt, job->vm_uuid, on_asked, job, &data->error);
        if (r >= 0)
                data->n_pending++;
}

static void time_is_over(Job *job) {
        StopData *data = stop_data_of(job);

        if (data->options.force)
                ask(job, true);
        else
                (void) error_set(&data->error, ERROR_TIMEOUT,
                                 "The guest of the VM %s did not shut down within %llu s; it runs on",
                                 job->vm->spec->name,
                                 (unsigned long long) (data->options.timeout / USEC_PER_SEC));
        stop_evaluate(job);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        Job *job = userdata;
        StopData *data = stop_data_of(job);

        if (usec >= data->deadline) {
                time_is_over(job);
                return 0;
        }

        ask(job, false);
        (void) sd_event_source_set_time(source, MIN(usec + ASK_AGAIN_USEC, data->deadline));
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        stop_evaluate(job);
        return 0;
}

static int run_stop(Job *job, Error *error) {
        StopData *data = stop_data_of(job);
        bool at_once = data->options.force && data->options.timeout == 0;
        uint64_t now;
        int r;

        if (job->vm->state == DOMAIN_STOPPED)
                return STEP_DONE;

        r = sd_event_now(job->manager->event, CLOCK_MONOTONIC, &now);
        if (r < 0)
                return r;

        ask(job, at_once);
        if (error_is_set(&data->error)) {
                error_copy(error, &data->error);
                return -error_code_errno(data->error.code);
        }
        if (at_once)
                return STEP_ASYNC;

        data->deadline = now + data->options.timeout;
        r = sd_event_add_time(job->manager->event, &job->timer, CLOCK_MONOTONIC,
                              MIN(now + ASK_AGAIN_USEC, data->deadline), 0, on_tick, job);
        return r < 0 ? r : STEP_ASYNC;
}

static void cancel_stop(Job *job) {
        StopData *data = stop_data_of(job);

        (void) error_set(&data->error, ERROR_CANCELLED, "The guest was asked to stop and may still do so");
        stop_evaluate(job);
}

const JobStep vm_stop_step = {
        .phase = "waiting for the guest",
        .run = run_stop,
        .cancel = cancel_stop,
        .state_changed = stop_evaluate,
};

StopData *stop_data_free(StopData *data) {
        if (data) {
                error_clear(&data->error);
                error_clear(&data->suspended);
                free(data);
        }
        return NULL;
}

static void free_stop_data(void *data) {
        (void) stop_data_free(data);
}

int stop_job_new(Vm *vm, const char *operation, uid_t caller, const StopOptions *options, Job **ret) {
        _cleanup_(job_freep) Job *job = NULL;
        StopData *data;
        int r;

        r = job_new(vm->manager, operation, caller, &job);
        if (r < 0)
                return r;

        data = calloc(1, sizeof(StopData));
        if (!data)
                return -ENOMEM;

        data->options = *options;
        job->data = data;
        job->free_data = free_stop_data;
        job_set_vm(job, vm);
        *ret = TAKE_PTR(job);
        return 0;
}

int vm_stop(Vm *vm, uid_t caller, const StopOptions *options, Job **ret, Error *error) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = vm_check_idle(vm, error);
        if (r < 0)
                return r;
        if (!vm_is_active(vm))
                return error_set(error, ERROR_WRONG_STATE, "The VM %s is %s already", vm->spec->name,
                                 vm_state(vm));

        r = stop_job_new(vm, "stop", caller, options, &job);
        if (r >= 0)
                r = job_add_steps(job, &vm_stop_step, 1);
        if (r >= 0)
                r = job_add_steps(job, &vm_return_step, 1);
        if (r >= 0)
                r = job_add_steps(job, &vm_give_back_pages_step, 1);
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        observer_vm_changed(vm);
        *ret = TAKE_PTR(job);
        return 0;
}

/* --- a guest that stopped by itself ---------------------------------------------------------------------- */

static bool has_leases(const Vm *vm) {
        for (size_t i = 0; i < devices_count(vm->manager); i++)
                if (vm->manager->devices.items[i]->lease == vm)
                        return true;
        return false;
}

int vm_begin_return(Vm *vm, const JobStep *step) {
        Job *job;

        return vm_begin_single(vm, "return-devices", step, 0, &job);
}

void vm_return_devices(Vm *vm) {
        int r;

        if (vm->job || vm->state != DOMAIN_STOPPED || !has_leases(vm))
                return;

        r = vm_begin_return(vm, &vm_return_step);
        if (r < 0)
                log_errno(r, "Could not return the devices of the VM %s", vm->spec->name);
}

void vm_state_changed(Vm *vm, DomainState state) {
        if (vm->state == state)
                return;

        vm->state = state;
        if (vm_is_active(vm))
                vm->seen_active = true;
        if (vm_is_active(vm) && !vm->job)
                vm_lease_claimed(vm);
        /* Before anyone is told: it is not stopped while its devices are on their way back. */
        vm_return_devices(vm);
        if (vm->state == DOMAIN_STOPPED)
                pages_vm_stopped(vm->manager, vm->spec->uuid);
        observer_vm_changed(vm);
        if (vm->job)
                job_vm_state_changed(vm->job);
}

/* The guest may have ended while another job was at work on the VM. One that failed to return the devices is
 * not repeated from here: it would fail again. */
void vm_job_ended(Vm *vm, const Job *job) {
        bool returned = streq(job->operation, "return-devices");
        bool tried = returned || (streq(job->operation, "stop") && job->state != JOB_CANCELLED);

        if (vm_is_active(vm))
                vm_lease_claimed(vm);
        vm->wanted = vm_spec_free(vm->wanted);
        if (!vm->gone && !tried)
                vm_return_devices(vm);
        pages_job_ended(vm->manager, vm->spec->uuid);
        if (!vm->gone && vm->spec_is_old)
                virt_look_again(vm->manager->virt, vm->spec->uuid);
        else if (!vm->gone && !returned)
                vm_return_strays(vm);
        vm->spec_is_old = false;
        observer_vm_changed(vm);
        if (vm->gone)
                vm_forget(vm);
}
