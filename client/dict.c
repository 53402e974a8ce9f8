/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An option's kind fixes its D-Bus type and how its values are written: one row per kind. */

#include "base/parse.h"
#include "base/pci-address.h"
#include "base/strv.h"
#include "dict.h"
#include "files.h"

typedef int (*WriteFunction)(sd_bus_message *m, const Args *args, const OptionSpec *spec,
                             Failure *failure);

typedef struct Writer {
        const char *type;
        WriteFunction write;
} Writer;

/* Short addresses become canonical ones; "auto" and the like stay. */
static const char *canonical_address(const char *value, char buffer[PCI_ADDRESS_TEXT_MAX]) {
        PciAddress address;
        return pci_address_parse_short(value, &address) < 0 ? value
                                                            : pci_address_format(&address, buffer);
}

static uint64_t number(const char *value) {
        uint64_t n = 0;

        (void) parse_size(value, &n); /* was checked with the command line */
        return n;
}

/* Values */

static int write_flag(sd_bus_message *m, _unused_ const Args *args, _unused_ const OptionSpec *spec,
                      _unused_ Failure *failure) {
        return sd_bus_message_append(m, "b", true);
}

static int write_string(sd_bus_message *m, const Args *args, const OptionSpec *spec,
                        _unused_ Failure *failure) {
        return sd_bus_message_append(m, "s", args_value(args, spec->name));
}

static int write_count(sd_bus_message *m, const Args *args, const OptionSpec *spec,
                       _unused_ Failure *failure) {
        return sd_bus_message_append(m, "u", (uint32_t) number(args_value(args, spec->name)));
}

static int write_size(sd_bus_message *m, const Args *args, const OptionSpec *spec,
                      _unused_ Failure *failure) {
        return sd_bus_message_append(m, "t", number(args_value(args, spec->name)));
}

static int write_seconds(sd_bus_message *m, const Args *args, const OptionSpec *spec,
                         _unused_ Failure *failure) {
        return sd_bus_message_append(m, "t", number(args_value(args, spec->name)) * USEC_PER_SEC);
}

static int write_file(sd_bus_message *m, const Args *args, const OptionSpec *spec,
                      Failure *failure) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = file_open(args_value(args, spec->name), &fd, failure);
        return r < 0 ? r : sd_bus_message_append(m, "h", fd);
}

typedef int (*ValueFunction)(sd_bus_message *m, const char *value, Failure *failure);

/* An array with what `each` writes for every value given. */
static int write_array(sd_bus_message *m, const char *contents, const Args *args,
                       const OptionSpec *spec, ValueFunction each, Failure *failure) {
        int r;

        r = sd_bus_message_open_container(m, 'a', contents);
        for (size_t i = 0; i < args->n_options && r >= 0; i++)
                if (args->options[i].spec == spec)
                        r = each(m, args->options[i].value, failure);

        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int each_string(sd_bus_message *m, const char *value, _unused_ Failure *failure) {
        return sd_bus_message_append(m, "s", value);
}

static int each_address(sd_bus_message *m, const char *value, _unused_ Failure *failure) {
        return sd_bus_message_append(m, "s",
                                     canonical_address(value, (char[PCI_ADDRESS_TEXT_MAX]){ 0 }));
}

static int each_key_file(sd_bus_message *m, const char *value, Failure *failure) {
        _cleanup_strv_ char **keys = NULL;
        int r;

        r = keys_read(value, &keys, failure);
        STRV_FOREACH(key, keys)
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", *key);

        return r;
}

static int each_rom(sd_bus_message *m, const char *value, Failure *failure) {
        _cleanup_close_ int fd = -EBADF;
        const char *file = strchr(value, '=');
        _cleanup_free_ char *address = strndup(value, (size_t) (file - value));
        int r;

        if (!address)
                return failure_oom(failure);
        r = file_open(file + 1, &fd, failure);
        if (r < 0)
                return r;

        return sd_bus_message_append(
                m, "{sh}", canonical_address(address, (char[PCI_ADDRESS_TEXT_MAX]){ 0 }), fd);
}

static int write_list(sd_bus_message *m, const Args *args, const OptionSpec *spec,
                      Failure *failure) {
        return write_array(m, "s", args, spec, each_string, failure);
}

static int write_addresses(sd_bus_message *m, const Args *args, const OptionSpec *spec,
                           Failure *failure) {
        return write_array(m, "s", args, spec, each_address, failure);
}

static int write_keys(sd_bus_message *m, const Args *args, const OptionSpec *spec,
                      Failure *failure) {
        return write_array(m, "s", args, spec, each_key_file, failure);
}

static int write_roms(sd_bus_message *m, const Args *args, const OptionSpec *spec,
                      Failure *failure) {
        return write_array(m, "{sh}", args, spec, each_rom, failure);
}

static const Writer writers[] = {
        [OPTION_FLAG]    = { "b",     write_flag      },
        [OPTION_STRING]  = { "s",     write_string    },
        [OPTION_CHOICE]  = { "s",     write_string    },
        [OPTION_COUNT]   = { "u",     write_count     },
        [OPTION_SIZE]    = { "t",     write_size      },
        [OPTION_SECONDS] = { "t",     write_seconds   },
        [OPTION_LIST]    = { "as",    write_list      },
        [OPTION_ADDRESS] = { "as",    write_addresses },
        [OPTION_FILE]    = { "h",     write_file      },
        [OPTION_KEYS]    = { "as",    write_keys      },
        [OPTION_ROM]     = { "a{sh}", write_roms      },
};

/* Entries */

static int open_entry(sd_bus_message *m, const char *key, const char *type) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "s", key);
        if (r < 0)
                return r;

        return sd_bus_message_open_container(m, 'v', type);
}

