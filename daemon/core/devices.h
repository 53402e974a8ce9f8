/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The devices of the host as the daemon sees them: the kernel's inventory, and beside each function who
 * leases it, what the journal says of it, and who on the host uses it. */

#include <systemd/sd-device.h>

#include "claim.h"
#include "host/host-view.h"
#include "host/pci.h"
#include "host/reason.h"
#include "told.h"

typedef struct Manager Manager;
typedef struct Vm Vm;

typedef enum DeviceHealth {
        HEALTH_READY,
        HEALTH_QUARANTINED,  /* it failed: clear-quarantine tries whether it is well again */
        HEALTH_WEDGED,       /* its driver does not let go of it */
        HEALTH_NEEDS_REBOOT, /* quarantined, and clear-quarantine has failed */
        _HEALTH_MAX,
} DeviceHealth;

const char *device_health_to_string(DeviceHealth health);

typedef struct Device {
        Manager *manager;
        PciDevice *pci;         /* of the inventory of the moment */
        Vm *lease;              /* who has it; NULL: nobody */
        Claim *claim;           /* the journal's record; NULL: none */
        unsigned n_transfers;   /* helpers at work on it */
        DeviceHealth health;
        char *health_detail;

        Reasons in_use;         /* seen from sysfs and procfs */
        uint64_t in_use_look;   /* the number of the look at the host that it is of; 0: none */
        bool available;         /* seen by … */
        uint64_t available_look; /* … that one */
        Reasons deep;           /* seen by the last inspection of the helper */
        uint64_t deep_at;       /* 0: never, or the look did not come to its end */
        uint64_t deep_failed_at;
        Told told;
} Device;

typedef struct DeviceTable {
        Inventory *inventory;
        Device **items;         /* one for each of the inventory, in its order */
        uint64_t read_at;
        HostView view;          /* what the host does with them all, as of … */
        uint64_t view_at;       /* … then; 0: it is to be looked at afresh */
        uint64_t look;          /* number of that look */
        size_t n_leases;        /* devices that some VM has */
        sd_device_monitor *monitor;
        sd_event_source *refresh_source;
} DeviceTable;

/* Reads the inventory again, keeps what is known about the functions that are still there, and tells the
 * observer of the differences. */
int devices_refresh(Manager *m);
/* The same if the last look is older than 2 s or the tree is a test's, which sends no events. */
int devices_refresh_if_old(Manager *m);
int devices_watch(Manager *m);
void devices_clear(DeviceTable *table);

size_t devices_count(const Manager *m);
Device *devices_find(const Manager *m, const PciAddress *address);

/* Reads the journal's record of the function again; after each transfer. */
void device_reload_claim(Device *d);

/* Why it cannot be given to vm (NULL: to anyone), all of its unit considered: the host's use, leases of
 * others, quarantine. Fresh if older than 2 s. */
int device_reasons(Device *d, const Vm *vm, Reasons *ret);

/* Given to nobody, for a reason that health_detail says: an administrator has to end it, or a new start of the
 * host. */
bool device_is_quarantined(const Device *d);

/* The host's use of this function alone, and what ails it, as the property InUse has it. */
const Reasons *device_in_use(Device *d);
bool device_is_available(Device *d);

/* The driver it has when vmkit does not hold it; NULL: none. */
const char *device_original_driver(const Device *d);

int device_unit(const Device *d, DeviceList *ret);
int device_group(const Device *d, DeviceList *ret);

void device_set_lease(Device *d, Vm *vm);
void device_set_deep(Device *d, Reasons *reasons); /* takes them */
/* The close look took too long. */
void device_deep_failed(Device *d);
/* No look is due: the last was a moment ago, or failed not long ago. */
bool device_deep_is_fresh(const Device *d);
bool device_deep_failed_lately(const Device *d);

/* What nobody could look at closely may be in use or hold data: adds not-inspected for each such function of the
 * unit. */
int device_add_unlooked(const Device *d, Reasons *reasons);
/* Who uses a device, and what the host does at all, is looked at afresh the next time. */
void device_forget_use(Device *d);
void devices_forget_view(Manager *m);
void device_forget_all_use(Device *d);
