/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/json.h"
#include "base/log.h"
#include "base/strv.h"
#include "observer.h"
#include "quiet.h"
#include "transfer.h"
#include "vanished.h"

/* What is still waited for when vmkitd is to stop: longer than a helper waits for QEMU to let go, and less than
 * the service manager waits for vmkitd. */
#define STOP_USEC (45 * USEC_PER_SEC)

/* An inspection only reads; one that takes longer than this is not waited for. */
#define INSPECT_USEC (15 * USEC_PER_SEC)
#define INSPECTIONS_MAX 16

static const char *const verb_names[_TRANSFER_VERB_MAX] = {
        [TRANSFER_BIND] = "bind",
        [TRANSFER_RELEASE] = "release",
        [TRANSFER_SETTLE] = "settle",
        [TRANSFER_RESET] = "reset",
        [TRANSFER_CLEAR] = "clear",
        [TRANSFER_SET_VFS] = "set-vfs",
};

/* One helper and the functions it works on, by address: the inventory may be read anew meanwhile. */
typedef struct Part {
        Transfer *transfer;
        Child *child;
        sd_event_source *timer;
        PciAddress *functions;
        size_t n_functions;
        bool recovering; /* its helper died; another brings back what it left half-way */
} Part;

struct Transfer {
        Manager *manager;
        Part *parts;
        size_t n_parts, n_running;
        int r;
        Error error;
        TransferDone done;
        void *userdata;
        sd_event_source *nothing_source;
        Transfer *next; /* under way, in a list */
};

static Transfer *transfer_free(Transfer *t) {
        if (!t)
                return NULL;

        for (size_t i = 0; i < t->n_parts; i++)
                free(t->parts[i].functions);
        free(t->parts);
        error_clear(&t->error);
        sd_event_source_disable_unref(t->nothing_source);
        free(t);
        return NULL;
}

static void transfer_finish(Transfer *t) {
        Manager *m = t->manager;

        for (Transfer **p = &m->transfers; *p; p = &(*p)->next)
                if (*p == t) {
                        *p = t->next;
                        break;
                }
        t->done(t->r, &t->error, t->userdata);
        transfer_free(t);
        manager_transfer_ended(m);
}

static void part_mark(const Part *part, int delta) {
        for (size_t i = 0; i < part->n_functions; i++) {
                Device *d = devices_find(part->transfer->manager, &part->functions[i]);

                /* One that was unplugged and came back is another object, which nothing works on. */
                if (d && (delta > 0 || d->n_transfers > 0)) {
                        d->n_transfers += (unsigned) delta;
                        device_forget_use(d);
                }
        }
}

static void part_reload(const Part *part) {
        for (size_t i = 0; i < part->n_functions; i++) {
                Device *d = devices_find(part->transfer->manager, &part->functions[i]);

                if (!d) {
                        vanished_drop_record(part->transfer->manager, &part->functions[i]);
                        continue;
                }
                device_reload_claim(d);
                device_forget_all_use(d);
                observer_device_changed(d);
        }
}

static void part_take_error(const Part *part, const Error *error) {
        Transfer *t = part->transfer;

        if (error_is_set(error) && !error_is_set(&t->error)) {
                error_copy(&t->error, error);
                t->r = -error_code_errno(t->error.code);
        }
}

static void part_end(Part *part, const Error *error) {
        Transfer *t = part->transfer;

        part_take_error(part, error);
        part->timer = sd_event_source_disable_unref(part->timer);
        part_mark(part, -1);
        (void) devices_refresh(t->manager);
        part_reload(part);

        if (--t->n_running == 0)
                transfer_finish(t);
}

/* On the way to one driver or the other, and nobody is with it any more. */
static bool is_left_half_way(const Claim *claim) {
        return (claim->state == CLAIM_BINDING || claim->state == CLAIM_RELEASING) &&
               !claim_helper_is_alive(claim);
}

/* Each claim of the part that its helper left half-way: counted, or put into quarantine. */
static size_t part_left_half_way(const Part *part, bool quarantine) {
        int claims_fd = part->transfer->manager->claims_fd;
        size_t n = 0;

        for (size_t i = 0; i < part->n_functions; i++) {
                _cleanup_(claim_freep) Claim *claim = NULL;

                if (claim_read(claims_fd, &part->functions[i], &claim) < 0 || !is_left_half_way(claim))
                        continue;
                n++;
                if (!quarantine)
                        continue;

                claim->state = CLAIM_QUARANTINED;
                free(claim->reason);
                claim->reason = strdup("what brings it back to its driver died twice");
                if (claim_write(claims_fd, claim) < 0)
                        log_error("Could not record that %s did not come back",
                                  PCI_ADDRESS_TEXT(&claim->address));
        }
        return n;
}

