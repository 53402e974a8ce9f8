/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>

#include "image-ops.h"
#include "quota.h"

#define VIRTUAL_SIZE_MAX (64 * TIB)

typedef struct ImportData {
        char *name, *directory;
        int source;
        ImageTask *task;
} ImportData;

static void free_import_data(void *p) {
        ImportData *data = p;

        if (!data)
                return;
        free(data->name);
        free(data->directory);
        close_fd(data->source);
        free(data);
}

/* Only the copy tells how large the image is; it counts as soon as it is in the store. */
static int check_stored(const Job *job, Error *error) {
        const Limits *limits = &job->manager->config->limits;
        char used_text[SIZE_TEXT_MAX], limit_text[SIZE_TEXT_MAX];
        Quota used;
        int r;

        if (job->started_by == 0 || limits->image_bytes == 0)
                return 0;

        r = quota_used(job->manager, job->started_by, &used);
        if (r < 0)
                return error_set_errno(error, r, "Could not read the image store");
        if (used.image_bytes <= limits->image_bytes)
                return 0;
        return error_set(error, ERROR_LIMIT_EXCEEDED, "You would have %s of disks and images; the limit is %s",
                         format_size(used.image_bytes, used_text),
                         format_size(limits->image_bytes, limit_text));
}

static void on_progress(const char *phase, double progress, void *userdata) {
        job_set_progress(userdata, progress);
}

static void on_done(const ImageInfo *info, const Error *error, void *userdata) {
        Job *job = userdata;
        _cleanup_error_ Error limit = ERROR_INIT;
        ImportData *data = job->data;
        int r;

        data->task = NULL;
        if (!info) {
                job_step_done(job, -error_code_errno(error->code), error);
                return;
        }

        r = check_stored(job, &limit);
        if (r < 0)
                (void) image_store_remove(job->manager->state_fd, job->started_by, data->name, NULL);
        job_step_done(job, r, &limit);
}

static const ImageHandler handler = { .progress = on_progress, .done = on_done };

static int run_import(Job *job, Error *error) {
        ImportData *data = job->data;
        int r;

        r = image_copy(job->manager->event, job->manager->image_helper, data->source, data->directory,
                       data->name, 0, VIRTUAL_SIZE_MAX, &handler, job, &data->task);
        if (r < 0)
                return error_set_errno(error, r, "Could not start the copy of the image");

        data->source = close_fd(data->source);
        return STEP_ASYNC;
}

static void cancel_import(Job *job) {
        ImportData *data = job->data;

        if (data->task)
                image_task_cancel(data->task);
}

static int check_limit(const Manager *m, uid_t caller, uint64_t bytes, Error *error) {
        const Quota extra = { .image_bytes = bytes };
        int r = quota_check(m, caller, &extra, NULL, error);

        return r > 0 ? -error_code_errno(ERROR_LIMIT_EXCEEDED) : r;
}

static int check_import(const Manager *m, uid_t caller, const char *name, Error *error) {
        _cleanup_(stored_images_clear) StoredImages images = {};
        int r;

        r = image_store_list(m->state_fd, caller, &images);
        if (r < 0)
                return error_set_errno(error, r, "Could not read the image store");

        for (size_t i = 0; i < images.n; i++)
                if (images.items[i].owner == caller && streq(images.items[i].name, name))
                        return error_set(error, ERROR_IMAGE_EXISTS, "You have an image %s already", name);
        return check_limit(m, caller, 1, error);
}

static int make_data(Manager *m, uid_t caller, const char *name, int fd, ImportData **ret) {
        _cleanup_free_ char *directory = NULL;
        ImportData *data;
        int r;

        r = image_store_prepare(m->state_fd, caller, &directory);
        if (r < 0)
                return r;

        data = calloc(1, sizeof(ImportData));
        if (!data)
                return -ENOMEM;

        data->source = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        data->name = strdup(name);
        if (asprintf(&data->directory, "%s/%s", m->config->state_dir, directory) < 0)
                data->directory = NULL;
        if (data->source < 0 || !data->name || !data->directory) {
                free_import_data(data);
                return -ENOMEM;
        }

        *ret = data;
        return 0;
}

int image_import(Manager *m, uid_t caller, const char *name, int fd, Job **ret, Error *error) {
        static const JobStep step = { .phase = "copying the image", .run = run_import,
                                      .cancel = cancel_import };
        _cleanup_(job_freep) Job *job = NULL;
        ImportData *data;
        int r;

        r = check_import(m, caller, name, error);
        if (r < 0)
                return r;

        r = job_new(m, "import", caller, &job);
        if (r >= 0)
                r = make_data(m, caller, name, fd, &data);
        if (r < 0)
                return error_set_errno(error, r, "Could not prepare the image store");

        job->data = data;
        job->free_data = free_import_data;
        r = job_add_steps(job, &step, 1);
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(job);
        return 0;
}
