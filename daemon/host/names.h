/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Vendor and product names from the hardware database (systemd-hwdb). Each pair is looked up once
 * for the life of the object: a host with thousands of virtual functions has few kinds of them. */

#include <stdint.h>

#include "base/util.h"

typedef struct PciNames PciNames;

/* Where there is no database, all names are unknown; that is no failure. */
int pci_names_new(PciNames **ret);
PciNames *pci_names_free(PciNames *names);
DEFINE_CLEANUP(PciNames *, pci_names_free);

/* Borrowed until the object is freed; NULL where unknown. 0 or -ENOMEM. */
int pci_names_find(PciNames *names, uint16_t vendor_id, uint16_t device_id, const char **ret_vendor,
                   const char **ret_product);