static int part_recover(Part *part);

/* A helper undoes what fails; one that dies cannot. */
static void on_part_done(struct json_object *result, const Error *error, void *userdata) {
        Part *part = userdata;
        bool left = !result && part_left_half_way(part, part->recovering) > 0;

        part->child = NULL;
        if (left && !part->recovering) {
                part_take_error(part, error);
                if (part_recover(part) >= 0)
                        return;
        }
        part_end(part, result ? NULL : error);
}

/* A driver that does not let go. The helper cannot be ended, so it is left to itself; the journal knows of it,
 * and what it did is looked at when it ends. */
static int on_part_stuck(sd_event_source *source, uint64_t usec, void *userdata) {
        Part *part = userdata;
        Manager *m = part->transfer->manager;
        const size_t n = part->n_functions;
        PciAddress functions[n];
        _cleanup_error_ Error error = ERROR_INIT;

        (void) error_set(&error, ERROR_WEDGED, "The driver of %s does not let go of it",
                         PCI_ADDRESS_TEXT(&part->functions[0]));
        memcpy(functions, part->functions, n * sizeof(PciAddress));
        part->child = child_abandon(part->child);
        part_end(part, &error);

        for (size_t i = 0; i < n; i++)
                reconcile_device(m, &functions[i]);
        return 0;
}

static struct json_object *make_request(const char *vm, const PciAddress *functions, size_t n,
                                        char *const *allow) {
        struct json_object *request = json_object_new_object();
        struct json_object *addresses = json_object_new_array(), *codes = json_object_new_array();

        for (size_t i = 0; i < n; i++)
                json_object_array_add(addresses, json_object_new_string(PCI_ADDRESS_TEXT(&functions[i])));
        STRV_FOREACH(code, allow)
                json_object_array_add(codes, json_object_new_string(*code));

        json_add_string(request, "vm", vm);
        json_object_object_add(request, "functions", addresses);
        json_object_object_add(request, "allow", codes);
        json_object_object_add(request, "daemon", json_object_new_int64(getpid()));
        return request;
}

static int spawn_helper(Manager *m, const char *verb, struct json_object *request,
                        const ChildHandler *handler, void *userdata, Child **ret) {
        const char *const argv[] = { m->device_helper, verb, NULL };
        const int fds[] = { m->root_fd, m->claims_fd };
        Child *child;
        int r;

        r = child_spawn(m->event, argv, request, fds, ELEMENTSOF(fds), handler, userdata, &child);
        if (r >= 0 && ret)
                *ret = child;
        return r;
}

static const ChildHandler part_handler = { .done = on_part_done };

static int part_set_timer(Part *part, uint64_t usec) {
        sd_event_source_disable_unref(part->timer);
        part->timer = NULL;
        return sd_event_add_time_relative(part->transfer->manager->event, &part->timer, CLOCK_MONOTONIC, usec,
                                          0, on_part_stuck, part);
}

static uint64_t stuck_usec(const Manager *m) {
        return m->config->driver_timeout * USEC_PER_SEC;
}

static int part_recover(Part *part) {
        Manager *m = part->transfer->manager;
        PciAddress functions[part->n_functions];
        size_t n = 0;
        int r;

        /* What is in quarantine was given up, and stays there. */
        for (size_t i = 0; i < part->n_functions; i++) {
                _cleanup_(claim_freep) Claim *claim = NULL;

                if (claim_read(m->claims_fd, &part->functions[i], &claim) < 0 ||
                    claim->state != CLAIM_QUARANTINED)
                        functions[n++] = part->functions[i];
        }

        _cleanup_json_ struct json_object *request = make_request(NULL, functions, n, NULL);
        log_warning("A helper died at work on %s; another brings it back",
                    PCI_ADDRESS_TEXT(&part->functions[0]));
        part->recovering = true;
        r = part_set_timer(part, stuck_usec(m));
        if (r >= 0)
                r = spawn_helper(m, verb_names[TRANSFER_RELEASE], request, &part_handler, part, &part->child);
        return r;
}

