/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/strv.h"
#include "host/topology.h"
#include "manager.h"
#include "page-claim.h"
#include "pages.h"

#define RECORDS_DIR "hugepages"

/* Huge pages that a VM has, or is about to take. */
typedef struct Holding {
        char uuid[UUID_TEXT_MAX];
        PageNeed *needs;
        size_t n;
        bool promised;  /* it has not taken them yet */
        bool made;      /* there is a record */
} Holding;

/* One change of the pools, waiting or under way. */
typedef struct Work {
        struct Work *next;
        Pages *pages;
        Job *job;       /* whose step it is; NULL: nobody waits */
        char uuid[UUID_TEXT_MAX];
        bool take;
        bool cancel;
        PageHost host;
        PageNeed *needs;
        size_t n;
        bool made;
        int r;
        Error error;
} Work;

struct Pages {
        Manager *manager;
        int records_fd;
        Holding *holdings;
        size_t n_holdings;
        Work *waiting;  /* in order */
        Work *running;
};

/* --- holdings ----------------------------------------------------------------------------------------- */

/* pages is NULL where nobody looks after them: before the start, at the end, and in tests. */
static Holding *find_holding(Pages *pages, const char *uuid) {
        for (size_t i = 0; pages && i < pages->n_holdings; i++)
                if (streq(pages->holdings[i].uuid, uuid))
                        return &pages->holdings[i];
        return NULL;
}

static int add_holding(Pages *pages, const char *uuid, Holding **ret) {
        Holding *grown = reallocarray(pages->holdings, pages->n_holdings + 1, sizeof(Holding));

        if (!grown)
                return -ENOMEM;
        pages->holdings = grown;
        *ret = &grown[pages->n_holdings++];
        **ret = (Holding) {};
        strcpy((*ret)->uuid, uuid);
        return 0;
}

static void drop_holding(Pages *pages, const char *uuid) {
        Holding *holding = find_holding(pages, uuid);

        if (!holding)
                return;
        free(holding->needs);
        *holding = pages->holdings[--pages->n_holdings];
}

/* Promises of others in the same pool. */
static uint64_t promised_to_others(const Pages *pages, const char *uuid, const PageNeed *need) {
        uint64_t sum = 0;

        for (size_t i = 0; i < pages->n_holdings; i++) {
                const Holding *holding = &pages->holdings[i];

                for (size_t k = 0; holding->promised && !streq(holding->uuid, uuid) && k < holding->n; k++)
                        if (holding->needs[k].node == need->node && holding->needs[k].size == need->size)
                                sum += holding->needs[k].pages;
        }
        return sum;
}

/* --- work --------------------------------------------------------------------------------------------- */

static void run_next(Pages *pages);

static Work *work_free(Work *work) {
        if (!work)
                return NULL;

        free(work->needs);
        error_clear(&work->error);
        free(work);
        return NULL;
}

DEFINE_CLEANUP(Work *, work_free);

static void run_work(void *data) {
        Work *work = data;

        if (work->take) {
                work->r = pages_take(&work->host, work->uuid, work->needs, work->n, &work->cancel,
                                     &work->made, &work->error);
                return;
        }
        work->r = pages_give_back(&work->host, work->uuid);
        if (work->r < 0)
                (void) error_set_errno(&work->error, work->r, "Could not give back the huge pages of the VM");
}

static int keep_promise(Work *work) {
        Pages *pages = work->pages;
        Holding *holding;
        int r;

        drop_holding(pages, work->uuid);
        r = add_holding(pages, work->uuid, &holding);
        if (r < 0)
                return r;

        holding->needs = TAKE_PTR(work->needs);
        holding->n = work->n;
        holding->promised = true;
        holding->made = work->made;
        return 0;
}

static void on_work_done(void *data) {
        _cleanup_(work_freep) Work *work = data;
        Pages *pages = work->pages;

        pages->running = NULL;
        if (work->r >= 0 && work->take)
                work->r = keep_promise(work);
        else if (work->r >= 0)
                drop_holding(pages, work->uuid);

        if (work->job)
                job_step_done(work->job, work->r, &work->error);
        else if (work->r < 0)
                log_error("Huge pages of the VM %s: %s", work->uuid, str_na(work->error.message));
        run_next(pages);
}

