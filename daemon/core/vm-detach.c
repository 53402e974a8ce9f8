/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Taking a device back from a VM. A guest that runs is asked, and has it as long as it likes: the device goes
 * back to the host only when libvirt says that it has left QEMU. A guest that lets go too late for the job,
 * perhaps when it boots the next time, is met with the rest of the work then. */

#include "base/log.h"
#include "manager.h"
#include "observer.h"

typedef struct DetachData {
        VmDevice *devices;   /* copies: the whole unit, the one that was asked for first */
        size_t n_devices;
        uint64_t timeout;    /* µs */
        bool is_pending;     /* libvirt has yet to answer */
        bool is_gone;        /* from the running domain: there is no way back */
        Error error;         /* ends the step */
} DetachData;

static void free_detach_data(void *p) {
        DetachData *data = p;

        for (size_t i = 0; data && i < data->n_devices; i++)
                vm_device_clear(&data->devices[i]);
        if (data) {
                error_clear(&data->error);
                free(data->devices);
        }
        free(data);
}

static DetachData *data_of(Job *job) {
        return job->data;
}

/* --- the definition --------------------------------------------------------------------------------------- */

static int without(const Vm *vm, const DetachData *data, VmSpec **ret) {
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;
        int r;

        r = vm_spec_copy(vm->spec, &spec);
        if (r < 0)
                return r;

        for (size_t i = 0; i < data->n_devices; i++) {
                VmDevice *d = vm_spec_find_device(spec, &data->devices[i].address);

                if (d)
                        vm_spec_remove_device(spec, (size_t) (d - spec->devices));
        }
        *ret = TAKE_PTR(spec);
        return 0;
}

static int with(const Vm *vm, const DetachData *data, VmSpec **ret) {
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;
        int r;

        r = vm_spec_copy(vm->spec, &spec);
        for (size_t i = 0; r >= 0 && i < data->n_devices; i++)
                if (!vm_spec_find_device(spec, &data->devices[i].address))
                        r = vm_spec_set_device(spec, spec->n_devices, &data->devices[i]);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(spec);
        return 0;
}

static void forget_leaving(Vm *vm, const DetachData *data) {
        for (size_t i = vm->n_leaving; i-- > 0;)
                for (size_t k = 0; k < data->n_devices; k++)
                        if (pci_address_equal(&vm->leaving[i], &data->devices[k].address)) {
                                vm->leaving[i] = vm->leaving[--vm->n_leaving];
                                break;
                        }
}

/* The VM has or has not got them from now on, also for whoever looks before libvirt's events are here. */
static int adopt(Job *job, int (*change)(const Vm *vm, const DetachData *data, VmSpec **ret)) {
        VmSpec *spec;
        int r = change(job->vm, data_of(job), &spec);

        if (r < 0)
                return r;
        forget_leaving(job->vm, data_of(job));
        virt_look_again(job->manager->virt, job->vm_uuid);
        vm_adopt_spec(job->vm, spec);
        return 0;
}

/* Of a running domain the definition is only what the next start makes of it. */
static void on_defined(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        if (r >= 0 && !vm_is_active(job->vm))
                r = adopt(job, without);
        job_step_done(job, r, error);
}

static int run_define(Job *job, Error *error) {
        const DetachData *data = data_of(job);

        forget_leaving(job->vm, data);
        return virt_replace_devices(job->manager->virt, job->vm_uuid, data->devices, data->n_devices, NULL, 0,
                                    on_defined, job, error);
}

static void on_restored(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        if (r >= 0 && !vm_is_active(job->vm))
                r = adopt(job, with);
        job_step_done(job, r, error);
}

/* The guest keeps it, so it is to have it at the next start too. What has left it is not given back. */
static int undo_define(Job *job, Error *error) {
        const DetachData *data = data_of(job);

        if (data->is_gone)
                return STEP_DONE;
        return virt_replace_devices(job->manager->virt, job->vm_uuid, NULL, 0, data->devices, data->n_devices,
                                    on_restored, job, error);
}

/* First of all, so that it is written down what is to become of the device, should vmkitd not live to see the
 * guest let go. */
static const JobStep define_step = { .phase = "changing the definition", .run = run_define,
                                     .undo = undo_define };

