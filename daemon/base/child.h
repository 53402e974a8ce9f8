/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Short-lived helper processes for what can hang in the kernel. A child gets a JSON request on standard
 * input, the descriptors it is handed from 3 on and nothing else, and writes JSON documents on standard
 * output, one a line: {"phase": s, "progress": 0…1, "bytes": n} any number of times, and last
 * {"result": …} or {"error": {"name", "message", "remedy"}}. A child that is stuck costs nothing but itself. */

#include <json-c/json.h>
#include <systemd/sd-event.h>

#include "error.h"

typedef struct Child Child;

typedef struct ChildHandler {
        /* May be NULL. progress is below 0 where it is not known; it is the part that is done of as many bytes, if
         * the phase is a copy (else 0). */
        void (*progress)(const char *phase, double progress, uint64_t bytes, void *userdata);

        /* Exactly once, unless the Child is freed before. result is NULL on failure, and then error says
         * why; a child that died without a word is an Internal error. The Child is freed afterwards, so it
         * must not be used again. */
        void (*done)(struct json_object *result, const Error *error, void *userdata);
} ChildHandler;

/* Starts argv[0] (an absolute path). request may be NULL. The descriptors stay the caller's. */
int child_spawn(sd_event *event, const char *const argv[], struct json_object *request, const int fds[],
                size_t n_fds, const ChildHandler *handler, void *userdata, Child **ret);

pid_t child_pid(const Child *c);

/* Asks the child to stop (SIGTERM); done() still follows when it has ended. */
void child_terminate(Child *c);

/* Forgets the child without waiting; it runs on. */
Child *child_abandon(Child *c);

/* The child's side, in helper programs. */
int child_read_request(struct json_object **ret);
void child_report_progress(const char *phase, double progress, uint64_t bytes);
/* Both return the exit status that main() should return. */
int child_report_result(struct json_object *result); /* takes the reference */
int child_report_error(const Error *error);
