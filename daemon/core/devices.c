/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/log.h"
#include "base/strv.h"
#include "devices.h"
#include "host/usage.h"
#include "manager.h"
#include "observer.h"
#include "transfer.h"
#include "vanished.h"

#define FRESH_USEC (2 * USEC_PER_SEC)
#define RETRY_USEC (60 * USEC_PER_SEC)

static const char *const health_names[_HEALTH_MAX] = {
        [HEALTH_READY] = "ready",
        [HEALTH_QUARANTINED] = "quarantined",
        [HEALTH_WEDGED] = "wedged",
        [HEALTH_NEEDS_REBOOT] = "needs-reboot",
};

const char *device_health_to_string(DeviceHealth health) {
        return health_names[health];
}

static uint64_t now_monotonic(const Manager *m) {
        uint64_t now = 0;

        (void) sd_event_now(m->event, CLOCK_MONOTONIC, &now);
        return now;
}

/* --- one device ----------------------------------------------------------------------------------------- */

static Device *device_free(Device *d) {
        if (!d)
                return NULL;

        if (d->lease)
                d->manager->devices.n_leases--;
        claim_free(d->claim);
        reasons_clear(&d->in_use);
        reasons_clear(&d->deep);
        free(d->health_detail);
        free(d);
        return NULL;
}

static void device_set_health(Device *d, DeviceHealth health, const char *detail) {
        d->health = health;
        free(d->health_detail);
        d->health_detail = detail ? strdup(detail) : NULL;
}

void device_reload_claim(Device *d) {
        _cleanup_(claim_freep) Claim *claim = NULL;
        int r;

        device_forget_use(d);
        d->claim = claim_free(d->claim);
        device_set_health(d, HEALTH_READY, NULL);

        r = claim_read(d->manager->claims_fd, &d->pci->address, &claim);
        if (r == -ENOENT)
                return;
        if (r < 0) {
                device_set_health(d, HEALTH_QUARANTINED, "its claim record cannot be read");
                return;
        }
        if (!claim_is_about(claim, d->manager->boot_id, d->pci))
                return;

        if (claim->state == CLAIM_QUARANTINED)
                device_set_health(d, claim->needs_reboot ? HEALTH_NEEDS_REBOOT : HEALTH_QUARANTINED,
                                  claim->reason);
        else if (d->n_transfers == 0 && claim_helper_is_alive(claim)) {
                _cleanup_free_ char *detail = claim_describe_helper(claim);

                device_set_health(d, HEALTH_WEDGED, detail ? detail : "its driver has not let go of it");
        }
        d->claim = TAKE_PTR(claim);
}

/* Its claim is looked up when it is told of. */
static Device *device_new(Manager *m, PciDevice *pci) {
        Device *d = calloc(1, sizeof(Device));

        if (!d)
                return NULL;

        d->manager = m;
        d->pci = pci;
        return d;
}

/* What others around it are judged by, too. */
static bool place_differs(const PciDevice *a, const PciDevice *b) {
        return a->iommu_group != b->iommu_group || a->n_vfs != b->n_vfs || a->numa_node != b->numa_node ||
               a->boot_vga != b->boot_vga || !strv_equal(a->reset_methods, b->reset_methods);
}

static bool driver_differs(const PciDevice *a, const PciDevice *b) {
        return !streq_ptr(a->driver, b->driver) || a->nvme != b->nvme || !streq_ptr(a->serial, b->serial);
}

static bool device_differs(const PciDevice *a, const PciDevice *b) {
        return driver_differs(a, b) || place_differs(a, b);
}

void devices_forget_view(Manager *m) {
        m->devices.view_at = 0;
}

void device_forget_use(Device *d) {
        d->in_use_look = d->available_look = 0;
        devices_forget_view(d->manager);
}

