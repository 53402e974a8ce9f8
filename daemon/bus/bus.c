/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <limits.h>
#include <malloc.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "base/log.h"
#include "methods.h"
#include "paths.h"
#include "sleep-lock.h"

/* How long the first callers wait for libvirt before they are told that it is not there. */
#define ANNOUNCE_USEC (15 * USEC_PER_SEC)

typedef struct Export {
        const char *interface;
        const char *path;              /* an object, or the prefix of many */
        sd_bus_object_find_t find;     /* NULL: path is the object */
        const sd_bus_vtable *properties;
} Export;

static const Export exports[] = {
        { MANAGER_INTERFACE, MANAGER_PATH, NULL, manager_properties },
        { VM_INTERFACE, VM_PREFIX, find_vm, vm_properties },
        { DEVICE_INTERFACE, DEVICE_PREFIX, find_device, device_properties },
        { JOB_INTERFACE, JOB_PREFIX, find_job, job_properties },
};

static size_t count_entries(const sd_bus_vtable *vtable) {
        size_t n = 0;

        while (vtable[n].type != _SD_BUS_VTABLE_END)
                n++;
        return n;
}

/* Every method is unprivileged for sd-bus: the trampoline decides. */
static sd_bus_vtable method_entry(const MethodRow *row, const char *names) {
        sd_bus_vtable entry = SD_BUS_METHOD("", "", "", call_dispatch, SD_BUS_VTABLE_UNPRIVILEGED);

        entry.x.method.member = row->member;
        entry.x.method.signature = row->in;
        entry.x.method.result = row->out;
        entry.x.method.names = names;
        return entry;
}

static size_t names_size(const char *names) {
        const char *p = names;

        while (*p)
                p += strlen(p) + 1;
        return (size_t) (p - names);
}

/* As sd-bus wants them: those of the arguments, then those of the results, each ended by a NUL, and a last
 * NUL. */
static char *join_names(const MethodRow *row) {
        size_t in = names_size(row->in_names), out = names_size(row->out_names);
        char *names = calloc(1, in + out + 1);

        if (names) {
                memcpy(names, row->in_names, in);
                memcpy(names + in, row->out_names, out);
        }
        return names;
}

static sd_bus_vtable *vtable_free(sd_bus_vtable *vtable) {
        for (sd_bus_vtable *entry = vtable; entry && entry->type != _SD_BUS_VTABLE_END; entry++)
                if (entry->type == _SD_BUS_VTABLE_METHOD)
                        free((char *) entry->x.method.names);
        free(vtable);
        return NULL;
}

DEFINE_CLEANUP(sd_bus_vtable *, vtable_free);

/* The properties of an interface with the methods that the table has for it. sd-bus keeps pointers into it, so
 * it lives as long as the connection. */
static int make_vtable(const Export *export, sd_bus_vtable **ret) {
        const sd_bus_vtable end = SD_BUS_VTABLE_END;
        size_t n = count_entries(export->properties);
        _cleanup_(vtable_freep) sd_bus_vtable *vtable = calloc(n + n_methods + 1, sizeof(sd_bus_vtable));

        if (!vtable)
                return -ENOMEM;

        memcpy(vtable, export->properties, n * sizeof(sd_bus_vtable));
        vtable[n] = end;
        for (size_t i = 0; i < n_methods; i++) {
                if (!streq(method_table[i].interface, export->interface))
                        continue;

                const char *names = join_names(&method_table[i]);
                if (!names)
                        return -ENOMEM;
                vtable[n++] = method_entry(&method_table[i], names);
                vtable[n] = end;
        }

        *ret = TAKE_PTR(vtable);
        return 0;
}

static int export_interface(Bus *b, const Export *export) {
        sd_bus_vtable *vtable;
        int r;

        r = make_vtable(export, &vtable);
        if (r < 0)
                return r;
        b->vtables[b->n_vtables++] = vtable;
        if (!export->find)
                return sd_bus_add_object_vtable(b->bus, NULL, export->path, export->interface, vtable, b);
        return sd_bus_add_fallback_vtable(b->bus, NULL, export->path, export->interface, vtable, export->find,
                                          b);
}

