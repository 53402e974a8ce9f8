/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/strv.h"
#include "device-ops.h"
#include "reservations.h"
#include "transfer.h"

typedef struct MoveData {
        TransferVerb verb;
        char **allow;
} MoveData;

static void free_move_data(void *p) {
        MoveData *data = p;

        if (data)
                strv_free(data->allow);
        free(data);
}

/* A device that a VM has, or that is on its way, is not to be touched by hand. */
int device_check_not_taken(const Device *d, Error *error) {
        _cleanup_device_list_ DeviceList unit = {};
        int r;

        r = device_unit(d, &unit);
        for (size_t i = 0; r >= 0 && i < unit.n; i++) {
                const Device *member = devices_find(d->manager, &unit.items[i]->address);
                const char *text = PCI_ADDRESS_TEXT(&member->pci->address);

                if (member->lease)
                        r = error_set(error, ERROR_DEVICE_CLAIMED, "%s is leased to the VM %s", text,
                                      member->lease->spec->name);
                else if (member->n_transfers > 0)
                        r = error_set(error, ERROR_BUSY, "%s is being moved between drivers", text);
                else if (member->health == HEALTH_WEDGED)
                        r = error_set(error, ERROR_WEDGED, "%s is wedged: %s", text, member->health_detail);
        }
        return r;
}

/* A helper that ended before its time left a unit half-way, which nobody else would look after. */
static void on_moved(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        if (r < 0 && error->code != ERROR_WEDGED)
                reconcile_device(job->manager, &job->device);
        job_step_done(job, r, error);
}

/* Judged again: between the call and the first step a VM may have been started. */
static int run_move(Job *job, Error *error) {
        const MoveData *data = job->data;
        const Device *d = devices_find(job->manager, &job->device);
        _cleanup_device_list_ DeviceList unit = {};
        int r;

        if (!d)
                return error_set(error, ERROR_NO_SUCH_DEVICE, "The device is gone");

        r = device_check_not_taken(d, error);
        if (r >= 0)
                r = device_unit(d, &unit);
        if (r < 0)
                return r;

        const TransferUnit part = { .functions = unit, .allow = data->allow, .verb = data->verb };
        r = transfer_start(job->manager, NULL, &part, 1, on_moved, job);
        return r < 0 ? r : STEP_ASYNC;
}

static int begin_move(Device *d, const char *operation, const JobStep *step, TransferVerb verb, uid_t caller,
                      char *const *allow, Job **ret) {
        _cleanup_(job_freep) Job *job = NULL;
        MoveData *data;
        int r;

        r = job_new(d->manager, operation, caller, &job);
        if (r < 0)
                return r;

        data = calloc(1, sizeof(MoveData));
        if (!data)
                return -ENOMEM;
        data->verb = verb;
        job->data = data;
        job->free_data = free_move_data;
        job_set_device(job, &d->pci->address);

        r = strv_copy(allow, &data->allow);
        if (r >= 0)
                r = job_add_steps(job, step, 1);
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(job);
        return 0;
}

int device_check_free(Device *d, char *const *allow, Error *error) {
        _cleanup_reasons_ Reasons reasons = {};
        int r;

        r = device_check_not_taken(d, error);
        if (r >= 0)
                r = device_reasons(d, NULL, &reasons);
        if (r < 0)
                return r;

        const Reason *reason = reasons_blocking(&reasons, allow);
        if (reason)
                return reason_refuse(reason, &d->pci->address, error);
        return 0;
}

int device_bind(Device *d, uid_t caller, char *const *allow, Job **ret, Error *error) {
        static const JobStep step = { .phase = "binding", .run = run_move };
        int r = device_check_free(d, allow, error);

        return r < 0 ? r : begin_move(d, "bind", &step, TRANSFER_BIND, caller, allow, ret);
}

static int wrong_state(const Device *d, const char *words, Error *error) {
        int r = error_set(error, ERROR_WRONG_STATE, "%s is not %s", PCI_ADDRESS_TEXT(&d->pci->address), words);

        error_set_remedy(error, "'vmkitctl devices --all' shows the state of each device.");
        return r;
}

