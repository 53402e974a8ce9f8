/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"
#include "base/strv.h"
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

static void on_progress(const char *phase, double progress, uint64_t bytes, void *userdata) {
        job_set_copy_progress(userdata, phase, progress, bytes);
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

        job->bytes = 0; /* counted as the image that it is now */
        r = check_stored(job, &limit);
        if (r < 0)
                (void) image_store_remove(job->manager->state_fd, job->started_by, data->name, NULL);
        job_step_done(job, r, &limit);
}

static const ImageHandler handler = { .progress = on_progress, .done = on_done };

static int run_import(Job *job, Error *error) {
        ImportData *data = job->data;
        uint64_t allowed;
        int r;

        r = quota_image_bytes_left(job->manager, job->started_by, &allowed);
        if (r >= 0)
                r = image_copy(job->manager->event, job->manager->image_helper, data->source, data->directory,
                               data->name, 0, VIRTUAL_SIZE_MAX, allowed, &handler, job, &data->task);
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

/* --- images under disks ----------------------------------------------------------------------------------- */

#define BASES "bases"
#define BASE_NAME_MAX 64

/* Its inode is what it is, also when the name in the store goes and another image gets it. Once libvirt has given
 * the file to QEMU's user we may give it no more names, so this one is kept for as long as the file. */
static int give_name(int dir_fd, int fd, const char *name) {
        char path[32];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (linkat(AT_FDCWD, path, dir_fd, name, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST)
                return -errno;
        return 0;
}

static int open_bases(const Manager *m) {
        int fd = openat(m->state_fd, BASES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

/* QEMU's user passes through, and cannot look around. */
static int prepare_bases(const Manager *m) {
        if (mkdirat(m->state_fd, BASES, 0711) < 0 && errno != EEXIST)
                return -errno;

        int fd = open_bases(m);
        if (fd >= 0 && fchmod(fd, 0711) < 0) {
                int r = -errno;
                close_fd(fd);
                return r;
        }
        return fd;
}

int image_base_name(Manager *m, int fd, const char *format, char **ret_path, Error *error) {
        _cleanup_close_ int dir_fd = prepare_bases(m);
        char name[BASE_NAME_MAX];
        struct stat st;
        int r = dir_fd;

        if (r >= 0 && fstat(fd, &st) < 0)
                r = -errno;
        if (r >= 0) {
                (void) snprintf(name, sizeof(name), "%llu.%s", (unsigned long long) st.st_ino, format);
                r = give_name(dir_fd, fd, name);
        }
        if (r < 0)
                return error_set_errno(error, r, "Could not lay the disk over the image");
        return asprintf(ret_path, "%s/" BASES "/%s", m->config->state_dir, name) < 0 ? -ENOMEM : 0;
}

static bool is_needed(const Manager *m, const char *name) {
        for (size_t i = 0; i < m->n_vms; i++) {
                const char *path = m->vms[i]->spec->base_path, *slash = path ? strrchr(path, '/') : NULL;

                if (slash && streq(slash + 1, name))
                        return true;
        }
        return false;
}

/* Disks of VMs that libvirt does not list are left alone, since it may list them again; so is all that they may lie
 * over, which only libvirt's definitions say. */
static bool has_disks_of_unlisted_vms(const Manager *m) {
        _cleanup_strv_ char **names = NULL;

        if (list_dir_at(m->state_fd, "vms", &names) < 0)
                return true;
        STRV_FOREACH(name, names)
                if (!manager_find_vm_by_uuid(m, *name))
                        return true;
        return false;
}

/* Before libvirt was reached, nobody knows what the VMs are. */
void image_bases_collect(Manager *m) {
        _cleanup_close_ int dir_fd = m->reconciled ? open_bases(m) : -EBADF;
        _cleanup_strv_ char **names = NULL;
        struct stat st;

        if (dir_fd < 0 || has_disks_of_unlisted_vms(m) || list_dir_at(dir_fd, ".", &names) < 0)
                return;

        STRV_FOREACH(name, names)
                if (!is_needed(m, *name) && fstatat(dir_fd, *name, &st, AT_SYMLINK_NOFOLLOW) >= 0 &&
                    st.st_nlink == 1 && unlinkat(dir_fd, *name, 0) < 0)
                        log_errno(-errno, "Could not remove the base %s of disks that are gone", *name);
}
