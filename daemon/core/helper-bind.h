/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The way to vfio-pci: proved idle, journalled, moved, reset, verified; undone on any failure. */

#include "helper-transaction.h"

int bind_unit(Transaction *t, Error *error);

/* Binds, resets, and puts all back to where it was. */
int reset_unit(Transaction *t, Error *error);
