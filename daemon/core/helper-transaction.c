/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/strv.h"
#include "helper-transaction.h"

void transaction_clear(Transaction *t) {
        for (size_t i = 0; i < t->n_functions; i++) {
                disk_locks_release(&t->functions[i].locks);
                claim_free(t->functions[i].claim);
                free(t->functions[i].previous_vm);
                free(t->functions[i].illness);
        }
        free(t->functions);
        vfio_groups_release(&t->groups);
        strv_free(t->allow);
        free(t->boot_id);
        inventory_free(t->inventory);
}

static int read_strings(struct json_object *request, const char *key, char ***ret) {
        struct json_object *array = json_array(request, key);
        _cleanup_strv_ char **strings = NULL;

        for (size_t i = 0; array && i < json_object_array_length(array); i++) {
                const char *s = json_object_get_string(json_object_array_get_idx(array, i));
                int r = s ? strv_push(&strings, s) : -EBADMSG;
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(strings);
        return 0;
}

static int transaction_find_functions(Transaction *t, char *const *addresses, Error *error) {
        t->functions = calloc(strv_length(addresses) + 1, sizeof(Function));
        if (!t->functions)
                return -ENOMEM;

        STRV_FOREACH(s, addresses) {
                PciAddress address;

                if (pci_address_parse(*s, &address) < 0)
                        return error_set(error, ERROR_INVALID_ADDRESS, "'%s' is not a PCI address", *s);

                PciDevice *device = inventory_find(t->inventory, &address);
                if (!device && t->taking_back) {
                        log_warning("%s is gone", *s);
                        continue;
                }
                if (!device)
                        return error_set(error, ERROR_NO_SUCH_DEVICE, "There is no device at %s", *s);

                t->functions[t->n_functions++].device = device;
        }
        return 0;
}

/* What a drive says of itself, and what is on it, is known once its driver has set it up. One that is not live
 * by then is refused by name where it matters (usage-disk.c). */
static void wait_for_drivers(char *const *addresses, uint64_t usec) {
        uint64_t end = now_usec() + usec;

        STRV_FOREACH(s, addresses) {
                uint64_t now = now_usec();
                PciAddress address;

                if (pci_address_parse(*s, &address) >= 0)
                        (void) nvme_wait_for_driver(ROOT_FD, &address, now < end ? end - now : 0);
        }
}

int transaction_init(Transaction *t, struct json_object *request, Error *error) {
        _cleanup_strv_ char **addresses = NULL;
        int r;

        t->vm = json_string(request, "vm");
        t->daemon = (pid_t) json_number(request, "daemon", 0);
        t->count = (unsigned) json_number(request, "count", 0);

        r = read_strings(request, "functions", &addresses);
        if (r >= 0)
                r = read_strings(request, "allow", &t->allow);
        if (r >= 0)
                r = boot_id_read(&t->boot_id);
        if (r >= 0)
                wait_for_drivers(addresses, t->setup_usec);
        if (r >= 0)
                r = inventory_read(ROOT_FD, &t->inventory);
        if (r < 0)
                return error_set_errno(error, r, "Could not read the host's devices");

        return transaction_find_functions(t, addresses, error);
}

bool is_on_vfio(const PciDevice *device) {
        return streq_ptr(device->driver, VFIO_DRIVER);
}

/* --- the records ------------------------------------------------------------------------------------------ */

int claim_record(Claim *claim, ClaimState state, bool working) {
        claim->state = state;
        claim->helper = working ? getpid() : 0;
        claim->helper_start = 0;
        if (working)
                (void) process_start_time(claim->helper, &claim->helper_start);
        return claim_write(CLAIMS_FD, claim);
}

int claim_set_state(Claim *claim, ClaimState state) {
        return claim_record(claim, state, state == CLAIM_BINDING || state == CLAIM_RELEASING);
}

int claim_set_vm(Claim *claim, const char *vm) {
        char *copy = vm ? strdup(vm) : NULL;

        if (vm && !copy)
                return -ENOMEM;
        free(claim->vm);
        claim->vm = copy;
        return 0;
}

int check_wanted(const Transaction *t, Error *error) {
        if (getppid() == t->daemon)
                return 0;
        return error_set(error, ERROR_INTERRUPTED, "vmkitd ended before anything was moved");
}

int refuse_quarantined(Function *f, Error *error) {
        f->claim = claim_free(f->claim); /* is not ours to undo */
        return error_set(error, ERROR_QUARANTINED, "%s is quarantined",
                         PCI_ADDRESS_TEXT(&f->device->address));
}
