/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Starting a VM: its devices are looked at once more and leased, moved to vfio-pci, and given to QEMU. After
 * a stop, or a start that failed, each goes where on-stop says. */

#include "base/log.h"
#include "driver-wait.h"
#include "identity.h"
#include "manager.h"
#include "observer.h"
#include "pages.h"
#include "stop-all.h"
#include "transfer.h"
#include "vm-launch.h"
#include "vm.h"

/* --- leasing --------------------------------------------------------------------------------------------- */

/* The functions of one unit that a VM names, by the device that was asked for. */
static bool is_first_of_unit(const VmSpec *spec, size_t index) {
        for (size_t i = 0; i < index; i++)
                if (pci_address_equal(&spec->devices[i].requested, &spec->devices[index].requested))
                        return false;
        return true;
}

static int check_device(const Vm *vm, const VmDevice *wanted, Device **ret, Error *error) {
        Device *d = devices_find(vm->manager, &wanted->address);

        if (!d)
                return error_set(error, ERROR_NO_SUCH_DEVICE, "The device %s of the VM %s is gone",
                                 PCI_ADDRESS_TEXT(&wanted->address), vm->spec->name);
        if (!identity_matches(wanted, d->pci))
                return error_set(error, ERROR_IDENTITY_CHANGED,
                                 "%s is another device now than a moment ago, when the VM %s was to start",
                                 PCI_ADDRESS_TEXT(&wanted->address), vm->spec->name);

        *ret = d;
        return 0;
}

/* What can be overridden was judged when the device was assigned; what cannot is judged at every start. */
static const Reason *first_hard_reason(const Reasons *reasons) {
        for (size_t i = 0; i < reasons->n; i++)
                if (!reason_code_is_overridable(reasons->items[i].code))
                        return &reasons->items[i];
        return NULL;
}

/* What an earlier close look found may be long over; the device helper looks again before it acts. */
static void forget_earlier_looks(const Device *d) {
        _cleanup_device_list_ DeviceList unit = {};

        if (device_unit(d, &unit) < 0)
                return;
        for (size_t i = 0; i < unit.n; i++)
                device_forget_all_use(devices_find(d->manager, &unit.items[i]->address));
}

static int check_unit(const Vm *vm, Device *d, Error *error) {
        _cleanup_reasons_ Reasons reasons = {};
        int r;

        forget_earlier_looks(d);
        r = device_reasons(d, vm, &reasons);
        if (r < 0)
                return error_set_errno(error, r, "Could not find out who uses %s",
                                       PCI_ADDRESS_TEXT(&d->pci->address));

        const Reason *reason = first_hard_reason(&reasons);
        if (!reason)
                return 0;
        return error_set(error, reason_code_to_error(reason->code), "%s cannot be given to the VM %s: %s (%s)",
                         PCI_ADDRESS_TEXT(&d->pci->address), vm->spec->name, reason->detail,
                         reason_code_to_string(reason->code));
}

static int lease_unit(Vm *vm, const Device *d) {
        _cleanup_device_list_ DeviceList unit = {};
        int r = device_unit(d, &unit);

        for (size_t i = 0; r >= 0 && i < unit.n; i++)
                device_set_lease(devices_find(vm->manager, &unit.items[i]->address), vm);
        return r;
}

/* --- drivers that have just been given a drive ----------------------------------------------------------- */

/* One of the VM's, or where none of them is in its place any more, what may be it elsewhere. */
static bool may_be_of_vm(const Device *d, const void *data) {
        const Vm *vm = data;

        for (size_t i = 0; i < vm->spec->n_devices; i++) {
                const VmDevice *wanted = &vm->spec->devices[i];
                const Device *there = devices_find(vm->manager, &wanted->address);

                if (there && identity_matches(wanted, there->pci)) {
                        if (there == d)
                                return true;
                } else if (identity_matches(wanted, d->pci))
                        return true;
        }
        return false;
}

static void on_drivers_done(void *userdata) {
        job_step_done(userdata, STEP_DONE, NULL);
}

