/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The devices of a VM as they change: libvirt's definition says which they are (of a VM that runs, the running
 * domain's), and what is bound for the VM but is not one of them goes back to the host. That holds whoever
 * made the change, and however it came to be half done. */

#include "base/log.h"
#include "manager.h"
#include "observer.h"
#include "quiet.h"
#include "transfer.h"

static bool unit_has(const Vm *vm, const VmDevice *device, const PciAddress *address) {
        _cleanup_device_list_ DeviceList unit = {};
        const Device *d = devices_find(vm->manager, &device->requested);

        return d && device_unit(d, &unit) >= 0 && device_list_contains(&unit, address);
}

bool vm_accounts_for(const Vm *vm, const PciAddress *address) {
        if (vm_is_assigned(vm, address))
                return true;
        for (size_t i = 0; i < vm->spec->n_devices; i++)
                if (unit_has(vm, &vm->spec->devices[i], address))
                        return true;
        return false;
}

/* --- another spec ----------------------------------------------------------------------------------------- */

void vm_adopt_spec(Vm *vm, VmSpec *spec) {
        VmSpec *old = vm->spec;

        vm->spec = spec;
        vm_tell_assignments(vm->manager, old);
        vm_tell_assignments(vm->manager, spec);
        observer_vm_changed(vm);
        vm_spec_free(old);
        quiet_update(vm->manager);
}

void vm_spec_seen(Vm *vm, VmSpec **spec) {
        if (vm->job) {
                vm->spec_is_old = true;
                vm_detach_spec_seen(vm, *spec);
                return;
        }

        vm_adopt_spec(vm, TAKE_PTR(*spec));
        vm_detach_late(vm);
        vm_return_strays(vm);
}

/* --- strays ----------------------------------------------------------------------------------------------- */

static bool is_stray(const Vm *vm, const Device *d) {
        bool held = !d->lease && d->claim && d->claim->state == CLAIM_BOUND &&
                    streq_ptr(d->claim->vm, vm->spec->uuid);

        return (held || d->lease == vm) && d->n_transfers == 0 && d->health == HEALTH_READY &&
               !vm_accounts_for(vm, &d->pci->address);
}

static bool is_listed(const TransferUnit *units, size_t n, const Device *d) {
        for (size_t i = 0; i < n; i++)
                if (device_list_contains(&units[i].functions, &d->pci->address))
                        return true;
        return false;
}

/* What belongs to one unit comes back by one helper. */
static int add_stray_unit(Vm *vm, Device *first, TransferUnit *unit) {
        size_t kept = 0;
        int r = device_unit(first, &unit->functions);

        for (size_t i = 0; r >= 0 && i < unit->functions.n; i++) {
                Device *d = devices_find(vm->manager, &unit->functions.items[i]->address);

                if (!is_stray(vm, d))
                        continue;
                device_set_lease(d, vm);
                unit->functions.items[kept++] = unit->functions.items[i];
        }
        unit->functions.n = kept;
        unit->verb = TRANSFER_RELEASE;
        return r;
}

/* One that QEMU may still have stays leased. */
static void end_stray_leases(Vm *vm) {
        for (size_t i = 0; i < devices_count(vm->manager); i++) {
                Device *d = vm->manager->devices.items[i];

                if (d->lease == vm && (!d->claim || d->health != HEALTH_READY) &&
                    !vm_accounts_for(vm, &d->pci->address))
                        device_set_lease(d, NULL);
        }
}

static void on_strays_returned(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        end_stray_leases(job->vm);
        job_step_done(job, r, error);
}

static int run_return_strays(Job *job, Error *error) {
        Manager *m = job->manager;
        TransferUnit *units = calloc(devices_count(m) + 1, sizeof(TransferUnit));
        size_t n = 0;
        int r = 0;

        if (!units)
                return -ENOMEM;

        for (size_t i = 0; r >= 0 && i < devices_count(m); i++) {
                Device *d = m->devices.items[i];

                if (is_stray(job->vm, d) && !is_listed(units, n, d))
                        r = add_stray_unit(job->vm, d, &units[n++]);
        }
        if (r >= 0)
                r = transfer_start(m, job->vm_uuid, units, n, on_strays_returned, job);

        for (size_t i = 0; i < n; i++)
                device_list_clear(&units[i].functions);
        free(units);
        return r < 0 ? r : STEP_ASYNC;
}

const JobStep vm_return_strays_step = { .phase = "returning the device", .run = run_return_strays };

static const Device *first_stray(const Vm *vm) {
        for (size_t i = 0; i < devices_count(vm->manager); i++)
                if (is_stray(vm, vm->manager->devices.items[i]))
                        return vm->manager->devices.items[i];
        return NULL;
}

void vm_return_strays(Vm *vm) {
        const Device *stray = vm->job ? NULL : first_stray(vm);
        int r;

        if (!stray)
                return;

        log_notice("%s is bound for the VM %s, but is none of its devices any more: it goes back to the host",
                   PCI_ADDRESS_TEXT(&stray->pci->address), vm->spec->name);
        r = vm_begin_return(vm, &vm_return_strays_step);
        if (r < 0)
                log_errno(r, "Could not return it");
}
