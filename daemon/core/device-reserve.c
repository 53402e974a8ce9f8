/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reserving: the unit is bound first, by the transaction that proves it idle, and recorded when that has
 * worked; so what is recorded could be given away at least once. Giving up a reservation goes the other way
 * round: a record that is gone holds nothing, whatever happens next. */

#include "base/log.h"
#include "base/strv.h"
#include "device-ops.h"
#include "driver-wait.h"
#include "host/early.h"
#include "observer.h"
#include "reservations.h"
#include "transfer.h"

#define RETURNED_RECORD "unreserved-boot"

typedef struct ReserveData {
        Job *job;
        int root_fd;
        Reservation *reservation;   /* to write; its identities are read by the worker. NULL: none */
        PciAddress *replaced;       /* records to remove */
        size_t n_replaced;
        bool was_bound;             /* before this job */
        const char *failed;         /* what the worker could not do */
        int r;
        ReservationsDone done;      /* of reservations_take() */
} ReserveData;

static void free_reserve_data(void *p) {
        ReserveData *data = p;

        if (data) {
                reservation_free(data->reservation);
                free(data->replaced);
        }
        free(data);
}

/* --- moving ---------------------------------------------------------------------------------------------- */

static void on_moved(int r, const Error *error, void *userdata) {
        job_step_done(userdata, r, error);
}

typedef bool (*Wanted)(const Device *d);

/* The wanted ones of the unit, together. */
static int move(Job *job, TransferVerb verb, Wanted wanted, char **allow, Error *error) {
        const Device *d = devices_find(job->manager, &job->device);
        _cleanup_device_list_ DeviceList unit = {};
        size_t n = 0;
        int r;

        if (!d)
                return error_set(error, ERROR_NO_SUCH_DEVICE, "The device is gone");
        r = device_unit(d, &unit);
        if (r < 0)
                return r;

        for (size_t i = 0; i < unit.n; i++)
                if (wanted(devices_find(job->manager, &unit.items[i]->address)))
                        unit.items[n++] = unit.items[i];
        unit.n = n;
        if (n == 0)
                return STEP_DONE;

        const TransferUnit part = { .functions = unit, .allow = allow, .verb = verb };
        r = transfer_start(job->manager, NULL, &part, 1, on_moved, job);
        return r < 0 ? r : STEP_ASYNC;
}

static bool is_on_vfio(const Device *d) {
        return streq_ptr(d->pci->driver, VFIO_DRIVER);
}

static bool any(const Device *d) {
        return true;
}

/* --- the record, on a worker: what reads identities may wait for a device that sleeps ---------------------- */

static int read_identities(Reservation *reservation, int root_fd) {
        for (size_t i = 0; i < reservation->n; i++) {
                PciIdentity *id = &reservation->functions[i].id;
                const PciAddress address = id->address;
                int r;

                pci_identity_clear(id);
                r = pci_identity_read(root_fd, &address, id);
                if (r < 0)
                        return r;
                /* Recorded without a number that it has, it would never be known again. */
                if (id->serial_is_unknown)
                        return -EIO;
        }
        return 0;
}

static void write_records(void *work) {
        ReserveData *data = work;

        data->failed = "read the identity of the device";
        if (data->reservation)
                data->r = read_identities(data->reservation, data->root_fd);
        if (data->r < 0)
                return;

        data->failed = "write the reservation";
        if (data->reservation)
                data->r = reservation_write(data->root_fd, data->reservation);
        for (size_t i = 0; data->r >= 0 && i < data->n_replaced; i++)
                data->r = reservation_remove(data->root_fd, &data->replaced[i]);
}

static void on_written(void *work) {
        ReserveData *data = work;
        _cleanup_error_ Error error = ERROR_INIT;

        manager_read_reservations(data->job->manager);
        if (data->r < 0)
                (void) error_set_errno(&error, data->r, "Could not %s", data->failed);
        job_step_done(data->job, data->r, &error);
}

static int run_record(Job *job, Error *error) {
        int r = worker_submit(job->manager->workers, write_records, on_written, job->data);

        return r < 0 ? r : STEP_ASYNC;
}

/* Records that overlap with the new one: of another unit, or of the same in another place. */
static int replace_record(ReserveData *data, const Reservation *old) {
        PciAddress *grown = reallocarray(data->replaced, data->n_replaced + 1, sizeof(PciAddress));

        if (!grown)
                return -ENOMEM;
        data->replaced = grown;
        data->replaced[data->n_replaced++] = *reservation_address(old);
        return 0;
}

