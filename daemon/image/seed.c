/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The documents of a seed go from memory into an ISO 9660 image that has no name until it is complete. */

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <time.h>

#include "base/json.h"
#include "cloud-init.h"
#include "format.h"
#include "helper.h"
#include "temporary.h"

#define SEED "seed.iso"
#define VOLUME_ID "cidata" /* cloud-init looks for it */
#define USER_DATA_SIZE_MAX (64 * KIB)

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

typedef struct archive *ArchiveWriter;

static ArchiveWriter writer_free(ArchiveWriter a) {
        if (a)
                (void) archive_write_free(a);
        return NULL;
}
DEFINE_CLEANUP(ArchiveWriter, writer_free);

static int writer_failed(ArchiveWriter a, Error *error) {
        return error_set_errno(error, archive_errno(a) > 0 ? -archive_errno(a) : -EIO, "Could not write the seed");
}

/* cloud-init goes by the label; Rock Ridge and Joliet keep the names as they are. */
static int begin_iso(ArchiveWriter a, int fd, Error *error) {
        if (archive_write_set_format_iso9660(a) != ARCHIVE_OK ||
            archive_write_set_options(a, "volume-id=" VOLUME_ID ",joliet,rockridge=useful") != ARCHIVE_OK ||
            archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK || archive_write_open_fd(a, fd) != ARCHIVE_OK)
                return writer_failed(a, error);
        return 0;
}

static int add_document(ArchiveWriter a, const char *name, const void *data, size_t size, Error *error) {
        struct archive_entry *entry = archive_entry_new();
        int r;

        if (!entry)
                return -ENOMEM;
        archive_entry_set_pathname(entry, name);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0444);
        archive_entry_set_size(entry, (la_int64_t) size);
        archive_entry_set_mtime(entry, time(NULL), 0);
        r = archive_write_header(a, entry);
        archive_entry_free(entry);

        if (r != ARCHIVE_OK || archive_write_data(a, data, size) != (la_ssize_t) size)
                return writer_failed(a, error);
        return 0;
}

static int write_iso(const char *meta_data, const void *user_data, size_t user_data_size, int fd, Error *error) {
        _cleanup_(writer_freep) ArchiveWriter a = archive_write_new();
        int r;

        if (!a)
                return -ENOMEM;
        r = begin_iso(a, fd, error);
        if (r >= 0)
                r = add_document(a, "meta-data", meta_data, strlen(meta_data), error);
        if (r >= 0)
                r = add_document(a, "user-data", user_data, user_data_size, error);
        if (r < 0)
                return r;
        return archive_write_close(a) == ARCHIVE_OK ? 0 : writer_failed(a, error);
}

static int make_seed(int dir_fd, const char *meta_data, const void *user_data, size_t user_data_size, ImageInfo *ret,
                     Error *error) {
        _cleanup_temporary_ Temporary t = TEMPORARY_INIT;
        int r;

        r = temporary_open(dir_fd, SEED, &t);
        if (r < 0)
                return error_set_errno(error, r, "Could not create the seed");

        temporary_block_sigterm();
        r = write_iso(meta_data, user_data, user_data_size, t.fd, error);
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
        return make_seed(dir_fd, meta_data, user_data, user_data_size, ret, error);
}
