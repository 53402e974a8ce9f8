/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Creating a VM: a directory of its own, the copy of the image, the cloud-init seed, the domain, and its
 * start if that was asked for. On any failure all of it goes away again. */

#include <fcntl.h>
#include <sys/stat.h>

#include "base/log.h"
#include "image-ops.h"
#include "manager.h"
#include "observer.h"
#include "quota.h"
#include "vm-create.h"

/* The largest disk a guest may see; an image that claims more is not a disk. */
#define VIRTUAL_SIZE_MAX (64 * TIB)
#define ROM_SIZE_MAX (16 * MIB)

typedef struct CreateData {
        VmRequest *request;
        char *directory;   /* absolute */
        ImageTask *task;   /* under way */
        size_t rom;        /* of the request's, the one that is copied */
} CreateData;

static CreateData *create_data_free(CreateData *data) {
        if (!data)
                return NULL;

        vm_request_free(data->request);
        free(data->directory);
        free(data);
        return NULL;
}

DEFINE_CLEANUP(CreateData *, create_data_free);

static void free_create_data(void *data) {
        (void) create_data_free(data);
}

static CreateData *data_of(Job *job) {
        return job->data;
}

/* --- directory -------------------------------------------------------------------------------------------- */

static int run_directory(Job *job, Error *error) {
        int r;

        if (mkdir(data_of(job)->directory, 0711) < 0)
                return error_set_errno(error, -errno, "Could not make the directory of the VM");

        r = vm_mark_unfinished(job->manager, job->vm_uuid, true);
        if (r < 0)
                return error_set_errno(error, r, "Could not write to the directory of the VM");
        return STEP_DONE;
}

static int undo_directory(Job *job, Error *error) {
        if (job->vm->defined)
                return STEP_DONE; /* libvirt still has it: its disk stays */
        return vm_remove_files_async(job);
}

/* --- disk ------------------------------------------------------------------------------------------------- */

static void on_image_progress(const char *phase, double progress, uint64_t bytes, void *userdata) {
        job_set_copy_progress(userdata, phase, progress, bytes);
}

static int take_disk(Job *job, const ImageInfo *info) {
        VmSpec *spec = job->vm->spec;

        if (asprintf(&spec->disk_path, "%s/disk.%s", data_of(job)->directory, info->format) < 0) {
                spec->disk_path = NULL;
                return -ENOMEM;
        }

        if (!info->overlay) {
                free(spec->base_path);
                free(spec->base_format);
                spec->base_path = spec->base_format = NULL;
        }

        spec->disk_format = strdup(info->format);
        return spec->disk_format ? 0 : -ENOMEM;
}

/* Only the copy tells how large the image is. */
static int check_disk_limit(Job *job, uint64_t bytes, Error *error) {
        const Quota extra = { .image_bytes = bytes };
        int r;

        job->vm->spec->disk_bytes = 0;
        job->bytes = 0; /* counted as the disk that it is now */
        r = quota_check(job->manager, job->started_by, &extra, NULL, error);
        if (r == 0)
                job->vm->spec->disk_bytes = bytes;
        return r > 0 ? -error_code_errno(ERROR_LIMIT_EXCEEDED) : r;
}

static void on_disk_done(const ImageInfo *info, const Error *error, void *userdata) {
        _cleanup_error_ Error own = ERROR_INIT;
        Job *job = userdata;
        int r;

        error_copy(&own, error);
        data_of(job)->task = NULL;
        r = info ? check_disk_limit(job, info->virtual_size, &own) : -error_code_errno(error->code);
        if (r >= 0)
                r = take_disk(job, info);
        job_step_done(job, r, &own);
}

static const ImageHandler disk_handler = { .progress = on_image_progress, .done = on_disk_done };

static int open_source(Job *job, int *ret, Error *error) {
        CreateData *data = data_of(job);
        uid_t owner;
        int r;

        if (!data->request->image_name) {
                *ret = TAKE_FD(data->request->image);
                return 0;
        }

        r = image_store_open(job->manager->state_fd, data->request->caller, data->request->image_name, ret,
                             &owner, error);
        return r;
}

/* From here on the base stays; whether the disk needs it turns out later. */
static int take_base(Job *job, int source, Error *error) {
        VmSpec *spec = job->vm->spec;
        _cleanup_image_info_ ImageInfo info = {};
        int r;

        r = image_peek(source, &info, error);
        if (r < 0)
                return r;
        r = image_base_name(job->manager, source, info.format, &spec->base_path, error);
        if (r < 0)
                return r;
        spec->base_format = TAKE_PTR(info.format);
        return 0;
}

static int derive_image(Job *job, int source, Error *error) {
        CreateData *data = data_of(job);
        int r = take_base(job, source, error);

        if (r < 0)
                return r;
        return image_derive(job->manager->event, job->manager->image_helper, source, job->vm->spec->base_path,
                            data->directory, "disk", data->request->disk_size, VIRTUAL_SIZE_MAX, &disk_handler, job,
                            &data->task);
}