static void fail_work(Work *work, int r) {
        (void) error_set_errno(&work->error, r, "Could not look after the huge pages of the VM");
        work->r = r;
        on_work_done(work);
}

/* One at a time: each begins with what the one before it has left. */
static void run_next(Pages *pages) {
        Work *work = pages->waiting;
        int r;

        if (!work || pages->running || sd_event_get_state(pages->manager->event) == SD_EVENT_FINISHED)
                return;

        pages->waiting = work->next;
        pages->running = work;
        for (size_t i = 0; i < work->n; i++)
                work->needs[i].promised = promised_to_others(pages, work->uuid, &work->needs[i]);

        r = worker_submit(pages->manager->workers, run_work, on_work_done, work);
        if (r < 0)
                fail_work(work, r);
}

static void queue_work(Work *work) {
        Work **end = &work->pages->waiting;

        while (*end)
                end = &(*end)->next;
        *end = work;
        run_next(work->pages);
}

static int work_new(Manager *m, const char *uuid, bool take, Job *job, Work **ret) {
        Work *work = calloc(1, sizeof(Work));

        if (!work)
                return -ENOMEM;

        work->pages = m->pages;
        work->job = job;
        work->take = take;
        work->host = (PageHost) { .root_fd = m->root_fd, .records_fd = m->pages->records_fd,
                                  .boot_id = m->boot_id };
        strcpy(work->uuid, uuid);
        *ret = work;
        return 0;
}

/* --- the steps ---------------------------------------------------------------------------------------- */

/* The domain says where its memory comes from, in cells or as one. */
static int find_needs(const VmSpec *spec, PageNeed **ret, size_t *ret_n) {
        size_t n = MAX(spec->n_cells, (size_t) 1);
        CpuSet nodes = {};

        PageNeed *needs = calloc(n, sizeof(PageNeed));
        if (!needs)
                return -ENOMEM;

        if (spec->nodes && cpu_set_parse(spec->nodes, &nodes) < 0)
                nodes = (CpuSet) {};
        for (size_t i = 0; i < n; i++) {
                const VmCell *cell = spec->n_cells > 0 ? &spec->cells[i] : NULL;
                unsigned first = cpu_set_next(&nodes, 0);

                needs[i] = (PageNeed) {
                        .node = cell ? cell->node : first < CPU_SET_MAX ? first : 0,
                        .size = spec->page_size,
                        .pages = ((cell ? cell->memory : spec->memory) + spec->page_size - 1) / spec->page_size,
                };
        }
        *ret = needs;
        *ret_n = n;
        return 0;
}

/* Its place was chosen when it was made; processors and memory may have gone since. */
static int check_cpus(const VmSpec *spec, const Topology *t, Error *error) {
        CpuSet gone = {}, cpus;

        STRV_FOREACH(list, spec->cpu_pins)
                if (cpu_set_parse(*list, &cpus) >= 0)
                        cpu_set_add_all(&gone, &cpus);
        cpu_set_remove_all(&gone, &t->online);
        if (cpu_set_is_empty(&gone))
                return 0;

        _cleanup_free_ char *text = cpu_set_format(&gone);
        (void) error_set(error, ERROR_NOT_READY, "The VM %s is pinned to CPUs that are not online now: %s",
                         spec->name, str_na(text));
        error_set_remedy(error, "Bring them online (echo 1 > /sys/devices/system/cpu/cpuN/online), or make "
                                "the VM anew.");
        return -error_code_errno(ERROR_NOT_READY);
}

static int check_nodes(const VmSpec *spec, const Topology *t, Error *error) {
        CpuSet nodes;

        if (!spec->nodes || cpu_set_parse(spec->nodes, &nodes) < 0)
                return 0;

        CPU_SET_FOREACH(id, &nodes)
                if (!t->has_numa || !topology_node(t, id))
                        return error_set(error, ERROR_NOT_READY,
                                         "The memory of the VM %s comes from node %u, which this host does "
                                         "not have",
                                         spec->name, id);
        return 0;
}

