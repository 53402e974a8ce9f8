/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmkit-device: moves the functions of one unit, as one transaction, in a process of its own, so that a
 * driver that never lets go holds up this process and nothing else.
 *
 *   vmkit-device bind      prove idle, journal, move to vfio-pci, reset, verify; undone on any failure
 *   vmkit-device release   wait until VFIO is idle, reset, move back, verify, drop the records
 *   vmkit-device settle    only wait until VFIO is idle (QEMU has let go), and reset
 *   vmkit-device inspect   report who uses each function, looked at closely
 *   vmkit-device reset     bind, reset, and put all back to where it was
 *   vmkit-device clear     the same with functions in quarantine, and those go back to the host
 *   vmkit-device set-vfs   set the number of virtual functions of the first function
 *
 * What does not come through its reset, or does not answer afterwards, is quarantined: see fall_ill().
 *
 * The request on standard input: {"functions": [address…], "vm": uuid, "allow": [code…],
 * "count": number}. Descriptor 3 is the root directory, descriptor 4 the journal's. */

#include "base/child.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "base/strv.h"
#include "claim.h"
#include "helper-reserve.h"
#include "host/binding.h"
#include "host/console.h"
#include "host/health.h"
#include "host/reset.h"
#include "host/usage.h"
#include "vfs-helper.h"

#define ROOT_FD 3
#define CLAIMS_FD 4

/* How long QEMU may take to close its descriptors after libvirt said that it ended. */
#define VFIO_IDLE_USEC (30 * USEC_PER_SEC)

typedef struct Function {
        PciDevice *device;      /* of the inventory */
        Claim *claim;
        bool recorded;          /* undo ends the claim: it began with this transaction */
        char *previous_vm;      /* of a record that was there before */
        bool touched;           /* this transaction wrote to sysfs */
        bool unfinished;        /* on vfio-pci, and who was at it last died before its reset or in it */
        char *illness;          /* why it is to be quarantined; NULL: it is not */
        DiskLocks locks;
        uint64_t looked_at;     /* when the last look at its users began; µs, monotonic; 0: never */
        uint64_t window;        /* from there until it was on vfio-pci */
} Function;

typedef struct Transaction {
        Inventory *inventory;
        Function *functions;
        size_t n_functions;
        const char *vm;
        char **allow;
        char *boot_id;
        VfioGroups groups;      /* held, so that nobody else opens them */
        bool taking_back;       /* what is gone by now cannot be, and is no reason to leave the rest */
        unsigned count;         /* of virtual functions */
        bool by_hand;           /* resets what waits on vfio-pci too, and leaves it to whose it is */
        bool clearing;          /* a quarantine is to end … */
        bool hopeless;          /* … and cannot be ended */
} Transaction;

