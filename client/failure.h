/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Why a command failed: what happened, what to do about it, and the exit code that says so.
 * Functions that can fail fill a Failure and return a negative errno; main() alone prints it. */

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "base/util.h"

enum {
        EXIT_DONE = 0,
        EXIT_FAILED = 1,
        EXIT_USAGE = 2,
        EXIT_UNAUTHORISED = 3,
        EXIT_MISSING = 4,
        EXIT_UNREACHABLE = 5,
        EXIT_INTERRUPTED = 130,
};

typedef struct Failure {
        int exit_code;
        char *name;    /* a D-Bus error name */
        char *message; /* what happened, and why */
        char *remedy;  /* what to do; may be NULL */
} Failure;

void failure_done(Failure *failure);

#define _cleanup_failure_ _cleanup_(failure_done)

/* A domain failure found by the client itself; exit code and remedy follow from the name. */
int failure_set(Failure *failure, const char *name, const char *format, ...) _printf_(3, 4);

/* Wrong usage: exit code 2 and a pointer to the help of the command (NULL: of vmkitctl). */
int failure_usage(Failure *failure, const char *command, const char *format, ...) _printf_(3, 4);

/* A system call failed: the message is followed by the text of the negative errno r, which is
 * returned. */
int failure_errno(Failure *failure, int r, const char *format, ...) _printf_(3, 4);

/* A bus call failed with r; error may be unset when the failure is local. Returns a negative errno.
 */
int failure_from_bus(Failure *failure, int r, const sd_bus_error *error);

/* A job ended without success. */
int failure_from_job(Failure *failure, const char *name, const char *message, const char *remedy);

int failure_oom(Failure *failure);

/* Replaces the remedy. */
void failure_advise(Failure *failure, const char *format, ...) _printf_(2, 3);

/* Puts another sentence before the remedy. */
void failure_suggest(Failure *failure, const char *suggestion);

bool failure_is(const Failure *failure, const char *name);

/* The object that was called does not exist, or no longer. */
bool failure_is_gone(const Failure *failure);

/* {name, message, remedy} */
struct json_object *failure_document(const Failure *failure);

/* What happened and why, behind a label, and what to do on lines of its own, to stderr. */
void failure_print(const char *label, const char *message, const char *remedy, int remedy_indent);

/* Prints to stderr, as text or as one JSON document, and returns the exit code. */
int failure_report(const Failure *failure, bool json);
