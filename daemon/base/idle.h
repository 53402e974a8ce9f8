/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How long vmkitd keeps what nobody uses just now and what is made again when it is asked for: the thread of a worker,
 * the connection to libvirt. Tests that wait until it is gone make that shorter by VMKIT_IDLE_SECONDS in vmkitd's
 * environment, which a build without fault points does not look at. */

#include <stdint.h>

/* µs; whole seconds */
uint64_t idle_usec(void);