static int copy_image(Job *job, Error *error) {
        CreateData *data = data_of(job);
        _cleanup_close_ int source = -EBADF;
        uint64_t allowed;
        int r;

        r = open_source(job, &source, error);
        if (r < 0)
                return r;
        if (data->request->image_name)
                return derive_image(job, source, error);
        r = quota_image_bytes_left(job->manager, job->started_by, &allowed);
        if (r < 0)
                return r;
        return image_copy(job->manager->event, job->manager->image_helper, source, data->directory, "disk",
                          data->request->disk_size, VIRTUAL_SIZE_MAX, allowed, &disk_handler, job, &data->task);
}

static int run_disk(Job *job, Error *error) {
        CreateData *data = data_of(job);
        VmRequest *request = data->request;
        int r;

        if (request->image >= 0 || request->image_name)
                r = copy_image(job, error);
        else if (request->disk_size > 0)
                r = image_create_empty(job->manager->event, job->manager->image_helper, data->directory, "disk",
                                       request->disk_size, &disk_handler, job, &data->task);
        else
                return STEP_DONE;

        if (r < 0 && !error_is_set(error))
                return error_set_errno(error, r, "Could not start the copy of the image");
        return r < 0 ? r : STEP_ASYNC;
}

static void cancel_image_task(Job *job) {
        if (data_of(job)->task)
                image_task_cancel(data_of(job)->task);
}

/* --- what is only read ----------------------------------------------------------------------------------- */

static void on_cdrom_done(const ImageInfo *info, const Error *error, void *userdata) {
        Job *job = userdata;
        int r = info ? 0 : -error_code_errno(error->code);

        data_of(job)->task = NULL;
        if (r >= 0 && asprintf(&job->vm->spec->cdrom_path, "%s/cdrom.iso", data_of(job)->directory) < 0) {
                job->vm->spec->cdrom_path = NULL;
                r = -ENOMEM;
        }
        job_step_done(job, r, error);
}

static const ImageHandler cdrom_handler = { .progress = on_image_progress, .done = on_cdrom_done };

static int run_cdrom(Job *job, Error *error) {
        CreateData *data = data_of(job);
        int r;

        if (data->request->cdrom < 0)
                return STEP_DONE;

        r = image_copy_readonly(job->manager->event, job->manager->image_helper, IMAGE_CDROM,
                                data->request->cdrom, data->directory, "cdrom", VIRTUAL_SIZE_MAX, &cdrom_handler,
                                job, &data->task);
        return r < 0 ? error_set_errno(error, r, "Could not start the copy of the CD-ROM") : STEP_ASYNC;
}

static int copy_next_rom(Job *job, Error *error);

static VmDevice *device_of_rom(Job *job) {
        CreateData *data = data_of(job);
        VmSpec *spec = job->vm->spec;

        for (size_t i = 0; i < spec->n_devices; i++)
                if (pci_address_equal(&spec->devices[i].address, &data->request->roms[data->rom].address))
                        return &spec->devices[i];
        return NULL;
}

/* "rom-0000_01_00_0" */
static void name_of_rom(const VmDevice *device, char *buffer, size_t size) {
        snprintf(buffer, size, "rom-%s", PCI_ADDRESS_TEXT(&device->address));
        for (char *p = buffer; *p; p++)
                if (*p == ':' || *p == '.')
                        *p = '_';
}

/* libvirt hands a disk to QEMU's user, but not a ROM: that has to be open to all. It is no secret. */
static int take_rom(Job *job) {
        VmDevice *device = device_of_rom(job);
        char name[64];

        name_of_rom(device, name, sizeof(name));
        if (asprintf(&device->rom_path, "%s/%s.rom", data_of(job)->directory, name) < 0) {
                device->rom_path = NULL;
                return -ENOMEM;
        }
        return chmod(device->rom_path, 0444) < 0 ? -errno : 0;
}

static void on_rom_done(const ImageInfo *info, const Error *error, void *userdata) {
        _cleanup_error_ Error own = ERROR_INIT;
        Job *job = userdata;
        int r = info ? 0 : -error_code_errno(error->code);

        error_copy(&own, error);
        data_of(job)->task = NULL;
        if (r >= 0)
                r = take_rom(job);
        data_of(job)->rom++;
        if (r >= 0)
                r = copy_next_rom(job, &own);
        if (r != STEP_ASYNC)
                job_step_done(job, MIN(r, 0), &own);
}

static const ImageHandler rom_handler = { .done = on_rom_done };

static int copy_next_rom(Job *job, Error *error) {
        CreateData *data = data_of(job);
        char name[64];
        int r;

        if (data->rom >= data->request->n_roms)
                return STEP_DONE;

        name_of_rom(device_of_rom(job), name, sizeof(name));
        r = image_copy_readonly(job->manager->event, job->manager->image_helper, IMAGE_ROM,
                                data->request->roms[data->rom].fd, data->directory, name, ROM_SIZE_MAX,
                                &rom_handler, job, &data->task);
        return r < 0 ? error_set_errno(error, r, "Could not start the copy of the ROM") : STEP_ASYNC;
}

/* --- seed ------------------------------------------------------------------------------------------------- */

