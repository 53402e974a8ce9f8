/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a function says of itself before any driver is bound to it. Needs nothing but libc, so that it can be
 * asked in an initramfs. */

#include <stdint.h>

#include "base/pci-address.h"

typedef struct PciIdentity {
        PciAddress address;
        char *slot_path;        /* "pci0000:00/0000:00:02.0/0000:01:00.0" */
        uint16_t vendor_id, device_id;
        uint16_t subsystem_vendor_id, subsystem_device_id;
        uint32_t class;         /* 24 bits */
        uint8_t revision;
        uint64_t serial_number; /* of the PCI capability; 0: it has none, or … */
        bool serial_is_unknown; /* … it did not answer when it was asked for it */
        bool boot_vga;
} PciIdentity;

/* -ENOENT: there is no such function. Wakes a sleeping one: not for the loop. */
int pci_identity_read(int root_fd, const PciAddress *address, PciIdentity *ret);
void pci_identity_clear(PciIdentity *id);
#define _cleanup_pci_identity_ _cleanup_(pci_identity_clear)

/* Two of a kind, which only a serial number or their places tell apart. */
bool pci_identity_same_model(const PciIdentity *a, const PciIdentity *b);

/* How many functions of the host, other than this one, are of its model; or a negative errno. */
int pci_identity_count_twins(int root_fd, const PciIdentity *id);