/* --- waiting for the guest -------------------------------------------------------------------------------- */

/* The answer names the job, so the step lasts until it is there. */
static void evaluate(Job *job) {
        DetachData *data = data_of(job);

        if (data->is_pending)
                return;
        if (data->is_gone)
                job_step_done(job, adopt(job, without), NULL);
        else if (error_is_set(&data->error))
                job_step_done(job, -error_code_errno(data->error.code), &data->error);
}

/* Its event may have come already, or libvirt may not send one. */
static void on_asked(int r, const Error *error, void *userdata) {
        Job *job = userdata;
        DetachData *data = data_of(job);

        data->is_pending = false;
        if (r < 0)
                error_copy(&data->error, error);
        else
                virt_look_again(job->manager->virt, job->vm_uuid);
        evaluate(job);
}

static void remember_leaving(Vm *vm, const PciAddress *address) {
        PciAddress *grown = reallocarray(vm->leaving, vm->n_leaving + 1, sizeof(PciAddress));

        if (!grown)
                return;
        vm->leaving = grown;
        vm->leaving[vm->n_leaving++] = *address;
}

static int on_time_over(sd_event_source *source, uint64_t usec, void *userdata) {
        Job *job = userdata;
        DetachData *data = data_of(job);

        (void) error_set(&data->error, ERROR_TIMEOUT,
                         "The guest of the VM %s did not let %s go within %llu s; it keeps the device",
                         job->vm->spec->name, PCI_ADDRESS_TEXT(&data->devices[0].address),
                         (unsigned long long) (data->timeout / USEC_PER_SEC));
        error_set_remedy(&data->error, "Stop what uses the device in the guest and try again, or detach it "
                                       "while the VM is stopped. If the guest lets go later, the device "
                                       "comes back then.");
        evaluate(job);
        return 0;
}

static void cancel_unplug(Job *job) {
        DetachData *data = data_of(job);

        (void) error_set(&data->error, job->interrupted ? ERROR_INTERRUPTED : ERROR_CANCELLED,
                         "The guest was asked to let the device go and may still do so");
        evaluate(job);
}

static int run_unplug(Job *job, Error *error) {
        DetachData *data = data_of(job);
        int r;

        r = sd_event_add_time_relative(job->manager->event, &job->timer, CLOCK_MONOTONIC, data->timeout, 0,
                                       on_time_over, job);
        if (r >= 0)
                r = virt_detach_device(job->manager->virt, job->vm_uuid, &data->devices[0], on_asked, job,
                                       error);
        if (r < 0)
                return r;

        remember_leaving(job->vm, &data->devices[0].address);
        data->is_pending = true;
        return STEP_ASYNC;
}

static const JobStep unplug_step = { .phase = "waiting for the guest to let it go", .run = run_unplug,
                                     .cancel = cancel_unplug };

void vm_detach_spec_seen(Vm *vm, const VmSpec *spec) {
        Job *job = vm->job;

        if (!job->in_step || job->undoing || job->steps[job->current].run != run_unplug)
                return;

        /* One that was powered off has all its devices in its definition again. */
        if (!vm_is_active(vm))
                (void) error_set(&data_of(job)->error, ERROR_WRONG_STATE,
                                 "The VM %s ended meanwhile; it still has the device", vm->spec->name);
        else
                data_of(job)->is_gone = !vm_spec_find_device(spec, &data_of(job)->devices[0].address);
        evaluate(job);
}

/* --- the jobs --------------------------------------------------------------------------------------------- */

/* The unit as the VM has it: all that came with what was asked for then. */
static int copy_unit(const VmSpec *spec, const VmDevice *requested, DetachData *data) {
        data->devices = calloc(spec->n_devices, sizeof(VmDevice));
        if (!data->devices)
                return -ENOMEM;

        for (int others = 0; others < 2; others++)
                for (size_t i = 0; i < spec->n_devices; i++) {
                        const VmDevice *d = &spec->devices[i];
                        int r;

                        if (vm_requested_device(spec, d) != requested || (d != requested) != others)
                                continue;
                        r = vm_device_copy(d, &data->devices[data->n_devices]);
                        if (r < 0)
                                return r;
                        data->n_devices++;
                }
        return 0;
}

