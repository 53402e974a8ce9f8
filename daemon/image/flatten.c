/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A disk that was laid over an image of the store, as an image that needs no other. */

#include <fcntl.h>

#include "base/json.h"
#include "helper.h"
#include "temporary.h"

static int check_request(struct json_object *request, const char **ret_name, const char **ret_format, Error *error) {
        const char *name = json_string(request, "name"), *format = json_string(request, "base_format");

        if (!name || !name_is_valid(name) || !format || (!streq(format, "raw") && !streq(format, "qcow2")))
                return error_set(error, ERROR_INTERNAL, "The request to merge a disk is not understood");
        *ret_name = name;
        *ret_format = format;
        return 0;
}

static int check_name(int dir_fd, const char *name, Error *error) {
        static const char *const formats[] = { "raw", "qcow2" };

        for (size_t i = 0; i < ELEMENTSOF(formats); i++) {
                _cleanup_free_ char *file = NULL;

                if (asprintf(&file, "%s.%s", name, formats[i]) < 0)
                        return -ENOMEM;
                if (faccessat(dir_fd, file, F_OK, AT_SYMLINK_NOFOLLOW) >= 0)
                        return error_set(error, ERROR_IMAGE_EXISTS, "There is an image %s already", name);
        }
        return 0;
}

static int make_image(int dir_fd, const char *name, const char *format, ImageInfo *ret, Error *error) {
        _cleanup_temporary_ Temporary t = TEMPORARY_INIT;
        _cleanup_free_ char *file = NULL;
        int r;

        if (asprintf(&file, "%s.qcow2", name) < 0)
                return -ENOMEM;
        r = temporary_open(dir_fd, name, &t);
        if (r < 0)
                return error_set_errno(error, r, "Could not create a file for the image");

        r = flatten(HANDED_FD, SECOND_FD, format, t.fd, error);
        if (r >= 0)
                r = image_judge(t.fd, UINT64_MAX, ret, error);
        if (r < 0)
                return r;

        r = temporary_publish(&t, file, false);
        return r < 0 ? error_set_errno(error, r, "Could not write the image to disk") : 0;
}

int operation_flatten(struct json_object *request, ImageInfo *ret, Error *error) {
        const char *name = NULL, *format = NULL;
        int r;

        r = check_request(request, &name, &format, error);
        if (r < 0)
                return r;

        _cleanup_close_ int dir_fd = open_target(request, error);
        if (dir_fd < 0)
                return dir_fd;

        r = check_name(dir_fd, name, error);
        return r < 0 ? r : make_image(dir_fd, name, format, ret, error);
}
