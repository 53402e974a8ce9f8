/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Resets, what comes through them, and the quarantine of what does not. */

#include "helper-transaction.h"

/* From here on it is given to nobody. The record stays until an administrator has had the quarantine ended
 * (clear), or the host has been started anew, which is when records of before say nothing any more. */
void quarantine(const Transaction *t, Function *f, const char *why);

/* All of it is on vfio-pci now. What came from a driver of the host is reset before it is handed out; what
 * waited there has been when it was taken back, unless that was cut short. */
int reset_taken(Transaction *t, Error *error);

/* QEMU has let go of what is on vfio-pci. Where a part of it is not there, whoever moved it was cut short: on
 * the way there, when no guest had seen it, or on the way back, after the reset. Then a reset with the bus could
 * not be had, and is not needed. */
int reset_taken_back(Transaction *t, Error *error);
