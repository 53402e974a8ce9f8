/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The password prompt on a terminal: polkit's own pkttyagent, for as long as this process may need
 * it. */

#include <sys/types.h>
#include <termios.h>

#include "base/util.h"

typedef struct Agent {
        pid_t pid; /* 0: not running */
        int tty;   /* whose settings are put back, or negative */
        struct termios settings;
} Agent;

#define AGENT_INIT ((Agent) { .tty = -EBADF })

/* Starts the agent and waits until it is registered. Doing without is no error: the service says
 * what is missing. */
void agent_open(Agent *agent);

void agent_close(Agent *agent);
