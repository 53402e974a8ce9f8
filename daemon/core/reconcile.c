/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What libvirt says, taken into the manager's view; and, the first time it is reached, the journal of claims
 * compared with it: a VM that ran on while vmkitd was away keeps its devices, a claim without a VM is
 * undone, a record of an earlier boot is dropped. */

#include <sys/epoll.h>
#include <sys/pidfd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/strv.h"
#include "image-ops.h"
#include "job-record.h"
#include "manager.h"
#include "observer.h"
#include "pages.h"
#include "quiet.h"
#include "reservations.h"
#include "transfer.h"
#include "vanished.h"

#define AUTOSTART_RECORD "autostart-boot"

static void reconcile_unit(Manager *m, const PciAddress *address);

/* --- claims ----------------------------------------------------------------------------------------------- */

static void lease_devices_of(Vm *vm) {
        for (size_t i = 0; i < vm->spec->n_devices; i++) {
                _cleanup_device_list_ DeviceList unit = {};
                const Device *d = devices_find(vm->manager, &vm->spec->devices[i].requested);

                if (!d || device_unit(d, &unit) < 0)
                        continue;
                for (size_t k = 0; k < unit.n; k++)
                        device_set_lease(devices_find(vm->manager, &unit.items[k]->address), vm);
        }
}

static bool unit_contains(const Manager *m, const PciAddress *requested, const PciAddress *address) {
        _cleanup_device_list_ DeviceList unit = {};
        const Device *d = devices_find(m, requested);

        return d && device_unit(d, &unit) >= 0 && device_list_contains(&unit, address);
}

