/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"
#include "manager.h"
#include "observer.h"
#include "vm-launch.h"
#include "vm.h"

int vm_new(Manager *m, VmSpec *spec, Vm **ret) {
        Vm *vm = calloc(1, sizeof(Vm));
        int r;

        if (!vm)
                return -ENOMEM;

        vm->spec = spec;
        vm->state = DOMAIN_STOPPED;
        r = manager_add_vm(m, vm);
        if (r < 0) {
                free(vm);
                return r;
        }

        *ret = vm;
        return 0;
}

void vm_drop_leases(Vm *vm) {
        for (size_t i = 0; i < devices_count(vm->manager); i++)
                if (vm->manager->devices.items[i]->lease == vm)
                        device_set_lease(vm->manager->devices.items[i], NULL);
}

Vm *vm_free(Vm *vm) {
        if (!vm)
                return NULL;

        if (vm->manager) {
                for (size_t i = 0; i < vm->manager->n_jobs; i++)
                        if (vm->manager->jobs[i]->vm == vm)
                                vm->manager->jobs[i]->vm = NULL;
                vm_drop_leases(vm);
                manager_remove_vm(vm->manager, vm);
                vm_tell_assignments(vm->manager, vm->spec);
        }
        vm_spec_free(vm->spec);
        vm_spec_free(vm->wanted);
        launch_free(vm->launch);
        free(vm->leaving);
        free(vm);
        return NULL;
}

void vm_tell_assignments(Manager *m, const VmSpec *spec) {
        for (size_t i = 0; i < spec->n_devices; i++) {
                Device *d = devices_find(m, &spec->devices[i].address);

                if (d)
                        observer_device_changed(d);
        }
}

static const char *state_of_job(const Vm *vm) {
        static const struct {
                const char *operation, *state;
        } states[] = {
                { "start", "starting" }, { "stop", "stopping" }, { "destroy", "stopping" },
        };

        if (!vm->job)
                return NULL;
        if (streq(vm->job->operation, "create"))
                return vm->defined ? "starting" : "creating";
        /* Also one device of a VM that runs on may be on its way back. */
        if (streq(vm->job->operation, "return-devices") && !vm_is_active(vm))
                return "stopping";
        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                if (streq(vm->job->operation, states[i].operation))
                        return states[i].state;
        return NULL;
}

const char *vm_state(const Vm *vm) {
        const char *state = state_of_job(vm);

        if (state)
                return state;
        if (!virt_is_connected(vm->manager->virt))
                return domain_state_to_string(DOMAIN_UNKNOWN);
        return domain_state_to_string(vm->state);
}

bool vm_is_active(const Vm *vm) {
        return vm->state != DOMAIN_STOPPED && vm->state != DOMAIN_UNKNOWN;
}

int vm_check_idle(const Vm *vm, Error *error) {
        if (vm->job)
                return error_set(error, ERROR_BUSY, "The VM %s is busy: job %llu (%s) is under way",
                                 vm->spec->name, (unsigned long long) vm->job->id, vm->job->operation);
        if (!virt_is_connected(vm->manager->virt))
                return error_set(error, ERROR_LIBVIRT_UNAVAILABLE, "libvirt cannot be reached at %s",
                                 virt_uri(vm->manager->virt));
        return 0;
}

int vm_check_state(const Vm *vm, bool allows, const char *what, Error *error) {
        int r = vm_check_idle(vm, error);

        if (r >= 0 && !allows)
                return error_set(error, ERROR_WRONG_STATE, "The VM %s is %s: it cannot be %s", vm->spec->name,
                                 vm_state(vm), what);
        return r;
}

bool vm_holds_device(const Vm *vm, const VmDevice *device) {
        if (!str_empty(vm->spec->on_stop))
                return streq(vm->spec->on_stop, "hold");
        return streq_ptr(device->kind, "nvme") || streq_ptr(device->kind, "storage");
}

const VmDevice *vm_requested_device(const VmSpec *spec, const VmDevice *of) {
        for (size_t i = 0; i < spec->n_devices; i++)
                if (pci_address_equal(&spec->devices[i].address, &of->requested))
                        return &spec->devices[i];
        return of;
}

bool vm_is_assigned(const Vm *vm, const PciAddress *address) {
        for (size_t i = 0; i < vm->spec->n_devices; i++)
                if (pci_address_equal(&vm->spec->devices[i].address, address))
                        return true;
        return false;
}

