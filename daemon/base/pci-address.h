/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The address of a PCI function: domain:bus:slot.function. Domains above ffff exist (VMD). */

#include <stdint.h>

#include "util.h"

typedef struct PciAddress {
        uint32_t domain;
        uint8_t bus;
        uint8_t slot;     /* 0…31 */
        uint8_t function; /* 0…7 */
} PciAddress;

#define PCI_ADDRESS_TEXT_MAX 24

/* Takes exactly what the kernel writes ("0000:01:00.0"), upper or lower case. 0 or -EINVAL. */
int pci_address_parse(const char *s, PciAddress *ret);

/* Also takes the short form without a domain ("01:00.0"), as lspci prints it. */
int pci_address_parse_short(const char *s, PciAddress *ret);

/* Writes the canonical text into buffer and returns it. */
char *pci_address_format(const PciAddress *a, char buffer[PCI_ADDRESS_TEXT_MAX]);

/* The canonical text for the time of the enclosing expression's block. */
#define PCI_ADDRESS_TEXT(a) pci_address_format((a), (char[PCI_ADDRESS_TEXT_MAX]) {})

int pci_address_compare(const PciAddress *a, const PciAddress *b);

static inline bool pci_address_equal(const PciAddress *a, const PciAddress *b) {
        return pci_address_compare(a, b) == 0;
}

/* True for two functions of one slot, the same function included. */
static inline bool pci_address_same_slot(const PciAddress *a, const PciAddress *b) {
        return a->domain == b->domain && a->bus == b->bus && a->slot == b->slot;
}
