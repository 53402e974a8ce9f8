/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From a client's descriptor to a disk of ours. The source is looked at first, so that a hopeless
 * one is refused before it is copied; what counts is the same look at the copy, which the client
 * cannot change. */

#include <fcntl.h>

#include "base/json.h"
#include "format.h"
#include "helper.h"
#include "temporary.h"

typedef struct Copy {
        ImageKind kind;
        const char *option;
        const char *name;
        uint64_t grow_to;
        uint64_t max;
        uint64_t allowed; /* that the caller may have more of */
        const char *base; /* the source's own path, if it is an image of the store */
} Copy;

static const struct {
        const char *name;
        const char *option;
        const char *suffix; /* NULL: the format */
} kinds[] = {
        [IMAGE_DISK] = { "disk", "image", NULL },
        [IMAGE_CDROM] = { "cdrom", "cdrom", "iso" },
        [IMAGE_ROM] = { "rom", "rom", "rom" },
};

static int parse_request(struct json_object *request, Copy *ret, Error *error) {
        const char *kind = json_string(request, "kind");
        Copy copy = {
                .name = json_string(request, "name"),
                .grow_to = whole_sectors(request_size(request, "grow")),
                .max = request_size(request, "max"),
                .base = json_string(request, "base"),
                .allowed = json_object_object_get(request, "allowed") ? request_size(request, "allowed") : UINT64_MAX,
        };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (kind && streq(kind, kinds[i].name)) {
                        copy.kind = (ImageKind) i;
                        copy.option = kinds[i].option;
                }

        if (!copy.option || !copy.name || !name_is_valid(copy.name))
                return error_set(error, ERROR_INTERNAL, "The request for a copy is not understood");

        *ret = copy;
        return 0;
}

static int refuse_existing(int dir_fd, const char *name, const char *suffix, Error *error) {
        _cleanup_free_ char *file = NULL;

        if (asprintf(&file, "%s.%s", name, suffix) < 0)
                return -ENOMEM;
        if (faccessat(dir_fd, file, F_OK, AT_SYMLINK_NOFOLLOW) >= 0)
                return error_set(error, ERROR_IMAGE_EXISTS, "There is an image %s already", name);
        return 0;
}

static int check_name(int dir_fd, const Copy *copy, Error *error) {
        const char *suffix = kinds[copy->kind].suffix;
        int r;

        if (suffix)
                return refuse_existing(dir_fd, copy->name, suffix, error);

        r = refuse_existing(dir_fd, copy->name, "raw", error);
        return r < 0 ? r : refuse_existing(dir_fd, copy->name, "qcow2", error);
}

static int check_growth(const Copy *copy, const ImageInfo *info, Error *error) {
        char is[SIZE_TEXT_MAX], wanted[SIZE_TEXT_MAX];

        if (copy->grow_to > copy->max)
                return error_set(error, ERROR_INVALID_OPTION,
                                 "disk-size is %s, more than the limit of %s",
                                 format_size(copy->grow_to, wanted), format_size(copy->max, is));
        if (copy->grow_to == 0 || copy->grow_to >= info->virtual_size)
                return 0;
        return error_set(
                error, ERROR_INVALID_OPTION,
                "disk-size is %s, smaller than the disk in the image (%s), and disks never shrink",
                format_size(copy->grow_to, wanted), format_size(info->virtual_size, is));
}

/* Counted as guests see it, as the limit is. */
static int check_allowed(const Copy *copy, const ImageInfo *info, Error *error) {
        char size_text[SIZE_TEXT_MAX], allowed[SIZE_TEXT_MAX];
        uint64_t size = MAX(info->virtual_size, info->used);

        size = MAX(size, copy->grow_to);
        if (size <= copy->allowed)
                return 0;
        return error_set(error, ERROR_LIMIT_EXCEEDED, "The image has %s, and you may have %s more of disks and images",
                         format_size(size, size_text), format_size(copy->allowed, allowed));
}

static int judge(int fd, const Copy *copy, ImageInfo *ret, Error *error) {
        _cleanup_image_info_ ImageInfo info = {};
        int r;

        r = copy->kind == IMAGE_DISK
                    ? image_judge(fd, copy->max, &info, error)
                    : image_judge_readonly(fd, copy->kind, copy->max, &info, error);
        if (r < 0)
                return r;

        r = check_growth(copy, &info, error);
        if (r >= 0)
                r = check_allowed(copy, &info, error);
        if (r < 0)
                return r;

        image_info_clear(ret);
        *ret = info;
        info = (ImageInfo) {};
        return 0;
}

static int grow_qcow2(int fd, uint64_t size, Error *error) {
        char path[32], size_text[24];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        (void) snprintf(size_text, sizeof(size_text), "%llu", (unsigned long long) size);
        return run_tool((const char *const[]) { "qemu-img", "resize", "-q", "-f", "qcow2", "--",
                                               path, size_text, NULL },
                        fd, "qemu-utils", error);
}

static int grow_raw(int fd, uint64_t size, Error *error) {
        return ftruncate(fd, (off_t) size) < 0
                       ? error_set_errno(error, -errno, "Could not enlarge the image")
                       : 0;
}

/* Also to whole sectors, where a raw file ends within one. */
static int grow(int fd, const Copy *copy, ImageInfo *info, Error *error) {
        uint64_t size = MAX(info->virtual_size, copy->grow_to);
        int r;

        if (copy->kind != IMAGE_DISK)
                return 0;

        if (streq(info->format, "raw"))
                r = grow_raw(fd, size, error);
        else if (size > info->virtual_size)
                r = grow_qcow2(fd, size, error);
        else
                return 0;
        return r < 0 ? r : judge(fd, copy, info, error);
}

