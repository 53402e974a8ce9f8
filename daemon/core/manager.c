/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/log.h"
#include "job-record.h"
#include "manager.h"
#include "observer.h"
#include "pages.h"
#include "quiet.h"
#include "reservations.h"
#include "stop-all.h"
#include "transfer.h"
#include "vm-launch.h"

#define WORKERS_MAX 16
#define JOBS_LISTED_MAX 256

/* --- setup ------------------------------------------------------------------------------------------------ */

static int open_directory(const char *path) {
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static int make_directory_at(int dir_fd, const char *name, mode_t mode) {
        if (mkdirat(dir_fd, name, mode) < 0 && errno != EEXIST)
                return -errno;
        return 0;
}

/* QEMU runs as a user of its own and must be able to search its way to its files, and to nothing else. */
static int open_state(Manager *m) {
        static const struct {
                const char *name;
                mode_t mode;
        } directories[] = {
                { "claims", 0700 }, { "jobs", 0700 },  { "vms", 0711 },
                { "images", 0711 }, { "quiet", 0700 },
        };

        m->state_fd = open_directory(m->config->state_dir);
        if (m->state_fd < 0)
                return log_errno(m->state_fd, "Could not open the state directory %s", m->config->state_dir);

        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                int r = make_directory_at(m->state_fd, directories[i].name, directories[i].mode);
                if (r < 0)
                        return log_errno(r, "Could not make %s/%s", m->config->state_dir, directories[i].name);
        }

        FAULT_INIT(m->state_fd, "faults");
        m->claims_fd = openat(m->state_fd, "claims", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return m->claims_fd < 0 ? log_errno(-errno, "Could not open the journal of claims") : 0;
}

static int open_host(Manager *m) {
        m->root_fd = open_directory(m->config->host_root);
        if (m->root_fd < 0)
                return log_errno(m->root_fd, "Could not open the host's root %s", m->config->host_root);

        m->host_is_real = streq(m->config->host_root, "/");
        return 0;
}

static int find_helpers(Manager *m) {
        if (asprintf(&m->device_helper, "%s/vmkit-device", m->config->helper_dir) < 0 ||
            asprintf(&m->image_helper, "%s/vmkit-image", m->config->helper_dir) < 0)
                return -ENOMEM;
        return 0;
}

int manager_new(sd_event *event, const Config *config, Manager **ret) {
        _cleanup_(manager_freep) Manager *m = calloc(1, sizeof(Manager));
        int r;

        if (!m)
                return -ENOMEM;

        m->event = sd_event_ref(event);
        m->config = config;
        m->root_fd = m->state_fd = m->claims_fd = -EBADF;

        r = find_helpers(m);
        if (r >= 0)
                r = boot_id_read(&m->boot_id);
        if (r >= 0)
                r = open_host(m);
        if (r >= 0)
                r = open_state(m);
        if (r >= 0)
                r = worker_pool_new(event, WORKERS_MAX, &m->workers);
        if (r >= 0)
                r = pages_new(m, &m->pages);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(m);
        return 0;
}

int manager_start(Manager *m) {
        int r;

        r = devices_refresh(m);
        if (r < 0)
                return log_errno(r, "Could not read the host's devices");
        manager_read_reservations(m);

        r = job_records_take_over(m);
        if (r < 0)
                log_errno(r, "Could not read the records of jobs");

        if (m->host_is_real) {
                r = devices_watch(m);
                if (r < 0)
                        log_errno(r, "Devices that come and go will be seen late");
        }

        return virt_new(m->event, m->workers, m->config->libvirt_uri, &manager_virt_handler, m, &m->virt);
}

static void free_jobs(Manager *m) {
        while (m->n_jobs > 0)
                job_free(m->jobs[m->n_jobs - 1]);
        free(m->jobs);
}

static void free_launches(Manager *m) {
        for (size_t i = 0; i < m->n_vms; i++)
                m->vms[i]->launch = launch_free(m->vms[i]->launch);
}

Manager *manager_free(Manager *m) {
        if (!m)
                return NULL;

        m->observer = NULL;
        m->virt = virt_free(m->virt);
        free_launches(m);
        m->workers = worker_pool_free(m->workers);
        free_jobs(m);
        m->pages = pages_free(m->pages);
        transfer_free_inspections(m);
        sd_event_source_disable_unref(m->patience_source);
        while (m->n_vms > 0)
                vm_free(m->vms[m->n_vms - 1]);
        free(m->vms);
        devices_clear(&m->devices);
        sd_event_source_disable_unref(m->reservations_wait);
        reservations_clear(&m->reservations);
        close_fd(m->claims_fd);
        close_fd(m->state_fd);
        close_fd(m->root_fd);
        free(m->device_helper);
        free(m->image_helper);
        free(m->boot_id);
        sd_event_unref(m->event);
        free(m);
        return NULL;
}

/* --- stopping --------------------------------------------------------------------------------------------- */

static bool has_running_jobs(const Manager *m) {
        for (size_t i = 0; i < m->n_jobs; i++)
                if (m->jobs[i]->state == JOB_RUNNING && !job_is_recovered(m->jobs[i]))
                        return true;
        return false;
}

static void exit_when_quiet(Manager *m) {
        if (m->stopping && m->n_transfers == 0 && !has_running_jobs(m))
                (void) sd_event_exit(m->event, 0);
}

void manager_stop(Manager *m) {
        m->stopping = true;
        for (size_t i = 0; i < m->n_jobs; i++)
                job_interrupt(m->jobs[i]);
        transfer_hurry(m);
        exit_when_quiet(m);
}

void manager_transfer_began(Manager *m) {
        m->n_transfers++;
}

void manager_transfer_ended(Manager *m) {
        m->n_transfers--;
        job_records_settle(m);
        exit_when_quiet(m);
}

/* --- jobs ------------------------------------------------------------------------------------------------- */

static void forget_oldest_job(Manager *m) {
        for (size_t i = 0; i < m->n_jobs; i++)
                if (m->jobs[i]->state != JOB_RUNNING && m->jobs[i]->expiry) {
                        job_free(m->jobs[i]);
                        return;
                }
}

int manager_adopt_job(Manager *m, Job *job, uint64_t id) {
        if (m->n_jobs >= JOBS_LISTED_MAX)
                forget_oldest_job(m);

        Job **grown = reallocarray(m->jobs, m->n_jobs + 1, sizeof(Job *));
        if (!grown)
                return -ENOMEM;

        m->jobs = grown;
        m->jobs[m->n_jobs++] = job;
        job->manager = m;
        job->id = id;
        return 0;
}

int manager_add_job(Manager *m, Job *job) {
        return manager_adopt_job(m, job, ++m->last_job_id);
}

void manager_remove_job(Manager *m, Job *job) {
        for (size_t i = 0; i < m->n_jobs; i++) {
                if (m->jobs[i] != job)
                        continue;

                observer_job_removed(job);
                memmove(m->jobs + i, m->jobs + i + 1, (m->n_jobs - i - 1) * sizeof(Job *));
                m->n_jobs--;
                return;
        }
}

void manager_job_ended(Manager *m) {
        quiet_update(m);
        stop_all_job_ended(m);
        exit_when_quiet(m);
}

Job *manager_find_job(const Manager *m, uint64_t id) {
        for (size_t i = 0; i < m->n_jobs; i++)
                if (m->jobs[i]->id == id)
                        return m->jobs[i];
        return NULL;
}

size_t manager_count_jobs(const Manager *m, uid_t uid) {
        size_t n = 0;

        for (size_t i = 0; i < m->n_jobs; i++)
                n += m->jobs[i]->started_by == uid && m->jobs[i]->state == JOB_RUNNING;
        return n;
}

int manager_check_job_allowed(const Manager *m, uid_t uid, Error *error) {
        uint64_t limit = m->config->limits.jobs;

        if (m->stopping)
                return error_set(error, ERROR_BUSY, "vmkitd is being stopped");
        if (uid != 0 && limit > 0 && manager_count_jobs(m, uid) >= limit)
                return error_set(error, ERROR_LIMIT_EXCEEDED, "You have %llu jobs under way, which is the limit",
                                 (unsigned long long) limit);
        return 0;
}

/* --- VMs -------------------------------------------------------------------------------------------------- */

Vm *manager_find_vm(const Manager *m, const char *name) {
        for (size_t i = 0; i < m->n_vms; i++)
                if (streq(m->vms[i]->spec->name, name))
                        return m->vms[i];
        return NULL;
}

Vm *manager_find_vm_by_uuid(const Manager *m, const char *uuid) {
        for (size_t i = 0; i < m->n_vms; i++)
                if (streq(m->vms[i]->spec->uuid, uuid))
                        return m->vms[i];
        return NULL;
}

int manager_add_vm(Manager *m, Vm *vm) {
        Vm **grown = reallocarray(m->vms, m->n_vms + 1, sizeof(Vm *));

        if (!grown)
                return -ENOMEM;

        m->vms = grown;
        m->vms[m->n_vms++] = vm;
        vm->manager = m;
        return 0;
}

void manager_remove_vm(Manager *m, Vm *vm) {
        for (size_t i = 0; i < m->n_vms; i++) {
                if (m->vms[i] != vm)
                        continue;
                memmove(m->vms + i, m->vms + i + 1, (m->n_vms - i - 1) * sizeof(Vm *));
                m->n_vms--;
                return;
        }
}
