/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Destroying a VM: cut off if it runs, its devices back on the drivers they had, the domain gone, its files
 * gone, or its disk kept as an image in the owner's store. */

#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"
#include "image-ops.h"
#include "image/image.h"
#include "manager.h"
#include "observer.h"
#include "pages.h"
#include "vm-stop.h"

static const char *disk_suffix(const VmSpec *spec) {
        return streq_ptr(spec->disk_format, "raw") ? "raw" : "qcow2";
}

/* "images/UID/NAME-disk.FORMAT", relative to the state directory. */
static int kept_disk_path(const Vm *vm, char **ret) {
        _cleanup_free_ char *directory = NULL;
        int r;

        r = image_store_prepare(vm->manager->state_fd, vm->spec->owner, &directory);
        if (r < 0)
                return r;
        return asprintf(ret, "%s/%s-disk.%s", directory, vm->spec->name, disk_suffix(vm->spec)) < 0 ? -ENOMEM
                                                                                                   : 0;
}

static void on_flattened(const ImageInfo *info, const Error *error, void *userdata) {
        job_step_done(userdata, info ? 0 : -error_code_errno(error->code), error);
}

/* What is laid over an image does not go without it, and the image may be another's: the two become one. */
static int flatten_disk(Job *job, Error *error) {
        static const ImageHandler handler = { .done = on_flattened };
        const VmSpec *spec = job->vm->spec;
        Manager *m = job->manager;
        _cleanup_free_ char *directory = NULL, *path = NULL, *name = NULL;
        _cleanup_close_ int disk = open(spec->disk_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK),
                            base = open(spec->base_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        ImageTask *task;
        int r;

        if (disk < 0 || base < 0)
                return error_set_errno(error, -errno, "Could not open the disk");
        r = image_store_prepare(m->state_fd, spec->owner, &directory);
        if (r < 0)
                return error_set_errno(error, r, "Could not prepare the image store");
        if (asprintf(&path, "%s/%s", m->config->state_dir, directory) < 0)
                path = NULL;
        if (asprintf(&name, "%s-disk", spec->name) < 0)
                name = NULL;
        if (!path || !name)
                return -ENOMEM;

        r = image_flatten(m->event, m->image_helper, disk, base, spec->base_format, path, name, &handler, job, &task);
        return r < 0 ? error_set_errno(error, r, "Could not start to keep the disk") : STEP_ASYNC;
}

static int unflatten_disk(const Vm *vm, Error *error) {
        _cleanup_free_ char *name = NULL;

        if (asprintf(&name, "%s-disk", vm->spec->name) < 0) {
                name = NULL;
                return -ENOMEM;
        }
        return image_store_remove(vm->manager->state_fd, vm->spec->owner, name, error);
}

static int run_keep_disk(Job *job, Error *error) {
        const Vm *vm = job->vm;
        _cleanup_free_ char *from = NULL, *to = NULL;
        int r;

        if (!stop_data_of(job)->destroy.keep_disk)
                return STEP_DONE;
        if (vm->spec->base_path)
                return flatten_disk(job, error);

        if (asprintf(&from, "vms/%s/disk.%s", vm->spec->uuid, disk_suffix(vm->spec)) < 0)
                return -ENOMEM;
        r = kept_disk_path(vm, &to);
        if (r < 0)
                return error_set_errno(error, r, "Could not prepare the image store");

        if (renameat2(vm->manager->state_fd, from, vm->manager->state_fd, to, RENAME_NOREPLACE) < 0) {
                r = -errno;
                if (r == -EEXIST)
                        return error_set(error, ERROR_IMAGE_EXISTS, "There is an image %s-disk already",
                                         vm->spec->name);
                return error_set_errno(error, r, "Could not move the disk into the image store");
        }
        return STEP_DONE;
}

static int undo_keep_disk(Job *job, Error *error) {
        const Vm *vm = job->vm;
        _cleanup_free_ char *from = NULL, *to = NULL;

        if (!stop_data_of(job)->destroy.keep_disk)
                return STEP_DONE;
        if (vm->spec->base_path)
                return unflatten_disk(vm, error);
        if (asprintf(&to, "vms/%s/disk.%s", vm->spec->uuid, disk_suffix(vm->spec)) < 0)
                return -ENOMEM;

        int r = kept_disk_path(vm, &from);
        if (r < 0)
                return r;
        if (renameat(vm->manager->state_fd, from, vm->manager->state_fd, to) < 0)
                return -errno;
        return STEP_DONE;
}

static void on_undefined(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        if (r < 0 && error->code == ERROR_NO_SUCH_VM)
                r = 0;
        if (r < 0)
                (void) vm_mark_unfinished(job->manager, job->vm_uuid, false);
        job_step_done(job, r, error);
}

/* Marked first: if vmkitd ends between the two, the files of a VM without a domain are known to be ours to
 * remove. */
static int run_undefine(Job *job, Error *error) {
        (void) vm_mark_unfinished(job->manager, job->vm_uuid, true);
        return virt_undefine(job->manager->virt, job->vm_uuid, on_undefined, job, error);
}

static int run_remove_files(Job *job, Error *error) {
        return vm_remove_files_async(job);
}

static const JobStep keep_disk_step = { .phase = "keeping the disk", .run = run_keep_disk,
                                        .undo = undo_keep_disk };
static const JobStep undefine_step = { .phase = "removing the domain", .run = run_undefine };
static const JobStep remove_step = { .phase = "removing the files", .run = run_remove_files };

static void destroy_ended(Job *job) {
        if (job->state != JOB_DONE)
                return;

        Vm *vm = job->vm;
        job->vm = NULL;
        observer_vm_removed(vm);
        vm_free(vm);
        image_bases_collect(job->manager);
}

static int add_destroy_steps(Job *job) {
        const JobStep *const steps[] = {
                &vm_stop_step,   &vm_return_all_step, &vm_give_back_pages_step,
                &keep_disk_step, &undefine_step,      &remove_step,
        };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                int r = job_add_steps(job, steps[i], 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int check_destroy(const Vm *vm, const DestroyOptions *options, Error *error) {
        int r = vm_check_idle(vm, error);

        if (r < 0)
                return r;
        if (vm_is_active(vm) && !options->force) {
                (void) error_set(error, ERROR_WRONG_STATE, "The VM %s is %s", vm->spec->name, vm_state(vm));
                error_set_remedy(error, "Stop it first, or destroy it with --force.");
                return -error_code_errno(ERROR_WRONG_STATE);
        }
        if (options->keep_disk && strlen(vm->spec->name) + strlen("-disk") > NAME_LENGTH_MAX)
                return error_set(error, ERROR_INVALID_OPTION, "%s-disk would be too long a name for an image",
                                 vm->spec->name);
        if (options->keep_disk && !vm->spec->disk_path)
                return error_set(error, ERROR_INVALID_OPTION, "The VM %s has no disk that could be kept",
                                 vm->spec->name);
        return 0;
}

int vm_destroy(Vm *vm, uid_t caller, const DestroyOptions *options, Job **ret, Error *error) {
        const StopOptions at_once = { .timeout = 0, .force = true };
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = check_destroy(vm, options, error);
        if (r < 0)
                return r;

        r = stop_job_new(vm, "destroy", caller, &at_once, &job);
        if (r < 0)
                return r;

        stop_data_of(job)->destroy = *options;
        job->ended = destroy_ended;
        r = add_destroy_steps(job);
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        observer_vm_changed(vm);
        *ret = TAKE_PTR(job);
        return 0;
}
