/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* core/ says that something about an object has changed; what, is found here, by comparison: the values of its
 * properties are written into a message that is never sent, in the way each answers a Get, and a digest of each
 * is kept. So a property is known by its row in the vtable alone. */

#include "changes.h"

#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static void digest_bytes(uint64_t *digest, const void *bytes, size_t n) {
        const uint8_t *p = bytes;

        for (size_t i = 0; i < n; i++)
                *digest = (*digest ^ p[i]) * FNV_PRIME;
}

typedef union Basic {
        const char *text;
        uint64_t number; /* whatever its width */
} Basic;

static int digest_basic(sd_bus_message *m, char type, uint64_t *digest) {
        Basic value = {};
        int r;

        r = sd_bus_message_read_basic(m, type, &value);
        if (r < 0)
                return r;

        /* With its NUL: where one text ends and the next begins is part of the value. */
        if (strchr("sog", type))
                digest_bytes(digest, value.text, strlen(value.text) + 1);
        else
                digest_bytes(digest, &value, sizeof(value));
        return 1;
}

/* One complete value, with all that is in it. 0: there is none left. */
static int digest_value(sd_bus_message *m, uint64_t *digest) {
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r <= 0)
                return r;

        digest_bytes(digest, &type, 1);
        if (!contents)
                return digest_basic(m, type, digest);

        r = sd_bus_message_enter_container(m, type, contents);
        while (r > 0)
                r = digest_value(m, digest);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        digest_bytes(digest, ")", 1);
        return r < 0 ? r : 1;
}

/* --- all properties of an object -------------------------------------------------------------------------- */

static const sd_bus_vtable *next_telling(const sd_bus_vtable *row) {
        for (; row->type != _SD_BUS_VTABLE_END; row++)
                if (row->type == _SD_BUS_VTABLE_PROPERTY && (row->flags & SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE))
                        return row;
        return NULL;
}

static int write_values(sd_bus *bus, const sd_bus_vtable *properties, void *object, sd_bus_message *m) {
        for (const sd_bus_vtable *row = properties; (row = next_telling(row)); row++) {
                int r = row->x.property.get(bus, NULL, NULL, row->x.property.member, m, object, NULL);
                if (r < 0)
                        return r;
        }
        return sd_bus_message_seal(m, 1, 0);
}

static int digest_all(sd_bus *bus, const sd_bus_vtable *properties, void *object, Told *ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        Told told = {};
        int r;

        r = sd_bus_message_new_signal(bus, &m, ROOT_PATH, MANAGER_INTERFACE, "Unsent");
        if (r >= 0)
                r = write_values(bus, properties, object, m);
        if (r >= 0)
                r = sd_bus_message_rewind(m, 1);

        for (size_t i = 0; r >= 0 && i < TOLD_MAX; i++) {
                told.values[i] = FNV_BASIS;
                r = digest_value(m, &told.values[i]);
                if (r == 0)
                        break;
        }
        if (r < 0)
                return r;

        *ret = told;
        return 0;
}

int changes_remember(sd_bus *bus, const sd_bus_vtable *properties, void *object, Told *told) {
        return digest_all(bus, properties, object, told);
}

int changes_tell(sd_bus *bus, const char *path, const char *interface, const sd_bus_vtable *properties,
                 void *object, Told *told) {
        char *names[TOLD_MAX + 1] = {};
        size_t n = 0, i = 0;
        Told now;
        int r;

        r = digest_all(bus, properties, object, &now);
        if (r < 0)
                return r;

        for (const sd_bus_vtable *row = properties; i < TOLD_MAX && (row = next_telling(row)); row++, i++)
                if (now.values[i] != told->values[i])
                        names[n++] = (char *) row->x.property.member;

        *told = now;
        return n == 0 ? 0 : sd_bus_emit_properties_changed_strv(bus, path, interface, names);
}
