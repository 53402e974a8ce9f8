/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/strv.h"
#include "job-record.h"
#include "observer.h"

#define JOBS_DIRECTORY "jobs"
#define RECORD_SIZE_MAX 16384

/* The number of the last job that has ended; those under way have a record each. */
#define LAST_NAME "last"

/* What is known of a job of an earlier vmkitd. */
typedef struct Recovered {
        char *operation;
        char *name;          /* of the VM; NULL: the target is no VM */
        char *phase;         /* that was under way */
} Recovered;

static void free_recovered(void *p) {
        Recovered *data = p;

        if (!data)
                return;
        free(data->operation);
        free(data->name);
        free(data->phase);
        free(data);
}

bool job_is_recovered(const Job *job) {
        return job->free_data == free_recovered;
}

/* --- files ------------------------------------------------------------------------------------------------ */

typedef struct RecordName {
        char text[48];
} RecordName;

static const char *record_path(uint64_t id, RecordName *name) {
        snprintf(name->text, sizeof(name->text), JOBS_DIRECTORY "/%llu", (unsigned long long) id);
        return name->text;
}

/* By rename, so that what is read is whole. */
static int write_record(int state_fd, const char *path, const char *content) {
        static const char temporary[] = JOBS_DIRECTORY "/.new";
        int r;

        int fd = openat(state_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;

        r = write_all(fd, content, strlen(content));
        close_fd(fd);
        if (r >= 0 && renameat(state_fd, temporary, state_fd, path) < 0)
                r = -errno;
        return r;
}

static struct json_object *job_to_json(const Job *job) {
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, "version", json_object_new_int(1));
        json_add_string(o, "operation", job->operation);
        json_add_string(o, "vm", job->vm_uuid[0] ? job->vm_uuid : NULL);
        json_add_string(o, "name", job->vm ? job->vm->spec->name : NULL);
        json_add_string(o, "device", job->has_device ? PCI_ADDRESS_TEXT(&job->device) : NULL);
        json_add_string(o, "phase", job->phase);
        json_object_object_add(o, "started_by", json_object_new_int64(job->started_by));
        json_object_object_add(o, "started_at", json_object_new_int64((int64_t) job->started_at));
        json_add_string(o, "error", error_is_set(&job->error) ? job->error.message : NULL);
        return o;
}

