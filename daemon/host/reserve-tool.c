/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmkit-reserve [--root DIR] [ADDRESS]: holds what is reserved, before its driver could bind.
 *
 * Without an address, all of it: from vmkit-reserve.service, before anything loads a module. With one, from
 * udev's rule for that function. udev works on many devices at once, and the first that loads a driver makes
 * it bind everywhere: so whoever comes first holds all that is reserved, and the others wait for that.
 *
 * Prints "load" when vfio-pci is needed and not there. What is held, and what is not and why, goes into the
 * kernel's log. */

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "early.h"
#include "base/io.h"

static void tell(int root_fd, const PciAddress *address, EarlyVerdict verdict) {
        _cleanup_close_ int fd = openat(root_fd, "dev/kmsg", O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
        char line[256];

        /* One write(2) is one message; dprintf(3) wants to seek, which this device does not allow. */
        snprintf(line, sizeof(line), "<5>vmkit-reserve: %s: %s\n", PCI_ADDRESS_TEXT(address),
                 early_verdict_to_string(verdict));
        if (fd >= 0)
                (void) write_all(fd, line, strlen(line));
}

static bool is_noted(int root_fd, const Reservation *reservation) {
        _cleanup_free_ char *driver = NULL;

        return early_record_find(root_fd, reservation_address(reservation), &driver) >= 0;
}

static void note(int record_fd, const Reservation *reservation) {
        for (size_t i = 0; record_fd >= 0 && i < reservation->n; i++) {
                const ReservedFunction *f = &reservation->functions[i];

                (void) dprintf(record_fd, "%s %s\n", PCI_ADDRESS_TEXT(&f->id.address),
                               f->driver ? f->driver : "");
        }
}

/* quiet: what is not held has been told before. */
static bool consider(int root_fd, int record_fd, const Reservation *reservation, bool quiet) {
        const ReservedFunction *f;
        EarlyVerdict verdict = early_judge_unit(root_fd, reservation, &f);

        if (verdict == EARLY_HELD)
                return false;
        if (verdict != EARLY_HOLD) {
                if (!quiet)
                        tell(root_fd, &f->id.address, verdict);
                return false;
        }

        /* Written first: what is done must be known to whoever undoes it. Until vfio-pci is there it is done
         * again for each of its events, and told once. */
        if (!is_noted(root_fd, reservation)) {
                note(record_fd, reservation);
                tell(root_fd, reservation_address(reservation), verdict);
        }
        return early_hold(root_fd, reservation) >= 0;
}

static bool consider_all(int root_fd, int record_fd, const Reservations *reservations,
                         const PciAddress *only) {
        bool held = false;

        for (size_t i = 0; i < reservations->n; i++)
                if (!only || reservation_find(reservations->items[i], only))
                        held |= consider(root_fd, record_fd, reservations->items[i], only);
        return held;
}

/* Returns a descriptor that holds the lock. */
static int open_record(int root_fd) {
        int fd = openat(root_fd, EARLY_RECORD, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

        if (fd >= 0)
                (void) flock(fd, LOCK_EX);
        return fd;
}

static bool is_first_run(int record_fd) {
        struct stat st;

        return record_fd < 0 || fstat(record_fd, &st) < 0 || st.st_size == 0;
}

static int hold(int root_fd, const PciAddress *address) {
        _cleanup_reservations_ Reservations reservations = {};
        _cleanup_close_ int record_fd = -EBADF;
        int r;

        r = reservations_read(root_fd, &reservations, NULL);
        if (r < 0)
                return r;

        record_fd = open_record(root_fd);
        bool first = is_first_run(record_fd);
        if (first && record_fd >= 0)
                (void) dprintf(record_fd, "# held on vfio-pci since early in this boot\n");
        bool held = consider_all(root_fd, record_fd, &reservations, first ? NULL : address);

        if (held && !early_vfio_is_loaded(root_fd))
                puts("load");
        return 0;
}

int main(int argc, char *argv[]) {
        _cleanup_close_ int root_fd = -EBADF;
        const char *root = "/";
        PciAddress address;
        int r;

        if (argc > 2 && streq(argv[1], "--root")) {
                root = argv[2];
                argc -= 2;
                argv += 2;
        }
        if (argc > 2 || (argc == 2 && pci_address_parse(argv[1], &address) < 0)) {
                fprintf(stderr, "usage: vmkit-reserve [--root DIR] [ADDRESS]\n");
                return 2;
        }

        root_fd = open_dir_at(AT_FDCWD, root);
        if (root_fd >= 0 && reservations_are_switched_off(root_fd))
                return EXIT_SUCCESS;
        r = root_fd < 0 ? root_fd : hold(root_fd, argc == 2 ? &address : NULL);
        if (r < 0)
                fprintf(stderr, "vmkit-reserve: %s\n", strerror(-r));
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
