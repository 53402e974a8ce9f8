/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A USB controller without which nobody can type at the host. Disks and network interfaces behind
 * it are found like those of any other function. */

#include "base/parse.h"
#include "base/strv.h"
#include "sysfs.h"
#include "usage-kinds.h"

/* Keys 1 to 31: the digits and the upper letters, of which other devices with keys have none or
 * few. The bitmap is written in words, the lowest last. */
static bool has_keyboard_keys(int root_fd, const char *input) {
        _cleanup_free_ char *keys = NULL;
        uint64_t word;

        if (read_line_at(root_fd, PATH_TEXT("%s/capabilities/key", input), &keys) < 0)
                return false;

        const char *last = strrchr(keys, ' ');
        return parse_uint(last ? last + 1 : keys, 16, UINT64_MAX, &word) >= 0 &&
               (word & UINT64_C(0xfffffffe)) == UINT64_C(0xfffffffe);
}

static bool is_real_keyboard(int root_fd, const char *name, char **ret_path) {
        _cleanup_free_ char *target = NULL;
        const char *link = PATH_TEXT("sys/class/input/%s", name);

        if (!str_after(name, "input") || read_link_at(root_fd, link, &target) < 0 ||
            !has_keyboard_keys(root_fd, link))
                return false;

        const char *path = sysfs_device_path(target);
        if (!path || str_after(path, "virtual/"))
                return false;

        *ret_path = strdup(path);
        return *ret_path;
}

int usage_add_usb(int root_fd, const PciDevice *device, Reasons *reasons) {
        _cleanup_strv_ char **inputs = NULL;
        bool behind = false, elsewhere = false;
        int r;

        r = list_dir_if_exists_at(root_fd, "sys/class/input", &inputs);
        if (r < 0)
                return r;

        STRV_FOREACH(input, inputs) {
                _cleanup_free_ char *path = NULL;

                if (!is_real_keyboard(root_fd, *input, &path))
                        continue;
                if (sysfs_path_is_below(path, device))
                        behind = true;
                else
                        elsewhere = true;
        }

        if (!behind || elsewhere)
                return 0;
        return reasons_add(reasons, REASON_ONLY_KEYBOARD,
                           "The host's only keyboard is connected to it");
}