static int publish(Temporary *t, const Copy *copy, const ImageInfo *info, Error *error) {
        const char *suffix = kinds[copy->kind].suffix;
        _cleanup_free_ char *file = NULL;
        int r;

        if (asprintf(&file, "%s.%s", copy->name, suffix ? suffix : info->format) < 0)
                return -ENOMEM;

        child_report_progress("writing to disk", -1, 0);
        r = temporary_publish(t, file, false);
        if (r == -EEXIST)
                return error_set(error, ERROR_IMAGE_EXISTS, "There is an image %s already",
                                 copy->name);
        return r < 0 ? error_set_errno(error, r, "Could not write the image to disk") : 0;
}

static int copy_bytes(int dir_fd, const char *name, uint64_t size, Temporary *t, Error *error) {
        int r = temporary_open(dir_fd, name, t);

        if (r < 0)
                return error_set_errno(error, r, "Could not create a file for the image");
        return transfer(HANDED_FD, t->fd, size, error);
}

/* Of the client's file there is a copy first, which it cannot change while it is read. */
static int copy_converted(int dir_fd, const Copy *copy, uint64_t size, Temporary *t, Error *error) {
        _cleanup_temporary_ Temporary foreign = TEMPORARY_INIT;
        _cleanup_free_ char *name = NULL;
        const char *driver, *what;
        int r;

        if (asprintf(&name, "%s.foreign", copy->name) < 0)
                return -ENOMEM;
        r = copy_bytes(dir_fd, name, size, &foreign, error);
        if (r < 0)
                return r;

        driver = image_convertible(foreign.fd, size, &what);
        if (!driver)
                return error_set(error, ERROR_INVALID_OPTION, "image changed while it was copied");

        r = temporary_open(dir_fd, copy->name, t);
        if (r < 0)
                return error_set_errno(error, r, "Could not create a file for the image");
        return convert(foreign.fd, size, t->fd, driver, what, error);
}

/* The base is not opened for it: it was judged just now, and is ours. */
static int create_overlay(int fd, const Copy *copy, const ImageInfo *base, Error *error) {
        char path[32], size[24];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        (void) snprintf(size, sizeof(size), "%llu",
                        (unsigned long long) MAX(base->virtual_size, copy->grow_to));
        return run_tool((const char *const[]) { "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", base->format,
                                               "-b", copy->base, "--", path, size, NULL },
                        fd, "qemu-utils", error);
}

/* What judges images refuses those with a base; this one is of our own making. */
static int lay_over(int dir_fd, const Copy *copy, ImageInfo *info, Error *error) {
        _cleanup_temporary_ Temporary t = TEMPORARY_INIT;
        _cleanup_image_info_ ImageInfo made = {};
        int r;

        r = temporary_open(dir_fd, copy->name, &t);
        if (r < 0)
                return error_set_errno(error, r, "Could not create a file for the disk");
        r = create_overlay(t.fd, copy, info, error);
        if (r >= 0)
                r = image_peek(t.fd, &made, error);
        if (r >= 0)
                r = publish(&t, copy, &made, error);
        if (r < 0)
                return r;

        image_info_clear(info);
        *info = made;
        info->overlay = true;
        made = (ImageInfo) {};
        return 0;
}

static bool can_reflink(int dir_fd, uint64_t size) {
        _cleanup_temporary_ Temporary probe = TEMPORARY_INIT;
        _cleanup_error_ Error ignored = ERROR_INIT;

        return temporary_open(dir_fd, "reflink", &probe) >= 0 && reflink(HANDED_FD, probe.fd, size, &ignored) > 0;
}

static bool must_convert(const Copy *copy, uint64_t size) {
        const char *what;

        return copy->kind == IMAGE_DISK && image_convertible(HANDED_FD, size, &what);
}

static int copy_to(int dir_fd, const Copy *copy, uint64_t size, bool foreign, ImageInfo *info, Error *error) {
        _cleanup_temporary_ Temporary t = TEMPORARY_INIT;
        int r;

        r = foreign ? copy_converted(dir_fd, copy, size, &t, error)
                    : copy_bytes(dir_fd, copy->name, size, &t, error);
        if (r < 0)
                return r;

        child_report_progress("checking", -1, 0);
        r = judge(t.fd, copy, info, error);
        if (r < 0)
                return r;

        r = grow(t.fd, copy, info, error);
        if (r < 0)
                return r;
        return publish(&t, copy, info, error);
}

int operation_copy(struct json_object *request, ImageInfo *ret, Error *error) {
        _cleanup_close_ int dir_fd = -EBADF;
        uint64_t size;
        Copy copy;
        int r;

        r = parse_request(request, &copy, error);
        if (r < 0)
                return r;

        dir_fd = open_target(request, error);
        if (dir_fd < 0)
                return dir_fd;

        r = check_name(dir_fd, &copy, error);
        if (r < 0)
                return r;

        r = handed_file_check(copy.option, &size, error);
        if (r < 0)
                return r;

        bool foreign = !copy.base && must_convert(&copy, size);
        r = foreign ? 0 : judge(HANDED_FD, &copy, ret, error);
        if (r < 0)
                return r;
        if (copy.base && !can_reflink(dir_fd, size))
                return lay_over(dir_fd, &copy, ret, error);
        return copy_to(dir_fd, &copy, size, foreign, ret, error);
}
