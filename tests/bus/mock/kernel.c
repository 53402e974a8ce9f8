/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The device helper with a kernel of the test's own: what it writes to the sysfs of a --host-root moves driver
 * links in the tree, as the real kernel would. A function's native driver is in its file mock_native; while it
 * has a file mock_hold, its driver does not let go of it. */

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>

#include "base/io.h"
#include "base/pci-address.h"

#define HOLD_STEP_USEC (10 * USEC_PER_MSEC)

int __real_write_attribute_at(int dir_fd, const char *path, const char *value);
int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value);

/* The directory that a descriptor is of. */
static int directory_of(int fd, char path[PATH_MAX]) {
        char link[32];

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, PATH_MAX - 1);
        if (n < 0)
                return -errno;
        path[n] = '\0';
        return 0;
}

static bool is_function(const char *path) {
        PciAddress address;
        const char *slash = strrchr(path, '/');

        return slash && pci_address_parse(slash + 1, &address) >= 0;
}

static bool has_driver(int function_fd) {
        return faccessat(function_fd, "driver", F_OK, AT_SYMLINK_NOFOLLOW) >= 0;
}

static int unbind(int function_fd) {
        if (!has_driver(function_fd))
                return -ENOENT;
        while (faccessat(function_fd, "mock_hold", F_OK, 0) >= 0)
                (void) usleep(HOLD_STEP_USEC);
        return unlinkat(function_fd, "driver", 0) < 0 ? -errno : 0;
}

/* Relative, as sysfs has it: out of the function's directory, which is at any depth below sys/devices. */
static int bind(int function_fd, const char *driver) {
        char path[PATH_MAX];
        _cleanup_free_ char *target = NULL;
        int r;

        if (has_driver(function_fd))
                return -EBUSY;
        r = directory_of(function_fd, path);
        if (r < 0)
                return r;

        const char *devices = strstr(path, "/sys/devices/");
        if (!devices)
                return -ENODEV;
        if (asprintf(&target, "%.*s/sys/bus/pci/drivers/%s", (int) (devices - path), path, driver) < 0) {
                target = NULL;
                return -ENOMEM;
        }
        if (access(target, F_OK) < 0)
                return -ENODEV;
        return symlinkat(target, function_fd, "driver") < 0 ? -errno : 0;
}

static int open_function(int root_fd, const char *address) {
        char path[128];

        snprintf(path, sizeof(path), "sys/bus/pci/devices/%s", address);
        return open_dir_at(root_fd, path);
}

/* As the real one, it says nothing of a probe that bound nothing. */
static int probe(int root_fd, const char *address) {
        _cleanup_close_ int fd = open_function(root_fd, address);
        _cleanup_free_ char *override = NULL, *native = NULL;

        if (fd < 0)
                return fd;
        (void) read_line_at(fd, "driver_override", &override);
        (void) read_line_at(fd, "mock_native", &native);
        if (!str_empty(override) && !streq(override, "(null)"))
                (void) bind(fd, override);
        else if (!str_empty(native))
                (void) bind(fd, native);
        return 0;
}

static int bind_by_name(int root_fd, const char *path, const char *address) {
        _cleanup_close_ int fd = open_function(root_fd, address);
        _cleanup_free_ char *native = NULL;
        char driver[64];

        if (fd < 0)
                return fd;
        if (sscanf(path, "sys/bus/pci/drivers/%63[^/]/bind", driver) != 1)
                return -ENOENT;
        if (read_line_at(fd, "mock_native", &native) < 0 || !streq(native, driver))
                return -ENODEV;
        return bind(fd, driver);
}

int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value) {
        char directory[PATH_MAX];
        int r;

        r = directory_of(dir_fd, directory);
        if (r < 0)
                return r;

        if (is_function(directory)) {
                if (streq(path, "driver/unbind"))
                        return unbind(dir_fd);
                if (streq(path, "driver_override"))
                        value = streq(value, "\n") ? "(null)" : value;

                /* Shorter than what was there: sysfs has no such thing as the rest of an old value. */
                _cleanup_close_ int fd = openat(dir_fd, path, O_WRONLY | O_TRUNC | O_CLOEXEC);
                return fd < 0 ? -errno : write_all(fd, value, strlen(value));
        }
        if (streq(path, "sys/bus/pci/drivers_probe"))
                return probe(dir_fd, value);
        if (str_after(path, "sys/bus/pci/drivers/"))
                return bind_by_name(dir_fd, path, value);
        return __real_write_attribute_at(dir_fd, path, value);
}
