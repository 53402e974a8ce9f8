/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Pause and resume. libvirt's answer and its events come over two connections, so the step lasts until the event
 * is there as well: who is told that it is done finds the VM in the state that was asked for, and an event that
 * comes late is not taken for something that happened afterwards. */

#include "base/log.h"
#include "manager.h"
#include "vm.h"

static bool is_asleep(const Vm *vm) {
        return vm->state == DOMAIN_PAUSED || vm->state == DOMAIN_SUSPENDED;
}

static bool has_settled(const Job *job) {
        return streq(job->operation, "pause") ? job->vm->state != DOMAIN_RUNNING : !is_asleep(job->vm);
}

/* The timer runs from libvirt's answer on. */
static void evaluate(Job *job) {
        if (job->timer && has_settled(job))
                job_step_done(job, 0, NULL);
}

static int on_no_event(sd_event_source *source, uint64_t usec, void *userdata) {
        Job *job = userdata;

        log_debug("libvirt has not said that the %s of the VM %s is done", job->operation, job->vm->spec->name);
        virt_look_again(job->manager->virt, job->vm_uuid);
        job_step_done(job, 0, NULL);
        return 0;
}

static void on_answered(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        if (r >= 0)
                r = sd_event_add_time_relative(job->manager->event, &job->timer, CLOCK_MONOTONIC, VM_EVENT_DELAY_USEC,
                                               0, on_no_event, job);
        if (r < 0)
                job_step_done(job, r, error);
        else
                evaluate(job);
}

static int run_pause(Job *job, Error *error) {
        return virt_suspend(job->manager->virt, job->vm_uuid, on_answered, job, error);
}

static int run_resume(Job *job, Error *error) {
        return virt_resume(job->manager->virt, job->vm_uuid, on_answered, job, error);
}

int vm_pause(Vm *vm, uid_t caller, Job **ret, Error *error) {
        static const JobStep step = { .phase = "pausing", .run = run_pause, .state_changed = evaluate };
        int r = vm_check_state(vm, vm->state == DOMAIN_RUNNING, "paused", error);

        return r < 0 ? r : vm_begin_single(vm, "pause", &step, caller, ret);
}

int vm_resume(Vm *vm, uid_t caller, Job **ret, Error *error) {
        static const JobStep step = { .phase = "resuming", .run = run_resume, .state_changed = evaluate };
        int r = vm_check_state(vm, is_asleep(vm), "resumed", error);

        return r < 0 ? r : vm_begin_single(vm, "resume", &step, caller, ret);
}
