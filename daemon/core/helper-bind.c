/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "helper-bind.h"
#include "helper-health.h"
#include "helper-release.h"
#include "helper-reserve.h"
#include "host/console.h"

/* r: of the look that found the reasons. A controller that its driver has given up is what a reset is for. */
static int judge(const Transaction *t, const Function *f, int r, Reasons *reasons, Error *error) {
        if (r < 0)
                return error_set_errno(error, r, "Could not find out who uses %s",
                                       PCI_ADDRESS_TEXT(&f->device->address));

        if (t->by_hand)
                reasons_remove(reasons, REASON_WEDGED);
        const Reason *reason = reasons_blocking(reasons, t->allow);
        return reason ? reason_refuse(reason, &f->device->address, error) : 0;
}

static int check_idle(const Transaction *t, const Function *f, Error *error) {
        _cleanup_reasons_ Reasons reasons = {};
        int r;

        r = usage_inspect(ROOT_FD, t->inventory, f->device, &reasons);
        if (r >= 0)
                r = usage_inspect_deep(ROOT_FD, t->inventory, f->device, &reasons);
        return judge(t, f, r, &reasons, error);
}

/* Between the check and the unbind of this function the journal was written and others were moved: a disk that
 * appeared meanwhile is locked too, and whoever opened a node is seen. After this, nothing but a raw open in
 * the time until the unbind is left, and that one gets errors from the kernel. */
static int check_still_idle(const Transaction *t, Function *f, Error *error) {
        _cleanup_reasons_ Reasons reasons = {};
        size_t n_locked = f->locks.n;
        int r;

        r = disk_locks_acquire(ROOT_FD, f->device, &f->locks, error);
        if (r >= 0 && f->locks.n > n_locked)
                r = check_idle(t, f, error);
        if (r < 0)
                return r;

        r = usage_inspect_last(ROOT_FD, t->inventory, f->device, &reasons, &f->looked_at);
        return judge(t, f, r, &reasons, error);
}

/* On vfio-pci already: held for a stopped VM, or by somebody else, who may be using it. */
static int check_unopened(const Function *f, Error *error) {
        if (binding_wait_idle(ROOT_FD, f->device->iommu_group, 0) >= 0)
                return 0;
        return error_set(error, ERROR_DEVICE_IN_USE,
                         "%s cannot be taken: another user of VFIO, such as a VM that is not vmkit's, has its "
                         "IOMMU group open (%s)",
                         PCI_ADDRESS_TEXT(&f->device->address),
                         reason_code_to_string(REASON_OTHER_DOMAIN));
}

/* The locks come first and stay until the drives are off their driver: what was seen to be idle under them
 * cannot be mounted any more. */
