/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A small table of the pairs seen, searched linearly: a host has some dozens of them. Neighbours in
 * address order are often the same, so the last hit is tried first. */

#include <systemd/sd-hwdb.h>

#include "names.h"

typedef struct NameEntry {
        uint16_t vendor_id, device_id;
        char *vendor, *product;
} NameEntry;

struct PciNames {
        sd_hwdb *hwdb; /* NULL: none on this host */
        NameEntry *entries;
        size_t n_entries;
        size_t last;
};

int pci_names_new(PciNames **ret) {
        PciNames *names = calloc(1, sizeof(PciNames));

        if (!names)
                return -ENOMEM;
        if (sd_hwdb_new(&names->hwdb) < 0)
                names->hwdb = NULL;

        *ret = names;
        return 0;
}

PciNames *pci_names_free(PciNames *names) {
        if (!names)
                return NULL;

        for (size_t i = 0; i < names->n_entries; i++) {
                free(names->entries[i].vendor);
                free(names->entries[i].product);
        }
        free(names->entries);
        sd_hwdb_unref(names->hwdb);
        free(names);
        return NULL;
}

/* Asking without the subsystem gives the name of the chip, not that of the board it is on. */
static int lookup(sd_hwdb *hwdb, const NameEntry *entry, const char *key, char **ret) {
        char modalias[sizeof("pci:v0000ffffd0000ffff")];
        const char *value;

        snprintf(modalias, sizeof(modalias), "pci:v0000%04Xd0000%04X", entry->vendor_id,
                 entry->device_id);
        if (!hwdb || sd_hwdb_get(hwdb, modalias, key, &value) < 0 || str_empty(value)) {
                *ret = NULL;
                return 0;
        }

        *ret = strdup(value);
        return *ret ? 0 : -ENOMEM;
}

static int entry_add(PciNames *names, uint16_t vendor_id, uint16_t device_id) {
        NameEntry entry = { .vendor_id = vendor_id, .device_id = device_id };
        int r;

        NameEntry *grown = reallocarray(names->entries, names->n_entries + 1, sizeof(NameEntry));
        if (!grown)
                return -ENOMEM;
        names->entries = grown;

        r = lookup(names->hwdb, &entry, "ID_VENDOR_FROM_DATABASE", &entry.vendor);
        if (r >= 0)
                r = lookup(names->hwdb, &entry, "ID_MODEL_FROM_DATABASE", &entry.product);
        if (r < 0) {
                free(entry.vendor);
                return r;
        }

        names->last = names->n_entries;
        names->entries[names->n_entries++] = entry;
        return 0;
}

static bool entry_is(const PciNames *names, size_t i, uint16_t vendor_id, uint16_t device_id) {
        return i < names->n_entries && names->entries[i].vendor_id == vendor_id &&
               names->entries[i].device_id == device_id;
}

static int entry_find(PciNames *names, uint16_t vendor_id, uint16_t device_id) {
        if (entry_is(names, names->last, vendor_id, device_id))
                return 0;

        for (size_t i = 0; i < names->n_entries; i++)
                if (entry_is(names, i, vendor_id, device_id)) {
                        names->last = i;
                        return 0;
                }
        return entry_add(names, vendor_id, device_id);
}

int pci_names_find(PciNames *names, uint16_t vendor_id, uint16_t device_id, const char **ret_vendor,
                   const char **ret_product) {
        int r;

        r = entry_find(names, vendor_id, device_id);
        if (r < 0)
                return r;

        *ret_vendor = names->entries[names->last].vendor;
        *ret_product = names->entries[names->last].product;
        return 0;
}
