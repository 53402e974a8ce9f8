/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "helper-health.h"
#include "helper-release.h"
#include "helper-reserve.h"
#include "host/console.h"
#include "host/health.h"

/* How long QEMU may take to close its descriptors after libvirt said that it ended. */
#define VFIO_IDLE_USEC (30 * USEC_PER_SEC)

int restore_function(Transaction *t, Function *f, Error *error) {
        _cleanup_error_ Error own = ERROR_INIT;
        int r;

        r = binding_restore(ROOT_FD, &f->device->address, &f->claim->original, &own);
        /* Some kernels say that it is bound before the driver has made sure that it works. */
        if (r >= 0 && nvme_wait_for_driver(ROOT_FD, &f->device->address, DRIVER_SETUP_USEC) == NVME_AT_WORK)
                log_warning("%s is back, but its driver is still at work on it",
                            PCI_ADDRESS_TEXT(&f->device->address));
        if (r >= 0 && console_take_back(ROOT_FD, &f->claim->original) < 0)
                log_warning("%s is back, but the virtual console is not on it again",
                            PCI_ADDRESS_TEXT(&f->device->address));
        if (r >= 0)
                r = health_check(ROOT_FD, f->device, &own);
        if (r < 0) {
                t->hopeless |= t->clearing;
                quarantine(t, f, own.message);
                error_move(error, &own);
                return r;
        }
        if (f->illness) {
                quarantine(t, f, f->illness);
                return 0;
        }

        r = claim_remove(CLAIMS_FD, &f->device->address);
        if (r < 0)
                return error_set_errno(error, r, "Could not remove the claim record of %s",
                                       PCI_ADDRESS_TEXT(&f->device->address));
        return FAULT(RELEASE_REMOVED, error);
}

/* What was proved idle stays so until this process ends: the group is held through reset and unbind. */
static int wait_until_idle(Transaction *t, Error *error) {
        for (size_t i = 0; i < t->n_functions; i++) {
                const PciDevice *device = t->functions[i].device;
                int r = 0;

                if (is_on_vfio(device))
                        r = vfio_groups_wait(ROOT_FD, device, VFIO_IDLE_USEC, &t->groups);
                if (r < 0)
                        return error_set(error, ERROR_BUSY, "%s is still open in a VFIO user: %s",
                                         PCI_ADDRESS_TEXT(&device->address), strerror(-r));
        }
        return 0;
}

/* Also where it was half-way: it is for the next vmkitd to see that. */
static int leave_as_it_was(Function *f, ClaimState before) {
        if (claim_record(f->claim, before, false) < 0)
                log_error("Could not give the claim record of %s back", PCI_ADDRESS_TEXT(&f->device->address));
        f->claim = claim_free(f->claim);
        return -error_code_errno(ERROR_INTERRUPTED);
}

/* All are marked before the first is waited for: whoever starts meanwhile sees that they are on their way. */
static int mark(Transaction *t, ClaimState state, Error *error) {
        bool first = true;

        for (size_t i = 0; i < t->n_functions; i++) {
                Function *f = &t->functions[i];
                int r;

                r = claim_read(CLAIMS_FD, &f->device->address, &f->claim);
                if (r >= 0 && !claim_is_about(f->claim, t->boot_id, f->device)) {
                        f->claim = claim_free(f->claim);
                        continue;
                }
                if (r == -ENOENT)
                        continue;
                if (r >= 0 && f->claim->state == CLAIM_QUARANTINED)
                        return refuse_quarantined(f, error);
                ClaimState before = r >= 0 ? f->claim->state : state;
                if (r >= 0)
                        r = claim_record(f->claim, state, true);
                if (r < 0)
                        return error_set_errno(error, r, "Could not update the claim record of %s",
                                               PCI_ADDRESS_TEXT(&f->device->address));
                if (first && check_wanted(t, error) < 0)
                        return leave_as_it_was(f, before);
                first = false;
                r = FAULT(RELEASE_JOURNALED, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void mark_bound(Transaction *t) {
        for (size_t i = 0; i < t->n_functions; i++)
                if (t->functions[i].claim && claim_set_state(t->functions[i].claim, CLAIM_BOUND) < 0)
                        log_error("Could not update the claim record of %s",
                                  PCI_ADDRESS_TEXT(&t->functions[i].device->address));
}

/* On vfio-pci nobody but a guest can do harm with it, and nobody gets it from there any more. */
static void quarantine_all(Transaction *t) {
        for (size_t i = 0; i < t->n_functions; i++)
                if (t->functions[i].claim)
                        quarantine(t, &t->functions[i], t->functions[i].illness);
}

/* Until QEMU has let go, and through the reset that follows. */
static int take_back(Transaction *t, ClaimState state, Error *error) {
        int r = mark(t, state, error);

        if (r >= 0)
                r = wait_until_idle(t, error);
        if (r >= 0)
                r = FAULT(RELEASE_SETTLED, error);
        if (r >= 0)
                r = reset_taken_back(t, error);
        if (r >= 0)
                r = FAULT(RELEASE_RESET, error);
        if (r < 0 && t->n_functions > 0 && t->functions[0].illness)
                quarantine_all(t);
        else if (r < 0)
                mark_bound(t);
        return r;
}

int settle_unit(Transaction *t, Error *error) {
        int r = take_back(t, CLAIM_BOUND, error);

        if (r >= 0)
                mark_bound(t);
        return r;
}

/* What is reserved goes back to nobody: vfio-pci is where it belongs. */
static int return_function(Transaction *t, Function *f, Error *error) {
        int r;

        if (!is_on_vfio(f->device) || !device_is_held_for_good(ROOT_FD, f->device))
                return restore_function(t, f, error);

        r = claim_set_vm(f->claim, NULL);
        if (r >= 0)
                r = claim_set_state(f->claim, CLAIM_BOUND);
        if (r < 0)
                return error_set_errno(error, r, "Could not update the claim record of %s",
                                       PCI_ADDRESS_TEXT(&f->device->address));
        return 0;
}

int release_unit(Transaction *t, Error *error) {
        int r = take_back(t, CLAIM_RELEASING, error);

        if (r < 0)
                return r;

        /* One that does not come back must not keep the others away: all are tried. */
        for (size_t i = t->n_functions; i-- > 0;) {
                int k = t->functions[i].claim ? return_function(t, &t->functions[i], error) : 0;
                if (k < 0)
                        r = k;
        }
        return r;
}
