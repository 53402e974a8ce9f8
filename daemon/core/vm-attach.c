/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Giving a device to a VM that is there. Of a VM that is stopped only the definition changes. For one that runs
 * the device is leased and bound first, as at a start, then plugged into a spare port; whatever fails, it
 * goes back to where it was. */

#include "base/log.h"
#include "base/strv.h"
#include "manager.h"
#include "observer.h"
#include "plan.h"
#include "transfer.h"

typedef struct AttachData {
        PciAddress requested;
        char **allow;
} AttachData;

static void free_attach_data(void *p) {
        AttachData *data = p;

        if (data)
                strv_free(data->allow);
        free(data);
}

static AttachData *data_of(Job *job) {
        return job->data;
}

/* --- may it be -------------------------------------------------------------------------------------------- */

static int check_state(const Vm *vm, Error *error) {
        int r = vm_check_idle(vm, error);

        if (r < 0)
                return r;
        if (vm->state == DOMAIN_STOPPED || vm->state == DOMAIN_RUNNING || vm->state == DOMAIN_PAUSED)
                return 0;
        return error_set(error, ERROR_WRONG_STATE, "The VM %s is %s: no device can be attached to it now",
                         vm->spec->name, vm_state(vm));
}

static int check_new(const Vm *vm, const PciAddress *address, Error *error) {
        if (!vm_accounts_for(vm, address))
                return 0;

        (void) error_set(error, ERROR_WRONG_STATE, "%s is with the VM %s already%s", PCI_ADDRESS_TEXT(address),
                         vm->spec->name, vm_is_assigned(vm, address) ? "" : ", as part of another device");
        error_set_remedy(error, "'vmkitctl info %s' shows the devices it has.", vm->spec->name);
        return -error_code_errno(ERROR_WRONG_STATE);
}

/* A guest finds the functions of a slot only all at once, and libvirt plugs in one by one. */
static int check_pluggable(const Vm *vm, const Plan *plan, Error *error) {
        size_t n = plan->spec->n_devices - vm->spec->n_devices;

        if (!vm_is_active(vm) || n <= 1)
                return 0;

        (void) error_set(error, ERROR_NOT_SUPPORTED,
                         "%s has %zu functions that stay together, which cannot be plugged into a running VM",
                         PCI_ADDRESS_TEXT(&plan->devices[0].device->pci->address), n);
        error_set_remedy(error, "Stop the VM %s, attach the device, and start it again.", vm->spec->name);
        return -error_code_errno(ERROR_NOT_SUPPORTED);
}

static int make_request(uid_t caller, const PciAddress *address, char *const *allow, VmRequest **ret) {
        _cleanup_(vm_request_freep) VmRequest *request = vm_request_new();
        int r;

        if (!request)
                return -ENOMEM;
        request->caller = caller;
        r = strv_push(&request->passthrough, PCI_ADDRESS_TEXT(address));
        if (r >= 0)
                r = strv_copy(allow, &request->allow);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(request);
        return 0;
}

int vm_plan_attachment(Vm *vm, uid_t caller, const PciAddress *address, char *const *allow, Plan **ret,
                       Error *error) {
        _cleanup_(vm_request_freep) VmRequest *request = NULL;
        _cleanup_(plan_freep) Plan *plan = NULL;
        int r;

        r = check_state(vm, error);
        if (r >= 0)
                r = check_new(vm, address, error);
        if (r >= 0)
                r = make_request(caller, address, allow, &request);
        if (r >= 0)
                r = plan_make_attachment(vm->manager, vm->spec, request, !vm_is_active(vm), &plan);
        if (r >= 0)
                r = plan_refuse(plan, error);
        if (r >= 0)
                r = check_pluggable(vm, plan, error);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(plan);
        return 0;
}

/* --- the definition --------------------------------------------------------------------------------------- */

/* The answer and libvirt's events come over two connections: a look that was taken before must not be the
 * last word. */
static void on_changed(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        if (r >= 0) {
                virt_look_again(job->manager->virt, job->vm_uuid);
                vm_adopt_spec(job->vm, TAKE_PTR(job->vm->wanted));
        }
        job_step_done(job, r, error);
}

static int run_define(Job *job, Error *error) {
        const Vm *vm = job->vm;
        size_t before = vm->spec->n_devices;

        return virt_replace_devices(job->manager->virt, job->vm_uuid, NULL, 0, vm->wanted->devices + before,
                                    vm->wanted->n_devices - before, on_changed, job, error);
}

/* --- the running VM --------------------------------------------------------------------------------------- */

