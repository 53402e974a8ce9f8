/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>
#include <fcntl.h>
#include <stddef.h>

#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include "config.h"
#include "paths.h"

#define CONFIG_SIZE_MAX (256 * 1024)

static int set_string(const char *value, void *field) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*(char **) field);
        *(char **) field = copy;
        return 0;
}

static int set_directory(const char *value, void *field) {
        return value[0] == '/' ? set_string(value, field) : -EINVAL;
}

static int set_domain_type(const char *value, void *field) {
        if (!streq(value, "auto") && !streq(value, "kvm") && !streq(value, "qemu"))
                return -EINVAL;
        return set_string(value, field);
}

static int set_log_level(const char *value, void *field) {
        int level = log_level_from_string(value);

        if (level < 0)
                return level;
        *(int *) field = level;
        return 0;
}

static int set_networks(const char *value, void *field) {
        char **networks;
        int r = strv_split(value, " ,\t", &networks);

        if (r < 0)
                return r;
        STRV_FOREACH(network, networks)
                if (!name_is_valid(*network)) {
                        strv_free(networks);
                        return -EINVAL;
                }

        strv_free(*(char ***) field);
        *(char ***) field = networks;
        return 0;
}

static int set_number(const char *value, void *field) {
        return parse_uint(value, 10, UINT64_MAX, field);
}

/* More than a day is a mistake of the unit. */
static int set_seconds(const char *value, void *field) {
        uint64_t seconds;
        int r = parse_uint(value, 10, 24 * 3600, &seconds);

        if (r >= 0)
                *(uint64_t *) field = seconds * USEC_PER_SEC;
        return r;
}

static int set_timeout(const char *value, void *field) {
        uint64_t seconds;
        int r = parse_uint(value, 10, 3600, &seconds);

        if (r < 0 || seconds == 0)
                return -EINVAL;
        *(uint64_t *) field = seconds;
        return 0;
}

static int set_size(const char *value, void *field) {
        return parse_size(value, field);
}

typedef struct Setting {
        const char *section, *key;
        int (*set)(const char *value, void *field);
        size_t offset;
} Setting;

static const Setting settings[] = {
        { "Manager", "LibvirtURI", set_string, offsetof(Config, libvirt_uri) },
        { "Manager", "DomainType", set_domain_type, offsetof(Config, domain_type) },
        { "Manager", "StateDirectory", set_directory, offsetof(Config, state_dir) },
        { "Manager", "LogLevel", set_log_level, offsetof(Config, log_level) },
        { "Manager", "ShutdownTimeout", set_seconds, offsetof(Config, shutdown_timeout) },
        { "Manager", "DriverTimeout", set_timeout, offsetof(Config, driver_timeout) },
        { "Manager", "Networks", set_networks, offsetof(Config, networks) },
        { "Limits", "MaxVMs", set_number, offsetof(Config, limits.vms) },
        { "Limits", "MaxJobs", set_number, offsetof(Config, limits.jobs) },
        { "Limits", "MaxMemory", set_size, offsetof(Config, limits.memory) },
        { "Limits", "MaxCPUs", set_number, offsetof(Config, limits.cpus) },
        { "Limits", "MaxDevices", set_number, offsetof(Config, limits.devices) },
        { "Limits", "MaxImageBytes", set_size, offsetof(Config, limits.image_bytes) },
};

int config_set(Config *config, const char *section, const char *key, const char *value) {
        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                const Setting *setting = &settings[i];

                if (streq(setting->section, section) && streq(setting->key, key))
                        return setting->set(value, (char *) config + setting->offset);
        }
        return -ENOENT;
}

/* --- defaults --------------------------------------------------------------------------------------------- */

/* For tests, which run from a build tree and with a state directory of their own. */
static const char *helper_directory(void) {
        const char *override = secure_getenv("VMKIT_HELPER_DIR");

        return override && override[0] == '/' ? override : VMKIT_HELPER_DIR;
}