static int check_not_quarantined(const Device *d, Error *error) {
        _cleanup_device_list_ DeviceList unit = {};
        int r;

        r = device_unit(d, &unit);
        for (size_t i = 0; r >= 0 && i < unit.n; i++) {
                const Device *member = devices_find(d->manager, &unit.items[i]->address);

                if (device_is_quarantined(member))
                        r = error_set(error, ERROR_QUARANTINED, "%s is quarantined: %s",
                                      PCI_ADDRESS_TEXT(&member->pci->address),
                                      str_na(member->health_detail));
        }
        return r;
}

int device_release(Device *d, uid_t caller, Job **ret, Error *error) {
        static const JobStep step = { .phase = "releasing", .run = run_move };
        int r;

        r = device_check_not_taken(d, error);
        if (r >= 0)
                r = check_not_quarantined(d, error);
        if (r >= 0 && !d->claim)
                r = wrong_state(d, "held by vmkit", error);
        if (r >= 0 && device_is_reserved(d)) {
                r = error_set(error, ERROR_WRONG_STATE, "%s is reserved: vfio-pci is where it belongs",
                              PCI_ADDRESS_TEXT(&d->pci->address));
                error_set_remedy(error, "'vmkitctl unreserve %s' returns it to the host for good.",
                                 PCI_ADDRESS_TEXT(&d->pci->address));
        }
        return r < 0 ? r : begin_move(d, "release", &step, TRANSFER_RELEASE, caller, NULL, ret);
}

/* --- reset ------------------------------------------------------------------------------------------------ */

/* A reset does not touch what is on a drive. A display goes dark: whoever wants that binds it first, or it has
 * been given away already, and is to get out of quarantine. */
static int allowed_for_reset(bool quarantined, char ***ret) {
        _cleanup_strv_ char **codes = NULL;

        for (ReasonCode code = 0; code < _REASON_MAX; code++) {
                bool allowed = code == REASON_HAS_DATA || code == REASON_FSTAB ||
                               (quarantined && reason_code_is_overridable(code));
                int r = allowed ? strv_push(&codes, reason_code_to_string(code)) : 0;

                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(codes);
        return 0;
}

/* What vmkit holds waits on vfio-pci; anything else may be in use. */
static int check_resettable(Device *d, char *const *allow, Error *error) {
        _cleanup_reasons_ Reasons reasons = {};
        int r;

        if (d->claim)
                return 0;

        r = device_reasons(d, NULL, &reasons);
        if (r < 0)
                return r;

        /* A controller that its driver has given up may be none the worse for a reset. */
        reasons_remove(&reasons, REASON_WEDGED);
        const Reason *reason = reasons_blocking(&reasons, allow);
        if (!reason)
                return 0;
        return error_set(error, reason_code_to_error(reason->code), "%s cannot be reset: %s (%s)",
                         PCI_ADDRESS_TEXT(&d->pci->address), reason->detail,
                         reason_code_to_string(reason->code));
}

int device_reset(Device *d, uid_t caller, Job **ret, Error *error) {
        static const JobStep step = { .phase = "resetting", .run = run_move };
        _cleanup_strv_ char **allow = NULL;
        int r;

        r = device_check_not_taken(d, error);
        if (r >= 0)
                r = check_not_quarantined(d, error);
        if (r >= 0)
                r = allowed_for_reset(false, &allow);
        if (r >= 0)
                r = check_resettable(d, allow, error);
        return r < 0 ? r : begin_move(d, "reset", &step, TRANSFER_RESET, caller, allow, ret);
}

int device_clear_quarantine(Device *d, uid_t caller, Job **ret, Error *error) {
        static const JobStep step = { .phase = "resetting it once more", .run = run_move };
        _cleanup_strv_ char **allow = NULL;
        int r;

        if (!device_is_quarantined(d))
                return wrong_state(d, "quarantined", error);

        r = device_check_not_taken(d, error);
        if (r >= 0)
                r = allowed_for_reset(true, &allow);
        return r < 0 ? r : begin_move(d, "clear-quarantine", &step, TRANSFER_CLEAR, caller, allow, ret);
}
