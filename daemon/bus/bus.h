/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The service on the system bus: its objects, its name, and the signals that tell of changes. */

#include <systemd/sd-bus.h>

#include "core/manager.h"

#define BUS_NAME "org.vmkit.Manager"
#define ROOT_PATH "/org/vmkit"
#define MANAGER_PATH "/org/vmkit/Manager"
#define MANAGER_INTERFACE "org.vmkit.Manager"
#define VM_INTERFACE "org.vmkit.VM"
#define DEVICE_INTERFACE "org.vmkit.Device"
#define JOB_INTERFACE "org.vmkit.Job"

typedef struct Call Call;
typedef struct Callers Callers; /* callers.h */
typedef struct Polkit Polkit;   /* polkit.h */

/* sleep-lock.h */
typedef struct SleepLock {
        bool wanted;        /* a device is leased */
        sd_bus_slot *slot;  /* logind is being asked */
        int fd;             /* logind's lock; -EBADF: not held */
} SleepLock;

typedef struct Bus {
        sd_bus *bus;
        Manager *manager;
        Callers *callers;
        Polkit *polkit;
        Call *calls;       /* under way, in a list */
        sd_event_source *announce_source;
        bool announced;
        SleepLock sleep_lock;
        sd_bus_vtable *vtables[4]; /* one for each interface */
        size_t n_vtables;
} Bus;

/* Connects and exports everything. The name is taken, and systemd told, when the manager knows its VMs, or
 * after a few seconds if libvirt does not answer: whoever starts the service by calling it finds it ready. */
int bus_new(Manager *manager, Bus **ret);
void bus_announce(Bus *b);
Bus *bus_free(Bus *b);
DEFINE_CLEANUP(Bus *, bus_free);

extern const Observer bus_observer; /* signals.c */

/* Properties and signals of each interface; the methods come from methods.c. */
extern const sd_bus_vtable manager_properties[], vm_properties[], device_properties[], job_properties[];