static int run_wait(Job *job, Error *error) {
        Vm *vm = job->vm;
        int r;

        r = devices_refresh(vm->manager);
        if (r < 0)
                return error_set_errno(error, r, "Could not read the host's devices");
        if (!drivers_are_at_work(vm->manager, may_be_of_vm, vm))
                return STEP_DONE;

        r = driver_wait(vm->manager, may_be_of_vm, vm, on_drivers_done, job, &job->timer);
        return r < 0 ? error_set_errno(error, r, "Could not wait for a driver") : STEP_ASYNC;
}

static void cancel_wait(Job *job) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = error_set(&error, ERROR_CANCELLED, "The start of the VM %s was cancelled", job->vm->spec->name);

        job_step_done(job, r, &error);
}

/* --- devices that have moved ------------------------------------------------------------------------------ */

static void on_moved_devices(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        if (r >= 0) {
                log_notice("Devices of the VM %s were found at other addresses: %s", job->vm->spec->name,
                           job->note);
                virt_look_again(job->manager->virt, job->vm_uuid);
                vm_adopt_spec(job->vm, TAKE_PTR(job->vm->wanted));
        }
        job_step_done(job, r, error);
}

/* What the VM was given is what it gets, also where the firmware has dealt out the addresses anew. */
static int run_find(Job *job, Error *error) {
        Vm *vm = job->vm;
        int r;

        r = devices_refresh(vm->manager);
        if (r < 0)
                return error_set_errno(error, r, "Could not read the host's devices");

        r = identity_follow(vm, &vm->wanted, &job->note, error);
        if (r <= 0)
                return r < 0 ? r : STEP_DONE;

        return virt_replace_devices(job->manager->virt, job->vm_uuid, vm->spec->devices, vm->spec->n_devices,
                                    vm->wanted->devices, vm->wanted->n_devices, on_moved_devices, job, error);
}

/* The definition names them where they are, whether or not the VM starts. */
static int undo_find(Job *job, Error *error) {
        return STEP_DONE;
}

/* --- leases ----------------------------------------------------------------------------------------------- */

static int run_lease(Job *job, Error *error) {
        Vm *vm = job->vm;
        int r;

        r = stop_all_check_start(vm->manager, error);
        if (r < 0)
                return r;

        r = devices_refresh(vm->manager);
        if (r < 0)
                return error_set_errno(error, r, "Could not read the host's devices");

        for (size_t i = 0; r >= 0 && i < vm->spec->n_devices; i++) {
                Device *d = NULL;

                r = check_device(vm, &vm->spec->devices[i], &d, error);
                if (r >= 0 && is_first_of_unit(vm->spec, i))
                        r = check_unit(vm, d, error);
                if (r >= 0)
                        r = lease_unit(vm, d);
        }

        if (r < 0) {
                vm_drop_leases(vm);
                return r;
        }
        return STEP_DONE;
}

/* A device that is back, or quarantined, is nobody's. One that QEMU may still have stays leased. */
static void end_leases(Vm *vm, bool all) {
        for (size_t i = 0; i < devices_count(vm->manager); i++) {
                Device *d = vm->manager->devices.items[i];

                if (d->lease == vm && (all || !d->claim || d->health != HEALTH_READY))
                        device_set_lease(d, NULL);
        }
}

static int undo_lease(Job *job, Error *error) {
        end_leases(job->vm, false);
        return STEP_DONE;
}

void vm_lease_claimed(Vm *vm) {
        for (size_t i = 0; i < devices_count(vm->manager); i++) {
                Device *d = vm->manager->devices.items[i];

                if (!d->lease && d->claim && streq_ptr(d->claim->vm, vm->spec->uuid) &&
                    vm_accounts_for(vm, &d->pci->address))
                        device_set_lease(d, vm);
        }
}

/* --- moving ---------------------------------------------------------------------------------------------- */

typedef TransferVerb (*ChooseVerb)(const Vm *vm, const VmDevice *device);

static void units_clear(TransferUnit *units, size_t n) {
        for (size_t i = 0; i < n; i++)
                device_list_clear(&units[i].functions);
        free(units);
}

/* Only what is leased moves: a lease that was never taken, or has ended, is not this VM's to touch. */
static int keep_leased(const Vm *vm, DeviceList *functions) {
        size_t kept = 0;

        for (size_t i = 0; i < functions->n; i++) {
                const Device *d = devices_find(vm->manager, &functions->items[i]->address);

                if (d && d->lease == vm && d->health == HEALTH_READY)
                        functions->items[kept++] = functions->items[i];
        }
        functions->n = kept;
        return 0;
}