int pages_run_take(Job *job, Error *error) {
        const VmSpec *spec = job->vm->spec;
        _cleanup_(topology_freep) Topology *t = NULL;
        _cleanup_(work_freep) Work *work = NULL;
        int r;

        if (!spec->cpu_pins && !spec->nodes && spec->page_size == 0)
                return STEP_DONE;

        r = topology_read(job->manager->root_fd, &t);
        if (r < 0)
                return error_set_errno(error, r, "Could not look at the host's processors");
        r = check_cpus(spec, t, error);
        if (r >= 0)
                r = check_nodes(spec, t, error);
        if (r < 0 || spec->page_size == 0)
                return r < 0 ? r : STEP_DONE;

        r = work_new(job->manager, spec->uuid, true, job, &work);
        if (r >= 0)
                r = find_needs(spec, &work->needs, &work->n);
        if (r < 0)
                return r;

        work->host.has_numa = t->has_numa;
        queue_work(TAKE_PTR(work));
        return STEP_ASYNC;
}

static Work *work_of(Job *job) {
        Pages *pages = job->manager->pages;

        if (pages->running && pages->running->job == job)
                return pages->running;
        for (Work *work = pages->waiting; work; work = work->next)
                if (work->job == job)
                        return work;
        return NULL;
}

void pages_cancel_take(Job *job) {
        Work *work = work_of(job);

        if (work)
                __atomic_store_n(&work->cancel, true, __ATOMIC_RELAXED);
}

int pages_run_give_back(Job *job, Error *error) {
        Work *work;
        int r;

        if (!find_holding(job->manager->pages, job->vm_uuid) || (job->vm && vm_is_active(job->vm)))
                return STEP_DONE;

        r = work_new(job->manager, job->vm_uuid, false, job, &work);
        if (r < 0)
                return r;
        queue_work(work);
        return STEP_ASYNC;
}

const JobStep vm_give_back_pages_step = { .phase = "giving memory back", .run = pages_run_give_back };

/* --- by itself ---------------------------------------------------------------------------------------- */

void pages_vm_stopped(Manager *m, const char *uuid) {
        const Vm *vm = manager_find_vm_by_uuid(m, uuid);
        Work *work;

        if (!find_holding(m->pages, uuid) || (vm && (vm->job || vm_is_active(vm))))
                return;
        if (work_new(m, uuid, false, NULL, &work) >= 0)
                queue_work(work);
}

void pages_job_ended(Manager *m, const char *uuid) {
        Holding *holding = find_holding(m->pages, uuid);

        if (!holding)
                return;
        holding->promised = false;
        if (!holding->made)
                drop_holding(m->pages, uuid);
        else
                pages_vm_stopped(m, uuid);
}

void pages_reconcile(Manager *m) {
        _cleanup_strv_ char **uuids = NULL;
        int r;

        r = pages_list(m->pages->records_fd, &uuids);
        if (r < 0)
                log_errno(r, "Could not list the records of huge pages");

        STRV_FOREACH(uuid, uuids) {
                Holding *holding;

                if (find_holding(m->pages, *uuid) || add_holding(m->pages, *uuid, &holding) < 0)
                        continue;
                holding->made = true;
                pages_vm_stopped(m, *uuid);
        }
}

/* --- life --------------------------------------------------------------------------------------------- */

int pages_new(Manager *m, Pages **ret) {
        _cleanup_(pages_freep) Pages *pages = calloc(1, sizeof(Pages));

        if (!pages)
                return -ENOMEM;

        pages->manager = m;
        pages->records_fd = -EBADF;
        if (mkdirat(m->state_fd, RECORDS_DIR, 0700) < 0 && errno != EEXIST)
                return -errno;
        pages->records_fd = openat(m->state_fd, RECORDS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (pages->records_fd < 0)
                return -errno;

        *ret = TAKE_PTR(pages);
        return 0;
}

Pages *pages_free(Pages *pages) {
        if (!pages)
                return NULL;

        while (pages->waiting) {
                Work *next = pages->waiting->next;
                work_free(pages->waiting);
                pages->waiting = next;
        }
        while (pages->n_holdings > 0)
                drop_holding(pages, pages->holdings[0].uuid);
        free(pages->holdings);
        close_fd(pages->records_fd);
        free(pages);
        return NULL;
}
