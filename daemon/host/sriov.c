/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sriov_numvfs takes a number only when it is 0, or 0 itself, so a change is two writes and the way back two
 * more. Whether the host's drivers take the new functions (sriov_drivers_autoprobe) is the administrator's
 * setting and stays as it is: with or without, a function can be moved by its driver override. */

#include "sriov.h"
#include "sysfs.h"

int sriov_read_total(int root_fd, const PciAddress *address, unsigned *ret) {
        uint64_t total;
        int r;

        r = read_uint_at(root_fd, PATH_TEXT("%s/sriov_totalvfs", SYSFS_PCI_PATH(address)), &total);
        if (r == -ENOENT)
                return -EOPNOTSUPP;
        if (r < 0)
                return r;

        *ret = (unsigned) total;
        return 0;
}

static int read_count(int root_fd, const PciAddress *address, uint64_t *ret) {
        return read_uint_at(root_fd, PATH_TEXT("%s/sriov_numvfs", SYSFS_PCI_PATH(address)), ret);
}

static int write_count(int root_fd, const PciAddress *address, unsigned count) {
        uint64_t now;
        char text[16];
        int r;

        snprintf(text, sizeof(text), "%u", count);
        r = write_attribute_at(root_fd, PATH_TEXT("%s/sriov_numvfs", SYSFS_PCI_PATH(address)), text);
        if (r >= 0)
                r = read_count(root_fd, address, &now);
        return r < 0 ? r : now == count ? 0 : -EIO;
}

/* Each has a link in the directory of its physical function. */
static bool all_exist(int root_fd, const PciAddress *address, unsigned count) {
        const char *directory = SYSFS_PCI_PATH(address);

        for (unsigned i = 0; i < count; i++)
                if (!path_exists_at(root_fd, PATH_TEXT("%s/virtfn%u", directory, i)))
                        return false;
        return !path_exists_at(root_fd, PATH_TEXT("%s/virtfn%u", directory, count));
}

static int set_count(int root_fd, const PciAddress *address, uint64_t before, unsigned count) {
        int r = 0;

        if (before > 0 && count != before)
                r = write_count(root_fd, address, 0);
        if (r >= 0 && count > 0 && count != before)
                r = write_count(root_fd, address, count);
        return r < 0 ? r : all_exist(root_fd, address, count) ? 0 : -ENXIO;
}

static int fail(const PciAddress *address, unsigned count, int r, Error *error) {
        const char *text = PCI_ADDRESS_TEXT(address);

        switch (r) {
        case -ENOENT:
                return error_set(error, ERROR_NOT_SUPPORTED,
                                 "The driver of %s cannot set the number of its virtual functions", text);
        case -ERANGE:
                return error_set(error, ERROR_LIMIT_EXCEEDED, "%s cannot have %u virtual functions", text,
                                 count);
        case -EBUSY:
        case -EPERM:
                return error_set(error, ERROR_DEVICE_IN_USE,
                                 "The virtual functions of %s are in use, says its driver", text);
        case -ENXIO:
                return error_set(error, ERROR_INTERNAL, "Not all virtual functions of %s appeared", text);
        default:
                return error_set_errno(error, r, "Could not set the number of virtual functions of %s", text);
        }
}

int sriov_set_count(int root_fd, const PciAddress *address, unsigned count, Error *error) {
        uint64_t before, now;
        int r;

        r = read_count(root_fd, address, &before);
        if (r >= 0)
                r = set_count(root_fd, address, before, count);
        if (r >= 0)
                return 0;

        if (read_count(root_fd, address, &now) >= 0 && now != before &&
            set_count(root_fd, address, now, (unsigned) before) < 0) {
                _cleanup_error_ Error what = ERROR_INIT;

                (void) fail(address, count, r, &what);
                return error_set(error, what.code, "%s; nor could the %u of before be restored", what.message,
                                 (unsigned) before);
        }
        return fail(address, count, r, error);
}