/* One for all devices that are asked about within a short while. */
static HostView *devices_view(Manager *m) {
        DeviceTable *table = &m->devices;
        uint64_t now = now_monotonic(m);

        if (table->view_at == 0 || now - table->view_at >= FRESH_USEC) {
                host_view_clear(&table->view);
                table->view.root_fd = m->root_fd;
                table->view_at = now;
                table->look++;
        }
        return &table->view;
}

/* After a move nothing of the old look holds. */
void device_forget_all_use(Device *d) {
        reasons_clear(&d->deep);
        d->deep_at = 0;
        device_forget_use(d);
}

bool device_is_quarantined(const Device *d) {
        return d->health == HEALTH_QUARANTINED || d->health == HEALTH_NEEDS_REBOOT;
}

static int device_add_health(const Device *d, Reasons *reasons) {
        char text[PCI_ADDRESS_TEXT_MAX];

        pci_address_format(&d->pci->address, text);
        switch (d->health) {
        case HEALTH_QUARANTINED:
                return reasons_add(reasons, REASON_QUARANTINED, "%s is quarantined: %s", text,
                                   str_na(d->health_detail));
        case HEALTH_NEEDS_REBOOT:
                return reasons_add(reasons, REASON_QUARANTINED,
                                   "%s is quarantined until the host has been switched off and on: %s", text,
                                   str_na(d->health_detail));
        case HEALTH_WEDGED:
                return reasons_add(reasons, REASON_WEDGED, "%s is wedged: %s", text,
                                   str_na(d->health_detail));
        default:
                return 0;
        }
}

static void on_looked(int r _unused_, const Error *error _unused_, void *userdata _unused_) {
}

/* Somebody reads what an old close look found. A property cannot wait for another one, but the next reader
 * need not be told of a process that ended long ago. */
static void look_again(Device *d) {
        const DeviceList itself = { .items = &d->pci, .n = 1 };

        if (d->deep.n > 0 && !device_deep_is_fresh(d))
                (void) transfer_inspect(d->manager, &itself, on_looked, NULL);
}

const Reasons *device_in_use(Device *d) {
        Manager *m = d->manager;
        HostView *view = devices_view(m);
        _cleanup_reasons_ Reasons fresh = {};
        int r;

        look_again(d);
        if (d->in_use_look == m->devices.look)
                return &d->in_use;

        r = usage_inspect_in(view, m->devices.inventory, d->pci, &fresh);
        for (size_t i = 0; r >= 0 && i < d->deep.n; i++)
                r = reasons_add(&fresh, d->deep.items[i].code, "%s", d->deep.items[i].detail);
        if (r >= 0)
                r = device_add_health(d, &fresh);
        if (r < 0) {
                log_errno(r, "Could not find out who uses %s", PCI_ADDRESS_TEXT(&d->pci->address));
                return &d->in_use;
        }

        reasons_clear(&d->in_use);
        d->in_use = fresh;
        fresh = (Reasons) {};
        d->in_use_look = m->devices.look;
        return &d->in_use;
}

void device_set_deep(Device *d, Reasons *reasons) {
        reasons_clear(&d->deep);
        d->deep = *reasons;
        d->deep_at = now_monotonic(d->manager);
        *reasons = (Reasons) {};
        device_forget_use(d);
}

void device_deep_failed(Device *d) {
        reasons_clear(&d->deep);
        d->deep_at = 0;
        d->deep_failed_at = now_monotonic(d->manager);
        device_forget_use(d);
}

bool device_deep_failed_lately(const Device *d) {
        return d->deep_failed_at > 0 && now_monotonic(d->manager) - d->deep_failed_at < RETRY_USEC;
}

bool device_deep_is_fresh(const Device *d) {
        return (d->deep_at > 0 && now_monotonic(d->manager) - d->deep_at < FRESH_USEC) ||
               device_deep_failed_lately(d);
}

static bool may_have_disks(const PciDevice *pci) {
        bool kind = pci->kind == KIND_NVME || pci->kind == KIND_STORAGE || pci->kind == KIND_USB;

        return kind && pci->driver && !streq(pci->driver, VFIO_DRIVER);
}

