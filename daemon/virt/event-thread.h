/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one thread that runs libvirt's event loop. It is a process's, so it is counted: the first
 * reference starts it, the last one stops it. On the main loop only. */

#include "base/util.h"

int event_thread_ref(void);
void event_thread_unref(void);
