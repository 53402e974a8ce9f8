/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Stopping all VMs at once, which the host does before it goes down. */

#include "vm.h"

/* Stops every VM that runs, whatever is under way on it, and ends when none is left and their devices are
 * where on-stop says. Until then no VM starts. One that is under way already is joined: the earlier end and
 * the force of either hold for both. */
int stop_all(Manager *m, uid_t caller, const StopOptions *options, Job **ret);

/* A job of some VM has ended: looks at what is left. Does nothing if not all are being stopped. */
void stop_all_job_ended(Manager *m);

/* Refuses a start meanwhile. */
int stop_all_check_start(const Manager *m, Error *error);
