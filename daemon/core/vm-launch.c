/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For libvirt the start of QEMU is one call, that says nothing until it is over. With devices it takes as long as
 * VFIO needs to lock all of the guest's memory, so the time there is for it grows with the memory, and meanwhile
 * the kernel is asked how much is locked.
 *
 * What takes longer, or is cancelled, is cut off as a running VM is; the start then fails by itself. Two answers
 * are awaited then, in any order: of the start and of the cut. */

#include "base/clock.h"
#include "base/log.h"
#include "host/locked-memory.h"
#include "manager.h"
#include "vm-launch.h"

#define LOOK_USEC USEC_PER_SEC
#define TIME_USEC (180 * USEC_PER_SEC)
#define TIME_PER_GIB_USEC (2 * USEC_PER_SEC)

/* On a worker; done there is no more than reading. */
typedef struct Look {
        Launch *launch; /* NULL: it is over */
        int root_fd;
        char uuid[UUID_TEXT_MAX];
        pid_t qemu;
        uint64_t locked;
        int r;
} Look;

struct Launch {
        Job *job;
        Vm *vm;
        uint64_t deadline;
        Look *look;       /* under way; NULL: none */
        pid_t qemu;       /* as the last look found it */
        bool starting;    /* libvirt has not answered yet */
        bool cutting;     /* nor to that, */
        bool cuts_running; /* which was asked for when it had answered the start */
        bool cut_off;     /* it did, and QEMU is gone */
        int r;            /* its answer to the start */
        Error error;
        Error reason;     /* why it is to be cut off; not set: it is not */
};

uint64_t launch_time(uint64_t memory) {
        return TIME_USEC + (memory + GIB - 1) / GIB * TIME_PER_GIB_USEC;
}

static bool looks_at_memory(const Launch *launch) {
        return launch->vm->spec->n_devices > 0;
}

Launch *launch_free(Launch *launch) {
        Look *look = launch ? launch->look : NULL;

        if (!launch)
                return NULL;

        if (look && worker_take_back(launch->vm->manager->workers, look))
                free(look);
        else if (look)
                look->launch = NULL;
        error_clear(&launch->error);
        error_clear(&launch->reason);
        free(launch);
        return NULL;
}

/* --- the end ------------------------------------------------------------------------------------------------ */

/* The answer and the events come over two connections: an event that says that it runs may come later. If it
 * does, so will one that says that it has stopped. */
static void finish(Launch *launch, int r, const Error *error) {
        Job *job = launch->job;
        Vm *vm = launch->vm;
        _cleanup_error_ Error copy = ERROR_INIT;

        error_copy(&copy, error);
        vm->launch = launch_free(launch);
        if (r >= 0 && !vm->seen_active)
                vm_state_changed(vm, DOMAIN_RUNNING);
        job_step_done(job, r, &copy);
}

/* What neither has ended nor could be cut off runs: the next tick tries again. */
static void settle(Launch *launch) {
        if (launch->starting || launch->cutting)
                return;
        if (!error_is_set(&launch->reason))
                finish(launch, launch->r, &launch->error);
        else if (launch->r < 0 || launch->cut_off)
                finish(launch, -error_code_errno(launch->reason.code), &launch->reason);
}

static void on_started(int r, const Error *error, void *userdata) {
        Launch *launch = userdata;

        launch->starting = false;
        launch->r = r;
        error_copy(&launch->error, error);
        settle(launch);
}

/* --- the cut ------------------------------------------------------------------------------------------------ */

/* Before the answer to the start, that nothing runs means that nothing runs yet. */
static void on_cut(int r, const Error *error, void *userdata) {
        Launch *launch = userdata;

        launch->cutting = false;
        if (r >= 0 || (launch->cuts_running && error->code == ERROR_WRONG_STATE))
                launch->cut_off = true;
        settle(launch);
}

static void cut_off(Launch *launch) {
        _cleanup_error_ Error error = ERROR_INIT;

        if (launch->cutting || launch->cut_off)
                return;
        launch->cutting = true;
        launch->cuts_running = !launch->starting;
        if (virt_destroy(launch->vm->manager->virt, launch->vm->spec->uuid, on_cut, launch, &error) < 0)
                launch->cutting = false;
}

