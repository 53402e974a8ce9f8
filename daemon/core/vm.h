/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A VM: a libvirt domain that carries our metadata, and what is happening to it at the moment. */

#include "job.h"
#include "virt/virt.h"

typedef struct Device Device;
typedef struct Launch Launch;

struct Vm {
        Manager *manager;
        VmSpec *spec;
        DomainState state;    /* as libvirt said last */
        bool defined;         /* libvirt has it */
        Job *job;             /* the operation under way; NULL: none */
        Launch *launch;       /* of QEMU, by the job under way; NULL: none */
        bool seen_active;     /* since the launch under way: libvirt's events say that it runs */
        bool gone;            /* libvirt has it no more; goes when its job has ended */
        Told told;
        bool spec_is_old;     /* libvirt told of another one during the job */
        VmSpec *wanted;       /* what the job under way makes of it; NULL: nothing */
        PciAddress *leaving;  /* devices that the guest was asked in vain to let go, and still may */
        size_t n_leaving;
};

int vm_new(Manager *m, VmSpec *spec, Vm **ret); /* takes the spec */
Vm *vm_free(Vm *vm);
DEFINE_CLEANUP(Vm *, vm_free);

/* "creating", "stopped", "running", …, "unknown" while libvirt is away. */
const char *vm_state(const Vm *vm);
bool vm_is_active(const Vm *vm); /* QEMU is there */

/* Refuses while another operation runs on it, or libvirt is away. */
int vm_check_idle(const Vm *vm, Error *error);
/* The same, and where its state does not allow it. what: as in "it cannot be …". */
int vm_check_state(const Vm *vm, bool allows, const char *what, Error *error);

/* The operations. Each sets a job that will begin on the next turn of the loop. caller: the uid. */
typedef struct StopOptions {
        uint64_t timeout; /* µs */
        bool force;
} StopOptions;

int vm_start(Vm *vm, uid_t caller, Job **ret, Error *error);
int vm_stop(Vm *vm, uid_t caller, const StopOptions *options, Job **ret, Error *error);
int vm_reboot(Vm *vm, uid_t caller, Job **ret, Error *error);
int vm_pause(Vm *vm, uid_t caller, Job **ret, Error *error);
int vm_resume(Vm *vm, uid_t caller, Job **ret, Error *error);

/* Gives it a device, with all of its unit, or takes one back; in the guest as well if it runs. plan is one of
 * vm_plan_attachment() that is ready, and is taken. */
typedef struct Plan Plan;
int vm_plan_attachment(Vm *vm, uid_t caller, const PciAddress *address, char *const *allow, Plan **ret,
                       Error *error);
int vm_attach(Vm *vm, uid_t caller, Plan *plan, char *const *allow, Job **ret, Error *error);
int vm_detach(Vm *vm, uid_t caller, const PciAddress *address, uint64_t timeout, Job **ret, Error *error);

typedef struct DestroyOptions {
        bool force, keep_disk;
} DestroyOptions;
int vm_destroy(Vm *vm, uid_t caller, const DestroyOptions *options, Job **ret, Error *error);

/* Writes the new value to the domain's metadata; it is the VM's only once that is done. */
int vm_set_autostart(Vm *vm, bool autostart, VirtDone done, void *userdata, Error *error);
void vm_autostart_was_set(Vm *vm, bool autostart);

/* Whether a stopped VM keeps this device on vfio-pci. */
bool vm_holds_device(const Vm *vm, const VmDevice *device);

/* A job of one step. */
int vm_begin_single(Vm *vm, const char *operation, const JobStep *step, uid_t caller, Job **ret);

/* Tells the observer that the assignments of the spec's devices have changed. */
void vm_tell_assignments(Manager *m, const VmSpec *spec);
bool vm_is_assigned(const Vm *vm, const PciAddress *address);

/* Whether the function moves with a device that the VM has been given. */
bool vm_accounts_for(const Vm *vm, const PciAddress *address);

/* Takes another spec, and tells of devices that came or went. */
void vm_adopt_spec(Vm *vm, VmSpec *spec);

/* What libvirt says of it now, which a job may wait for; taken if no job is under way. */
void vm_spec_seen(Vm *vm, VmSpec **spec);

/* Brings back what is bound for the VM, but no longer one of its devices; does nothing if a job is under
 * way. */
void vm_return_strays(Vm *vm);

/* The job of either, begun by nobody in particular. */
int vm_begin_return(Vm *vm, const JobStep *step);

/* Leases to a VM that runs what the journal holds for it: it may have been started by other means, or the
 * answer of its start was lost. */
void vm_lease_claimed(Vm *vm);

/* Whatever it leases is nobody's. */
void vm_drop_leases(Vm *vm);

/* The device of the unit that was asked for, which decides where the unit waits. */
const VmDevice *vm_requested_device(const VmSpec *spec, const VmDevice *of);

/* What libvirt has answered and its event has not said by then: the event was lost. */
#define VM_EVENT_DELAY_USEC (5 * USEC_PER_SEC)

/* Events. */
void vm_job_ended(Vm *vm, const Job *job);
void vm_state_changed(Vm *vm, DomainState state);

/* libvirt has it no more: what it holds goes back to the host, and it is gone for the bus too. */
void vm_forget(Vm *vm);

/* Brings back what a VM that has stopped by itself still leases; does nothing if a job will. */
void vm_return_devices(Vm *vm);

/* The steps, for operations that are made of several. */
extern const JobStep vm_start_steps[];
extern const size_t vm_n_start_steps;
extern const JobStep vm_return_step;      /* after a stop: each device where on-stop says */
extern const JobStep vm_return_all_step;  /* before destruction: all to the host */
extern const JobStep vm_return_strays_step;

/* For vm_spec_seen(): a step of a detach job that waits for the guest. */
void vm_detach_spec_seen(Vm *vm, const VmSpec *spec);
/* Finishes what the guest let go after the time for it was over. */
void vm_detach_late(Vm *vm);

/* Where its files are, relative to the state directory: "vms/UUID". */
int vm_directory(const VmSpec *spec, char **ret);
int vm_directory_path(const Vm *vm, char **ret); /* absolute */
/* Removes the directory and the files in it. */
int vm_remove_files(int state_fd, const char *uuid);
/* The same on a worker, as a step of a job: a large file takes time. */
int vm_remove_files_async(Job *job);
/* A mark in the directory: its VM is being made or removed, and if libvirt has no such domain when vmkitd
 * starts, the files go. Without it they stay, whatever libvirt says. */
int vm_mark_unfinished(Manager *m, const char *uuid, bool unfinished);
bool vm_is_unfinished(Manager *m, const char *uuid);