static void transaction_clear(Transaction *t) {
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

static int transaction_init(Transaction *t, struct json_object *request, Error *error) {
        _cleanup_strv_ char **addresses = NULL;
        int r;

        t->vm = json_string(request, "vm");
        t->count = (unsigned) json_number(request, "count", 0);

        r = read_strings(request, "functions", &addresses);
        if (r >= 0)
                r = read_strings(request, "allow", &t->allow);
        if (r >= 0)
                r = boot_id_read(&t->boot_id);
        if (r >= 0)
                r = inventory_read(ROOT_FD, &t->inventory);
        if (r < 0)
                return error_set_errno(error, r, "Could not read the host's devices");

        return transaction_find_functions(t, addresses, error);
}

static bool is_on_vfio(const PciDevice *device) {
        return streq_ptr(device->driver, VFIO_DRIVER);
}

/* --- bind ---------------------------------------------------------------------------------------------- */

/* r: of the look that found the reasons. */
static int judge(const Transaction *t, const Function *f, int r, const Reasons *reasons, Error *error) {
        if (r < 0)
                return error_set_errno(error, r, "Could not find out who uses %s",
                                       PCI_ADDRESS_TEXT(&f->device->address));

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
        claim->address = device->address;
        claim->vendor_id = device->vendor_id;
        claim->device_id = device->device_id;
        claim->boot_id = strdup(t->boot_id);
        if (!claim->boot_id)
                return -ENOMEM;

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

static int claim_record(Claim *claim, ClaimState state, bool working) {
        claim->state = state;
        claim->helper = working ? getpid() : 0;
        claim->helper_start = 0;
        if (working)
                (void) process_start_time(claim->helper, &claim->helper_start);
        return claim_write(CLAIMS_FD, claim);
}

static int claim_set_state(Claim *claim, ClaimState state) {
        return claim_record(claim, state, state == CLAIM_BINDING || state == CLAIM_RELEASING);
}

static int claim_set_vm(Claim *claim, const char *vm) {
        char *copy = vm ? strdup(vm) : NULL;

        if (vm && !copy)
                return -ENOMEM;
        free(claim->vm);
        claim->vm = copy;
        return 0;
}

/* A record of another boot, or of another card, says nothing about this one. */
static bool claim_is_about(const Claim *claim, const Transaction *t, const PciDevice *device) {
        return streq_ptr(claim->boot_id, t->boot_id) && claim->vendor_id == device->vendor_id &&
               claim->device_id == device->device_id;
}

static int refuse_quarantined(Function *f, Error *error) {
        f->claim = claim_free(f->claim); /* is not ours to undo */
        return error_set(error, ERROR_QUARANTINED, "%s is quarantined",
                         PCI_ADDRESS_TEXT(&f->device->address));
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
        if (r >= 0 && !claim_is_about(f->claim, t, f->device)) {
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
        return FAULT(BIND_JOURNALED, error);
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

/* --- reset and health ------------------------------------------------------------------------------------ */

/* From here on it is given to nobody. The record stays until an administrator has had the quarantine ended
 * (clear), or the host has been started anew, which is when records of before say nothing any more. */
static void quarantine(const Transaction *t, Function *f, const char *why) {
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

/* All of it is on vfio-pci now. What came from a driver of the host is reset before it is handed out; what
 * waited there has been when it was taken back, unless that was cut short. */
static int reset_taken(Transaction *t, Error *error) {
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

/* QEMU has let go of what is on vfio-pci. Where a part of it is not there, whoever moved it was cut short: on
 * the way there, when no guest had seen it, or on the way back, after the reset. Then a reset with the bus could
 * not be had, and is not needed. */
static int reset_taken_back(Transaction *t, Error *error) {
        _cleanup_free_ PciDevice **devices = calloc(t->n_functions + 1, sizeof(PciDevice *));
        size_t n = 0;

        if (!devices)
                return -ENOMEM;

        for (size_t i = 0; i < t->n_functions; i++)
                if (is_on_vfio(t->functions[i].device))
                        devices[n++] = t->functions[i].device;
        return n == t->n_functions ? reset_devices(t, devices, n, error) : 0;
}

/* ---------------------------------------------------------------------------------------------------------- */

static int restore_function(Transaction *t, Function *f, Error *error) {
        _cleanup_error_ Error own = ERROR_INIT;
        int r;

        r = binding_restore(ROOT_FD, &f->device->address, &f->claim->original, &own);
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

/* How long, at most, a raw open could have gone unseen: from the beginning of the last look at each function
 * until it was on vfio-pci. */
static struct json_object *windows_to_json(const Transaction *t) {
        struct json_object *windows = json_object_new_object();

        for (size_t i = 0; i < t->n_functions; i++)
                json_object_object_add(windows, PCI_ADDRESS_TEXT(&t->functions[i].device->address),
                                       json_object_new_uint64(t->functions[i].window));
        return windows;
}

static int verb_bind(Transaction *t, struct json_object *result, Error *error) {
        _cleanup_error_ Error undo_error = ERROR_INIT;
        int r = bind_all(t, error);

        if (r < 0) {
                if (undo_bind(t, &undo_error) < 0)
                        log_error("Undo: %s", str_na(undo_error.message));
                return r;
        }

        json_object_object_add(result, "window", windows_to_json(t));
        return 0;
}

/* Under its driver a device is not reset: not every driver survives that. Taken off it is proven idle too. */
static int verb_reset(Transaction *t, struct json_object *result, Error *error) {
        int r, k;

        t->by_hand = true;
        r = bind_all(t, error);
        k = undo_bind(t, error);
        return r < 0 ? r : k;
}

static int verb_clear(Transaction *t, struct json_object *result, Error *error) {
        t->clearing = true;
        return verb_reset(t, result, error);
}

/* --- release, settle ------------------------------------------------------------------------------------ */

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

/* All are marked before the first is waited for: whoever starts meanwhile sees that they are on their way. */
static int mark(Transaction *t, ClaimState state, Error *error) {
        for (size_t i = 0; i < t->n_functions; i++) {
                Function *f = &t->functions[i];
                int r;

                r = claim_read(CLAIMS_FD, &f->device->address, &f->claim);
                if (r >= 0 && !claim_is_about(f->claim, t, f->device)) {
                        f->claim = claim_free(f->claim);
                        continue;
                }
                if (r == -ENOENT)
                        continue;
                if (r >= 0 && f->claim->state == CLAIM_QUARANTINED)
                        return refuse_quarantined(f, error);
                if (r >= 0)
                        r = claim_record(f->claim, state, true);
                if (r < 0)
                        return error_set_errno(error, r, "Could not update the claim record of %s",
                                               PCI_ADDRESS_TEXT(&f->device->address));
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

static int verb_settle(Transaction *t, struct json_object *result, Error *error) {
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

static int verb_release(Transaction *t, struct json_object *result, Error *error) {
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

/* --- inspect -------------------------------------------------------------------------------------------- */

static struct json_object *reasons_to_json(const Reasons *reasons) {
        struct json_object *array = json_object_new_array();

        for (size_t i = 0; i < reasons->n; i++) {
                struct json_object *pair = json_object_new_array();

                json_object_array_add(
                        pair, json_object_new_string(reason_code_to_string(reasons->items[i].code)));
                json_object_array_add(pair, json_object_new_string(reasons->items[i].detail));
                json_object_array_add(array, pair);
        }
        return array;
}

static int verb_inspect(Transaction *t, struct json_object *result, Error *error) {
        for (size_t i = 0; i < t->n_functions; i++) {
                _cleanup_reasons_ Reasons reasons = {};
                const PciDevice *device = t->functions[i].device;
                int r;

                usage_wait_for_disks(ROOT_FD, device);
                r = is_on_vfio(device) ? 0 : usage_inspect_deep(ROOT_FD, t->inventory, device, &reasons);
                if (r < 0)
                        return error_set_errno(error, r, "Could not find out who uses %s",
                                               PCI_ADDRESS_TEXT(&device->address));

                json_object_object_add(result, PCI_ADDRESS_TEXT(&device->address),
                                       reasons_to_json(&reasons));
        }
        return 0;
}

/* --- virtual functions ----------------------------------------------------------------------------------- */

static int verb_set_vfs(Transaction *t, struct json_object *result, Error *error) {
        _cleanup_free_ PciDevice **known = calloc(t->n_functions, sizeof(PciDevice *));
        VfsChange change = {
                .root_fd = ROOT_FD,
                .claims_fd = CLAIMS_FD,
                .inventory = t->inventory,
                .physical = t->functions[0].device,
                .known = { .items = known, .n = t->n_functions },
                .count = t->count,
                .boot_id = t->boot_id,
        };

        if (!known)
                return -ENOMEM;
        for (size_t i = 0; i < t->n_functions; i++)
                known[i] = t->functions[i].device;
        return vfs_change(&change, error);
}

/* -------------------------------------------------------------------------------------------------------- */

typedef struct Verb {
        const char *name;
        int (*run)(Transaction *t, struct json_object *result, Error *error);
} Verb;

static const Verb verbs[] = {
        { "bind", verb_bind },       { "release", verb_release }, { "settle", verb_settle },
        { "inspect", verb_inspect }, { "reset", verb_reset },     { "clear", verb_clear },
        { "set-vfs", verb_set_vfs },
};

static const Verb *verb_find(const char *name) {
        for (size_t i = 0; name && i < ELEMENTSOF(verbs); i++)
                if (streq(verbs[i].name, name))
                        return &verbs[i];
        return NULL;
}

static int run_request(const Verb *verb, Transaction *t, struct json_object *request,
                       struct json_object *result, Error *error) {
        int r;

        t->taking_back = verb->run == verb_release || verb->run == verb_settle;
        r = transaction_init(t, request, error);
        return r < 0 ? r : verb->run(t, result, error);
}

static int run(const Verb *verb, struct json_object *result, Error *error) {
        _cleanup_json_ struct json_object *request = NULL;
        _cleanup_(transaction_clear) Transaction t = {};
        int r;

        r = child_read_request(&request);
        if (r < 0)
                return error_set_errno(error, r, "Could not read the request");
        return run_request(verb, &t, request, result, error);
}

int main(int argc, char *argv[]) {
        _cleanup_error_ Error error = ERROR_INIT;
        struct json_object *result = json_object_new_object();
        const Verb *verb = verb_find(argc == 2 ? argv[1] : NULL);
        int r;

#ifdef VMKIT_FAULT_POINTS
        if (argc == 2 && streq(argv[1], "faults")) {
                json_unref(result);
                fault_list();
                return EXIT_SUCCESS;
        }
#endif
        FAULT_INIT(CLAIMS_FD, "../faults");

        if (!verb) {
                fprintf(stderr, "vmkit-device is started by vmkitd; it is not a command of its own.\n");
                json_unref(result);
                return EXIT_FAILURE;
        }

        r = run(verb, result, &error);
        if (r < 0) {
                json_unref(result);
                if (!error_is_set(&error))
                        (void) error_set_errno(&error, r, "vmkit-device %s failed", verb->name);
                return child_report_error(&error);
        }
        return child_report_result(result);
}