int device_add_unlooked(const Device *d, Reasons *reasons) {
        _cleanup_device_list_ DeviceList unit = {};
        int r;

        r = device_unit(d, &unit);
        for (size_t i = 0; r >= 0 && i < unit.n; i++) {
                const Device *member = devices_find(d->manager, &unit.items[i]->address);

                if (member->deep_at == 0 && may_have_disks(member->pci))
                        r = reasons_add(reasons, REASON_NOT_INSPECTED, "%s could not be looked at closely",
                                        PCI_ADDRESS_TEXT(&member->pci->address));
        }
        return r;
}

/* What vmkit itself knows against giving the function away. */
static int device_own_reasons(const Device *d, const Vm *vm, Reasons *reasons) {
        char text[PCI_ADDRESS_TEXT_MAX];
        int r = 0;

        pci_address_format(&d->pci->address, text);
        if (d->lease && d->lease != vm)
                r = reasons_add(reasons, REASON_CLAIMED, "%s is leased to the VM %s", text,
                                d->lease->spec->name);
        /* Which drive it is was read with the inventory, and is not known before the next look at that. */
        if (r >= 0 && d->pci->nvme == NVME_AT_WORK && !reasons_contain(reasons, REASON_CLAIMED))
                r = reasons_add(reasons, REASON_CLAIMED, "The driver of %s was at work on it a moment ago",
                                text);
        if (r >= 0 && d->n_transfers > 0 && d->lease != vm)
                r = reasons_add(reasons, REASON_CLAIMED, "%s is being moved between drivers", text);
        /* While their number is being set, all may go at any moment. */
        const Device *physical =
                d->pci->is_vf ? devices_find(d->manager, &d->pci->physical_function) : NULL;
        if (r >= 0 && physical && physical->n_transfers > 0)
                r = reasons_add(reasons, REASON_CLAIMED, "%s is being worked on",
                                PCI_ADDRESS_TEXT(&physical->pci->address));
        return r < 0 ? r : device_add_health(d, reasons);
}

int device_unit(const Device *d, DeviceList *ret) {
        return inventory_unit(d->manager->devices.inventory, d->pci, ret);
}

int device_group(const Device *d, DeviceList *ret) {
        return inventory_group(d->manager->devices.inventory, d->pci, ret);
}

int device_reasons(Device *d, const Vm *vm, Reasons *ret) {
        Manager *m = d->manager;
        _cleanup_reasons_ Reasons reasons = {};
        _cleanup_device_list_ DeviceList unit = {};
        int r;

        r = usage_inspect_unit_in(devices_view(m), m->devices.inventory, d->pci, &reasons);
        if (r >= 0)
                r = device_unit(d, &unit);

        for (size_t i = 0; r >= 0 && i < unit.n; i++) {
                const Device *member = devices_find(m, &unit.items[i]->address);

                r = device_own_reasons(member, vm, &reasons);
                for (size_t k = 0; r >= 0 && k < member->deep.n; k++)
                        r = reasons_add(&reasons, member->deep.items[k].code, "%s",
                                        member->deep.items[k].detail);
        }
        if (r < 0)
                return r;

        *ret = reasons;
        reasons = (Reasons) {};
        return 0;
}

bool device_is_available(Device *d) {
        const DeviceTable *table = &d->manager->devices;
        _cleanup_reasons_ Reasons reasons = {};

        (void) devices_view(d->manager);
        if (d->available_look != table->look) {
                d->available = device_reasons(d, NULL, &reasons) >= 0 && !reasons_blocking(&reasons, NULL);
                d->available_look = table->look;
        }
        return d->available;
}

const char *device_original_driver(const Device *d) {
        return d->claim ? d->claim->original.driver : d->pci->driver;
}

void device_set_lease(Device *d, Vm *vm) {
        if (d->lease == vm)
                return;

        d->manager->devices.n_leases += (vm != NULL) - (d->lease != NULL);
        d->lease = vm;
        device_forget_use(d);
        observer_device_changed(d);
}