static int write_job(const Job *job) {
        _cleanup_json_ struct json_object *o = job_to_json(job);
        RecordName path;

        return write_record(job->manager->state_fd, record_path(job->id, &path),
                            json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
}

void job_record_begin(const Job *job) {
        int r = write_job(job);

        if (r < 0)
                log_errno(r, "Job %llu will not be reported if vmkitd ends before it",
                          (unsigned long long) job->id);
}

/* Numbers are not given twice, or a client that waits would take another job for its own. */
static void record_last(const Manager *m, uint64_t id) {
        _cleanup_free_ char *text = NULL;
        uint64_t last = 0;
        int r;

        if (read_uint_at(m->state_fd, JOBS_DIRECTORY "/" LAST_NAME, &last) >= 0 && last >= id)
                return;
        r = asprintf(&text, "%llu\n", (unsigned long long) id) < 0 ? -ENOMEM : 0;
        if (r >= 0)
                r = write_record(m->state_fd, JOBS_DIRECTORY "/" LAST_NAME, text);
        if (r < 0)
                log_errno(r, "Could not record the number of the last job");
}

/* One that vmkitd interrupts because it is being stopped is told of by the next, too: its client may have
 * been waiting for a name on the bus that is gone. */
void job_record_end(const Job *job) {
        RecordName path;
        int r;

        if (job->interrupted && job->error.code == ERROR_INTERRUPTED) {
                r = write_job(job);
                if (r < 0)
                        log_errno(r, "Could not record the end of job %llu", (unsigned long long) job->id);
                return;
        }

        record_last(job->manager, job->id);
        if (unlinkat(job->manager->state_fd, record_path(job->id, &path), 0) < 0 && errno != ENOENT)
                log_errno(-errno, "Could not remove the record of job %llu", (unsigned long long) job->id);
}

/* --- taking over ------------------------------------------------------------------------------------------ */

static int copy_string(struct json_object *o, const char *key, char **ret) {
        const char *value = json_string(o, key);

        *ret = value ? strdup(value) : NULL;
        return value && !*ret ? -ENOMEM : 0;
}

static int take_target(Job *job, struct json_object *o) {
        const char *vm = json_string(o, "vm"), *device = json_string(o, "device");

        if (vm && !uuid_is_valid(vm))
                return -EBADMSG;
        if (vm)
                strcpy(job->vm_uuid, vm);
        if (device) {
                job->has_device = true;
                return pci_address_parse(device, &job->device) < 0 ? -EBADMSG : 0;
        }
        return 0;
}

static int job_from_json(struct json_object *o, Job *job) {
        Recovered *data = calloc(1, sizeof(Recovered));
        int r;

        if (!data)
                return -ENOMEM;
        job->data = data;
        job->free_data = free_recovered;

        if (json_number(o, "version", 0) != 1)
                return -EBADMSG;
        r = copy_string(o, "operation", &data->operation);
        if (r >= 0)
                r = copy_string(o, "name", &data->name);
        if (r >= 0)
                r = copy_string(o, "phase", &data->phase);
        if (r >= 0)
                r = take_target(job, o);
        if (r < 0 || !data->operation)
                return r < 0 ? r : -EBADMSG;

        job->operation = data->operation;
        job->started_by = (uid_t) json_number(o, "started_by", 0);
        job->started_at = (uint64_t) json_number(o, "started_at", 0);
        job->phase = "undoing";
        job->undoing = true;
        return 0;
}

static int read_record(const Manager *m, uint64_t id, struct json_object **ret) {
        _cleanup_free_ char *content = NULL;
        RecordName path;
        int r;

        r = read_file_at(m->state_fd, record_path(id, &path), RECORD_SIZE_MAX, &content);
        if (r < 0)
                return r;

        struct json_object *o = json_tokener_parse(content);
        if (!json_object_is_type(o, json_type_object)) {
                json_unref(o);
                return -EBADMSG;
        }
        *ret = o;
        return 0;
}

static int take_over(Manager *m, uint64_t id) {
        _cleanup_json_ struct json_object *o = NULL;
        _cleanup_(job_freep) Job *job = calloc(1, sizeof(Job));
        int r;

        if (!job)
                return -ENOMEM;
        r = read_record(m, id, &o);
        if (r >= 0)
                r = job_from_json(o, job);
        if (r >= 0)
                r = manager_adopt_job(m, job, id);
        if (r < 0)
                return r;

        observer_job_added(job);
        const char *message = json_string(o, "error");
        if (message) {
                _cleanup_error_ Error error = ERROR_INIT;

                (void) error_set(&error, ERROR_INTERRUPTED, "%s", message);
                job_end_recovered(job, &error);
        }
        TAKE_PTR(job);
        return 0;
}

int job_records_take_over(Manager *m) {
        _cleanup_strv_ char **names = NULL;
        int r;

        r = list_dir_at(m->state_fd, JOBS_DIRECTORY, &names);
        if (r < 0)
                return r;

        (void) read_uint_at(m->state_fd, JOBS_DIRECTORY "/" LAST_NAME, &m->last_job_id);
        STRV_FOREACH(name, names) {
                RecordName path;
                uint64_t id;

                if (parse_uint(*name, 10, INT64_MAX, &id) < 0)
                        continue;
                m->last_job_id = MAX(m->last_job_id, id);
                r = take_over(m, id);
                if (r < 0) {
                        /* Written while the host went down: nobody waits for it any more. */
                        log_warning("The record of job %s cannot be understood (%s)", *name, strerror(-r));
                        (void) unlinkat(m->state_fd, record_path(id, &path), 0);
                }
        }
        return 0;
}

/* --- the end ---------------------------------------------------------------------------------------------- */

static const char *device_outcome(const Job *job) {
        const Device *d = devices_find(job->manager, &job->device);

        if (!d)
                return "the device is gone";
        if (d->health == HEALTH_WEDGED)
                return "its driver has not let go of the device yet";
        if (d->health == HEALTH_QUARANTINED)
                return "the device did not come back and is quarantined";
        if (d->claim)
                return "the device is held on vfio-pci";
        return "the device is on the driver it had";
}

static bool holds_devices(const Manager *m, const char *uuid) {
        for (size_t i = 0; i < devices_count(m); i++) {
                const Claim *claim = m->devices.items[i]->claim;

                if (claim && streq_ptr(claim->vm, uuid))
                        return true;
        }
        return false;
}

static const char *vm_outcome(const Job *job) {
        const Manager *m = job->manager;
        const Vm *vm = manager_find_vm_by_uuid(m, job->vm_uuid);

        if (!vm && streq(job->operation, "destroy"))
                return "the VM is gone and its devices are back";
        if (!vm)
                return "the VM is not there, its files are removed and its devices are back";
        if (vm_is_active(vm))
                return "the VM runs and keeps its devices";
        if (holds_devices(m, job->vm_uuid))
                return "the VM is stopped; its devices wait for it on vfio-pci";
        return "the VM is stopped and its devices are back";
}

static const char *outcome(const Job *job) {
        if (job->has_device)
                return device_outcome(job);
        return job->vm_uuid[0] ? vm_outcome(job) : "nothing of it was kept";
}

static void end_interrupted(Job *job) {
        const Recovered *data = job->data;
        _cleanup_error_ Error error = ERROR_INIT;

        (void) error_set(&error, ERROR_INTERRUPTED, "vmkitd ended during the %s%s%s%s%s%s; %s", job->operation,
                         data->name ? " of the VM " : job->has_device ? " of " : "",
                         data->name        ? data->name
                         : job->has_device ? PCI_ADDRESS_TEXT(&job->device)
                                           : "",
                         str_empty(data->phase) ? "" : " (", str_empty(data->phase) ? "" : data->phase,
                         str_empty(data->phase) ? "" : ")", outcome(job));
        job_end_recovered(job, &error);
}

static void settle_all(Manager *m) {
        for (size_t i = 0; i < m->n_jobs; i++)
                if (job_is_recovered(m->jobs[i]) && m->jobs[i]->state == JOB_RUNNING)
                        end_interrupted(m->jobs[i]);
}

static int on_patience_over(sd_event_source *source, uint64_t usec, void *userdata) {
        settle_all(userdata);
        return 0;
}

/* A helper that is still at work is waited for as long as a driver may take; one that is stuck longer is told
 * of as that. */
void job_records_settle(Manager *m) {
        if (!m->reconciled || m->n_transfers > 0)
                return;
        if (m->n_watches == 0) {
                settle_all(m);
                return;
        }
        if (!m->patience_source &&
            sd_event_add_time_relative(m->event, &m->patience_source, CLOCK_MONOTONIC,
                                       m->config->driver_timeout * USEC_PER_SEC, 0, on_patience_over, m) < 0)
                settle_all(m);
}