static int find_unit(Job *job, Device **ret, DeviceList *ret_unit, Error *error) {
        const PciAddress *address = &data_of(job)->requested;

        *ret = devices_find(job->manager, address);
        if (!*ret)
                return error_set(error, ERROR_NO_SUCH_DEVICE, "The device %s is gone", PCI_ADDRESS_TEXT(address));
        return device_unit(*ret, ret_unit);
}

/* Judged again: between the call and the first step another VM may have been started. */
static int run_lease(Job *job, Error *error) {
        _cleanup_device_list_ DeviceList unit = {};
        _cleanup_reasons_ Reasons reasons = {};
        Device *d;
        int r;

        r = find_unit(job, &d, &unit, error);
        if (r >= 0)
                r = device_reasons(d, job->vm, &reasons);
        if (r < 0)
                return r;

        const Reason *reason = reasons_blocking(&reasons, data_of(job)->allow);
        if (reason)
                return error_set(error, reason_code_to_error(reason->code),
                                 "%s cannot be given to the VM %s: %s (%s)", PCI_ADDRESS_TEXT(&d->pci->address),
                                 job->vm->spec->name, reason->detail, reason_code_to_string(reason->code));

        for (size_t i = 0; i < unit.n; i++)
                device_set_lease(devices_find(job->manager, &unit.items[i]->address), job->vm);
        return STEP_DONE;
}

/* One that is not back, because it is quarantined or QEMU has it after all, stays with the VM's other
 * strays. */
static int undo_lease(Job *job, Error *error) {
        _cleanup_device_list_ DeviceList unit = {};
        Device *d;
        int r;

        r = find_unit(job, &d, &unit, error);
        for (size_t i = 0; r >= 0 && i < unit.n; i++) {
                d = devices_find(job->manager, &unit.items[i]->address);
                if (d->lease == job->vm && (!d->claim || d->health != HEALTH_READY))
                        device_set_lease(d, NULL);
        }
        return r < 0 ? r : STEP_DONE;
}

static void on_moved(int r, const Error *error, void *userdata) {
        job_step_done(userdata, r, error);
}

static int move_unit(Job *job, TransferVerb verb, Error *error) {
        TransferUnit unit = { .allow = data_of(job)->allow, .verb = verb };
        Device *d;
        int r;

        r = find_unit(job, &d, &unit.functions, error);
        if (r >= 0)
                r = transfer_start(job->manager, job->vm_uuid, &unit, 1, on_moved, job);
        device_list_clear(&unit.functions);
        return r < 0 ? r : STEP_ASYNC;
}

static int run_bind(Job *job, Error *error) {
        return move_unit(job, TRANSFER_BIND, error);
}

static int undo_bind(Job *job, Error *error) {
        return move_unit(job, TRANSFER_RELEASE, error);
}

static int run_plug(Job *job, Error *error) {
        const VmDevice *device = vm_spec_find_device(job->vm->wanted, &data_of(job)->requested);

        return virt_attach_device(job->manager->virt, job->vm_uuid, device, on_changed, job, error);
}

/* It is the last step: what is plugged in is not taken back. That there is an undo says that the job may be
 * stopped before it. */
static int undo_plug(Job *job, Error *error) {
        return STEP_DONE;
}

/* --- the jobs --------------------------------------------------------------------------------------------- */

static const JobStep stopped_steps[] = {
        { .phase = "changing the definition", .run = run_define },
};

static const JobStep running_steps[] = {
        { .phase = "checking the device", .run = run_lease, .undo = undo_lease },
        { .phase = "binding the device", .run = run_bind, .undo = undo_bind },
        { .phase = "plugging it into the guest", .run = run_plug, .undo = undo_plug },
};

static int add_steps(Job *job) {
        if (vm_is_active(job->vm))
                return job_add_steps(job, running_steps, ELEMENTSOF(running_steps));
        return job_add_steps(job, stopped_steps, ELEMENTSOF(stopped_steps));
}

int vm_attach(Vm *vm, uid_t caller, Plan *plan, char *const *allow, Job **ret, Error *error) {
        _cleanup_(plan_freep) Plan *owned = plan;
        _cleanup_(job_freep) Job *job = NULL;
        AttachData *data;
        int r;

        r = job_new(vm->manager, "attach", caller, &job);
        if (r < 0)
                return r;

        data = calloc(1, sizeof(AttachData));
        if (!data)
                return -ENOMEM;
        job->data = data;
        job->free_data = free_attach_data;
        data->requested = owned->devices[0].device->pci->address;

        job_set_vm(job, vm);
        r = strv_copy(allow, &data->allow);
        if (r >= 0)
                r = add_steps(job);
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        vm_spec_free(vm->wanted);
        vm->wanted = TAKE_PTR(owned->spec);
        *ret = TAKE_PTR(job);
        return 0;
}
