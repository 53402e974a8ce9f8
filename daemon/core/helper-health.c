/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/log.h"
#include "helper-health.h"
#include "host/health.h"
#include "host/reset.h"

void quarantine(const Transaction *t, Function *f, const char *why) {
        char *reason = strdup(str_na(why));

        free(f->claim->reason);
        f->claim->reason = reason;
        f->claim->needs_reboot |= t->hopeless;
        if (claim_set_state(f->claim, CLAIM_QUARANTINED) < 0)
                log_error("Could not record that %s is quarantined: %s",
                          PCI_ADDRESS_TEXT(&f->device->address), str_na(why));
}

/* Functions that are reset together are ill together. */
static void fall_ill(Transaction *t, Error *error) {
        for (size_t i = 0; i < t->n_functions; i++) {
                Function *f = &t->functions[i];

                free(f->illness);
                f->illness = strdup(str_na(error->message));
        }

        t->hopeless = t->clearing;
        if (t->hopeless)
                error_set_remedy(error, "Shut the host down, switch it off and on, and start it again: a reboot "
                                 "alone is often not enough. The quarantine ends with it.");
        else
                error_set_remedy(error, "The device is quarantined: 'vmkitctl clear-quarantine %s' tries once "
                                 "more. If that fails too, shut the host down and switch it off and on.",
                                 PCI_ADDRESS_TEXT(&t->functions[0].device->address));
}

static void recover(Transaction *t) {
        for (size_t i = 0; i < t->n_functions; i++) {
                Function *f = &t->functions[i];

                free(f->illness);
                f->illness = NULL;
                if (f->claim)
                        f->claim->used = false;
        }
}

/* For one that does not answer already, the kernel would wait minutes to see whether a reset brings it back. */
static int reset_devices(Transaction *t, PciDevice *const *devices, size_t n, Error *error) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++)
                r = health_check(ROOT_FD, devices[i], error);
        if (r >= 0)
                r = reset_functions(ROOT_FD, devices, n, &t->groups, error);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = health_check_powered(ROOT_FD, devices[i], error);
        if (r >= 0)
                recover(t);
        else if (error->code == ERROR_RESET_FAILED)
                fall_ill(t, error);
        return r;
}

int reset_taken(Transaction *t, Error *error) {
        _cleanup_free_ PciDevice **devices = calloc(t->n_functions + 1, sizeof(PciDevice *));
        size_t n = 0;
        int r = 0;

        if (!devices)
                return -ENOMEM;

        for (size_t i = 0; r >= 0 && i < t->n_functions; i++) {
                const Function *f = &t->functions[i];

                if (!is_on_vfio(f->device) || f->claim->used || t->by_hand || f->unfinished)
                        devices[n++] = t->functions[i].device;
                else
                        r = health_check_powered(ROOT_FD, f->device, error);
        }
        if (r < 0 && error->code == ERROR_RESET_FAILED)
                fall_ill(t, error);
        return r < 0 ? r : reset_devices(t, devices, n, error);
}

int reset_taken_back(Transaction *t, Error *error) {
        _cleanup_free_ PciDevice **devices = calloc(t->n_functions + 1, sizeof(PciDevice *));
        size_t n = 0;

        if (!devices)
                return -ENOMEM;

        for (size_t i = 0; i < t->n_functions; i++)
                if (is_on_vfio(t->functions[i].device))
                        devices[n++] = t->functions[i].device;
        return n == t->n_functions ? reset_devices(t, devices, n, error) : 0;
}
