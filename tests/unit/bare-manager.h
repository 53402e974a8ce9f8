/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A Manager with a loop, jobs and VMs, and nothing else that a vmkitd has. */

#include "core/manager.h"
#include "core/observer.h"
#include "tree.h"

/* What an observer must have for jobs and VMs; it does nothing. .job_ended is the test's. */
#define BARE_OBSERVER                                                                            \
        .job_added = bare_job_told, .job_removed = bare_job_told, .job_changed = bare_job_told, \
        .vm_changed = bare_vm_told

void bare_job_told(Job *job, void *userdata);
void bare_vm_told(Vm *vm, void *userdata);

/* tree: what the host has, and where jobs are recorded; NULL: nothing and nowhere. */
void bare_manager_init(Manager *m, Tree *tree, const Observer *observer, void *userdata);
void bare_manager_clear(Manager *m);

/* A VM of one GiB without devices. */
Vm *bare_vm_new(Manager *m, const char *name, const char *uuid, DomainState state);

/* What was asked of libvirt is answered, once. code: ERROR_NONE, or how it failed. */
void bare_answer(VirtDone *asked, void *userdata, ErrorCode code);
