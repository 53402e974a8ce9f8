/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The loop's side of vmkit-image: a request out, an ImageInfo or an error back. */

#include "base/json.h"
#include "cloud-init.h"

struct ImageTask {
        Child *child;
        ImageHandler handler;
        void *userdata;
        bool cancelled;
};

static void on_progress(const char *phase, double progress, uint64_t bytes, void *userdata) {
        ImageTask *task = userdata;

        if (task->handler.progress)
                task->handler.progress(phase, progress, bytes, task->userdata);
}

static int info_from_json(struct json_object *o, ImageInfo *ret) {
        const char *format = json_string(o, "format");
        char *copy = format ? strdup(format) : NULL;

        if (!copy)
                return format ? -ENOMEM : -EBADMSG;

        *ret = (ImageInfo) {
                .format = copy,
                .virtual_size = (uint64_t) json_number(o, "virtual_size", 0),
                .used = (uint64_t) json_number(o, "used", 0),
                .overlay = json_object_get_boolean(json_object_object_get(o, "overlay")),
        };
        return 0;
}

/* However a helper fails after it was told to stop, that is why. */
static void get_outcome(const ImageTask *task, struct json_object *result, const Error *error,
                        ImageInfo *ret, Error *ret_error) {
        int r;

        if (!result && task->cancelled)
                (void) error_set(ret_error, ERROR_CANCELLED, "The operation was cancelled");
        else if (!result)
                error_copy(ret_error, error);
        else {
                r = info_from_json(result, ret);
                if (r < 0)
                        (void) error_set_errno(ret_error, r,
                                               "The image helper's answer is not understood");
        }
}

static void on_done(struct json_object *result, const Error *error, void *userdata) {
        _cleanup_free_ ImageTask *task = userdata;
        _cleanup_image_info_ ImageInfo info = {};
        _cleanup_error_ Error outcome = ERROR_INIT;

        get_outcome(task, result, error, &info, &outcome);
        task->handler.done(error_is_set(&outcome) ? NULL : &info, &outcome, task->userdata);
}

static int start_with(sd_event *event, const char *helper, const char *operation,
                      struct json_object *request, const int fds[], size_t n_fds,
                      const ImageHandler *handler, void *userdata, ImageTask **ret) {
        static const ChildHandler child_handler = { .progress = on_progress, .done = on_done };
        _cleanup_free_ ImageTask *task = calloc(1, sizeof(ImageTask));
        int r;

        if (!task)
                return -ENOMEM;

        task->handler = *handler;
        task->userdata = userdata;
        r = child_spawn(event, (const char *const[]) { helper, operation, NULL }, request, fds, n_fds,
                        &child_handler, task, &task->child);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(task);
        return 0;
}

/* fd below 0: none. */
static int start(sd_event *event, const char *helper, const char *operation,
                 struct json_object *request, int fd, const ImageHandler *handler, void *userdata,
                 ImageTask **ret) {
        return start_with(event, helper, operation, request, &fd, fd >= 0, handler, userdata, ret);
}

static void add_u64(struct json_object *o, const char *key, uint64_t value) {
        json_object_object_add(o, key, json_object_new_uint64(value));
}

static struct json_object *new_request(const char *dir_path) {
        struct json_object *request = json_object_new_object();

        json_add_string(request, "directory", dir_path);
        return request;
}

int image_copy(sd_event *event, const char *helper, int source, const char *dir_path,
               const char *name, uint64_t grow_to, uint64_t max_virtual, uint64_t allowed,
               const ImageHandler *handler, void *userdata, ImageTask **ret) {
        _cleanup_json_ struct json_object *request = new_request(dir_path);

        json_add_string(request, "kind", "disk");
        json_add_string(request, "name", name);
        add_u64(request, "grow", grow_to);
        add_u64(request, "max", max_virtual);
        if (allowed != UINT64_MAX)
                add_u64(request, "allowed", allowed);
        return start(event, helper, "copy", request, source, handler, userdata, ret);
}

int image_derive(sd_event *event, const char *helper, int source, const char *base_path, const char *dir_path,
                 const char *name, uint64_t grow_to, uint64_t max_virtual, const ImageHandler *handler,
                 void *userdata, ImageTask **ret) {
        _cleanup_json_ struct json_object *request = new_request(dir_path);

        json_add_string(request, "kind", "disk");
        json_add_string(request, "name", name);
        json_add_string(request, "base", base_path);
        add_u64(request, "grow", grow_to);
        add_u64(request, "max", max_virtual);
        return start(event, helper, "copy", request, source, handler, userdata, ret);
}

int image_flatten(sd_event *event, const char *helper, int overlay, int base, const char *base_format,
                  const char *dir_path, const char *name, const ImageHandler *handler, void *userdata,
                  ImageTask **ret) {
        _cleanup_json_ struct json_object *request = new_request(dir_path);

        json_add_string(request, "name", name);
        json_add_string(request, "base_format", base_format);
        return start_with(event, helper, "flatten", request, (const int[]) { overlay, base }, 2, handler,
                          userdata, ret);
}

int image_copy_readonly(sd_event *event, const char *helper, ImageKind kind, int source,
                        const char *dir_path, const char *name, uint64_t max_size,
                        const ImageHandler *handler, void *userdata, ImageTask **ret) {
        _cleanup_json_ struct json_object *request = new_request(dir_path);

        json_add_string(request, "kind", kind == IMAGE_ROM ? "rom" : "cdrom");
        json_add_string(request, "name", name);
        add_u64(request, "max", max_size);
        return start(event, helper, "copy", request, source, handler, userdata, ret);
}

int image_create_empty(sd_event *event, const char *helper, const char *dir_path, const char *name,
                       uint64_t size, const ImageHandler *handler, void *userdata,
                       ImageTask **ret) {
        _cleanup_json_ struct json_object *request = new_request(dir_path);

        json_add_string(request, "name", name);
        add_u64(request, "size", size);
        return start(event, helper, "empty", request, -EBADF, handler, userdata, ret);
}

int image_make_seed(sd_event *event, const char *helper, const CloudInit *cloud_init,
                    const char *dir_path, const ImageHandler *handler, void *userdata,
                    ImageTask **ret) {
        _cleanup_json_ struct json_object *request = new_request(dir_path);
        _cleanup_free_ char *meta_data = cloud_init_meta_data(cloud_init), *config = NULL;
        int r;

        if (!meta_data)
                return -ENOMEM;
        r = cloud_init_config(cloud_init, &config);
        if (r < 0)
                return r;

        json_add_string(request, "meta_data", meta_data);
        json_add_string(request, "config", config);
        json_object_object_add(request, "has_user_data",
                               json_object_new_boolean(cloud_init->user_data_fd >= 0));
        return start(event, helper, "seed", request, cloud_init->user_data_fd, handler, userdata,
                     ret);
}

void image_task_cancel(ImageTask *task) {
        task->cancelled = true;
        child_terminate(task->child);
}
