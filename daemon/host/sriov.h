/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The virtual functions of a physical one. */

#include "pci.h"

/* How many it can have at most. -EOPNOTSUPP: it has no SR-IOV. Takes no lock of the device. */
int sriov_read_total(int root_fd, const PciAddress *address, unsigned *ret);

/* Makes their number count: removes those there are, as the kernel demands, creates the new ones, reads back.
 * On failure there are as many as before, as far as the kernel allows. NotSupported where the driver has no
 * part in it; LimitExceeded; DeviceInUse; Internal. May hang in the kernel: only for the device helper. */
int sriov_set_count(int root_fd, const PciAddress *address, unsigned count, Error *error);