/* The helpers of a vmkitd that stops finish what they are at; they are not waited for beyond its own time. */
void transfer_hurry(Manager *m) {
        for (const Transfer *t = m->transfers; t; t = t->next)
                for (size_t i = 0; i < t->n_parts; i++)
                        if (t->parts[i].timer && stuck_usec(m) > STOP_USEC)
                                (void) part_set_timer(&t->parts[i], STOP_USEC);
}

static int part_start(Part *part, const char *vm_uuid, const TransferUnit *unit) {
        Manager *m = part->transfer->manager;
        _cleanup_json_ struct json_object *request =
                make_request(vm_uuid, part->functions, part->n_functions, unit->allow);
        int r;

        json_object_object_add(request, "count", json_object_new_int64(unit->count));
        part_mark(part, 1);
        r = spawn_helper(m, verb_names[unit->verb], request, &part_handler, part, &part->child);
        if (r >= 0)
                r = part_set_timer(part, stuck_usec(m));
        if (r < 0) {
                part_mark(part, -1);
                part->child = child_abandon(part->child);
        }
        return r;
}

static int copy_addresses(const DeviceList *functions, PciAddress **ret) {
        PciAddress *addresses = calloc(functions->n + 1, sizeof(PciAddress));

        if (!addresses)
                return -ENOMEM;
        for (size_t i = 0; i < functions->n; i++)
                addresses[i] = functions->items[i]->address;
        *ret = addresses;
        return 0;
}

static int on_nothing(sd_event_source *source, void *userdata) {
        transfer_finish(userdata);
        return 0;
}

static int transfer_prepare(Transfer *t, const TransferUnit *units, size_t n_units) {
        t->parts = calloc(n_units + 1, sizeof(Part));
        if (!t->parts)
                return -ENOMEM;

        for (; t->n_parts < n_units; t->n_parts++) {
                Part *part = &t->parts[t->n_parts];
                int r = copy_addresses(&units[t->n_parts].functions, &part->functions);

                if (r < 0)
                        return r;
                part->transfer = t;
                part->n_functions = units[t->n_parts].functions.n;
        }
        return 0;
}

int transfer_start(Manager *m, const char *vm_uuid, const TransferUnit *units, size_t n_units,
                   TransferDone done, void *userdata) {
        Transfer *t = calloc(1, sizeof(Transfer));
        int r;

        if (!t)
                return -ENOMEM;
        *t = (Transfer) { .manager = m, .done = done, .userdata = userdata };

        quiet_update(m);
        r = transfer_prepare(t, units, n_units);
        if (r < 0)
                goto fail;

        for (size_t i = 0; i < n_units; i++) {
                r = part_start(&t->parts[i], vm_uuid, &units[i]);
                if (r < 0) {
                        /* Those that run already are waited for, and the failure is told then. */
                        t->r = error_set_errno(&t->error, r, "Could not start %s", m->device_helper);
                        break;
                }
                t->n_running++;
        }

        if (t->n_running == 0) {
                r = sd_event_add_defer(m->event, &t->nothing_source, on_nothing, t);
                if (r < 0)
                        goto fail;
        }

        t->next = m->transfers;
        m->transfers = t;
        manager_transfer_began(m);
        return 0;

fail:
        transfer_free(t);
        return r;
}

/* --- inspection ----------------------------------------------------------------------------------------- */

/* Whoever asks while a look at the same functions is under way shares it: a public method must not start a
 * process for each caller. */
typedef struct Waiter {
        TransferDone done;
        void *userdata;
} Waiter;

struct Inspection {
        Manager *manager;
        PciAddress *functions;
        size_t n_functions;
        Waiter *waiters;
        size_t n_waiters;
        Child *child;
        sd_event_source *timer;
        Inspection *next;
};

static Inspection *inspection_free(Inspection *inspection) {
        if (!inspection)
                return NULL;

        sd_event_source_disable_unref(inspection->timer);
        free(inspection->functions);
        free(inspection->waiters);
        free(inspection);
        return NULL;
}

DEFINE_CLEANUP(Inspection *, inspection_free);

static void unlink_inspection(Manager *m, const Inspection *inspection) {
        for (Inspection **p = &m->inspections; *p; p = &(*p)->next)
                if (*p == inspection) {
                        *p = inspection->next;
                        m->n_inspections--;
                        return;
                }
}

static void inspection_finish(Inspection *inspection, int r, const Error *error) {
        unlink_inspection(inspection->manager, inspection);
        for (size_t i = 0; i < inspection->n_waiters; i++)
                inspection->waiters[i].done(r, error, inspection->waiters[i].userdata);
        inspection_free(inspection);
}

