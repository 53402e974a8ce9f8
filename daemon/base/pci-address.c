/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>

#include "pci-address.h"

/* Reads between min and max hexadecimal digits, then the separator; returns what follows, or NULL. */
static const char *read_field(const char *s, unsigned min, unsigned max, char separator, uint32_t *ret) {
        uint32_t value = 0;
        unsigned n = 0;

        for (; n < max && isxdigit((unsigned char) s[n]); n++)
                value = value << 4 | (uint32_t) (isdigit((unsigned char) s[n])
                                                         ? s[n] - '0'
                                                         : tolower((unsigned char) s[n]) - 'a' + 10);

        if (n < min || s[n] != separator)
                return NULL;

        *ret = value;
        return separator ? s + n + 1 : s + n;
}

static int parse_after_domain(const char *s, uint32_t domain, PciAddress *ret) {
        uint32_t bus, slot, function;

        if (!(s = read_field(s, 2, 2, ':', &bus)) ||
            !(s = read_field(s, 2, 2, '.', &slot)) || slot > 31 ||
            !(s = read_field(s, 1, 1, '\0', &function)) || function > 7)
                return -EINVAL;

        *ret = (PciAddress) {
                .domain = domain,
                .bus = (uint8_t) bus,
                .slot = (uint8_t) slot,
                .function = (uint8_t) function,
        };
        return 0;
}

int pci_address_parse(const char *s, PciAddress *ret) {
        uint32_t domain;

        if (!s || !(s = read_field(s, 4, 8, ':', &domain)))
                return -EINVAL;
        return parse_after_domain(s, domain, ret);
}

int pci_address_parse_short(const char *s, PciAddress *ret) {
        if (!s)
                return -EINVAL;
        if (parse_after_domain(s, 0, ret) >= 0)
                return 0;
        return pci_address_parse(s, ret);
}

char *pci_address_format(const PciAddress *a, char buffer[PCI_ADDRESS_TEXT_MAX]) {
        snprintf(buffer, PCI_ADDRESS_TEXT_MAX, "%04x:%02x:%02x.%x", a->domain, a->bus, a->slot & 31u,
                 a->function & 7u);
        return buffer;
}

static uint64_t address_key(const PciAddress *a) {
        return (uint64_t) a->domain << 32 | (uint64_t) a->bus << 16 | (uint64_t) a->slot << 8 | a->function;
}

int pci_address_compare(const PciAddress *a, const PciAddress *b) {
        uint64_t x = address_key(a), y = address_key(b);
        return x < y ? -1 : x > y;
}