/* --- reserve --------------------------------------------------------------------------------------------- */

static bool may_carry_disks(const PciDevice *pci) {
        return pci->kind == KIND_NVME || pci->kind == KIND_STORAGE || pci->kind == KIND_USB ||
               pci->kind == KIND_NETWORK;
}

static bool is_beside_display(const PciDevice *pci, const DeviceList *unit) {
        for (size_t i = 0; i < unit->n; i++)
                if (unit->items[i]->kind == KIND_GPU &&
                    pci_address_same_slot(&unit->items[i]->address, &pci->address))
                        return true;
        return false;
}

static int copy_text(const char *text, char **ret) {
        *ret = text ? strdup(text) : NULL;
        return text && !*ret ? -ENOMEM : 0;
}

/* A drive says its serial number through its driver alone. One that is on vfio-pci has said it before, or
 * could never be told from another of its model. */
static int add_function(Reservation *reservation, const Device *d, const DeviceList *unit, Error *error) {
        const ReservedFunction *known = reservations_find(&d->manager->reservations, d->pci, NULL);
        const char *serial = d->pci->serial ? d->pci->serial : known ? known->serial : NULL;
        const char *driver = known && is_on_vfio(d) ? known->driver : device_original_driver(d);
        ReservedFunction *f;
        int r;

        if (d->pci->kind == KIND_NVME && !serial && !streq_ptr(d->pci->driver, "nvme")) {
                r = error_set(error, ERROR_WRONG_STATE,
                              "%s cannot be reserved as it is: the serial number of a drive can only be read "
                              "while it is on its driver", PCI_ADDRESS_TEXT(&d->pci->address));
                error_set_remedy(error, "Release it first ('vmkitctl release ADDRESS').");
                return r;
        }

        f = reservation_add(reservation);
        if (!f)
                return -ENOMEM;
        f->id.address = d->pci->address;
        f->alone = may_carry_disks(d->pci) && !is_beside_display(d->pci, unit);
        r = copy_text(serial, &f->serial);
        if (r >= 0 && !streq_ptr(driver, VFIO_DRIVER))
                r = copy_text(driver, &f->driver);
        return r;
}

static int describe(const Device *d, char *const *allow, ReserveData *data, Error *error) {
        _cleanup_device_list_ DeviceList unit = {};
        Manager *m = d->manager;
        int r;

        data->reservation = calloc(1, sizeof(Reservation));
        if (!data->reservation)
                return -ENOMEM;

        r = strv_copy(allow, &data->reservation->allow);
        if (r >= 0)
                r = device_unit(d, &unit);
        for (size_t i = 0; r >= 0 && i < unit.n; i++)
                r = add_function(data->reservation, devices_find(m, &unit.items[i]->address), &unit, error);

        for (size_t i = 0; r >= 0 && i < m->reservations.n; i++) {
                const Reservation *old = m->reservations.items[i];
                bool overlaps = false;

                for (size_t k = 0; k < unit.n; k++)
                        overlaps |= reservation_find(old, &unit.items[k]->address) != NULL;
                if (overlaps && !pci_address_equal(reservation_address(old), &unit.items[0]->address))
                        r = replace_record(data, old);
        }
        return r;
}

static bool unit_is_bound(const Device *d) {
        _cleanup_device_list_ DeviceList unit = {};

        if (device_unit(d, &unit) < 0)
                return false;
        for (size_t i = 0; i < unit.n; i++) {
                const Device *member = devices_find(d->manager, &unit.items[i]->address);

                if (!member->claim || !is_on_vfio(member))
                        return false;
        }
        return true;
}

/* Judged again: between the call and the first step a VM may have been started. */
static int run_bind(Job *job, Error *error) {
        ReserveData *data = job->data;
        const Device *d = devices_find(job->manager, &job->device);
        int r;

        r = d ? device_check_not_taken(d, error)
              : error_set(error, ERROR_NO_SUCH_DEVICE, "The device is gone");
        if (r < 0)
                return r;

        data->was_bound = unit_is_bound(d);
        return data->was_bound ? STEP_DONE : move(job, TRANSFER_BIND, any, data->reservation->allow, error);
}

static int undo_bind(Job *job, Error *error) {
        const ReserveData *data = job->data;

        return data->was_bound ? STEP_DONE : move(job, TRANSFER_RELEASE, any, NULL, error);
}

