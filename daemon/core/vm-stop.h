/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What stopping and destroying a VM share. */

#include "vm.h"

typedef struct StopData {
        StopOptions options;
        DestroyOptions destroy;
        uint64_t deadline;      /* µs, monotonic */
        unsigned n_pending;     /* calls that libvirt has yet to answer */
        bool cut_off;           /* was asked for */
        Error error;            /* ends the step */
        Error suspended;        /* will, unless the event comes first that makes it void */
} StopData;

StopData *stop_data_of(Job *job);
StopData *stop_data_free(StopData *data);
DEFINE_CLEANUP(StopData *, stop_data_free);

/* A job with StopData, not begun. */
int stop_job_new(Vm *vm, const char *operation, uid_t caller, const StopOptions *options, Job **ret);

extern const JobStep vm_stop_step;