static int close_entry(sd_bus_message *m) {
        int r;

        r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int add_option(sd_bus_message *m, const Args *args, const OptionSpec *spec,
                      Failure *failure) {
        const Writer *writer = &writers[spec->kind];
        int r;

        r = open_entry(m, spec->key, writer->type);
        if (r < 0)
                return r;
        r = writer->write(m, args, spec, failure);
        if (r < 0)
                return r;

        return close_entry(m);
}

static int add_options(sd_bus_message *m, const Args *args, bool cloud_init, Failure *failure) {
        int r;

        for (const OptionSpec *s = args->verb->options; s && s->name; s++) {
                if (!s->key || s->cloud_init != cloud_init || !args_has(args, s->name))
                        continue;

                r = add_option(m, args, s, failure);
                if (r < 0)
                        return r;
        }

        return 0;
}

int dict_open(sd_bus_message *m) {
        return sd_bus_message_open_container(m, 'a', "{sv}");
}

int dict_close(sd_bus_message *m) {
        return sd_bus_message_close_container(m);
}

int dict_add_given(sd_bus_message *m, const Args *args, Failure *failure) {
        return add_options(m, args, false, failure);
}

static bool wants_cloud_init(const Args *args) {
        for (size_t i = 0; i < args->n_options; i++)
                if (args->options[i].spec->cloud_init)
                        return true;

        return false;
}

int dict_add_cloud_init(sd_bus_message *m, const Args *args, const char *hostname,
                        Failure *failure) {
        int r;

        if (!wants_cloud_init(args))
                return 0;

        r = open_entry(m, "cloud-init", "a{sv}");
        if (r < 0)
                return r;
        r = dict_open(m);
        if (r < 0)
                return r;
        r = add_options(m, args, true, failure);
        if (r < 0)
                return r;
        r = args_has(args, "hostname") ? 0 : dict_add_string(m, "hostname", hostname);
        if (r < 0)
                return r;
        r = dict_close(m);
        return r < 0 ? r : close_entry(m);
}

int dict_add_string(sd_bus_message *m, const char *key, const char *value) {
        return sd_bus_message_append(m, "{sv}", key, "s", value);
}

int dict_add_fd(sd_bus_message *m, const char *key, int fd) {
        return sd_bus_message_append(m, "{sv}", key, "h", fd);
}

int dict_append(sd_bus_message *m, const Args *args, Failure *failure) {
        int r;

        r = dict_open(m);
        if (r < 0)
                return r;
        r = dict_add_given(m, args, failure);
        return r < 0 ? r : dict_close(m);
}