/* A vmkitd that stops leaves it to libvirt, and the next one finds it running. */
void vm_cancel_launch(Job *job) {
        Launch *launch = job->vm ? job->vm->launch : NULL;

        if (!launch || !job->cancel_requested || error_is_set(&launch->reason))
                return;
        (void) error_set(&launch->reason, ERROR_CANCELLED, "The start was cancelled");
        cut_off(launch);
}

static void give_up(Launch *launch) {
        char memory[SIZE_TEXT_MAX];
        const VmSpec *spec = launch->vm->spec;

        (void) error_set(&launch->reason, ERROR_TIMEOUT,
                         "QEMU did not start within %llu s, which is what a VM of %s has for it",
                         (unsigned long long) (launch_time(spec->memory) / USEC_PER_SEC),
                         format_size(spec->memory, memory));
        log_warning("Cutting the VM %s off: %s", spec->name, launch->reason.message);
}

/* --- looks at the memory ------------------------------------------------------------------------------------ */

static void run_look(void *data) {
        Look *look = data;

        look->r = locked_memory_of(look->root_fd, look->uuid, &look->qemu, &look->locked);
}

/* Before the first of it is locked, and after the last, QEMU is at something else. */
static void tell(Launch *launch, uint64_t locked) {
        uint64_t memory = launch->vm->spec->memory;
        bool pinning = locked > 0 && locked < memory;

        job_set_phase(launch->job, pinning ? LAUNCH_PHASE_PINNING : LAUNCH_PHASE);
        job_set_progress(launch->job, pinning ? (double) locked / (double) memory : -1);
}

static void on_looked(void *data) {
        _cleanup_free_ Look *look = data;
        Launch *launch = look->launch;

        if (!launch)
                return;
        launch->look = NULL;
        launch->qemu = look->qemu;
        if (look->r >= 0)
                tell(launch, look->locked);
}

static void start_look(Launch *launch) {
        const Manager *m = launch->vm->manager;
        Look *look;

        if (launch->look || !looks_at_memory(launch) || !(look = calloc(1, sizeof(Look))))
                return;

        *look = (Look) { .launch = launch, .root_fd = m->root_fd, .qemu = launch->qemu };
        strcpy(look->uuid, launch->vm->spec->uuid);
        if (worker_submit(m->workers, run_look, on_looked, look) < 0)
                free(look);
        else
                launch->look = look;
}

/* --- the step ----------------------------------------------------------------------------------------------- */

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        Launch *launch = userdata;

        (void) sd_event_source_set_time(source, usec + LOOK_USEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);

        if (!error_is_set(&launch->reason) && usec >= launch->deadline)
                give_up(launch);
        if (error_is_set(&launch->reason))
                cut_off(launch);
        else
                start_look(launch);
        return 0;
}

static int launch_new(Job *job, Launch **ret) {
        uint64_t time = launch_time(job->vm->spec->memory);
        Launch *launch = calloc(1, sizeof(Launch));
        int r;

        if (!launch)
                return -ENOMEM;
        *launch = (Launch) { .job = job, .vm = job->vm, .deadline = now_usec() + time };

        r = sd_event_add_time_relative(job->manager->event, &job->timer, CLOCK_MONOTONIC, LOOK_USEC, 0, on_tick,
                                       launch);
        if (r < 0) {
                launch_free(launch);
                return r;
        }
        *ret = launch;
        return 0;
}

int vm_run_launch(Job *job, Error *error) {
        Vm *vm = job->vm;
        int r;

        r = launch_new(job, &vm->launch);
        if (r < 0)
                return r;

        vm->seen_active = false;
        vm->launch->starting = true;
        r = virt_start(job->manager->virt, job->vm_uuid, on_started, vm->launch, error);
        if (r < 0)
                vm->launch = launch_free(vm->launch);
        return r < 0 ? r : STEP_ASYNC;
}

/* It is the last step: what has been launched is not taken back, and what failed has ended. */
int vm_undo_launch(Job *job, Error *error) {
        return STEP_DONE;
}