/* --- the table ------------------------------------------------------------------------------------------ */

size_t devices_count(const Manager *m) {
        return m->devices.inventory ? m->devices.inventory->n_devices : 0;
}

Device *devices_find(const Manager *m, const PciAddress *address) {
        size_t low = 0, high = devices_count(m);

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                Device *d = m->devices.items[middle];
                int c = pci_address_compare(&d->pci->address, address);

                if (c == 0)
                        return d;
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NULL;
}

typedef struct Merge {
        Device **added, **removed, **changed;
        size_t n_added, n_removed, n_changed;
        bool places;   /* where some of them are has changed, not just their drivers */
} Merge;

static void merge_clear(Merge *merge) {
        free(merge->added);
        free(merge->removed);
        free(merge->changed);
}

/* Only a live controller tells a drive's serial number; otherwise it is the one it was. */
static int keep_serial(const PciDevice *before, PciDevice *now) {
        if (now->serial || !before->serial)
                return 0;
        now->serial = strdup(before->serial);
        return now->serial ? 0 : -ENOMEM;
}

/* Both inventories are in the order of addresses, so one walk over the two pairs them up. */
static int merge_inventories(Manager *m, const Inventory *next, Device **items, Merge *merge) {
        Device **old = m->devices.items;
        size_t n_old = devices_count(m), i = 0;

        merge->added = calloc(next->n_devices + 1, sizeof(Device *));
        merge->changed = calloc(next->n_devices + 1, sizeof(Device *));
        merge->removed = calloc(n_old + 1, sizeof(Device *));
        if (!merge->added || !merge->changed || !merge->removed)
                return -ENOMEM;

        for (size_t k = 0; k < next->n_devices; k++) {
                PciDevice *pci = next->devices[k];

                for (; i < n_old && pci_address_compare(&old[i]->pci->address, &pci->address) < 0; i++)
                        merge->removed[merge->n_removed++] = old[i];

                bool same_place = i < n_old && pci_address_equal(&old[i]->pci->address, &pci->address);
                if (same_place && pci_device_is_other(old[i]->pci, pci)) {
                        merge->removed[merge->n_removed++] = old[i++];
                        same_place = false;
                }

                if (same_place) {
                        if (keep_serial(old[i]->pci, pci) < 0)
                                return -ENOMEM;
                        items[k] = old[i++];
                        /* What was found on it need not be on it any more when it is live again. */
                        if (items[k]->pci->nvme == NVME_LIVE && pci->nvme != NVME_LIVE)
                                device_forget_all_use(items[k]);
                        if (device_differs(items[k]->pci, pci))
                                merge->changed[merge->n_changed++] = items[k];
                        merge->places |= place_differs(items[k]->pci, pci);
                } else {
                        items[k] = device_new(m, pci);
                        if (!items[k])
                                return -ENOMEM;
                        merge->added[merge->n_added++] = items[k];
                }
        }

        for (; i < n_old; i++)
                merge->removed[merge->n_removed++] = old[i];
        merge->places |= merge->n_added > 0 || merge->n_removed > 0;
        return 0;
}

/* Their groups, units and virtual functions may be others now; the observer tells only what is. */
static void tell_neighbours(const Manager *m) {
        for (size_t i = 0; i < devices_count(m); i++) {
                device_forget_use(m->devices.items[i]);
                observer_device_changed(m->devices.items[i]);
        }
}

/* A device that vanishes takes its lease along; the VM learns of it from QEMU. One in the place of another is
 * looked up again once the record of the other is gone. */