static void on_seed_done(const ImageInfo *info, const Error *error, void *userdata) {
        Job *job = userdata;
        VmSpec *spec = job->vm->spec;
        int r = info ? 0 : -error_code_errno(error->code);

        data_of(job)->task = NULL;
        if (r >= 0 && asprintf(&spec->seed_path, "%s/seed.iso", data_of(job)->directory) < 0) {
                spec->seed_path = NULL;
                r = -ENOMEM;
        }
        job_step_done(job, r, error);
}

static const ImageHandler seed_handler = { .done = on_seed_done };

static int run_seed(Job *job, Error *error) {
        CreateData *data = data_of(job);
        CloudInit *cloud_init = &data->request->cloud_init;
        int r;

        if (!data->request->has_cloud_init)
                return STEP_DONE;

        cloud_init->instance_id = strdup(job->vm_uuid);
        if (!cloud_init->instance_id)
                return -ENOMEM;

        r = image_make_seed(job->manager->event, job->manager->image_helper, cloud_init, data->directory,
                            &seed_handler, job, &data->task);
        if (r < 0)
                return error_set_errno(error, r, "Could not start writing the cloud-init seed");
        return STEP_ASYNC;
}

/* --- domain ----------------------------------------------------------------------------------------------- */

static void on_defined(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        if (r >= 0) {
                job->vm->defined = true;
                (void) vm_mark_unfinished(job->manager, job->vm_uuid, false);
                observer_vm_changed(job->vm);
        }
        job_step_done(job, r, error);
}

static int run_define(Job *job, Error *error) {
        _cleanup_free_ char *xml = NULL;
        int r;

        r = vm_spec_place_devices(job->vm->spec);
        if (r >= 0)
                r = vm_spec_to_xml(job->vm->spec, &xml);
        if (r < 0)
                return error_set_errno(error, r, "Could not write the domain");
        return virt_define(job->manager->virt, xml, on_defined, job, error);
}

static void on_undefined(int r, const Error *error, void *userdata) {
        Job *job = userdata;

        if (r >= 0)
                job->vm->defined = false;
        job_step_done(job, r, error);
}

/* The answer of its start may have been lost although it runs. */
static int undo_define(Job *job, Error *error) {
        if (vm_is_active(job->vm))
                return error_set(error, ERROR_WRONG_STATE, "The VM %s runs in spite of the failure and is kept",
                                 job->vm->spec->name);
        return virt_undefine(job->manager->virt, job->vm_uuid, on_undefined, job, error);
}

/* ---------------------------------------------------------------------------------------------------------- */

static const JobStep create_steps[] = {
        { .phase = "preparing", .run = run_directory, .undo = undo_directory },
        { .phase = "copying the image", .run = run_disk, .cancel = cancel_image_task },
        { .phase = "copying the CD-ROM", .run = run_cdrom, .cancel = cancel_image_task },
        { .phase = "copying the ROMs", .run = copy_next_rom, .cancel = cancel_image_task },
        { .phase = "writing the cloud-init seed", .run = run_seed, .cancel = cancel_image_task },
        { .phase = "defining the domain", .run = run_define, .undo = undo_define },
};

static void create_ended(Job *job) {
        if (job->state == JOB_DONE || job->vm->defined)
                return;

        Vm *vm = job->vm;
        Manager *m = job->manager;
        job->vm = NULL;
        observer_vm_removed(vm);
        vm_free(vm);
        image_bases_collect(m);
}

static int make_job(Vm *vm, CreateData *data, Job **ret) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = job_new(vm->manager, "create", data->request->caller, &job);
        if (r < 0)
                return r;

        job_set_vm(job, vm);
        r = job_add_steps(job, create_steps, ELEMENTSOF(create_steps));
        if (r >= 0 && data->request->start)
                r = job_add_steps(job, vm_start_steps, vm_n_start_steps);
        if (r >= 0)
                r = job_begin(job);
        if (r < 0)
                return r;

        job->ended = create_ended;
        *ret = TAKE_PTR(job);
        return 0;
}

int vm_create(Manager *m, VmRequest *request, Plan *plan, Vm **ret_vm, Job **ret_job, Error *error) {
        _cleanup_(plan_freep) Plan *owned = plan;
        _cleanup_(create_data_freep) CreateData *data = calloc(1, sizeof(CreateData));
        _cleanup_(vm_freep) Vm *vm = NULL;
        int r;

        if (!data) {
                vm_request_free(request);
                return -ENOMEM;
        }
        data->request = request;

        /* What is known of the disk's size counts from now on, not when the copy has ended. */
        owned->spec->disk_bytes = MAX(request->disk_size, owned->image_size);
        r = vm_new(m, owned->spec, &vm);
        if (r < 0)
                return r;
        TAKE_PTR(owned->spec);

        r = vm_directory_path(vm, &data->directory);
        if (r >= 0)
                r = make_job(vm, data, ret_job);
        if (r < 0)
                return r;

        (*ret_job)->data = TAKE_PTR(data);
        (*ret_job)->free_data = free_create_data;
        observer_vm_added(vm);
        vm_tell_assignments(m, vm->spec);
        *ret_vm = TAKE_PTR(vm);
        return 0;
}