static int reasons_from_json(struct json_object *array, Reasons *reasons) {
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *pair = json_object_array_get_idx(array, i);
                int code = reason_code_from_string(
                        json_object_get_string(json_object_array_get_idx(pair, 0)));
                int r;

                if (code < 0)
                        return code;
                r = reasons_add(reasons, (ReasonCode) code, "%s",
                                json_object_get_string(json_object_array_get_idx(pair, 1)));
                if (r < 0)
                        return r;
        }
        return 0;
}

static void keep_findings(Manager *m, struct json_object *result) {
        json_object_object_foreach(result, key, value) {
                _cleanup_reasons_ Reasons reasons = {};
                PciAddress address;
                Device *d;

                if (pci_address_parse(key, &address) < 0 || !(d = devices_find(m, &address)))
                        continue;
                if (reasons_from_json(value, &reasons) >= 0)
                        device_set_deep(d, &reasons);
        }
}

/* What was not seen counts as unseen, not as free: see device_add_unlooked(). */
static void forget_findings(const Inspection *inspection) {
        for (size_t i = 0; i < inspection->n_functions; i++) {
                Device *d = devices_find(inspection->manager, &inspection->functions[i]);

                if (d)
                        device_deep_failed(d);
        }
}

static void on_inspected(struct json_object *result, const Error *error, void *userdata) {
        Inspection *inspection = userdata;

        if (!result) {
                forget_findings(inspection);
                inspection_finish(inspection, -error_code_errno(error->code), error);
                return;
        }

        keep_findings(inspection->manager, result);
        inspection_finish(inspection, 0, NULL);
}

static int on_inspect_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        Inspection *inspection = userdata;

        log_warning("A device does not answer a close look");
        inspection->child = child_abandon(inspection->child);
        forget_findings(inspection);
        inspection_finish(inspection, 0, NULL);
        return 0;
}

static bool inspection_covers(const Inspection *inspection, const DeviceList *functions) {
        for (size_t i = 0; i < functions->n; i++) {
                bool found = false;

                for (size_t k = 0; !found && k < inspection->n_functions; k++)
                        found = pci_address_equal(&inspection->functions[k], &functions->items[i]->address);
                if (!found)
                        return false;
        }
        return true;
}

static int inspection_join(Inspection *inspection, TransferDone done, void *userdata) {
        Waiter *grown = reallocarray(inspection->waiters, inspection->n_waiters + 1, sizeof(Waiter));

        if (!grown)
                return -ENOMEM;
        inspection->waiters = grown;
        inspection->waiters[inspection->n_waiters++] = (Waiter) { .done = done, .userdata = userdata };
        return 0;
}

static const ChildHandler inspection_handler = { .done = on_inspected };

static int inspection_start(Inspection *inspection) {
        Manager *m = inspection->manager;
        _cleanup_json_ struct json_object *request =
                make_request(NULL, inspection->functions, inspection->n_functions, NULL);
        int r;

        r = sd_event_add_time_relative(m->event, &inspection->timer, CLOCK_MONOTONIC, INSPECT_USEC, 0,
                                       on_inspect_timeout, inspection);
        return r < 0 ? r : spawn_helper(m, "inspect", request, &inspection_handler, inspection,
                                        &inspection->child);
}

int transfer_inspect(Manager *m, const DeviceList *functions, TransferDone done, void *userdata) {
        _cleanup_(inspection_freep) Inspection *inspection = NULL;
        int r;

        for (inspection = m->inspections; inspection; inspection = inspection->next)
                if (inspection_covers(inspection, functions))
                        return inspection_join(TAKE_PTR(inspection), done, userdata);
        if (m->n_inspections >= INSPECTIONS_MAX)
                return -EBUSY;

        inspection = calloc(1, sizeof(Inspection));
        if (!inspection)
                return -ENOMEM;
        inspection->manager = m;
        inspection->n_functions = functions->n;

        r = copy_addresses(functions, &inspection->functions);
        if (r >= 0)
                r = inspection_join(inspection, done, userdata);
        if (r >= 0)
                r = inspection_start(inspection);
        if (r < 0)
                return r;

        inspection->next = m->inspections;
        m->inspections = TAKE_PTR(inspection);
        m->n_inspections++;
        return 0;
}

void transfer_free_inspections(Manager *m) {
        while (m->inspections) {
                Inspection *inspection = m->inspections;

                m->inspections = inspection->next;
                inspection->child = child_abandon(inspection->child);
                inspection_free(inspection);
        }
        m->n_inspections = 0;
}