static void tell_differences(Manager *m, const Merge *merge) {
        for (size_t i = 0; i < merge->n_removed; i++) {
                observer_device_removed(merge->removed[i]);
                device_vanished(merge->removed[i]);
                device_free(merge->removed[i]);
        }
        for (size_t i = 0; i < merge->n_added; i++) {
                device_reload_claim(merge->added[i]);
                observer_device_added(merge->added[i]);
        }
        for (size_t i = 0; i < merge->n_changed; i++) {
                Device *d = merge->changed[i];

                device_forget_use(d);
                /* By now it has said which one it is. */
                if (d->claim && !claim_is_about(d->claim, m->boot_id, d->pci))
                        device_reload_claim(d);
                observer_device_changed(d);
        }
        if (merge->places && merge->n_added < devices_count(m))
                tell_neighbours(m);
        if (merge->n_added > 0 || merge->n_removed > 0)
                observer_devices_listed(m);
}

int devices_refresh(Manager *m) {
        DeviceTable *table = &m->devices;
        _cleanup_(inventory_freep) Inventory *next = NULL;
        _cleanup_free_ Device **items = NULL;
        _cleanup_(merge_clear) Merge merge = {};
        int r;

        r = inventory_read(m->root_fd, &next);
        if (r < 0)
                return r;

        items = calloc(next->n_devices + 1, sizeof(Device *));
        if (!items)
                return -ENOMEM;

        r = merge_inventories(m, next, items, &merge);
        if (r < 0) {
                for (size_t i = 0; i < merge.n_added; i++)
                        device_free(merge.added[i]);
                return r;
        }

        for (size_t k = 0; k < next->n_devices; k++)
                items[k]->pci = next->devices[k];

        Inventory *previous = table->inventory;
        free(table->items);
        table->items = TAKE_PTR(items);
        table->inventory = TAKE_PTR(next);
        table->read_at = now_monotonic(m);

        tell_differences(m, &merge);
        inventory_free(previous);
        return 0;
}

int devices_refresh_if_old(Manager *m) {
        if (m->host_is_real && now_monotonic(m) - m->devices.read_at < FRESH_USEC)
                return 0;
        return devices_refresh(m);
}

static int on_refresh(sd_event_source *source, uint64_t usec, void *userdata) {
        Manager *m = userdata;
        int r = devices_refresh(m);

        if (r < 0)
                log_errno(r, "Could not read the host's devices");
        return 0;
}

/* Binding one device makes several events; one look after the last of them is enough. */
static int on_device_event(sd_device_monitor *monitor, sd_device *device, void *userdata) {
        Manager *m = userdata;
        DeviceTable *table = &m->devices;

        if (table->refresh_source) {
                (void) sd_event_source_set_time_relative(table->refresh_source, 50 * USEC_PER_MSEC);
                (void) sd_event_source_set_enabled(table->refresh_source, SD_EVENT_ONESHOT);
                return 0;
        }

        (void) sd_event_add_time_relative(m->event, &table->refresh_source, CLOCK_MONOTONIC,
                                          50 * USEC_PER_MSEC, 10 * USEC_PER_MSEC, on_refresh, m);
        return 0;
}

int devices_watch(Manager *m) {
        DeviceTable *table = &m->devices;
        int r;

        r = sd_device_monitor_new(&table->monitor);
        if (r >= 0)
                r = sd_device_monitor_filter_add_match_subsystem_devtype(table->monitor, "pci", NULL);
        /* A controller tells that it is live by a change of its own ("NVME_EVENT=connected"). */
        if (r >= 0)
                r = sd_device_monitor_filter_add_match_subsystem_devtype(table->monitor, "nvme", NULL);
        if (r >= 0)
                r = sd_device_monitor_attach_event(table->monitor, m->event);
        if (r >= 0)
                r = sd_device_monitor_start(table->monitor, on_device_event, m);
        return r;
}

void devices_clear(DeviceTable *table) {
        size_t n = table->inventory ? table->inventory->n_devices : 0;

        for (size_t i = 0; i < n; i++)
                device_free(table->items[i]);
        free(table->items);
        inventory_free(table->inventory);
        host_view_clear(&table->view);
        sd_event_source_disable_unref(table->refresh_source);
        sd_device_monitor_unref(table->monitor);
        *table = (DeviceTable) {};
}
