/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Waiting for drivers that have just been given a drive, at boot or when it came back from a VM. Which drive it is,
 * and what is on it, is known once its driver has set it up. */

#include "devices.h"

typedef bool (*DriverWaitWanted)(const Device *d, const void *data);
typedef void (*DriverWaitDone)(void *userdata);

/* Whether a driver is at work on a device that is wanted, as of the last look at the host. */
bool drivers_are_at_work(const Manager *m, DriverWaitWanted wanted, const void *data);

/* done() comes from the loop, once no driver is at work on what is wanted, or after half a minute. Whoever lets go of
 * the source before does not hear of it. */
int driver_wait(Manager *m, DriverWaitWanted wanted, const void *data, DriverWaitDone done, void *userdata,
                sd_event_source **ret);
