/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* -H: the same command on another host, over ssh; its exit code is returned. */

#include "args.h"

#define SSH_FAILED 255 /* ssh's own exit code when there is no connection */
#define SHELL_NOT_FOUND 127

int remote_run(const Args *args, Failure *failure);

/* The failure for a command that ended so over there, where it said why on standard error. */
int remote_failed(Failure *failure, const char *host, int code);

/* In verbs-display.c: shows what the command line for the shell of that host joins with its standard streams. */
int display_from(const char *host, const char *line, Failure *failure);

/* The command line for the shell of a host, with another flag. */
int remote_line(const Args *args, const char *extra, char **ret, Failure *failure);

/* ssh ended with one of the codes above. said: its last words, may be empty. */
int remote_unreachable(Failure *failure, const char *host, int code, const char *said);
