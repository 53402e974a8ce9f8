/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Huge pages from a VM's start to its stop. The single changes are page-claim.h's; here they are ordered:
 * one at a time, on a worker, and what is promised to a VM that starts is no other's. */

#include "job.h"

typedef struct Pages Pages;

int pages_new(Manager *m, Pages **ret);
Pages *pages_free(Pages *pages);
DEFINE_CLEANUP(Pages *, pages_free);

/* For the steps of a start: checks that what the VM was placed on is there, and makes the pages it needs. */
int pages_run_take(Job *job, Error *error);
int pages_run_give_back(Job *job, Error *error);
void pages_cancel_take(Job *job);
/* After a stop. */
extern const JobStep vm_give_back_pages_step;

/* For a VM that ended by itself; does nothing if it has none, or a job is at work on it. */
void pages_vm_stopped(Manager *m, const char *uuid);
/* What was promised to it has been taken or is not wanted any more. */
void pages_job_ended(Manager *m, const char *uuid);

/* After a start of vmkitd: gives back what was made for VMs that do not run. */
void pages_reconcile(Manager *m);
