/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Functions that have left the bus, with or without warning. */

#include "devices.h"

/* It is about to be forgotten: says whose it was, and drops its record. */
void device_vanished(const Device *d);

/* Drops the journal's record of a function that is not there, unless it says something about its future. To be
 * called when the inventory does not have that function; stays without effect where sysfs does. */
void vanished_drop_record(Manager *m, const PciAddress *address);
