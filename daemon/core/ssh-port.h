/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The port of 127.0.0.1 through which a guest with user networking is reached by ssh. */

#include "manager.h"

/* One that no VM has and nothing on the host listens on; 0 if there is none. */
unsigned ssh_port_choose(const Manager *m);
