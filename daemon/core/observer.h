/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What core/ tells whoever shows its state to others: bus/ implements it. */

#include "devices.h"
#include "job.h"
#include "vm.h"

typedef struct Observer {
        /* Once: libvirt has been reached, and the journal compared with it. */
        void (*reconciled)(void *userdata);
        void (*vm_added)(Vm *vm, void *userdata);
        void (*vm_removed)(Vm *vm, void *userdata);
        void (*vm_changed)(Vm *vm, void *userdata);
        void (*device_added)(Device *device, void *userdata);
        void (*device_removed)(Device *device, void *userdata);
        void (*device_changed)(Device *device, void *userdata);
        /* After some were added or removed. */
        void (*devices_listed)(void *userdata);
        void (*job_added)(Job *job, void *userdata);
        void (*job_removed)(Job *job, void *userdata);
        void (*job_changed)(Job *job, void *userdata);
        void (*job_ended)(Job *job, void *userdata);
} Observer;

void observer_vm_added(Vm *vm);
void observer_vm_removed(Vm *vm);
void observer_vm_changed(Vm *vm);
void observer_device_added(Device *device);
void observer_device_removed(Device *device);
void observer_device_changed(Device *device);
void observer_devices_listed(const Manager *m);
void observer_job_added(Job *job);
void observer_job_removed(Job *job);
void observer_job_changed(Job *job);
void observer_job_ended(Job *job);
