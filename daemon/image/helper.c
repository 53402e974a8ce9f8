/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmkit-image: one operation on an image, then the end. Most of the time SIGTERM just ends it:
 * before an image is complete it has no name, and so goes with the process. */

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/json.h"
#include "helper.h"

typedef int (*Operation)(struct json_object *request, ImageInfo *ret, Error *error);

static const struct {
        const char *name;
        Operation run;
} operations[] = {
        { "copy", operation_copy },
        { "empty", operation_empty },
        { "flatten", operation_flatten },
        { "seed", operation_seed },
};

static Operation find_operation(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(operations); i++)
                if (streq(operations[i].name, name))
                        return operations[i].run;
        return NULL;
}

int handed_file_check(const char *option, uint64_t *ret_size, Error *error) {
        struct stat st;
        int r;

        r = image_descriptor_check(HANDED_FD, option, error);
        if (r < 0)
                return r;

        if (fstat(HANDED_FD, &st) < 0 && errno == EACCES)
                return error_set(
                        error, ERROR_INVALID_OPTION,
                        "%s is in a file system that is closed to root; copy it elsewhere first",
                        option);
        else if (fstat(HANDED_FD, &st) < 0)
                return error_set_errno(error, -errno, "Could not look at %s", option);
        if (!S_ISREG(st.st_mode))
                return error_set(error, ERROR_INVALID_OPTION, "%s is not a regular file", option);

        *ret_size = (uint64_t) st.st_size;
        return 0;
}

uint64_t request_size(struct json_object *request, const char *key) {
        return (uint64_t) MAX(json_number(request, key, 0), 0);
}

int open_target(struct json_object *request, Error *error) {
        const char *path = json_string(request, "directory");
        int fd;

        if (!path)
                return error_set(error, ERROR_INTERNAL, "The request names no directory");

        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? error_set_errno(error, -errno, "Could not open the directory of the image")
                      : fd;
}

static struct json_object *info_to_json(const ImageInfo *info) {
        struct json_object *o = json_object_new_object();

        json_add_string(o, "format", info->format);
        json_object_object_add(o, "virtual_size", json_object_new_uint64(info->virtual_size));
        json_object_object_add(o, "used", json_object_new_uint64(info->used));
        json_object_object_add(o, "overlay", json_object_new_boolean(info->overlay));
        return o;
}

static int run_operation(Operation run, ImageInfo *ret, Error *error) {
        _cleanup_json_ struct json_object *request = NULL;
        int r;

        if (!run)
                return error_set(error, ERROR_INTERNAL,
                                 "vmkit-image was called without an operation");

        r = child_read_request(&request);
        if (r < 0)
                return error_set_errno(error, r, "Could not read the request");

        r = run(request, ret, error);
        if (r < 0 && !error_is_set(error))
                return error_set_errno(error, r, "Could not write the image");
        return r;
}

int main(int argc, char *argv[]) {
        _cleanup_image_info_ ImageInfo info = {};
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        (void) umask(0077);
        (void) setrlimit(RLIMIT_CORE, &(struct rlimit) {}); /* memory may hold a client's secrets */

        r = drop_capabilities(argc == 2 && streq(argv[1], "flatten"));
        if (r < 0)
                (void) error_set_errno(&error, r, "Could not drop privileges");
        else
                r = run_operation(argc == 2 ? find_operation(argv[1]) : NULL, &info, &error);

        if (r < 0)
                return child_report_error(&error);
        return child_report_result(info_to_json(&info));
}
