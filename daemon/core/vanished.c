/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the journal keeps of a claimed function is how to restore it. Once it is gone there is nothing to restore:
 * what is plugged in there next, be it the same card, begins anew, on the driver that the kernel chooses. Two
 * records stay: of a helper that still works on the function, which is looked at when it ends, and of a
 * quarantine, since a device that falls off the bus and returns is no better for it. One that cannot be understood
 * stays too, for somebody who can. */

#include "base/log.h"
#include "manager.h"
#include "vanished.h"

void vanished_drop_record(Manager *m, const PciAddress *address) {
        _cleanup_(claim_freep) Claim *claim = NULL;
        int r;

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
        if (d->lease)
                log_warning("%s was taken away while the VM %s had it", PCI_ADDRESS_TEXT(&d->pci->address),
                            d->lease->spec->name);
        if (d->n_transfers == 0)
                vanished_drop_record(d->manager, &d->pci->address);
}
