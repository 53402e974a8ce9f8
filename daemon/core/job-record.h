/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Jobs that outlive vmkitd on paper: STATE/jobs/N says that job N began, and is gone when it has ended. A
 * vmkitd that finds one knows that the one before it did not live to end it, and lists the job under its
 * number: undoing, until what was left behind is put right, then failed with Interrupted. */

#include "manager.h"

/* Neither waits for the disk: what a crash of vmkitd must not lose is in the kernel by then, and a crash of the
 * host ends every client that could ask. A failure is logged; it is no reason to stop the job. */
void job_record_begin(const Job *job);
void job_record_end(const Job *job);

/* Lists the jobs of an earlier vmkitd; before anyone can start a new one. */
int job_records_take_over(Manager *m);

/* It is one of those: nothing of this vmkitd's is under way for it. */
bool job_is_recovered(const Job *job);

/* Ends those that are undoing, once nothing is on its way home any more. */
void job_records_settle(Manager *m);
