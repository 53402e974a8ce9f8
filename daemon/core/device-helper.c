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
 * What does not come through its reset, or does not answer afterwards, is quarantined (helper-health.c).
 *
 * The request on standard input: {"functions": [address…], "vm": uuid, "allow": [code…],
 * "count": number, "daemon": pid of who asks}. Descriptor 3 is the root directory, descriptor 4 the journal's. */

#include "base/child.h"
#include "base/fault.h"
#include "base/json.h"
#include "helper-bind.h"
#include "helper-release.h"
#include "vfs-helper.h"

/* --- bind, release ----------------------------------------------------------------------------------------- */

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
        int r = bind_unit(t, error);

        if (r >= 0)
                json_object_object_add(result, "window", windows_to_json(t));
        return r;
}

static int verb_release(Transaction *t, struct json_object *result, Error *error) {
        return release_unit(t, error);
}

static int verb_settle(Transaction *t, struct json_object *result, Error *error) {
        return settle_unit(t, error);
}

static int verb_reset(Transaction *t, struct json_object *result, Error *error) {
        return reset_unit(t, error);
}

static int verb_clear(Transaction *t, struct json_object *result, Error *error) {
        t->clearing = true;
        return reset_unit(t, error);
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

/* An inspection is waited for by whoever plans. */
#define INSPECT_SETUP_USEC (2 * USEC_PER_SEC)

/* A look before the controller is live would find nothing, and must not count as one. */
static int verb_inspect(Transaction *t, struct json_object *result, Error *error) {
        for (size_t i = 0; i < t->n_functions; i++) {
                _cleanup_reasons_ Reasons reasons = {};
                const PciDevice *device = t->functions[i].device;
                int r;

                if (device->nvme == NVME_AT_WORK)
                        continue;
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
        t->setup_usec = verb->run == verb_inspect ? INSPECT_SETUP_USEC : DRIVER_SETUP_USEC;
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
