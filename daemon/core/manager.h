/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All that the daemon knows while it runs: the devices of the host, the VMs that libvirt has, the jobs
 * under way. Everything here is read again from the kernel, libvirt and the journal of claims at start. */

#include "base/child.h"
#include "base/worker.h"
#include "claim.h"
#include "config.h"
#include "devices.h"
#include "host/reservation.h"
#include "job.h"
#include "virt/virt.h"
#include "vm.h"

typedef struct Observer Observer;
typedef struct Inspection Inspection;
typedef struct Pages Pages;
typedef struct Transfer Transfer;

struct Manager {
        sd_event *event;
        const Config *config;
        WorkerPool *workers;
        Virt *virt;
        const Observer *observer;
        void *observer_data;

        int root_fd;       /* of the host: "/" or a test's tree */
        int state_fd;      /* STATE */
        int claims_fd;     /* STATE/claims */
        char *device_helper, *image_helper; /* paths */
        char *boot_id;
        bool host_is_real; /* root_fd is "/": udev's events are about it */

        DeviceTable devices;
        Pages *pages;      /* huge pages that were made for VMs */
        Reservations reservations;
        unsigned n_reservations_taken; /* jobs of reservations_take() under way */
        sd_event_source *reservations_wait; /* for drivers, before it begins; NULL: it does not wait */
        void (*reservations_done)(Manager *m); /* what comes then */

        Vm **vms;
        size_t n_vms;

        Job **jobs;
        size_t n_jobs;
        uint64_t last_job_id;
        Job *stop_all;     /* all VMs are being stopped; NULL: they are not */

        bool reconciled;   /* the journal has been compared with libvirt since the start */
        bool stopping;     /* SIGTERM was seen: no new jobs, exit after the last device transaction */
        Transfer *transfers; /* under way, in a list */
        unsigned n_transfers;
        unsigned n_watches;  /* helpers of an earlier vmkitd, still at work */
        sd_event_source *patience_source; /* when they are not waited for any more */
        Inspection *inspections; /* under way, in a list */
        unsigned n_inspections;
};

int manager_new(sd_event *event, const Config *config, Manager **ret);
Manager *manager_free(Manager *m);
DEFINE_CLEANUP(Manager *, manager_free);

/* Reads the host and connects to libvirt. The observer is set by then. */
int manager_start(Manager *m);

/* Finishes the device transactions under way, then leaves the loop. */
void manager_stop(Manager *m);

int manager_add_job(Manager *m, Job *job);
/* One that an earlier vmkitd began, under the number it had. */
int manager_adopt_job(Manager *m, Job *job, uint64_t id);
void manager_remove_job(Manager *m, Job *job);
void manager_job_ended(Manager *m);
Job *manager_find_job(const Manager *m, uint64_t id);
size_t manager_count_jobs(const Manager *m, uid_t uid); /* running ones */

/* Refuses what would begin now: stopping, too many jobs of the caller. */
int manager_check_job_allowed(const Manager *m, uid_t uid, Error *error);

Vm *manager_find_vm(const Manager *m, const char *name);
Vm *manager_find_vm_by_uuid(const Manager *m, const char *uuid);
int manager_add_vm(Manager *m, Vm *vm);
void manager_remove_vm(Manager *m, Vm *vm);

/* Called when a transfer (transfer.h) begins and ends. */
void manager_transfer_began(Manager *m);
void manager_transfer_ended(Manager *m);

/* Looks at the journal's record of one device again and puts right what it shows. */
void reconcile_device(Manager *m, const PciAddress *address);

/* True the first time in a boot for this name of a file in STATE. */
bool manager_take_turn(Manager *m, const char *record);

/* virt/virt.h's handler, in reconcile.c */
extern const VirtHandler manager_virt_handler;