static int export_all(Bus *b) {
        int r;

        for (size_t i = 0; i < ELEMENTSOF(exports); i++) {
                r = export_interface(b, &exports[i]);
                if (r < 0)
                        return log_errno(r, "Could not export %s", exports[i].interface);
        }

        r = sd_bus_add_node_enumerator(b->bus, NULL, ROOT_PATH, enumerate_objects, b);
        if (r >= 0)
                r = sd_bus_add_object_manager(b->bus, NULL, ROOT_PATH);
        return r < 0 ? log_errno(r, "Could not export the object manager") : 0;
}

static int on_name_requested(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const Bus *b = userdata;
        uint32_t answer = 0;

        if (sd_bus_message_is_method_error(reply, NULL)) {
                log_error("The bus does not give the name " BUS_NAME ": %s",
                          str_na(sd_bus_message_get_error(reply)->message));
                return sd_event_exit(b->manager->event, -EPERM);
        }

        (void) sd_bus_message_read(reply, "u", &answer);
        if (answer != 1) {
                log_error("Another vmkitd has the name " BUS_NAME);
                return sd_event_exit(b->manager->event, -EEXIST);
        }

        (void) sd_notify(false, "READY=1");

        /* What was needed for a moment, to read the host and what libvirt has, is not needed again soon. */
        (void) malloc_trim(0);
        return 0;
}

void bus_announce(Bus *b) {
        int r;

        b->announce_source = sd_event_source_disable_unref(b->announce_source);
        if (b->announced)
                return;

        b->announced = true;
        r = sd_bus_request_name_async(b->bus, NULL, BUS_NAME, 0, on_name_requested, b);
        if (r < 0)
                (void) sd_event_exit(b->manager->event, log_errno(r, "Could not ask for the name " BUS_NAME));
}

static int on_announce_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        bus_announce(userdata);
        return 0;
}

static int on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const Bus *b = userdata;

        log_error("The connection to the bus is lost");
        return sd_event_exit(b->manager->event, -ECONNRESET);
}

static int bus_connect(Bus *b) {
        int r;

        r = sd_bus_open_system(&b->bus);
        if (r < 0)
                return log_errno(r, "Could not connect to the system bus");

        r = sd_bus_attach_event(b->bus, b->manager->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_match_signal_async(b->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
                                              "org.freedesktop.DBus.Local", "Disconnected", on_disconnected,
                                              NULL, b);
        return r < 0 ? log_errno(r, "Could not attach to the system bus") : 0;
}

static int count_callers(Bus *b) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return -errno;
        if (limit.rlim_cur < callers_descriptors_wanted())
                log_info("With a limit of %ju open files, fewer calls than usual can wait for an answer",
                         (uintmax_t) limit.rlim_cur);
        return callers_new(b->bus, (unsigned) MIN(limit.rlim_cur, (rlim_t) UINT_MAX), call_on_identified, b,
                           &b->callers);
}

int bus_new(Manager *manager, Bus **ret) {
        _cleanup_(bus_freep) Bus *b = calloc(1, sizeof(Bus));
        int r;

        if (!b)
                return -ENOMEM;
        b->manager = manager;
        b->sleep_lock.fd = -EBADF;

        r = bus_connect(b);
        if (r >= 0)
                r = count_callers(b);
        if (r >= 0)
                r = polkit_new(b->bus, &b->polkit);
        if (r >= 0)
                r = export_all(b);
        if (r >= 0)
                r = sd_event_add_time_relative(manager->event, &b->announce_source, CLOCK_MONOTONIC,
                                               ANNOUNCE_USEC, 0, on_announce_timeout, b);
        if (r < 0)
                return r;

        manager->observer = &bus_observer;
        manager->observer_data = b;
        *ret = TAKE_PTR(b);
        return 0;
}

Bus *bus_free(Bus *b) {
        if (!b)
                return NULL;

        b->manager->observer = NULL;
        calls_drop_all(b);
        callers_free(b->callers);
        polkit_free(b->polkit);
        sleep_lock_clear(&b->sleep_lock);
        sd_event_source_disable_unref(b->announce_source);
        sd_bus_flush_close_unref(b->bus);
        for (size_t i = 0; i < b->n_vtables; i++)
                vtable_free(b->vtables[i]);
        free(b);
        return NULL;
}
