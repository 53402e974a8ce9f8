/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A long operation: a list of steps that run one after the other, each with its undo. When one fails or the
 * job is cancelled, the undos of the steps before it run in reverse. A job ends exactly once. */

#include <systemd/sd-event.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/pci-address.h"
#include "told.h"

typedef struct Job Job;
typedef struct Manager Manager;
typedef struct Vm Vm;

/* The outcome of starting a step or its undo. */
enum {
        STEP_ASYNC = 0, /* goes on; job_step_done() will be called, once */
        STEP_DONE = 1,  /* has ended well */
        /* below 0: has failed, error is set */
};

typedef struct JobStep {
        const char *phase;                    /* in words, for progress displays */
        int (*run)(Job *job, Error *error);
        int (*undo)(Job *job, Error *error);  /* NULL: nothing to undo */
        void (*cancel)(Job *job);             /* hurries an asynchronous run() up; NULL: cannot be */
        void (*state_changed)(Job *job);      /* of the VM, during an asynchronous run(); NULL: of no matter */
} JobStep;

typedef enum JobState {
        JOB_RUNNING,
        JOB_DONE,
        JOB_FAILED,
        JOB_CANCELLED,
        _JOB_STATE_MAX,
} JobState;

const char *job_state_to_string(JobState state);

struct Job {
        Manager *manager;
        uint64_t id;
        const char *operation; /* "create", "start", … */
        uid_t started_by;
        uint64_t started_at;   /* µs since the epoch */

        /* The target: a VM, a device, or neither (the manager itself). */
        Vm *vm;                         /* NULL once the VM is gone */
        char vm_uuid[UUID_TEXT_MAX];    /* "" if the target is no VM */
        bool has_device;
        PciAddress device;

        JobStep *steps;
        size_t n_steps, current;
        bool in_step;          /* an asynchronous run() or undo() is under way */
        bool undoing;
        bool cancel_requested;
        bool interrupted;      /* vmkitd is being stopped */
        sd_event_source *start_source;
        sd_event_source *timer;          /* for steps that wait; cleared at the end of each */
        sd_event_source *expiry;

        JobState state;
        const char *phase;
        char phase_text[64];   /* for job_set_phase() */
        char *note;            /* what the caller should know although nothing failed; NULL: nothing */
        double progress;       /* 0…1 */
        bool progress_known;
        uint64_t bytes;        /* of what the current step copies; 0: it copies nothing, or not known */
        uint64_t progress_at;  /* when it was last told, to tell it not too often */
        Error error;
        Told told;

        void *data;            /* of the operation */
        void (*free_data)(void *data);
        void (*ended)(Job *job); /* before Completed is told; NULL: nothing to do */
};

/* A job that will begin on the next turn of the loop, after its path has been returned. */
int job_new(Manager *manager, const char *operation, uid_t started_by, Job **ret);
int job_add_steps(Job *job, const JobStep *steps, size_t n);
void job_set_vm(Job *job, Vm *vm);
void job_set_device(Job *job, const PciAddress *address);
int job_begin(Job *job);
Job *job_free(Job *job);
DEFINE_CLEANUP(Job *, job_free);

/* The end of an asynchronous step. The error is copied. */
void job_step_done(Job *job, int r, const Error *error);

/* Tells the step under way that the state of the job's VM is another. */
void job_vm_state_changed(Job *job);

/* What a step is at, where it has more to tell than its phase. Told with the progress. */
void job_set_phase(Job *job, const char *phase);
/* fraction below 0: not known. */
void job_set_progress(Job *job, double fraction);
/* The same from a helper of images: what it says it does, and how many bytes it copies; 0: none. */
void job_set_copy_progress(Job *job, const char *said, double fraction, uint64_t bytes);

/* Cancelled before its end: WrongState if it has ended, NotSupported if what runs cannot be. */
/* The end of a job that an earlier vmkitd began. The error is moved. */
void job_end_recovered(Job *job, Error *error);

/* vmkitd stops: what can be undone is, what only brings devices back goes on to its end. */
void job_interrupt(Job *job);
bool job_is_cancelable(const Job *job);
int job_cancel(Job *job, Error *error);
