/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An exclusive open of a whole disk is the kernel's own claim on it: it fails while a file system,
 * swap, md, dm or ZFS has the disk or a partition, and none of them can begin while it is held. */

#include <fcntl.h>
#include <sys/stat.h>

#include "base/parse.h"
#include "base/strv.h"
#include "sysfs.h"
#include "usage-kinds.h"

#define BUSY_STEP_USEC (100 * USEC_PER_MSEC)
#define BUSY_STEPS 20

#define APPEAR_STEP_USEC (20 * USEC_PER_MSEC)
#define APPEAR_STEPS 50

static int open_once(int root_fd, const char *disk) {
        _cleanup_close_ int fd = openat(root_fd, PATH_TEXT("dev/%s", disk),
                                        O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        struct stat st;
        dev_t number;
        int r;

        if (fd < 0)
                return -errno;

        /* A node of that name is not yet the disk of that name. */
        r = read_device_number_at(root_fd, PATH_TEXT("sys/block/%s/dev", disk), &number);
        if (r < 0)
                return r;
        if (fstat(fd, &st) < 0)
                return -errno;
        return S_ISBLK(st.st_mode) && st.st_rdev == number ? TAKE_FD(fd) : -ENOTBLK;
}

int usage_open_exclusive(int root_fd, const char *disk) {
        int fd;

        for (unsigned i = 0; (fd = open_once(root_fd, disk)) == -EBUSY && i < BUSY_STEPS; i++)
                (void) usleep(BUSY_STEP_USEC);
        return fd;
}

bool usage_disk_is_open_here(int root_fd, const char *disk) {
        _cleanup_strv_ char **fds = NULL;
        struct stat st;
        uint64_t fd;
        dev_t number;

        if (read_device_number_at(root_fd, PATH_TEXT("sys/block/%s/dev", disk), &number) < 0 ||
            list_dir_at(root_fd, "proc/self/fd", &fds) < 0)
                return false;

        STRV_FOREACH(name, fds)
                if (parse_uint(*name, 10, INT32_MAX, &fd) >= 0 && fstat((int) fd, &st) >= 0 &&
                    S_ISBLK(st.st_mode) && st.st_rdev == number)
                        return true;
        return false;
}

static int find_holder(int root_fd, const PciDevice *device, const char *disk, Reasons *reasons) {
        _cleanup_host_use_ HostUse use = {};
        int r;

        r = host_use_read(root_fd, &use);
        if (r >= 0)
                r = usage_add_disk(root_fd, &use, disk, reasons);
        if (r >= 0 && reasons->n == 0)
                r = usage_add_processes(root_fd, device, reasons);
        if (r >= 0 && reasons->n == 0)
                r = usage_add_unknown_holder(root_fd, disk, reasons);
        return r;
}

static int report_busy(int root_fd, const PciDevice *device, const char *disk, Error *error) {
        _cleanup_reasons_ Reasons reasons = {};

        (void) find_holder(root_fd, device, disk, &reasons);
        return error_set(error, ERROR_DEVICE_IN_USE, "%s cannot be taken: %s",
                         PCI_ADDRESS_TEXT(&device->address),
                         reasons.n > 0 ? reasons.items[0].detail : "its disk is in use");
}

static int lock_disk(int root_fd, const PciDevice *device, const char *disk, DiskLocks *locks,
                     Error *error) {
        int *grown;

        if (usage_disk_is_open_here(root_fd, disk))
                return 0; /* locked before: an exclusive open excludes a second one of its own */

        grown = reallocarray(locks->fds, locks->n + 1, sizeof(int));
        if (!grown)
                return error_set_errno(error, -ENOMEM, "Could not lock /dev/%s", disk);
        locks->fds = grown;

        int fd = usage_open_exclusive(root_fd, disk);
        if (fd == -ENOMEDIUM)
                return 0;
        if (fd == -EBUSY)
                return report_busy(root_fd, device, disk, error);
        if (fd < 0)
                return error_set(error, ERROR_BIND_FAILED,
                                 "%s cannot be taken: /dev/%s could not be opened exclusively: %s",
                                 PCI_ADDRESS_TEXT(&device->address), disk, strerror(-fd));

        locks->fds[locks->n++] = fd;
        return 0;
}

void usage_wait_for_disks(int root_fd, const PciDevice *device) {
        for (unsigned i = 0; i < APPEAR_STEPS; i++) {
                _cleanup_strv_ char **disks = NULL;

                if (device->kind != KIND_NVME || !streq_ptr(device->driver, "nvme") ||
                    usage_disks(root_fd, device, &disks) < 0 || disks)
                        return;
                (void) usleep(APPEAR_STEP_USEC);
        }
}

int disk_locks_acquire(int root_fd, const PciDevice *device, DiskLocks *locks, Error *error) {
        _cleanup_strv_ char **disks = NULL;
        size_t n_before = locks->n;
        int r;

        r = usage_disks(root_fd, device, &disks);
        if (r < 0)
                return error_set_errno(error, r, "Could not list the disks of %s",
                                       PCI_ADDRESS_TEXT(&device->address));

        STRV_FOREACH(disk, disks) {
                r = lock_disk(root_fd, device, *disk, locks, error);
                if (r < 0)
                        break;
        }

        while (r < 0 && locks->n > n_before)
                (void) close_fd(locks->fds[--locks->n]);
        return r < 0 ? r : 0;
}

void disk_locks_release(DiskLocks *locks) {
        for (size_t i = 0; i < locks->n; i++)
                (void) close_fd(locks->fds[i]);
        free(locks->fds);
        *locks = (DiskLocks) {};
}
