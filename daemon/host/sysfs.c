/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every class link of sysfs leads into one tree, /sys/devices, in which what belongs to a function
 * is below that function's directory. So "whose is it?" is a comparison of paths and needs no
 * walking. */

#include <stdarg.h>
#include <sys/sysmacros.h>

#include "base/parse.h"
#include "base/strv.h"
#include "sysfs.h"

const char *sysfs_device_path(const char *target) {
        const char *rest;

        while ((rest = str_after(target, "../")))
                target = rest;
        return str_after(target, "devices/");
}

bool sysfs_path_is_below(const char *device_path, const PciDevice *device) {
        const char *rest = device->slot_path ? str_after(device_path, device->slot_path) : NULL;
        return rest && (*rest == '\0' || *rest == '/');
}

bool sysfs_link_is_below(int root_fd, const char *link, const PciDevice *device) {
        _cleanup_free_ char *target = NULL;

        if (read_link_at(root_fd, link, &target) < 0)
                return false;

        const char *path = sysfs_device_path(target);
        return path && sysfs_path_is_below(path, device);
}

char *sysfs_pci_path(const PciAddress *address, char buffer[SYSFS_PCI_PATH_MAX]) {
        snprintf(buffer, SYSFS_PCI_PATH_MAX, "sys/bus/pci/devices/%s", PCI_ADDRESS_TEXT(address));
        return buffer;
}

char *path_format(char buffer[PATH_TEXT_MAX], const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        int n = vsnprintf(buffer, PATH_TEXT_MAX, format, ap);
        va_end(ap);

        if (n < 0 || n >= PATH_TEXT_MAX)
                *buffer = '\0';
        return buffer;
}

bool path_exists_at(int dir_fd, const char *path) {
        return faccessat(dir_fd, path, F_OK, 0) >= 0;
}

bool attribute_is(int dir_fd, const char *path, const char *value) {
        _cleanup_free_ char *line = NULL;
        return read_line_at(dir_fd, path, &line) >= 0 && streq(line, value);
}

int parse_device_number(const char *s, dev_t *ret) {
        _cleanup_free_ char *first = NULL;
        uint64_t number_major, number_minor;

        const char *colon = strchr(s, ':');
        if (!colon)
                return -EINVAL;

        first = strndup(s, (size_t) (colon - s));
        if (!first)
                return -ENOMEM;
        if (parse_uint(first, 10, UINT32_MAX, &number_major) < 0 ||
            parse_uint(colon + 1, 10, UINT32_MAX, &number_minor) < 0)
                return -EINVAL;

        *ret = makedev((unsigned) number_major, (unsigned) number_minor);
        return 0;
}

int read_device_number_at(int dir_fd, const char *path, dev_t *ret) {
        _cleanup_free_ char *line = NULL;
        int r;

        r = read_line_at(dir_fd, path, &line);
        return r < 0 ? r : parse_device_number(line, ret);
}

int list_dir_if_exists_at(int dir_fd, const char *path, char ***ret) {
        int r;

        r = list_dir_at(dir_fd, path, ret);
        if (r == -ENOENT || r == -ENOTDIR) {
                *ret = NULL;
                return 0;
        }
        return r;
}
