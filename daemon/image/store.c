/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The image store is a directory per owner, and a name ends in its format: nothing else is
 * recorded. Every step of the way is opened by itself and never through a symbolic link. */

#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "image.h"
#include "qcow2.h"

#define STORE "images"
#define DIRECTORY_MODE 0711 /* QEMU's user passes through, and cannot look around */

static const char *const suffixes[] = { ".qcow2", ".raw" };

#define UID_TEXT_MAX 16

static char *uid_text(uid_t uid, char buffer[UID_TEXT_MAX]) {
        (void) snprintf(buffer, UID_TEXT_MAX, "%u", (unsigned) uid);
        return buffer;
}

static int open_real_directory(int dir_fd, const char *name) {
        int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int open_owner(int state_fd, uid_t uid) {
        _cleanup_close_ int store_fd = open_real_directory(state_fd, STORE);

        if (store_fd < 0)
                return store_fd;
        return open_real_directory(store_fd, uid_text(uid, (char[UID_TEXT_MAX]) {}));
}

static int open_regular(int dir_fd, const char *name) {
        _cleanup_close_ int fd =
                openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat st;

        if (fd < 0)
                return errno == ELOOP ? -ENOENT : -errno; /* a link is no image */
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -ENOENT;
        return TAKE_FD(fd);
}

static int make_directory(int dir_fd, const char *name) {
        if (mkdirat(dir_fd, name, DIRECTORY_MODE) < 0 && errno != EEXIST)
                return -errno;

        _cleanup_close_ int fd = open_real_directory(dir_fd, name);
        if (fd < 0)
                return fd;
        return fchmod(fd, DIRECTORY_MODE) < 0 ? -errno : 0; /* whatever the umask is */
}

int image_store_prepare(int state_fd, uid_t uid, char **ret_path) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = make_directory(state_fd, STORE);
        if (r < 0)
                return r;

        _cleanup_close_ int store_fd = open_real_directory(state_fd, STORE);
        if (store_fd < 0)
                return store_fd;

        r = make_directory(store_fd, uid_text(uid, (char[UID_TEXT_MAX]) {}));
        if (r < 0)
                return r;

        if (asprintf(&path, STORE "/%u", (unsigned) uid) < 0)
                return -ENOMEM;

        *ret_path = TAKE_PTR(path);
        return 0;
}

static int open_named(int dir_fd, const char *name, char **ret_file_name) {
        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                _cleanup_free_ char *file = NULL;

                if (asprintf(&file, "%s%s", name, suffixes[i]) < 0)
                        return -ENOMEM;

                int fd = open_regular(dir_fd, file);
                if (fd == -ENOENT)
                        continue;
                if (fd >= 0 && ret_file_name)
                        *ret_file_name = TAKE_PTR(file);
                return fd;
        }
        return -ENOENT;
}

static int open_of_owner(int state_fd, uid_t owner, const char *name) {
        _cleanup_close_ int dir_fd = open_owner(state_fd, owner);

        return dir_fd < 0 ? dir_fd : open_named(dir_fd, name, NULL);
}

static int no_such_image(Error *error, int r, const char *name) {
        if (r != -ENOENT)
                return error_set_errno(error, r, "Could not open image %s", name);
        return error_set(error, ERROR_NO_SUCH_IMAGE, "There is no image %s in the store", name);
}

int image_store_open(int state_fd, uid_t uid, const char *name, int *ret_fd, uid_t *ret_owner,
                     Error *error) {
        uid_t owner = uid;
        int fd;

        if (!name_is_valid(name))
                return error_set(error, ERROR_INVALID_NAME, "The name of the image is not valid");

        fd = open_of_owner(state_fd, owner, name);
        if (fd == -ENOENT)
                fd = open_of_owner(state_fd, owner = 0, name);
        if (fd < 0)
                return no_such_image(error, fd, name);

        *ret_fd = fd;
        if (ret_owner)
                *ret_owner = owner;
        return 0;
}

