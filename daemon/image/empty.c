/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/json.h"
#include "helper.h"
#include "temporary.h"

static int create_qcow2(int fd, uint64_t size, Error *error) {
        char path[32], size_text[24];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        (void) snprintf(size_text, sizeof(size_text), "%llu", (unsigned long long) size);
        return run_tool((const char *const[]) { "qemu-img", "create", "-q", "-f", "qcow2", "--",
                                               path, size_text, NULL },
                        fd, "qemu-utils", error);
}

int operation_empty(struct json_object *request, ImageInfo *ret, Error *error) {
        _cleanup_temporary_ Temporary t = TEMPORARY_INIT;
        _cleanup_close_ int dir_fd = -EBADF;
        _cleanup_free_ char *file = NULL;
        const char *name = json_string(request, "name");
        uint64_t size = request_size(request, "size");
        int r;

        if (!name || !name_is_valid(name) || size == 0)
                return error_set(error, ERROR_INTERNAL,
                                 "The request for an empty disk is not understood");
        if (asprintf(&file, "%s.qcow2", name) < 0)
                return -ENOMEM;

        dir_fd = open_target(request, error);
        if (dir_fd < 0)
                return dir_fd;

        r = temporary_open(dir_fd, file, &t);
        if (r < 0)
                return error_set_errno(error, r, "Could not create a file for the disk");

        r = create_qcow2(t.fd, whole_sectors(size), error);
        if (r < 0)
                return r;

        r = image_judge(t.fd, UINT64_MAX, ret, error);
        if (r < 0)
                return r;

        r = temporary_publish(&t, file, false);
        if (r == -EEXIST)
                return error_set(error, ERROR_IMAGE_EXISTS, "There is an image %s already", name);
        return r < 0 ? error_set_errno(error, r, "Could not write the disk") : 0;
}
