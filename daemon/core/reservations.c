/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/log.h"
#include "base/strv.h"
#include "manager.h"
#include "observer.h"
#include "reservations.h"

#define REMOVE_RECORD "'vmkitctl unreserve %s', or remove /%s/%s."

const Reservation *device_reservation(const Device *d) {
        const Reservation *reservation = NULL;

        (void) reservations_find(&d->manager->reservations, d->pci, &reservation);
        return reservation;
}

bool device_is_reserved(const Device *d) {
        return device_reservation(d);
}

const Reservation *device_reservation_by_address(const Device *d) {
        const Reservations *all = &d->manager->reservations;

        for (size_t i = 0; i < all->n; i++)
                if (reservation_find(all->items[i], &d->pci->address))
                        return all->items[i];
        return NULL;
}

static void tell_differences(Manager *m, const Reservations *before) {
        for (size_t i = 0; i < devices_count(m); i++) {
                Device *d = m->devices.items[i];

                if (!reservations_find(before, d->pci, NULL) != !device_is_reserved(d))
                        observer_device_changed(d);
        }
}

void manager_read_reservations(Manager *m) {
        _cleanup_reservations_ Reservations before = m->reservations;
        _cleanup_strv_ char **bad = NULL;
        int r;

        m->reservations = (Reservations) {};
        r = reservations_read(m->root_fd, &m->reservations, &bad);
        if (r < 0)
                log_errno(r, "Could not read the reservations; no device counts as reserved");
        STRV_FOREACH(name, bad)
                log_warning("The reservation %s cannot be understood; it holds nothing", *name);
        tell_differences(m, &before);
}

/* --- check ----------------------------------------------------------------------------------------------- */

static bool is_in_place(const Manager *m, const Reservation *reservation) {
        for (size_t i = 0; i < reservation->n; i++) {
                const Device *d = devices_find(m, &reservation->functions[i].id.address);

                if (!d || !reserved_function_is(&reservation->functions[i], d->pci))
                        return false;
        }
        return true;
}

static int add_misplaced(const Manager *m, HostChecks *checks, size_t *n_misplaced) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < m->reservations.n; i++) {
                const Reservation *reservation = m->reservations.items[i];
                char address[PCI_ADDRESS_TEXT_MAX], remedy[256];

                if (is_in_place(m, reservation))
                        continue;
                pci_address_format(reservation_address(reservation), address);
                snprintf(remedy, sizeof(remedy), "If it is not coming back: " REMOVE_RECORD, address,
                         RESERVED_DIRECTORY, address);
                r = host_checks_add(checks, "reserved-devices", CHECK_WARN, remedy,
                                    "The device that was reserved at %s is not there: it is held by nothing",
                                    address);
                (*n_misplaced)++;
        }
        return r;
}

/* Made before the last change of the reservations; false also where there is none to compare. */
static bool initramfs_is_older(const Manager *m) {
        static const struct {
                const char *prefix, *suffix;
        } names[] = { { "boot/initrd.img-", "" }, { "boot/initramfs-", ".img" } };
        struct stat reserved, image;
        struct utsname kernel;

        if (uname(&kernel) < 0 || fstatat(m->root_fd, RESERVED_DIRECTORY, &reserved, 0) < 0)
                return false;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s%s%s", names[i].prefix, kernel.release, names[i].suffix) < 0) {
                        path = NULL;
                        return false;
                }
                if (fstatat(m->root_fd, path, &image, 0) >= 0)
                        return image.st_mtim.tv_sec < reserved.st_mtim.tv_sec;
        }
        return false;
}

static int add_initramfs(const Manager *m, HostChecks *checks) {
        if (!initramfs_is_older(m))
                return 0;
        return host_checks_add(checks, "reserved-initramfs", CHECK_WARN,
                               "'update-initramfs -u' (initramfs-tools) or 'dracut --force' makes it anew.",
                               "The initramfs is older than the last reservation: a driver that is loaded in "
                               "it may bind a reserved device, until vmkitd takes it");
}

int reservations_add_checks(const Manager *m, HostChecks *checks) {
        size_t n_misplaced = 0;
        int r;

        if (m->reservations.n == 0)
                return 0;
        if (reservations_are_switched_off(m->root_fd))
                return host_checks_add(checks, "reserved-devices", CHECK_WARN,
                                       "Boot without 'vmkit.reserve=0' to have them held again.",
                                       "Reserved devices are not held: the kernel command line says so");

        r = add_misplaced(m, checks, &n_misplaced);
        if (r >= 0 && n_misplaced == 0)
                r = host_checks_add(checks, "reserved-devices", CHECK_OK, NULL,
                                    "%zu reservation%s: each device is where it was", m->reservations.n,
                                    m->reservations.n == 1 ? "" : "s");
        return r < 0 ? r : add_initramfs(m, checks);
}
