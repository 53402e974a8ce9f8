/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Long operations: the service answers with a job, whose end is awaited here. */

#include "client.h"

/* Sends a call whose last result is the path of a job, and waits for its end. Returns 1 when it is
 * done, 0 with --no-wait (the job is printed then), or a negative errno. */
int job_run(Client *c, sd_bus_message *m, Failure *failure);

/* The method of that name with the second operand of the command line, as append() puts it (NULL: it takes
 * none), and the options given; runs as job_run() does. */
typedef int (*AppendOperand)(sd_bus_message *m, const char *operand, Failure *failure);
int job_run_method(Client *c, const char *path, const char *interface, const char *member,
                   AppendOperand append, Failure *failure);

/* The number at the end of a job's path. */
const char *job_id(const char *path);