/* The record as it stands once its helper is dead, if it is: what that wrote last was not there to read before. */
static int read_settled_claim(const Manager *m, const PciAddress *address, Claim **ret) {
        _cleanup_(claim_freep) Claim *claim = NULL;
        int r;

        r = claim_read(m->claims_fd, address, &claim);
        if (r < 0)
                return r;
        if (claim->helper > 0 && !claim_helper_is_alive(claim)) {
                claim = claim_free(claim);
                r = claim_read(m->claims_fd, address, &claim);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(claim);
        return 0;
}

typedef enum UnitState {
        UNIT_HELD,    /* all of it, on vfio-pci */
        UNIT_AT_WORK, /* a helper moves it */
        UNIT_BROKEN,  /* neither: whoever moved it was cut short */
} UnitState;

static UnitState unit_state(const Manager *m, const Device *d) {
        _cleanup_device_list_ DeviceList unit = {};
        UnitState state = UNIT_HELD;

        if (device_unit(d, &unit) < 0)
                return UNIT_BROKEN;
        for (size_t i = 0; i < unit.n; i++) {
                _cleanup_(claim_freep) Claim *claim = NULL;

                if (read_settled_claim(m, &unit.items[i]->address, &claim) < 0)
                        state = UNIT_BROKEN;
                else if (claim_helper_is_alive(claim))
                        return UNIT_AT_WORK;
                else if (claim->state != CLAIM_BOUND)
                        state = UNIT_BROKEN;
        }
        return state;
}

/* A device that waits for its stopped VM on vfio-pci, or that an administrator bound by hand, stays. */
static bool claim_may_stay(const Manager *m, const Claim *claim) {
        const Vm *vm;

        if (claim->state != CLAIM_BOUND)
                return false;
        if (!claim->vm)
                return true;

        vm = manager_find_vm_by_uuid(m, claim->vm);
        for (size_t i = 0; vm && i < vm->spec->n_devices; i++) {
                const VmDevice *device = &vm->spec->devices[i];

                if (unit_contains(m, &device->requested, &claim->address))
                        return vm_holds_device(vm, vm_requested_device(vm->spec, device));
        }
        return false;
}

static void on_released(int r, const Error *error, void *userdata) {
        if (r < 0)
                log_error("A device left over from before did not come back: %s", error->message);
}

/* All of the unit at once: two helpers for one unit would wait for each other. What is home already goes along,
 * so that the helper sees that the unit is not whole. */
static size_t keep_leftover(const Manager *m, DeviceList *functions) {
        size_t kept = 0, recorded = 0;

        for (size_t i = 0; i < functions->n; i++) {
                Device *d = devices_find(m, &functions->items[i]->address);

                if (!d || d->lease || d->n_transfers > 0)
                        continue;
                device_reload_claim(d);
                if (d->claim && d->claim->state == CLAIM_QUARANTINED)
                        continue;
                functions->items[kept++] = functions->items[i];
                recorded += d->claim != NULL;
        }
        functions->n = kept;
        return recorded;
}

static void release_leftover(Manager *m, Device *d) {
        _cleanup_device_list_ DeviceList functions = {};
        int r;

        r = device_unit(d, &functions);
        if (r >= 0 && keep_leftover(m, &functions) == 0)
                return;

        const TransferUnit unit = { .functions = functions, .verb = TRANSFER_RELEASE };
        log_notice("Returning %s, which an interrupted operation left behind",
                   PCI_ADDRESS_TEXT(&d->pci->address));
        if (r >= 0)
                r = transfer_start(m, NULL, &unit, 1, on_released, NULL);
        if (r < 0)
                log_errno(r, "Could not return it");
}

/* --- helpers that are stuck -------------------------------------------------------------------------------- */

typedef struct Watch {
        Manager *manager;
        PciAddress address;
        int pidfd;
} Watch;

static void watch_free(void *data) {
        Watch *watch = data;

        close_fd(watch->pidfd);
        free(watch);
}

static int on_helper_ended(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        const Watch watch = *(const Watch *) userdata;

        (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
        (void) sd_event_source_set_floating(source, false);
        log_notice("The helper that worked on %s has ended", PCI_ADDRESS_TEXT(&watch.address));
        (void) devices_refresh(watch.manager);
        reconcile_unit(watch.manager, &watch.address);
        watch.manager->n_watches--;
        job_records_settle(watch.manager);
        return 0;
}

/* The loop owns the source, and the source the watch. */
static int watch_begin(Manager *m, const Claim *claim) {
        sd_event_source *source;
        Watch *watch;
        int r;

        int fd = pidfd_open(claim->helper, 0);
        if (fd < 0)
                return -errno;

        watch = calloc(1, sizeof(Watch));
        if (!watch) {
                close_fd(fd);
                return -ENOMEM;
        }
        *watch = (Watch) { .manager = m, .address = claim->address, .pidfd = fd };

        r = sd_event_add_io(m->event, &source, fd, EPOLLIN, on_helper_ended, watch);
        if (r < 0) {
                watch_free(watch);
                return r;
        }
        (void) sd_event_source_set_destroy_callback(source, watch_free);
        (void) sd_event_source_set_floating(source, true);
        (void) sd_event_source_unref(source);
        m->n_watches++;
        return 0;
}

/* Whether it is there to be waited for. */
static bool watch_helper(Manager *m, const Claim *claim) {
        int r;

        if (!claim_helper_is_alive(claim))
                return false;
        r = watch_begin(m, claim);
        if (r == -ESRCH)
                return false;
        if (r < 0)
                log_errno(r, "The end of the helper at work on %s will not be seen",
                          PCI_ADDRESS_TEXT(&claim->address));
        else
                log_warning("A helper (PID %d) still works on %s", (int) claim->helper,
                            PCI_ADDRESS_TEXT(&claim->address));
        return true;
}

static void reconcile_claim(Manager *m, const Claim *claim) {
        Device *d = devices_find(m, &claim->address);

        if (!streq_ptr(claim->boot_id, m->boot_id)) {
                (void) claim_remove(m->claims_fd, &claim->address);
                return;
        }

        if (!d) {
                vanished_drop_record(m, &claim->address);
                return;
        }

        /* d->claim is NULL also when another device sits there now: not ours to touch. */
        if (!d->claim || d->n_transfers > 0 || claim->state == CLAIM_QUARANTINED)
                return;
        /* Also where a job still leases it: that job has given up, and ends. */
        if (watch_helper(m, claim) || d->lease)
                return;

        UnitState state = unit_state(m, d);
        if (state == UNIT_BROKEN || (state == UNIT_HELD && !claim_may_stay(m, claim)))
                release_leftover(m, d);
}

/* What the journal says of one device, looked at anew: after a helper that was given up has ended. */
void reconcile_device(Manager *m, const PciAddress *address) {
        _cleanup_(claim_freep) Claim *claim = NULL;
        Device *d = devices_find(m, address);

        if (d) {
                device_reload_claim(d);
                observer_device_changed(d);
        }
        if (read_settled_claim(m, address, &claim) >= 0)
                reconcile_claim(m, claim);
}

static void reconcile_unit(Manager *m, const PciAddress *address) {
        _cleanup_device_list_ DeviceList unit = {};
        const Device *d = devices_find(m, address);

        if (!d || device_unit(d, &unit) < 0) {
                reconcile_device(m, address);
                return;
        }
        for (size_t i = 0; i < unit.n; i++)
                reconcile_device(m, &unit.items[i]->address);
}

static void reconcile_claims(Manager *m) {
        _cleanup_claims_ Claims claims = {};
        int r;

        for (size_t i = 0; i < m->n_vms; i++)
                if (vm_is_active(m->vms[i]))
                        lease_devices_of(m->vms[i]);

        r = claims_read_all(m->claims_fd, &claims);
        if (r < 0) {
                log_errno(r, "Could not read the journal of claims");
                return;
        }

        for (size_t i = 0; i < claims.n; i++)
                reconcile_device(m, &claims.items[i]->address);
}

/* --- files ------------------------------------------------------------------------------------------------ */

/* Only what is marked: that libvirt does not list a VM may have many reasons, and its disk is not ours to throw
 * away for them. */
static void remove_unfinished_vms(Manager *m) {
        _cleanup_strv_ char **names = NULL;
        int r;

        r = list_dir_at(m->state_fd, "vms", &names);
        if (r < 0) {
                log_errno(r, "Could not list the directories of VMs");
                return;
        }

        STRV_FOREACH(name, names) {
                if (!uuid_is_valid(*name) || manager_find_vm_by_uuid(m, *name))
                        continue;
                if (!vm_is_unfinished(m, *name)) {
                        log_warning("vms/%s is of no VM that libvirt lists; it is left alone", *name);
                        continue;
                }

                log_notice("Removing the files of the VM %s, whose creation or removal was interrupted", *name);
                r = vm_remove_files(m->state_fd, *name);
                if (r < 0)
                        log_errno(r, "Could not remove them");
        }
}

/* --- autostart -------------------------------------------------------------------------------------------- */

/* Once per boot, however often vmkitd is restarted. */
bool manager_take_turn(Manager *m, const char *record) {
        _cleanup_free_ char *last = NULL;
        int r;

        if (read_line_at(m->state_fd, record, &last) >= 0 && streq(last, m->boot_id))
                return false;

        r = write_file_atomic_at(m->state_fd, record, m->boot_id, 0600);
        if (r < 0)
                log_errno(r, "Could not write %s, the record of what is done once at each boot", record);
        return r >= 0;
}

static void autostart(Manager *m) {
        if (m->stopping || !manager_take_turn(m, AUTOSTART_RECORD))
                return;

        for (size_t i = 0; i < m->n_vms; i++) {
                _cleanup_error_ Error error = ERROR_INIT;
                Vm *vm = m->vms[i];
                Job *job;

                if (!vm->spec->autostart || vm_is_active(vm))
                        continue;
                if (vm_start(vm, vm->spec->owner, &job, &error) < 0)
                        log_error("Could not start the VM %s: %s", vm->spec->name, str_na(error.message));
        }
}

/* --- what libvirt says ------------------------------------------------------------------------------------ */

static void add_vm(Manager *m, VmSpec **spec, DomainState state) {
        Vm *vm;
        int r;

        r = vm_new(m, *spec, &vm);
        if (r < 0) {
                log_errno(r, "Could not take note of the VM %s", (*spec)->name);
                return;
        }

        *spec = NULL;
        vm->defined = true;
        vm->state = state;
        observer_vm_added(vm);
        vm_tell_assignments(m, vm->spec);
}

static void release_held(Vm *vm) {
        Manager *m = vm->manager;

        for (size_t i = 0; i < devices_count(m); i++) {
                Device *d = m->devices.items[i];

                if (d->claim && streq_ptr(d->claim->vm, vm->spec->uuid) && d->n_transfers == 0 &&
                    d->health == HEALTH_READY)
                        release_leftover(m, d);
        }
}

void vm_forget(Vm *vm) {
        Manager *m = vm->manager;
        char uuid[UUID_TEXT_MAX];

        strcpy(uuid, vm->spec->uuid);
        release_held(vm);
        observer_vm_removed(vm);
        vm_free(vm);
        pages_vm_stopped(m, uuid);
        quiet_update(m);
}

/* A job under way comes to its end first; what it waits for will not happen any more. */
static void remove_vm(Vm *vm) {
        if (!vm->job) {
                vm_forget(vm);
                return;
        }
        if (vm->defined && !streq(vm->job->operation, "destroy"))
                vm->gone = true;
        vm_state_changed(vm, DOMAIN_STOPPED);
}

static bool is_listed(const DomainInfo *domains, size_t n, const Vm *vm) {
        for (size_t i = 0; i < n; i++)
                if (domains[i].spec && streq(domains[i].spec->uuid, vm->spec->uuid))
                        return true;
        return false;
}

static void on_connected(DomainInfo *domains, size_t n, void *userdata) {
        Manager *m = userdata;

        for (size_t i = m->n_vms; i-- > 0;)
                if (!is_listed(domains, n, m->vms[i]))
                        remove_vm(m->vms[i]);

        for (size_t i = 0; i < n; i++) {
                Vm *vm = manager_find_vm_by_uuid(m, domains[i].spec->uuid);

                if (!vm) {
                        add_vm(m, &domains[i].spec, domains[i].state);
                        continue;
                }
                vm->defined = true;
                vm->gone = false;
                vm_spec_seen(vm, &domains[i].spec);
                vm_state_changed(vm, domains[i].state);
                if (vm_is_active(vm) && !vm->job)
                        vm_lease_claimed(vm);
                observer_vm_changed(vm);
        }

        log_message(m->reconciled ? LOG_DEBUG : LOG_INFO, "Connected to libvirt at %s: %zu VMs", virt_uri(m->virt),
                    m->n_vms);
        if (m->reconciled)
                return;

        m->reconciled = true;
        quiet_update(m);
        reconcile_claims(m);
        pages_reconcile(m);
        remove_unfinished_vms(m);
        image_bases_collect(m);
        job_records_settle(m);
        reservations_take(m, autostart);
        if (m->observer)
                m->observer->reconciled(m->observer_data);
}

static void on_disconnected(void *userdata) {
        Manager *m = userdata;

        log_warning("libvirt at %s cannot be reached", virt_uri(m->virt));
        for (size_t i = 0; i < m->n_vms; i++)
                observer_vm_changed(m->vms[i]);
}

static void on_changed(const char *uuid, DomainState state, VmSpec **spec, bool gone, const char *stopped_for,
                       void *userdata) {
        Manager *m = userdata;
        Vm *vm = manager_find_vm_by_uuid(m, uuid);

        if (gone) {
                if (vm)
                        remove_vm(vm);
                return;
        }

        if (!vm) {
                if (spec && *spec)
                        add_vm(m, spec, state);
                return;
        }

        if (spec && *spec) {
                vm->gone = false; /* undefined and defined anew, while a job is under way */
                vm_spec_seen(vm, spec);
        }
        if (stopped_for && vm->state != DOMAIN_STOPPED)
                log_info("The VM %s has stopped (%s)", vm->spec->name, stopped_for);
        vm_state_changed(vm, state);
}

static bool may_rest(void *userdata) {
        const Manager *m = userdata;

        for (size_t i = 0; i < m->n_vms; i++)
                if (m->vms[i]->job || vm_is_active(m->vms[i]))
                        return false;
        return true;
}

const VirtHandler manager_virt_handler = {
        .connected = on_connected,
        .disconnected = on_disconnected,
        .changed = on_changed,
        .may_rest = may_rest,
};