/* --- operations of one libvirt call ---------------------------------------------------------------------- */

static void on_call_done(int r, const Error *error, void *userdata) {
        job_step_done(userdata, r, error);
}

static int run_reboot(Job *job, Error *error) {
        return virt_reboot(job->manager->virt, job->vm_uuid, on_call_done, job, error);
}

int vm_begin_single(Vm *vm, const char *operation, const JobStep *step, uid_t caller, Job **ret) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = job_new(vm->manager, operation, caller, &job);
        if (r < 0)
                return r;

        job_set_vm(job, vm);
        r = job_add_steps(job, step, 1);
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(job);
        return 0;
}

int vm_reboot(Vm *vm, uid_t caller, Job **ret, Error *error) {
        static const JobStep step = { .phase = "asking the guest to reboot", .run = run_reboot };
        int r = vm_check_state(vm, vm->state == DOMAIN_RUNNING, "rebooted", error);

        return r < 0 ? r : vm_begin_single(vm, "reboot", &step, caller, ret);
}

/* --- autostart ------------------------------------------------------------------------------------------ */

int vm_set_autostart(Vm *vm, bool autostart, VirtDone done, void *userdata, Error *error) {
        _cleanup_free_ char *metadata = NULL;
        bool previous = vm->spec->autostart;
        int r;

        r = vm_check_idle(vm, error);
        if (r < 0)
                return r;

        vm->spec->autostart = autostart;
        r = vm_spec_to_metadata(vm->spec, &metadata);
        vm->spec->autostart = previous;
        return r < 0 ? r : virt_set_metadata(vm->manager->virt, vm->spec->uuid, metadata, done, userdata, error);
}

void vm_autostart_was_set(Vm *vm, bool autostart) {
        vm->spec->autostart = autostart;
        observer_vm_changed(vm);
}

/* --- files ----------------------------------------------------------------------------------------------- */

int vm_directory(const VmSpec *spec, char **ret) {
        return asprintf(ret, "vms/%s", spec->uuid) < 0 ? -ENOMEM : 0;
}

int vm_directory_path(const Vm *vm, char **ret) {
        return asprintf(ret, "%s/vms/%s", vm->manager->config->state_dir, vm->spec->uuid) < 0 ? -ENOMEM : 0;
}

int vm_remove_files(int state_fd, const char *uuid) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;

        if (asprintf(&path, "vms/%s", uuid) < 0)
                return -ENOMEM;

        fd = openat(state_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;

        return remove_flat_dir_at(state_fd, path, fd);
}

typedef struct RemoveWork {
        Job *job;
        int state_fd;
        char uuid[UUID_TEXT_MAX];
        int r;
} RemoveWork;

static void run_remove(void *data) {
        RemoveWork *work = data;

        work->r = vm_remove_files(work->state_fd, work->uuid);
}

static void on_removed(void *data) {
        _cleanup_free_ RemoveWork *work = data;
        _cleanup_error_ Error error = ERROR_INIT;

        if (work->r < 0)
                (void) error_set_errno(&error, work->r, "Could not remove the files of the VM");
        job_step_done(work->job, work->r, &error);
}

int vm_remove_files_async(Job *job) {
        RemoveWork *work = calloc(1, sizeof(RemoveWork));
        int r;

        if (!work)
                return -ENOMEM;

        work->job = job;
        work->state_fd = job->manager->state_fd;
        strcpy(work->uuid, job->vm_uuid);
        r = worker_submit(job->manager->workers, run_remove, on_removed, work);
        if (r < 0)
                free(work);
        return r < 0 ? r : STEP_ASYNC;
}

static int mark_path(const char *uuid, char **ret) {
        return asprintf(ret, "vms/%s/unfinished", uuid) < 0 ? -ENOMEM : 0;
}

int vm_mark_unfinished(Manager *m, const char *uuid, bool unfinished) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = mark_path(uuid, &path);
        if (r < 0)
                return r;
        if (!unfinished)
                return unlinkat(m->state_fd, path, 0) < 0 && errno != ENOENT ? -errno : 0;

        int fd = openat(m->state_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        close_fd(fd);
        return 0;
}

bool vm_is_unfinished(Manager *m, const char *uuid) {
        _cleanup_free_ char *path = NULL;

        return mark_path(uuid, &path) >= 0 && faccessat(m->state_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) >= 0;
}
