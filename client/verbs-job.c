/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* jobs and cancel. */

#include "base/parse.h"
#include "dbus/errors.h"
#include "device.h"
#include "job.h"
#include "listing.h"
#include "object.h"
#include "text.h"
#include "verbs.h"
#include "vm.h"

/* jobs */

/* The import of an image has the manager as its target, which is nobody's name. */
static char *target_name(json_object *vm_names, const char *path) {
        if (!path || streq(path, "/") || streq(path, VMKIT_MANAGER_PATH))
                return NULL;

        return object_name(vm_names, path);
}

static json_object *job_document(const char *path, json_object *p, json_object *vm_names) {
        _cleanup_free_ char *target = target_name(vm_names, json_string(p, "Target"));
        uint64_t started = (uint64_t) json_int(p, "StartedAt", 0);
        json_object *d = json_object_new_object();

        json_object_object_add(d, "id", json_object_new_int64(atoll(job_id(path))));
        json_copy(d, "operation", p, "Operation");
        json_set_string(d, "target", target);
        json_object_object_add(
                d, "progress",
                json_flag(p, "ProgressKnown") ? json_object_get(json_get(p, "Progress")) : NULL);
        json_copy(d, "phase", p, "Phase");
        json_copy(d, "state", p, "State");
        json_copy(d, "started_by", p, "StartedBy");
        json_set_string(d, "started_at",
                        started > 0 ? time_format(started, (char[TIME_TEXT_MAX]){ 0 }) : NULL);
        return d;
}

static int read_job(Client *c, const char *path, json_object *vm_names, json_object **ret,
                    Failure *failure) {
        _cleanup_json_ json_object *properties = NULL;
        int r;

        r = client_properties(c, path, VMKIT_JOB, &properties, failure);
        if (r < 0)
                return r;

        *ret = job_document(path, properties, vm_names);
        return 0;
}

static int read_jobs(Client *c, json_object **ret, Failure *failure) {
        _cleanup_json_ json_object *manager = NULL, *names = NULL,
                                   *documents = json_object_new_array();
        int r;

        r = client_properties(c, VMKIT_MANAGER_PATH, VMKIT_MANAGER, &manager, failure);
        if (r < 0)
                return r;
        r = device_vm_names(c, &names, failure);
        if (r < 0)
                return r;

        json_object *paths = json_get(manager, "Jobs");
        for (size_t i = 0; i < json_length(paths); i++) {
                json_object *document;

                r = read_job(c, json_string_at(paths, i), names, &document, failure);
                if (r >= 0)
                        json_object_array_add(documents, document);
                else if (!failure_is_gone(failure))
                        return r;
        }

        *ret = TAKE_PTR(documents);
        return 0;
}

static void add_row(Table *table, json_object *jobs, size_t i) {
        json_object *job = json_at(jobs, i);
        _cleanup_free_ char *user = user_text(json_int(job, "started_by", -1));
        char percent[16] = "-";

        if (json_has(job, "progress"))
                snprintf(percent, sizeof percent, "%.0f%%",
                         100 * json_object_get_double(json_get(job, "progress")));

        table_add(table, json_object_get_string(json_get(job, "id")));
        table_add(table, json_string(job, "operation"));
        table_add(table, json_string(job, "target"));
        table_add(table, json_string(job, "state"));
        table_add(table, percent);
        table_add(table, user);
        table_add(table, streq_ptr(json_string(job, "state"), "running") ? json_string(job, "phase") : NULL);
}

static const Column job_columns[] = {
        { .title = "JOB", .right = true },
        { .title = "OPERATION" },
        { .title = "TARGET", .min_width = 13 },
        { .title = "STATE" },
        { .title = "DONE", .right = true },
        { .title = "USER" },
        { .title = "PHASE", .min_width = 8 },
};

static const Listing job_listing = {
        .columns = job_columns,
        .n_columns = ELEMENTSOF(job_columns),
        .add_row = add_row,
        .none = "There are no jobs.",
};

int verb_jobs(Client *c, Failure *failure) {
        _cleanup_json_ json_object *jobs = NULL;
        int r;

        r = read_jobs(c, &jobs, failure);
        if (r < 0)
                return r;

        return listing_show(c->args, &job_listing, jobs);
}

/* cancel */

static int job_path(const char *id, char **ret, Failure *failure) {
        uint64_t n;

        id = str_after(id, JOB_PREFIX) ?: id;
        if (parse_uint(id, 10, UINT64_MAX, &n) < 0)
                return failure_usage(failure, "cancel", "'%s' is not the number of a job", id);

        return asprintf(ret, JOB_PREFIX "%s", id) < 0 ? failure_oom(failure) : 0;
}

static int cancel(Client *c, const char *path, Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = client_message(c, path, VMKIT_JOB, "Cancel", &m, failure);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "a{sv}", 0);
        if (r < 0)
                return r;

        return client_change(c, m, NULL, failure);
}

int verb_cancel(Client *c, Failure *failure) {
        _cleanup_json_ json_object *document = NULL, *names = NULL;
        _cleanup_free_ char *path = NULL;
        const char *id = args_operand(c->args, 0);
        int r;

        r = job_path(id, &path, failure);
        if (r < 0)
                return r;
        r = cancel(c, path, failure);
        if (r < 0 && failure_is_gone(failure))
                return failure_set(failure, VMKIT_ERROR_PREFIX "NoSuchJob", "There is no job %s",
                                   id);
        if (r < 0)
                return r;
        r = device_vm_names(c, &names, failure);
        if (r < 0)
                return r;
        r = read_job(c, path, names, &document, failure);
        if (r < 0)
                return r;

        if (c->json)
                json_print(document);
        else if (!c->quiet)
                print_text(stdout, "job %s (%s): asked to stop, %s\n", job_id(path),
                           json_string(document, "operation") ?: "?",
                           json_string(document, "state") ?: "unknown");

        return EXIT_DONE;
}
