/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reservations: which units are held on vfio-pci from boot on. One file per unit in reserved.d, named after
 * its first function and replaced in one rename, in a form that needs nothing but libc to read: the same
 * file is copied into the initramfs. */

#include "pci-identity.h"
#include "paths.h"
#include "pci.h"

/* Below the root directory. */
#define RESERVED_DIRECTORY (&(VMKIT_CONFIG_DIR "/reserved.d")[1])

typedef struct ReservedFunction {
        PciIdentity id;
        char *serial;   /* of an NVMe controller, which only its driver can tell; NULL: unknown */
        char *driver;   /* the host's, to go back to; NULL: none */
        bool alone;     /* disks of the host may be behind one of its model: not held before a driver can tell
                         * them apart, unless there is no other, or the PCI serial number does */
} ReservedFunction;

typedef struct Reservation {
        ReservedFunction *functions; /* ordered by address, at least one */
        size_t n;
        char **allow;                /* overridable codes that were consented to */
} Reservation;

typedef struct Reservations {
        Reservation **items;
        size_t n;
} Reservations;

Reservation *reservation_free(Reservation *reservation);
DEFINE_CLEANUP(Reservation *, reservation_free);
void reservations_clear(Reservations *reservations);
#define _cleanup_reservations_ _cleanup_(reservations_clear)

ReservedFunction *reservation_add(Reservation *reservation); /* NULL: no memory */
const PciAddress *reservation_address(const Reservation *reservation);
const ReservedFunction *reservation_find(const Reservation *reservation, const PciAddress *address);

/* -EBADMSG: it cannot be understood. A file of a later version is not understood on purpose. */
int reservation_parse(const char *text, Reservation **ret);
int reservation_format(const Reservation *reservation, char **ret);

/* All of them. No directory: none. A file that cannot be understood holds nothing; its name goes to ret_bad,
 * which may be NULL. */
int reservations_read(int root_fd, Reservations *ret, char ***ret_bad);

/* Durable when they return. The last one takes the directory along, whose presence is what makes udev ask. */
int reservation_write(int root_fd, const Reservation *reservation);
int reservation_remove(int root_fd, const PciAddress *address);

/* Whether the record is about the function that sits there: place and model, and serials where both are
 * known. */
bool reserved_function_is(const ReservedFunction *f, const PciDevice *device);

/* The record about this very function; NULL: none. Borrowed. */
const ReservedFunction *reservations_find(const Reservations *reservations, const PciDevice *device,
                                          const Reservation **ret_reservation);

/* "vmkit.reserve=0" on the kernel's command line: nothing is held at this boot. */
bool reservations_are_switched_off(int root_fd);