/* A unit that was left half-way cannot be kept for the VM: it goes back. */
static bool is_held_whole(const Vm *vm, const DeviceList *functions) {
        for (size_t i = 0; i < functions->n; i++) {
                const Device *d = devices_find(vm->manager, &functions->items[i]->address);

                if (d->claim && d->claim->state != CLAIM_BOUND)
                        return false;
        }
        return true;
}

static int unit_of(const Vm *vm, const VmDevice *wanted, ChooseVerb choose, TransferUnit *ret) {
        const Device *d = devices_find(vm->manager, &wanted->requested);
        int r;

        if (!d)
                return 0;

        r = device_unit(d, &ret->functions);
        if (r >= 0)
                r = keep_leased(vm, &ret->functions);
        if (r < 0)
                return r;

        ret->verb = choose(vm, wanted);
        if (ret->verb == TRANSFER_SETTLE && !is_held_whole(vm, &ret->functions))
                ret->verb = TRANSFER_RELEASE;
        return ret->functions.n > 0;
}

/* The codes that may be overridden were judged with the plan; the helper is not to judge them again. */
static int all_overridable_codes(char ***ret) {
        _cleanup_strv_ char **codes = NULL;

        for (ReasonCode code = 0; code < _REASON_MAX; code++)
                if (reason_code_is_overridable(code)) {
                        int r = strv_push(&codes, reason_code_to_string(code));
                        if (r < 0)
                                return r;
                }

        *ret = TAKE_PTR(codes);
        return 0;
}

static bool is_in_units(const TransferUnit *units, size_t n, const Device *d) {
        for (size_t i = 0; i < n; i++)
                if (device_list_contains(&units[i].functions, &d->pci->address))
                        return true;
        return false;
}

/* What moves together depends on the host, which may be another since the unit was taken: its methods of reset
 * may be others, or a function may have come or gone. What the VM has beside its units goes back too. */
static int strays_of(const Vm *vm, const TransferUnit *units, size_t n, TransferUnit *ret) {
        size_t n_devices = devices_count(vm->manager);

        ret->verb = TRANSFER_RELEASE;
        ret->functions.items = calloc(n_devices + 1, sizeof(PciDevice *));
        if (!ret->functions.items)
                return -ENOMEM;

        for (size_t i = 0; i < n_devices; i++) {
                const Device *d = vm->manager->devices.items[i];

                if (d->lease == vm && d->claim && d->health == HEALTH_READY && !is_in_units(units, n, d))
                        ret->functions.items[ret->functions.n++] = d->pci;
        }
        return ret->functions.n > 0;
}

static TransferVerb choose_bind(const Vm *vm, const VmDevice *device) {
        return TRANSFER_BIND;
}

static int move_units(Job *job, ChooseVerb choose, TransferDone done) {
        Vm *vm = job->vm;
        _cleanup_strv_ char **allow = NULL;
        size_t n = 0;
        int r;

        r = all_overridable_codes(&allow);
        if (r < 0)
                return r;

        TransferUnit *units = calloc(vm->spec->n_devices + 2, sizeof(TransferUnit));
        if (!units)
                return -ENOMEM;

        for (size_t i = 0; r >= 0 && i < vm->spec->n_devices; i++) {
                if (!is_first_of_unit(vm->spec, i))
                        continue;
                r = unit_of(vm, vm_requested_device(vm->spec, &vm->spec->devices[i]), choose, &units[n]);
                if (r > 0)
                        units[n++].allow = allow;
                else
                        device_list_clear(&units[n].functions);
        }
        if (r >= 0 && choose != choose_bind) {
                r = strays_of(vm, units, n, &units[n]);
                if (r > 0)
                        n++;
        }

        if (r >= 0)
                r = transfer_start(vm->manager, vm->spec->uuid, units, n, done, job);
        units_clear(units, vm->spec->n_devices + 2);
        return r < 0 ? r : STEP_ASYNC;
}

static TransferVerb choose_on_stop(const Vm *vm, const VmDevice *device) {
        return vm_holds_device(vm, device) ? TRANSFER_SETTLE : TRANSFER_RELEASE;
}

