/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kernel can only remove all virtual functions at once, and does so under whoever uses them. What vmkit
 * knows of their users is checked here, what the kernel knows by the device helper. */

#include "host/sriov.h"
#include "transfer.h"
#include "vfs.h"

static bool is_vf_of(const Device *vf, const Device *physical) {
        return vf->pci->is_vf && pci_address_equal(&vf->pci->physical_function, &physical->pci->address);
}

static const Vm *find_assigned(const Device *d) {
        for (size_t i = 0; i < d->manager->n_vms; i++)
                if (vm_is_assigned(d->manager->vms[i], &d->pci->address))
                        return d->manager->vms[i];
        return NULL;
}

static int check_vf(const Device *vf, Error *error) {
        const char *text = PCI_ADDRESS_TEXT(&vf->pci->address);
        const Vm *vm = vf->lease ? vf->lease : find_assigned(vf);

        if (vm)
                return error_set(error, ERROR_DEVICE_IN_USE,
                                 "The virtual function %s is in use: it is %s to the VM %s (has-vfs)", text,
                                 vf->lease ? "leased" : "assigned", vm->spec->name);
        if (vf->n_transfers > 0)
                return error_set(error, ERROR_BUSY, "The virtual function %s is being moved between drivers",
                                 text);
        if (vf->claim)
                return error_set(error, ERROR_DEVICE_IN_USE,
                                 "The virtual function %s is in use: vmkit holds it (has-vfs)", text);
        return 0;
}

static int not_offered(const Device *d, const char *words, Error *error) {
        int r = error_set(error, ERROR_NOT_SUPPORTED, "%s %s", PCI_ADDRESS_TEXT(&d->pci->address), words);

        error_set_remedy(error, "Virtual functions are offered by devices with SR-IOV, by their own driver.");
        return r;
}

static int too_many(const Device *d, unsigned total, Error *error) {
        int r = error_set(error, ERROR_LIMIT_EXCEEDED, "%s can have at most %u virtual functions",
                          PCI_ADDRESS_TEXT(&d->pci->address), total);

        error_set_remedy(error, "Ask for %u or fewer.", total);
        return r;
}

static int check_physical(const Device *d, unsigned count, Error *error) {
        const char *text = PCI_ADDRESS_TEXT(&d->pci->address);
        unsigned total;
        int r;

        if (d->n_transfers > 0)
                return error_set(error, ERROR_BUSY, "%s is being worked on", text);
        if (d->health == HEALTH_WEDGED)
                return error_set(error, ERROR_WEDGED, "%s is wedged: %s", text, d->health_detail);
        if (d->lease || d->claim)
                return error_set(error, ERROR_DEVICE_CLAIMED, "vmkit holds %s itself", text);

        r = sriov_read_total(d->manager->root_fd, &d->pci->address, &total);
        if (r == -EOPNOTSUPP || (r >= 0 && total == 0))
                return not_offered(d, "cannot have virtual functions", error);
        if (r < 0)
                return error_set_errno(error, r, "Could not read how many virtual functions %s can have", text);
        if (count > total)
                return too_many(d, total, error);
        return d->pci->driver ? 0 : not_offered(d, "is on no driver, which would make its virtual functions", error);
}

static int check(const Device *d, unsigned count, Error *error) {
        int r = check_physical(d, count, error);

        for (size_t i = 0; r >= 0 && i < devices_count(d->manager); i++)
                if (is_vf_of(d->manager->devices.items[i], d))
                        r = check_vf(d->manager->devices.items[i], error);
        return r;
}

static void on_changed(int r, const Error *error, void *userdata) {
        job_step_done(userdata, r, error);
}

int device_with_vfs(const Device *d, DeviceList *ret) {
        const Manager *m = d->manager;

        ret->items = calloc(devices_count(m) + 1, sizeof(PciDevice *));
        if (!ret->items)
                return -ENOMEM;

        ret->items[ret->n++] = d->pci;
        for (size_t i = 0; i < devices_count(m); i++)
                if (is_vf_of(m->devices.items[i], d))
                        ret->items[ret->n++] = m->devices.items[i]->pci;
        return 0;
}

static int start(const Device *d, unsigned count, Job *job) {
        TransferUnit unit = { .verb = TRANSFER_SET_VFS, .count = count };
        int r;

        r = device_with_vfs(d, &unit.functions);
        if (r < 0)
                return r;

        r = transfer_start(d->manager, NULL, &unit, 1, on_changed, job);
        device_list_clear(&unit.functions);
        return r < 0 ? r : STEP_ASYNC;
}

static int run_change(Job *job, Error *error) {
        const unsigned *count = job->data;
        const Device *d = devices_find(job->manager, &job->device);
        int r;

        if (!d)
                return error_set(error, ERROR_NO_SUCH_DEVICE, "The device is gone");

        /* Judged again: between the call and the first step a virtual function may have been given away. */
        r = check(d, *count, error);
        return r < 0 ? r : start(d, *count, job);
}

int device_set_vfs(Device *d, unsigned count, uid_t caller, Job **ret, Error *error) {
        static const JobStep step = { .phase = "setting the number of virtual functions", .run = run_change };
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = check(d, count, error);
        if (r >= 0)
                r = job_new(d->manager, "vfs", caller, &job);
        if (r < 0)
                return r;

        job->data = malloc(sizeof(unsigned));
        if (!job->data)
                return -ENOMEM;
        *(unsigned *) job->data = count;
        job->free_data = free;
        job_set_device(job, &d->pci->address);

        r = job_add_steps(job, &step, 1);
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(job);
        return 0;
}