int image_store_remove(int state_fd, uid_t owner, const char *name, Error *error) {
        _cleanup_free_ char *file = NULL;
        int r;

        if (!name_is_valid(name))
                return error_set(error, ERROR_INVALID_NAME, "The name of the image is not valid");

        _cleanup_close_ int dir_fd = open_owner(state_fd, owner);
        if (dir_fd < 0)
                return no_such_image(error, dir_fd, name);

        _cleanup_close_ int fd = open_named(dir_fd, name, &file);
        if (fd < 0)
                return no_such_image(error, fd, name);

        r = remove_file_at(dir_fd, file);
        return r < 0 ? error_set_errno(error, r, "Could not remove image %s", name) : 0;
}

/* The name without the suffix, or NULL if that is none of ours. */
static char *stem(const char *file, const char **ret_format) {
        const char *dot = strrchr(file, '.');

        for (size_t i = 0; dot && i < ELEMENTSOF(suffixes); i++)
                if (streq(dot, suffixes[i])) {
                        *ret_format = suffixes[i] + 1;
                        return strndup(file, (size_t) (dot - file));
                }
        return NULL;
}

static int read_info(int dir_fd, const char *file, const char *format, ImageInfo *ret) {
        _cleanup_close_ int fd = open_regular(dir_fd, file);
        uint64_t virtual_size;
        struct stat st;
        int r;

        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;

        virtual_size = (uint64_t) st.st_size;
        if (streq(format, "qcow2")) {
                r = qcow2_virtual_size(fd, &virtual_size);
                if (r < 0)
                        return r;
        }

        char *copy = strdup(format);
        if (!copy)
                return -ENOMEM;

        *ret = (ImageInfo) { .format = copy,
                            .virtual_size = virtual_size,
                            .used = (uint64_t) st.st_blocks * 512 };
        return 0;
}

static int append(StoredImages *images, StoredImage *item) {
        StoredImage *grown = reallocarray(images->items, images->n + 1, sizeof(StoredImage));

        if (!grown)
                return -ENOMEM;
        images->items = grown;
        images->items[images->n++] = *item;
        return 0;
}

/* What cannot be read (removed at this moment, or put there by someone else) is not in the list. */
static int append_file(StoredImages *images, int dir_fd, const char *file, uid_t owner) {
        _cleanup_image_info_ ImageInfo info = {};
        const char *format = NULL;
        _cleanup_free_ char *name = stem(file, &format);
        int r;

        if (!name || !name_is_valid(name) || read_info(dir_fd, file, format, &info) < 0)
                return 0;

        r = append(images, &(StoredImage) { .name = name, .info = info, .owner = owner });
        if (r < 0)
                return r;

        TAKE_PTR(name);
        info = (ImageInfo) {};
        return 0;
}

static int append_owner(StoredImages *images, int state_fd, uid_t owner) {
        _cleanup_close_ int dir_fd = open_owner(state_fd, owner);
        _cleanup_strv_ char **files = NULL;
        int r;

        if (dir_fd == -ENOENT)
                return 0;
        if (dir_fd < 0)
                return dir_fd;

        r = list_dir_at(dir_fd, ".", &files);
        if (r < 0)
                return r;

        STRV_FOREACH(file, files) {
                r = append_file(images, dir_fd, *file, owner);
                if (r < 0)
                        return r;
        }
        return 0;
}

int image_store_list(int state_fd, uid_t uid, StoredImages *ret) {
        _cleanup_(stored_images_clear) StoredImages images = {};
        int r;

        r = append_owner(&images, state_fd, uid);
        if (r >= 0 && uid != 0)
                r = append_owner(&images, state_fd, 0);
        if (r < 0)
                return r;

        *ret = images;
        images = (StoredImages) {};
        return 0;
}

void stored_images_clear(StoredImages *images) {
        for (size_t i = 0; i < images->n; i++) {
                free(images->items[i].name);
                image_info_clear(&images->items[i].info);
        }
        free(images->items);
        *images = (StoredImages) {};
}