static TransferVerb choose_release(const Vm *vm, const VmDevice *device) {
        return TRANSFER_RELEASE;
}

/* These come after the wait for QEMU, and concern only the device that failed. */
static bool qemu_has_let_go(const Error *error) {
        return error->code == ERROR_RESET_FAILED || error->code == ERROR_BIND_FAILED;
}

static void on_returned(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        end_leases(job->vm, r >= 0 || qemu_has_let_go(error));
        job_step_done(job, r, error);
}

/* A VM that goes away with its failed creation holds nothing. */
static ChooseVerb choose_undo(const Job *job) {
        return streq(job->operation, "create") ? choose_release : choose_on_stop;
}

static void on_bind_undone(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        if (r < 0)
                log_error("Undo of the start of the VM %s: %s", job->vm->spec->name, str_na(error->message));
        job_step_done(job, -error_code_errno(job->error.code), NULL);
}

/* A unit that could not be bound has put itself back; those that were bound beside it have not. */
static void on_bound(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        if (r >= 0) {
                job_step_done(job, r, NULL);
                return;
        }

        error_copy(&job->error, error);
        r = move_units(job, choose_undo(job), on_bind_undone);
        if (r < 0)
                job_step_done(job, r, NULL);
}

static int run_bind(Job *job, Error *error) {
        return move_units(job, choose_bind, on_bound);
}

static int undo_bind(Job *job, Error *error) {
        return move_units(job, choose_undo(job), on_returned);
}

static int run_return(Job *job, Error *error) {
        if (vm_is_active(job->vm))
                return STEP_DONE; /* it was started again meanwhile, by other means */
        return move_units(job, choose_on_stop, on_returned);
}

/* The lease goes to a function of the unit by name first, so that one held on vfio-pci for this VM while it
 * is stopped comes along. */
static int run_return_all(Job *job, Error *error) {
        Vm *vm = job->vm;

        for (size_t i = 0; i < vm->spec->n_devices; i++) {
                _cleanup_device_list_ DeviceList unit = {};
                Device *d = devices_find(vm->manager, &vm->spec->devices[i].requested);

                if (!d || device_unit(d, &unit) < 0)
                        continue;
                for (size_t k = 0; k < unit.n; k++) {
                        Device *member = devices_find(vm->manager, &unit.items[k]->address);

                        if (!member->lease && member->claim && member->health == HEALTH_READY &&
                            streq_ptr(member->claim->vm, vm->spec->uuid))
                                device_set_lease(member, vm);
                }
        }
        return move_units(job, choose_release, on_returned);
}

const JobStep vm_return_step = { .phase = "returning the devices", .run = run_return };
const JobStep vm_return_all_step = { .phase = "returning the devices", .run = run_return_all };

/* --- starting -------------------------------------------------------------------------------------------- */

const JobStep vm_start_steps[] = {
        { .phase = "waiting for drivers", .run = run_wait, .cancel = cancel_wait },
        { .phase = "looking for the devices", .run = run_find, .undo = undo_find },
        { .phase = "checking the devices", .run = run_lease, .undo = undo_lease },
        { .phase = "setting memory aside", .run = pages_run_take, .undo = pages_run_give_back,
          .cancel = pages_cancel_take },
        { .phase = "binding the devices", .run = run_bind, .undo = undo_bind },
        { .phase = LAUNCH_PHASE, .run = vm_run_launch, .undo = vm_undo_launch, .cancel = vm_cancel_launch },
};
const size_t vm_n_start_steps = ELEMENTSOF(vm_start_steps);

int vm_start(Vm *vm, uid_t caller, Job **ret, Error *error) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = vm_check_idle(vm, error);
        if (r < 0)
                return r;
        if (vm_is_active(vm))
                return error_set(error, ERROR_WRONG_STATE, "The VM %s is %s already", vm->spec->name,
                                 vm_state(vm));

        r = job_new(vm->manager, "start", caller, &job);
        if (r < 0)
                return r;

        job_set_vm(job, vm);
        r = job_add_steps(job, vm_start_steps, vm_n_start_steps);
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        observer_vm_changed(vm);
        *ret = TAKE_PTR(job);
        return 0;
}