static int new_job(Device *d, const char *operation, uid_t caller, Job **ret) {
        _cleanup_(job_freep) Job *job = NULL;
        ReserveData *data;
        int r;

        r = job_new(d->manager, operation, caller, &job);
        if (r < 0)
                return r;

        data = calloc(1, sizeof(ReserveData));
        if (!data)
                return -ENOMEM;
        *data = (ReserveData) { .job = job, .root_fd = d->manager->root_fd };
        job->data = data;
        job->free_data = free_reserve_data;
        job_set_device(job, &d->pci->address);
        *ret = TAKE_PTR(job);
        return 0;
}

static const JobStep reserve_steps[] = {
        { .phase = "binding", .run = run_bind, .undo = undo_bind },
        { .phase = "recording the reservation", .run = run_record },
};

/* in_place: of the reservation that is there already, which stays as it is. */
static int begin_reserve(Device *d, uid_t caller, char *const *allow, bool in_place, Job **ret,
                         Error *error) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = device_check_free(d, allow, error);
        if (r >= 0)
                r = new_job(d, "reserve", caller, &job);
        if (r >= 0)
                r = describe(d, allow, job->data, error);
        if (r >= 0)
                r = job_add_steps(job, reserve_steps, in_place ? 1 : ELEMENTSOF(reserve_steps));
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(job);
        return 0;
}

int device_reserve(Device *d, uid_t caller, char *const *allow, Job **ret, Error *error) {
        return begin_reserve(d, caller, allow, false, ret, error);
}

/* --- unreserve ------------------------------------------------------------------------------------------- */

static bool was_held_early(const Device *d) {
        _cleanup_free_ char *driver = NULL;

        return early_record_find(d->manager->root_fd, &d->pci->address, &driver) >= 0;
}

static bool is_free_of_transfers(const Device *d) {
        return d->n_transfers == 0 && d->health == HEALTH_READY && !d->lease;
}

/* Held early, and not in the journal yet, which knows the way back. */
static bool is_to_be_journalled(const Device *d) {
        return is_free_of_transfers(d) && is_on_vfio(d) && !d->claim &&
               (device_is_reserved(d) || was_held_early(d));
}

/* A VM that has it, or waits for it while it is stopped, keeps it. */
static bool is_to_be_returned(const Device *d) {
        return is_free_of_transfers(d) && is_on_vfio(d) && d->claim && !d->claim->vm;
}

static int run_journal(Job *job, Error *error) {
        return move(job, TRANSFER_BIND, is_to_be_journalled, NULL, error);
}

static int run_return(Job *job, Error *error) {
        return move(job, TRANSFER_RELEASE, is_to_be_returned, NULL, error);
}

static const JobStep unreserve_steps[] = {
        { .phase = "looking for the way back", .run = run_journal },
        { .phase = "removing the reservation", .run = run_record },
        { .phase = "releasing", .run = run_return },
};

static int begin_unreserve(Device *d, uid_t caller, const Reservation *record, Job **ret) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = new_job(d, "unreserve", caller, &job);
        if (r >= 0 && record)
                r = replace_record(job->data, record);
        if (r >= 0)
                r = job_add_steps(job, unreserve_steps, ELEMENTSOF(unreserve_steps));
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(job);
        return 0;
}

int device_unreserve(Device *d, uid_t caller, Job **ret, Error *error) {
        const Reservation *record = device_reservation_by_address(d);

        if (record)
                return begin_unreserve(d, caller, record, ret);

        int r = error_set(error, ERROR_WRONG_STATE, "%s is not reserved", PCI_ADDRESS_TEXT(&d->pci->address));
        error_set_remedy(error, "'vmkitctl devices' shows which devices are.");
        return r;
}

/* --- the late half --------------------------------------------------------------------------------------- */

/* By its serial number, among those of its model; only a unit of one function, since nothing says where the
 * others would be. */
static Device *find_moved(const Manager *m, const Reservation *reservation) {
        const ReservedFunction *f = &reservation->functions[0];

        for (size_t i = 0; f->serial && reservation->n == 1 && i < devices_count(m); i++) {
                Device *d = m->devices.items[i];

                if (streq_ptr(d->pci->serial, f->serial) && d->pci->vendor_id == f->id.vendor_id &&
                    d->pci->device_id == f->id.device_id && d->pci->class == f->id.class)
                        return d;
        }
        return NULL;
}

static Device *find_in_place(const Manager *m, const Reservation *reservation) {
        for (size_t i = 0; i < reservation->n; i++) {
                const Device *d = devices_find(m, &reservation->functions[i].id.address);

                if (!d || !reserved_function_is(&reservation->functions[i], d->pci))
                        return NULL;
        }
        return devices_find(m, reservation_address(reservation));
}

