/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What core/ tells becomes signals: objects that come and go, properties that change, jobs that end. */

#include "base/log.h"
#include "bus.h"
#include "changes.h"
#include "core/observer.h"
#include "paths.h"
#include "sleep-lock.h"

static void check_sent(int r, const char *path) {
        if (r < 0)
                log_errno(r, "Could not send a signal of %s", path);
}

static void tell_list_changed(const Bus *b, const char *property) {
        if (b->announced)
                check_sent(sd_bus_emit_properties_changed(b->bus, MANAGER_PATH, MANAGER_INTERFACE, property, NULL),
                           MANAGER_PATH);
}

/* Before the name is asked for, nobody can know of the objects: a large host has thousands. */
static void tell_added(const Bus *b, const char *path, const char *interface, const sd_bus_vtable *properties,
                       void *object, Told *told) {
        if (b->announced)
                check_sent(sd_bus_emit_interfaces_added(b->bus, path, interface, NULL), path);
        check_sent(changes_remember(b->bus, properties, object, told), path);
}

static void tell_removed(const Bus *b, const char *path, const char *interface) {
        if (b->announced)
                check_sent(sd_bus_emit_interfaces_removed(b->bus, path, interface, NULL), path);
}

static void on_vm_added(Vm *vm, void *userdata) {
        tell_added(userdata, VM_PATH(vm), VM_INTERFACE, vm_properties, vm, &vm->told);
        tell_list_changed(userdata, "VMs");
}

static void on_vm_removed(Vm *vm, void *userdata) {
        tell_removed(userdata, VM_PATH(vm), VM_INTERFACE);
        tell_list_changed(userdata, "VMs");
}

static void on_vm_changed(Vm *vm, void *userdata) {
        const Bus *b = userdata;
        const char *path = VM_PATH(vm);

        check_sent(changes_tell(b->bus, path, VM_INTERFACE, vm_properties, vm, &vm->told), path);
}

static void on_device_added(Device *d, void *userdata) {
        tell_added(userdata, DEVICE_PATH(&d->pci->address), DEVICE_INTERFACE, device_properties, d, &d->told);
}

static void on_device_removed(Device *d, void *userdata) {
        tell_removed(userdata, DEVICE_PATH(&d->pci->address), DEVICE_INTERFACE);
}

/* Once for all that came and went together. */
static void on_devices_listed(void *userdata) {
        tell_list_changed(userdata, "Devices");
        sleep_lock_update(userdata);
}

static void on_device_changed(Device *d, void *userdata) {
        Bus *b = userdata;
        const char *path = DEVICE_PATH(&d->pci->address);

        check_sent(changes_tell(b->bus, path, DEVICE_INTERFACE, device_properties, d, &d->told), path);
        sleep_lock_update(b);
}

static void on_job_added(Job *job, void *userdata) {
        tell_added(userdata, JOB_PATH(job), JOB_INTERFACE, job_properties, job, &job->told);
        tell_list_changed(userdata, "Jobs");
}

static void on_job_removed(Job *job, void *userdata) {
        tell_removed(userdata, JOB_PATH(job), JOB_INTERFACE);
        tell_list_changed(userdata, "Jobs");
}

static void on_job_changed(Job *job, void *userdata) {
        const Bus *b = userdata;
        const char *path = JOB_PATH(job);

        check_sent(changes_tell(b->bus, path, JOB_INTERFACE, job_properties, job, &job->told), path);
}

static void on_job_ended(Job *job, void *userdata) {
        const Bus *b = userdata;
        const char *path = JOB_PATH(job), *name = error_code_name(job->error.code);

        on_job_changed(job, userdata);
        check_sent(sd_bus_emit_signal(b->bus, path, JOB_INTERFACE, "Completed", "bss",
                                      job->state == JOB_DONE, name ? name : "",
                                      job->error.message ? job->error.message : ""),
                   path);
}

static void on_reconciled(void *userdata) {
        bus_announce(userdata);
}

const Observer bus_observer = {
        .reconciled = on_reconciled,
        .vm_added = on_vm_added,
        .vm_removed = on_vm_removed,
        .vm_changed = on_vm_changed,
        .device_added = on_device_added,
        .device_removed = on_device_removed,
        .device_changed = on_device_changed,
        .devices_listed = on_devices_listed,
        .job_added = on_job_added,
        .job_removed = on_job_removed,
        .job_changed = on_job_changed,
        .job_ended = on_job_ended,
};
