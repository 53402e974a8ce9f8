/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>

#include "base/strv.h"
#include "options.h"

#define OPTIONS_MAX 64
#define STRING_MAX 32768
#define STRINGS_MAX 256

static int check_string(const char *key, const char *value, Error *error) {
        if (strlen(value) > STRING_MAX)
                return error_set(error, ERROR_INVALID_OPTION, "The option %s is too long", key);
        return 0;
}

static int read_string(sd_bus_message *m, const char *key, char **field, Error *error) {
        const char *value;
        int r;

        r = sd_bus_message_read(m, "s", &value);
        if (r >= 0)
                r = check_string(key, value, error);
        if (r < 0)
                return r;

        char *copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return 0;
}

static int read_strings(sd_bus_message *m, const char *key, char ***field, Error *error) {
        _cleanup_strv_ char **values = NULL;
        const char *value;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read(m, "s", &value)) > 0) {
                if (strv_length(values) >= STRINGS_MAX)
                        return error_set(error, ERROR_INVALID_OPTION, "The option %s has too many values", key);
                r = check_string(key, value, error);
                if (r >= 0)
                        r = strv_push(&values, value);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;

        strv_free(*field);
        *field = TAKE_PTR(values);
        return 0;
}

static int read_bool(sd_bus_message *m, bool *field) {
        int value, r;

        r = sd_bus_message_read(m, "b", &value);
        if (r >= 0)
                *field = value;
        return r;
}

/* The message keeps its own descriptor; ours outlives it. */
static int read_descriptor(sd_bus_message *m, int *field) {
        int fd, r;

        r = sd_bus_message_read(m, "h", &fd);
        if (r < 0)
                return r;

        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return -errno;
        close_fd(*field);
        *field = copy;
        return 0;
}

static int read_value(sd_bus_message *m, const OptionSpec *spec, void *target, Error *error) {
        void *field = (char *) target + spec->offset;

        if (spec->read)
                return spec->read(m, target, error);
        if (streq(spec->type, "as"))
                return read_strings(m, spec->key, field, error);

        switch (spec->type[0]) {
        case 's':
                return read_string(m, spec->key, field, error);
        case 'b':
                return read_bool(m, field);
        case 'h':
                return read_descriptor(m, field);
        default:
                return sd_bus_message_read_basic(m, spec->type[0], field);
        }
}

static const OptionSpec *spec_find(const OptionSpec *specs, size_t n, const char *key) {
        for (size_t i = 0; i < n; i++)
                if (streq(specs[i].key, key))
                        return &specs[i];
        return NULL;
}

static int read_variant(sd_bus_message *m, const OptionSpec *spec, void *target, Error *error) {
        const char *type;
        int r;

        r = sd_bus_message_peek_type(m, NULL, &type);
        if (r < 0)
                return r;
        if (!streq(type, spec->type))
                return error_set(error, ERROR_INVALID_OPTION, "The option %s is of the type %.20s, not %s",
                                 spec->key, type, spec->type);

        r = sd_bus_message_enter_container(m, 'v', spec->type);
        if (r >= 0)
                r = read_value(m, spec, target, error);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        return r;
}

static int read_entry(sd_bus_message *m, const OptionSpec *specs, size_t n, uint64_t *seen, void *target,
                      Error *error) {
        const OptionSpec *spec;
        const char *key;
        int r;

        r = sd_bus_message_read(m, "s", &key);
        if (r < 0)
                return r;

        spec = spec_find(specs, n, key);
        if (!spec)
                return error_set(error, ERROR_INVALID_OPTION, "There is no option '%.64s'", key);

        uint64_t bit = UINT64_C(1) << (spec - specs);
        if (*seen & bit)
                return error_set(error, ERROR_INVALID_OPTION, "The option %s is given twice", spec->key);
        *seen |= bit;
        return read_variant(m, spec, target, error);
}

static int read_dictionary(sd_bus_message *m, const OptionSpec *specs, size_t n, void *target, Error *error) {
        uint64_t seen = 0;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_entry(m, specs, n, &seen, target, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

int options_read(sd_bus_message *m, const OptionSpec *specs, size_t n, void *target, Error *error) {
        int r;

        if (n > OPTIONS_MAX)
                return -E2BIG;

        r = read_dictionary(m, specs, n, target, error);
        if (r < 0 && !error_is_set(error))
                return error_set(error, ERROR_INVALID_OPTION, "The options cannot be read: %s", strerror(-r));
        return r;
}

int options_read_none(sd_bus_message *m, Error *error) {
        return options_read(m, NULL, 0, NULL, error);
}
