/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the journal keeps of a claimed function is how to restore it. Once it is gone there is nothing to restore:
 * what is plugged in there next, be it the same card, begins anew, on the driver that the kernel chooses. Two
 * records stay: of a helper that still works on the function, which is looked at when it ends, and of a
 * quarantine, since a device that falls off the bus and returns is no better for it. One that cannot be understood
 * stays too, for somebody who can.
 *
 * What sysfs has at the address of a record, and what becomes of the record:
 *
 *   nothing                                        The device is gone: the record is dropped.
 *   a function that cannot be read at the moment   It may be the device: the record stays.
 *   the same IDs, and a serial number is unknown   It is taken for the device, and the record applies. So it is
 *   (on vfio-pci, while a driver probes, none)     while a controller is "connecting" and says "(efault)".
 *   the same IDs and serial number                 It is the device, and the record applies.
 *   other IDs, or another serial number from a     It is another device, for certain. Where vmkitd has seen the
 *   live controller                                change, the old one is gone, and its record with it.
 *                                                  Elsewhere the record lies there until something claims the
 *                                                  new device, that is gone too, or the next boot. It never
 *                                                  applies to the new one (claim_is_about()). */

#include "base/log.h"
#include "host/sysfs.h"
#include "manager.h"
#include "vanished.h"

/* sysfs has a function there, but the inventory does not: it could not be read. */
static bool is_there_unread(const Manager *m, const PciAddress *address) {
        return !devices_find(m, address) && path_exists_at(m->root_fd, SYSFS_PCI_PATH(address));
}

void vanished_drop_record(Manager *m, const PciAddress *address) {
        _cleanup_(claim_freep) Claim *claim = NULL;
        int r;

        if (is_there_unread(m, address))
                return;
        r = claim_read(m->claims_fd, address, &claim);
        if (r < 0 || claim->state == CLAIM_QUARANTINED || claim_helper_is_alive(claim))
                return;

        r = claim_remove(m->claims_fd, address);
        if (r < 0)
                log_errno(r, "Could not drop the record of %s, which is gone", PCI_ADDRESS_TEXT(address));
        else
                log_notice("%s is gone: nothing is to be restored, its record is dropped",
                           PCI_ADDRESS_TEXT(address));
}

void device_vanished(const Device *d) {
        const char *text = PCI_ADDRESS_TEXT(&d->pci->address);

        if (is_there_unread(d->manager, &d->pci->address)) {
                log_warning("%s is there, but cannot be read", text);
                return;
        }
        if (d->lease)
                log_warning("%s was taken away while the VM %s had it", text, d->lease->spec->name);
        if (d->n_transfers == 0)
                vanished_drop_record(d->manager, &d->pci->address);
}
