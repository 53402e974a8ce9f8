/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* xorriso reads files by name, so the documents of a seed have names for a moment, in a directory
 * of their own that only root can enter. SIGTERM waits for that moment to pass; xorriso, which gets
 * it too, does not let it become long. */

#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/json.h"
#include "cloud-init.h"
#include "format.h"
#include "helper.h"
#include "temporary.h"

#define SEED "seed.iso"
#define DOCUMENTS ".seed.new"
#define VOLUME_ID "cidata" /* cloud-init looks for it */
#define USER_DATA_SIZE_MAX (64 * KIB)

static const char *const document_names[] = { "meta-data", "user-data" };

static int read_theirs(struct json_object *request, char **ret, size_t *ret_size, Error *error) {
        _cleanup_free_ char *data = NULL;
        uint64_t size;
        int r;

        *ret = NULL;
        *ret_size = 0;
        if (!json_object_get_boolean(json_object_object_get(request, "has_user_data")))
                return 0;

        r = handed_file_check("user-data", &size, error);
        if (r < 0)
                return r;
        if (size > USER_DATA_SIZE_MAX)
                return error_set(error, ERROR_INVALID_OPTION, "user-data is larger than 64K");
        if (size == 0)
                return 0;

        data = malloc(size);
        if (!data)
                return -ENOMEM;
        r = image_read_at(HANDED_FD, 0, data, size);
        if (r < 0)
                return error_set_errno(error, r, "Could not read user-data");

        *ret = TAKE_PTR(data);
        *ret_size = size;
        return 0;
}

static int write_document(int dir_fd, const char *name, const void *data, size_t size) {
        _cleanup_close_ int fd =
                openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

        return fd < 0 ? -errno : write_all(fd, data, size);
}

static void remove_documents(int dir_fd) {
        _cleanup_close_ int fd =
                openat(dir_fd, DOCUMENTS, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        for (size_t i = 0; fd >= 0 && i < ELEMENTSOF(document_names); i++)
                (void) unlinkat(fd, document_names[i], 0);
        (void) unlinkat(dir_fd, DOCUMENTS, AT_REMOVEDIR);
}

static int write_documents(int dir_fd, const char *meta_data, const void *user_data,
                           size_t user_data_size) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        remove_documents(dir_fd); /* of a process that was killed */
        if (mkdirat(dir_fd, DOCUMENTS, 0700) < 0)
                return -errno;

        fd = openat(dir_fd, DOCUMENTS, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        r = write_document(fd, document_names[0], meta_data, strlen(meta_data));
        return r < 0 ? r : write_document(fd, document_names[1], user_data, user_data_size);
}

static int make_iso(const char *directory, int fd, Error *error) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/" DOCUMENTS, directory) < 0)
                return -ENOMEM;

        return run_tool((const char *const[]) { "xorriso", "-as", "mkisofs", "-quiet", "-V",
                                               VOLUME_ID, "-J", "-R", path, NULL },
                        fd, -EBADF, "xorriso", error);
}

static int write_iso(const char *directory, int dir_fd, const char *meta_data,
                     const void *user_data, size_t user_data_size, int fd, Error *error) {
        int r;

        r = write_documents(dir_fd, meta_data, user_data, user_data_size);
        if (r < 0)
                (void) error_set_errno(error, r, "Could not write the documents of the seed");
        else
                r = make_iso(directory, fd, error);
        remove_documents(dir_fd);
        return r;
}

static int make_seed(struct json_object *request, int dir_fd, const char *meta_data,
                     const void *user_data, size_t user_data_size, ImageInfo *ret, Error *error) {
        _cleanup_temporary_ Temporary t = TEMPORARY_INIT;
        int r;

        r = temporary_open(dir_fd, SEED, &t);
        if (r < 0)
                return error_set_errno(error, r, "Could not create the seed");

        temporary_block_sigterm();
        r = write_iso(json_string(request, "directory"), dir_fd, meta_data, user_data,
                      user_data_size, t.fd, error);
        if (r >= 0 && temporary_is_cancelled())
                r = error_set(error, ERROR_CANCELLED, "Writing the seed was cancelled");
        if (r < 0)
                return r;

        r = temporary_publish(&t, SEED, true);
        if (r < 0)
                return error_set_errno(error, r, "Could not write the seed");
        return image_peek(t.fd, ret, error);
}

int operation_seed(struct json_object *request, ImageInfo *ret, Error *error) {
        _cleanup_free_ char *theirs = NULL, *user_data = NULL;
        const char *meta_data = json_string(request, "meta_data");
        size_t theirs_size, user_data_size;
        int r;

        if (!meta_data)
                return error_set(error, ERROR_INTERNAL, "The request for a seed is not understood");

        _cleanup_close_ int dir_fd = open_target(request, error);
        if (dir_fd < 0)
                return dir_fd;

        r = read_theirs(request, &theirs, &theirs_size, error);
        if (r < 0)
                return r;

        r = cloud_init_user_data(json_string(request, "config"), theirs, theirs_size, &user_data,
                                 &user_data_size);
        if (r < 0)
                return r;
        return make_seed(request, dir_fd, meta_data, user_data, user_data_size, ret, error);
}