static int lock_and_check(Transaction *t, Error *error) {
        for (size_t i = 0; i < t->n_functions; i++) {
                Function *f = &t->functions[i];
                int r;

                if (is_on_vfio(f->device)) {
                        r = check_unopened(f, error);
                        if (r < 0)
                                return r;
                        continue;
                }

                usage_wait_for_disks(ROOT_FD, f->device);

                /* What is known by name makes the better message, so it is looked at before the lock too. */
                r = check_idle(t, f, error);
                if (r >= 0)
                        r = disk_locks_acquire(ROOT_FD, f->device, &f->locks, error);
                if (r >= 0)
                        r = check_idle(t, f, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int claim_new(const Transaction *t, const PciDevice *device, Claim **ret) {
        _cleanup_(claim_freep) Claim *claim = calloc(1, sizeof(Claim));
        int r;

        if (!claim)
                return -ENOMEM;

        claim->used = true;
        claim->boot_id = strdup(t->boot_id);
        if (!claim->boot_id)
                return -ENOMEM;

        r = claim_set_device(claim, device);
        if (r >= 0)
                r = device_state_read(ROOT_FD, &device->address, &claim->original);
        if (r >= 0)
                r = reserved_original(ROOT_FD, device, &claim->original);
        if (r >= 0 && !is_on_vfio(device))
                r = console_find(ROOT_FD, device, &claim->original);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(claim);
        return 0;
}

/* What a record that cannot be read would restore is not known, unless it is restored already. */
static int replace_unreadable(const Function *f, Error *error) {
        int r;

        if (f->device->driver && !is_on_vfio(f->device))
                return -ENOENT;

        r = error_set(error, ERROR_BIND_FAILED,
                      "The claim record of %s cannot be read, so the driver it had is not known",
                      PCI_ADDRESS_TEXT(&f->device->address));
        error_set_remedy(error, "Clear its driver_override in sysfs, bind it to its driver by hand, or reboot; "
                         "then try again.");
        return r;
}

/* What is to end the quarantine is to end the record too; until it has, it stays ill for the old reason. */
static int take_from_quarantine(Function *f) {
        f->recorded = true;
        f->illness = strdup(str_na(f->claim->reason));
        return f->illness ? 0 : -ENOMEM;
}

/* A function that waits on vfio-pci has a record already, whose original state is the one to restore. */
static int find_record(const Transaction *t, Function *f, Error *error) {
        int r;

        r = claim_read(CLAIMS_FD, &f->device->address, &f->claim);
        if (r == -EBADMSG && t->clearing)
                r = replace_unreadable(f, error);
        if (r >= 0 && !claim_is_about(f->claim, t->boot_id, f->device)) {
                f->claim = claim_free(f->claim);
                r = -ENOENT;
        }
        if (r == -ENOENT) {
                f->recorded = true;
                return claim_new(t, f->device, &f->claim);
        }
        if (r < 0)
                return r;

        f->recorded = f->touched = !is_on_vfio(f->device); /* begun by a helper that came to no end */
        f->unfinished = f->claim->helper > 0;
        if (f->claim->state == CLAIM_QUARANTINED)
                return t->clearing ? take_from_quarantine(f) : refuse_quarantined(f, error);
        return 0;
}

static int journal_intent(Transaction *t, Function *f, Error *error) {
        int r;

        r = find_record(t, f, error);
        if (r >= 0 && !f->recorded && f->claim->vm) {
                f->previous_vm = strdup(f->claim->vm);
                r = f->previous_vm ? 0 : -ENOMEM;
        }
        if (r >= 0 && !t->by_hand)
                r = claim_set_vm(f->claim, t->vm);
        if (r >= 0)
                r = claim_record(f->claim, f->recorded ? CLAIM_BINDING : CLAIM_BOUND, true);
        if (r < 0)
                return error_set_errno(error, r, "Could not write the claim record of %s",
                                       PCI_ADDRESS_TEXT(&f->device->address));
        if (f == &t->functions[0])
                r = check_wanted(t, error);
        return r < 0 ? r : FAULT(BIND_JOURNALED, error);
}

typedef struct LastLook {
        const Transaction *transaction;
        Function *function;
} LastLook;

static int on_last_look(void *userdata, Error *error) {
        const LastLook *look = userdata;

        return check_still_idle(look->transaction, look->function, error);
}

static int bind_function(const Transaction *t, Function *f, Error *error) {
        LastLook look = { .transaction = t, .function = f };
        int r;

        f->touched = true;

        r = console_let_go(ROOT_FD, &f->claim->original, error);
        if (r < 0)
                return r;
        r = binding_to_vfio(ROOT_FD, &f->device->address, on_last_look, &look, error);
        if (r < 0)
                return r;
        f->window = f->looked_at > 0 ? now_usec() - f->looked_at : 0;

        /* The disks are gone with their driver; what is held now would only keep their names taken. */
        disk_locks_release(&f->locks);
        return 0;
}

/* One that was held for another VM, or by hand, is again. */
static void give_back_record(Function *f) {
        if (claim_set_vm(f->claim, f->previous_vm) < 0 || claim_set_state(f->claim, CLAIM_BOUND) < 0)
                log_error("Could not give the claim record of %s back",
                          PCI_ADDRESS_TEXT(&f->device->address));
}

/* What the guest may have left in it goes to no driver of the host before it has been reset. */
static bool stays_away(const Function *f) {
        return f->illness && is_on_vfio(f->device);
}

static int put_back(Transaction *t, Function *f, Error *error) {
        if (stays_away(f))
                quarantine(t, f, f->illness);
        else if (!f->recorded)
                give_back_record(f);
        else if (f->touched || f->illness)
                return restore_function(t, f, error);
        else
                (void) claim_remove(CLAIMS_FD, &f->device->address);
        return 0;
}

/* Whoever finds the records after a crash of the undo sees that none of the unit was to stay. */
static void mark_undoing(Transaction *t) {
        for (size_t i = 0; i < t->n_functions; i++) {
                Function *f = &t->functions[i];

                if (f->claim && f->recorded && f->claim->state == CLAIM_BOUND)
                        (void) claim_set_state(f->claim, CLAIM_RELEASING);
        }
}

/* All are tried, the last one first. */
static int undo_bind(Transaction *t, Error *error) {
        int r = 0;

        mark_undoing(t);
        for (size_t i = t->n_functions; i-- > 0;) {
                Function *f = &t->functions[i];
                int k;

                disk_locks_release(&f->locks);
                k = f->claim ? put_back(t, f, error) : 0;
                if (k < 0)
                        r = k;
        }
        return r;
}

static int bind_all(Transaction *t, Error *error) {
        int r;

        r = lock_and_check(t, error);
        if (r >= 0)
                r = FAULT(BIND_CHECKED, error);
        for (size_t i = 0; r >= 0 && i < t->n_functions; i++)
                r = journal_intent(t, &t->functions[i], error);
        for (size_t i = 0; r >= 0 && i < t->n_functions; i++)
                r = bind_function(t, &t->functions[i], error);
        if (r >= 0)
                r = reset_taken(t, error);
        if (r >= 0)
                r = FAULT(BIND_RESET, error);
        /* By hand it is all on its way back at once. */
        for (size_t i = 0; r >= 0 && !t->by_hand && i < t->n_functions; i++) {
                t->functions[i].claim->used = true;
                r = claim_set_state(t->functions[i].claim, CLAIM_BOUND);
                if (r < 0)
                        (void) error_set_errno(error, r, "Could not write a claim record");
                else
                        r = FAULT(BIND_RECORDED, error);
        }
        return r;
}

int bind_unit(Transaction *t, Error *error) {
        _cleanup_error_ Error undo_error = ERROR_INIT;
        int r = bind_all(t, error);

        if (r < 0 && undo_bind(t, &undo_error) < 0)
                log_error("Undo: %s", str_na(undo_error.message));
        return r;
}

/* Under its driver a device is not reset: not every driver survives that. Taken off it is proven idle too. */
int reset_unit(Transaction *t, Error *error) {
        int r, k;

        t->by_hand = true;
        r = bind_all(t, error);
        k = undo_bind(t, error);
        return r < 0 ? r : k;
}
