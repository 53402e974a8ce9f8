/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keeps the host from sleeping while a VM has a device of it. */

#include "bus.h"

/* Takes the lock when the first device is leased, and gives it back after the last. */
void sleep_lock_update(Bus *b);
void sleep_lock_clear(SleepLock *lock);