static void on_taken(Job *job) {
        const ReserveData *data = job->data;
        Manager *m = job->manager;

        if (job->state != JOB_DONE)
                log_error("%s was not held: %s", PCI_ADDRESS_TEXT(&job->device), str_na(job->error.message));
        if (--m->n_reservations_taken == 0)
                data->done(m);
}

static void watch_job(Manager *m, Job *job, ReservationsDone done) {
        ((ReserveData *) job->data)->done = done;
        job->ended = on_taken;
        m->n_reservations_taken++;
}

/* The record of a drive that moved is replaced only when its new place is known to be right: it was bound
 * there. */
static int begin_take(Device *d, const Reservation *reservation, Job **ret, Error *error) {
        bool in_place = pci_address_equal(&d->pci->address, reservation_address(reservation));
        int r;

        r = begin_reserve(d, 0, reservation->allow, in_place, ret, error);
        if (r >= 0 && !in_place)
                r = replace_record((*ret)->data, reservation);
        return r;
}

static void take_reservation(Manager *m, const Reservation *reservation, ReservationsDone done) {
        _cleanup_error_ Error error = ERROR_INIT;
        const char *address = PCI_ADDRESS_TEXT(reservation_address(reservation));
        Device *d = find_in_place(m, reservation);
        Job *job;

        if (!d && (d = find_moved(m, reservation)))
                log_notice("The drive that was reserved at %s is at %s now", address,
                           PCI_ADDRESS_TEXT(&d->pci->address));
        if (!d) {
                log_warning("The device that was reserved at %s is not there", address);
                return;
        }
        if (unit_is_bound(d))
                return;

        int r = begin_take(d, reservation, &job, &error);
        if (r < 0)
                log_error("%s, which is reserved, was not held: %s", PCI_ADDRESS_TEXT(&d->pci->address),
                          error.message ? error.message : strerror(-r));
        else
                watch_job(m, job, done);
}

/* Held by an initramfs that is older than the end of its reservation. Later in the same boot somebody else may
 * have put it there. */
static void return_unreserved(Manager *m, ReservationsDone done) {
        if (!manager_take_turn(m, RETURNED_RECORD))
                return;

        for (size_t i = 0; i < devices_count(m); i++) {
                Device *d = m->devices.items[i];
                Job *job;
                int r;

                if (device_is_reserved(d) || !is_to_be_journalled(d))
                        continue;
                log_notice("%s was held by an initramfs that is older than the end of its reservation",
                           PCI_ADDRESS_TEXT(&d->pci->address));
                r = begin_unreserve(d, 0, NULL, &job);
                if (r < 0)
                        log_errno(r, "Could not return it");
                else
                        watch_job(m, job, done);
        }
}

/* Also elsewhere: a drive that has moved is found by its serial number. */
static bool may_be_reserved(const Device *d, const void *data) {
        const Manager *m = data;

        for (size_t i = 0; i < m->reservations.n; i++)
                for (size_t k = 0; k < m->reservations.items[i]->n; k++) {
                        const PciIdentity *id = &m->reservations.items[i]->functions[k].id;

                        if (id->vendor_id == d->pci->vendor_id && id->device_id == d->pci->device_id)
                                return true;
                }
        return false;
}

static void take_all(Manager *m, ReservationsDone done) {
        /* One for this function: what ends at once must not be taken for the last. */
        m->n_reservations_taken = 1;
        for (size_t i = 0; i < m->reservations.n; i++)
                take_reservation(m, m->reservations.items[i], done);
        return_unreserved(m, done);
        if (--m->n_reservations_taken == 0)
                done(m);
}

static void on_drivers_done(void *userdata) {
        Manager *m = userdata;

        m->reservations_wait = sd_event_source_disable_unref(m->reservations_wait);
        take_all(m, m->reservations_done);
}

/* At boot drivers may still be at work on drives, and only then say which one each is. */
static int wait_for_drivers(Manager *m, ReservationsDone done) {
        m->reservations_done = done;
        return driver_wait(m, may_be_reserved, m, on_drivers_done, m, &m->reservations_wait);
}

void reservations_take(Manager *m, ReservationsDone done) {
        if (reservations_are_switched_off(m->root_fd)) {
                if (m->reservations.n > 0)
                        log_notice("The kernel command line says that reserved devices are not to be held");
                done(m);
                return;
        }

        if (!drivers_are_at_work(m, may_be_reserved, m) || wait_for_drivers(m, done) < 0)
                take_all(m, done);
}
