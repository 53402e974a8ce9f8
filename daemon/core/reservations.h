/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reservations as the daemon sees them: the records of reserved.d beside the devices that are there. */

#include "devices.h"
#include "host/hostcheck.h"
#include "host/reservation.h"
#include "job.h"

/* Reads the records again, and tells the observer of the devices that began or ceased to be reserved. */
void manager_read_reservations(Manager *m);

/* Whether this very function is reserved, and by which record. */
bool device_is_reserved(const Device *d);
const Reservation *device_reservation(const Device *d);

/* The record for its address, even if it is about another device; NULL: none. */
const Reservation *device_reservation_by_address(const Device *d);

/* Binds the unit now, unless it is bound, and holds it from the next boot on. allow: overridable codes that are
 * consented to, now and then. */
int device_reserve(Device *d, uid_t caller, char *const *allow, Job **ret, Error *error);

/* No longer from the next boot on; and back on the host's driver now, unless a VM has it. */
int device_unreserve(Device *d, uid_t caller, Job **ret, Error *error);

/* The late half of holding: what is reserved and was not, or could not be, held before its driver bound is
 * taken by the ordinary transaction, which proves it idle; what is on vfio-pci is taken into the journal. A
 * drive that is found at another address by its serial number is followed there. done() comes once, from the
 * loop or before this returns. */
typedef void (*ReservationsDone)(Manager *m);
void reservations_take(Manager *m, ReservationsDone done);

/* For CheckHost: what of it cannot be held, and why. */
int reservations_add_checks(const Manager *m, HostChecks *checks);