/* requested is one of spec's devices. */
static int make_job(Vm *vm, uid_t caller, const VmSpec *spec, const VmDevice *requested, Job **ret) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = job_new(vm->manager, "detach", caller, &job);
        if (r < 0)
                return r;

        job->data = calloc(1, sizeof(DetachData));
        job->free_data = free_detach_data;
        if (!job->data)
                return -ENOMEM;

        r = copy_unit(spec, requested, job->data);
        if (r < 0)
                return r;

        job_set_vm(job, vm);
        *ret = TAKE_PTR(job);
        return 0;
}

static int begin_job(Job *job, bool from_guest) {
        int r = job_add_steps(job, &define_step, 1);

        if (r >= 0 && from_guest)
                r = job_add_steps(job, &unplug_step, 1);
        if (r >= 0)
                r = job_add_steps(job, &vm_return_strays_step, 1);
        return r < 0 ? r : job_begin(job);
}

static int check_detach(const Vm *vm, const VmDevice *requested, size_t n, Error *error) {
        if (!vm_is_active(vm))
                return 0;
        if (vm->state != DOMAIN_RUNNING)
                return error_set(error, ERROR_WRONG_STATE,
                                 "The VM %s is %s: its guest cannot let a device go now", vm->spec->name,
                                 vm_state(vm));
        if (n == 1)
                return 0;

        (void) error_set(error, ERROR_NOT_SUPPORTED,
                         "%s has %zu functions that stay together, which cannot be taken out of a running VM",
                         PCI_ADDRESS_TEXT(&requested->address), n);
        error_set_remedy(error, "Stop the VM %s, detach the device, and start it again.", vm->spec->name);
        return -error_code_errno(ERROR_NOT_SUPPORTED);
}

static const VmDevice *find_requested(const Vm *vm, const PciAddress *address) {
        const VmDevice *device = vm_spec_find_device(vm->spec, address);

        return device ? vm_requested_device(vm->spec, device) : NULL;
}

int vm_detach(Vm *vm, uid_t caller, const PciAddress *address, uint64_t timeout, Job **ret, Error *error) {
        const VmDevice *requested = find_requested(vm, address);
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = vm_check_idle(vm, error);
        if (r < 0)
                return r;
        if (!requested)
                return error_set(error, ERROR_NO_SUCH_DEVICE, "The VM %s has no device %s", vm->spec->name,
                                 PCI_ADDRESS_TEXT(address));

        r = make_job(vm, caller, vm->spec, requested, &job);
        if (r < 0)
                return r;

        data_of(job)->timeout = timeout;
        r = check_detach(vm, requested, data_of(job)->n_devices, error);
        if (r >= 0)
                r = begin_job(job, vm_is_active(vm));
        if (r < 0)
                return r;

        *ret = TAKE_PTR(job);
        return 0;
}

/* --- late ------------------------------------------------------------------------------------------------- */

/* The running domain has it no more, and only that said more of it than the address. */
static int begin_late(Vm *vm, const PciAddress *address) {
        VmDevice left = { .address = *address, .requested = *address };
        const VmSpec list = { .devices = &left, .n_devices = 1 };
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = make_job(vm, 0, &list, &left, &job);
        if (r < 0)
                return r;

        data_of(job)->is_gone = true;
        r = begin_job(job, false);
        if (r < 0)
                return r;

        TAKE_PTR(job);
        return 0;
}

void vm_detach_late(Vm *vm) {
        if (!vm_is_active(vm)) {
                vm->n_leaving = 0; /* what is asked of a guest ends with it */
                return;
        }

        for (size_t i = 0; i < vm->n_leaving; i++) {
                const PciAddress address = vm->leaving[i];

                if (vm_spec_find_device(vm->spec, &address))
                        continue;
                log_notice("The guest of the VM %s has let %s go after all", vm->spec->name,
                           PCI_ADDRESS_TEXT(&address));
                if (begin_late(vm, &address) < 0)
                        log_error("%s cannot be taken out of the definition of the VM %s",
                                  PCI_ADDRESS_TEXT(&address), vm->spec->name);
                return;
        }
}