int config_new(Config **ret) {
        _cleanup_(config_freep) Config *config = calloc(1, sizeof(Config));

        if (!config)
                return -ENOMEM;

        *config = (Config) {
                .version = VMKIT_VERSION,
                .libvirt_uri = strdup("qemu:///system"),
                .domain_type = strdup("auto"),
                .state_dir = strdup(VMKIT_STATE_DIR),
                .host_root = strdup("/"),
                .helper_dir = strdup(helper_directory()),
                .log_level = LOG_INFO,
                .shutdown_timeout = 90 * USEC_PER_SEC,
                .driver_timeout = 90,
                .limits = {
                        .vms = 32,
                        .jobs = 16,
                        .devices = 16,
                        .image_bytes = TIB,
                },
        };
        if (!config->libvirt_uri || !config->domain_type || !config->state_dir || !config->host_root ||
            !config->helper_dir || strv_push(&config->networks, "default") < 0)
                return -ENOMEM;

        *ret = TAKE_PTR(config);
        return 0;
}

Config *config_free(Config *config) {
        if (!config)
                return NULL;

        free(config->libvirt_uri);
        free(config->domain_type);
        free(config->state_dir);
        free(config->host_root);
        free(config->helper_dir);
        strv_free(config->networks);
        free(config);
        return NULL;
}

/* --- files ------------------------------------------------------------------------------------------------ */

static char *strip(char *s) {
        s += strspn(s, " \t");
        for (char *end = s + strlen(s); end > s && isspace((unsigned char) end[-1]);)
                *--end = '\0';
        return s;
}

static int read_section(char *line, const char **ret_section) {
        size_t n = strlen(line);

        if (line[n - 1] != ']')
                return -EINVAL;
        line[n - 1] = '\0';
        if (!streq(line + 1, "Manager") && !streq(line + 1, "Limits"))
                return -ENOENT;

        *ret_section = line[1] == 'M' ? "Manager" : "Limits";
        return 0;
}

static int read_setting(Config *config, const char *section, char *line) {
        char *equals = strchr(line, '=');

        if (!equals)
                return -EINVAL;
        *equals = '\0';
        return config_set(config, section, strip(line), strip(equals + 1));
}

static int complain(Error *error, const char *path, unsigned number, int r) {
        return error_set(error, ERROR_INVALID_OPTION, "%s, line %u: %s", path, number,
                         r == -ENOENT ? "there is no such section or setting" : "this cannot be understood");
}

static int read_lines(Config *config, char *content, const char *path, Error *error) {
        const char *section = "";
        unsigned number = 0;

        for (char *rest = content, *line; (line = strsep(&rest, "\n"));) {
                int r;

                number++;
                line = strip(line);
                if (!*line || *line == '#' || *line == ';')
                        continue;

                r = *line == '[' ? read_section(line, &section) : read_setting(config, section, line);
                if (r < 0)
                        return complain(error, path, number, r);
        }
        return 0;
}

static int read_one(Config *config, int dir_fd, const char *path, Error *error) {
        _cleanup_free_ char *content = NULL;
        int r;

        r = read_file_at(dir_fd, path, CONFIG_SIZE_MAX, &content);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_set_errno(error, r, "Could not read %s", path);
        return read_lines(config, content, path, error);
}

static bool is_drop_in(const char *name) {
        size_t n = strlen(name);

        return n > 5 && streq(name + n - 5, ".conf");
}

static int read_drop_ins(Config *config, int dir_fd, Error *error) {
        _cleanup_strv_ char **names = NULL;
        int r;

        r = list_dir_at(dir_fd, "vmkitd.conf.d", &names);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_set_errno(error, r, "Could not read vmkitd.conf.d");

        STRV_FOREACH(name, names) {
                _cleanup_free_ char *path = NULL;

                if (!is_drop_in(*name))
                        continue;
                if (asprintf(&path, "vmkitd.conf.d/%s", *name) < 0)
                        return -ENOMEM;
                r = read_one(config, dir_fd, path, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

int config_read(Config *config, const char *directory, Error *error) {
        _cleanup_close_ int fd = open_dir_at(AT_FDCWD, directory);
        int r;

        if (fd == -ENOENT)
                return 0;
        if (fd < 0)
                return error_set_errno(error, fd, "Could not open %s", directory);

        r = read_one(config, fd, "vmkitd.conf", error);
        return r < 0 ? r : read_drop_ins(config, fd, error);
}
