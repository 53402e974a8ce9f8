/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How much room in the guest's address space the memory windows (BARs) of a function take. */

#include "pci.h"

typedef struct BarRoom {
        uint64_t total;   /* of its 64-bit windows */
        uint64_t largest; /* to which all that is beside it is aligned */
} BarRoom;

/* From the kernel's list of its resources, which reads no hardware. */
int pci_bar_room(int root_fd, const PciAddress *address, BarRoom *ret);
