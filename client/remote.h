/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* -H: the same command on another host, over ssh; its exit code is returned. */

#include "args.h"

#define SSH_FAILED 255 /* ssh's own exit code when there is no connection */
#define SHELL_NOT_FOUND 127

int remote_run(const Args *args, Failure *failure);

/* The command line for the shell of a host that is to answer with a document. */
int remote_line(const Args *args, char **ret, Failure *failure);

/* ssh ended with one of the codes above. said: its last words, may be empty. */
int remote_unreachable(Failure *failure, const char *host, int code, const char *said);
