/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The bytes of a file, the cheapest way that works: a reflink, which shares the blocks; else each
 * stretch of data by copy_file_range(), which stays in the kernel; else by read and write, where
 * zeros become holes. The source is a client's and may change or lie meanwhile; positions and sizes
 * are our own. */

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "format.h"
#include "helper.h"
#include "temporary.h"

#define CHUNK_SIZE (16 * MIB)
#define BUFFER_SIZE MIB
#define HOLE_SIZE (64 * KIB)
#define REPORT_INTERVAL_USEC (100 * USEC_PER_MSEC)

typedef struct Transfer {
        int source;
        int target;
        uint64_t size;
        bool in_kernel; /* copy_file_range() has not failed yet */
        uint64_t reported_usec;
        uint8_t *buffer;
} Transfer;

static int no_space(int fd, uint64_t needed, Error *error) {
        char needed_text[SIZE_TEXT_MAX], free_text[SIZE_TEXT_MAX];
        struct statvfs vfs = {};

        (void) fstatvfs(fd, &vfs);
        return error_set(error, ERROR_NO_SPACE,
                         "The image needs %s, but only %s are free where images are kept",
                         format_size(needed, needed_text),
                         format_size((uint64_t) vfs.f_bavail * vfs.f_frsize, free_text));
}

static int write_failed(const Transfer *t, int r, Error *error) {
        struct stat st;

        if ((r == -ENOSPC || r == -EDQUOT) && fstat(t->source, &st) >= 0)
                return no_space(t->target, MIN(t->size, (uint64_t) st.st_blocks * 512), error);
        return error_set_errno(error, r, "Could not write the image");
}

static int preflight(const Transfer *t, Error *error) {
        struct statvfs vfs;
        struct stat st;

        if (fstat(t->source, &st) < 0 || fstatvfs(t->target, &vfs) < 0)
                return error_set_errno(error, -errno, "Could not look at the image");

        uint64_t needed = MIN(t->size, (uint64_t) st.st_blocks * 512);
        if (needed > (uint64_t) vfs.f_bavail * vfs.f_frsize)
                return no_space(t->target, needed, error);
        return 0;
}

static int tick(Transfer *t, uint64_t position, Error *error) {
        uint64_t now = now_usec();

        if (temporary_is_cancelled())
                return error_set(error, ERROR_CANCELLED, "The copy was cancelled");

        if (now - t->reported_usec >= REPORT_INTERVAL_USEC) {
                t->reported_usec = now;
                child_report_progress("copying", (double) position / (double) t->size, t->size);
        }
        return 0;
}

static int became_shorter(Error *error) {
        return error_set(error, ERROR_INVALID_OPTION, "image became shorter while it was copied");
}

/* Returns how much was copied, 0 if it has to be done the other way. */
static int copy_in_kernel(Transfer *t, uint64_t offset, size_t size, size_t *ret, Error *error) {
        loff_t in = (loff_t) offset, out = (loff_t) offset;
        ssize_t n = 0;

        if (t->in_kernel)
                n = copy_file_range(t->source, &in, t->target, &out, size, 0);
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT))
                return write_failed(t, -errno, error);
        if (n <= 0)
                t->in_kernel = false; /* reading tells what is wrong, if anything is */

        *ret = (size_t) MAX(n, 0);
        return 0;
}

static bool is_zero(const uint8_t *p, size_t size) {
        return p[0] == 0 && memcmp(p, p + 1, size - 1) == 0;
}

static int write_at(Transfer *t, uint64_t offset, const uint8_t *p, size_t size, Error *error) {
        while (size > 0) {
                ssize_t n = pwrite(t->target, p, size, (off_t) offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return write_failed(t, -errno, error);
                p += n;
                offset += (uint64_t) n;
                size -= (size_t) n;
        }
        return 0;
}

/* Runs of data between runs of zeros, each as one write. */
static int write_sparse(Transfer *t, uint64_t offset, size_t size, Error *error) {
        size_t begin = 0, end = 0;
        int r;

        while (end < size) {
                size_t n = MIN(size - end, (size_t) HOLE_SIZE);
                bool zero = is_zero(t->buffer + end, n);

                if (zero) {
                        r = write_at(t, offset + begin, t->buffer + begin, end - begin, error);
                        if (r < 0)
                                return r;
                }

                end += n;
                if (zero)
                        begin = end;
        }
        return write_at(t, offset + begin, t->buffer + begin, end - begin, error);
}

static int copy_by_hand(Transfer *t, uint64_t offset, size_t size, size_t *ret, Error *error) {
        ssize_t n;
        int r;

        do
                n = pread(t->source, t->buffer, MIN(size, (size_t) BUFFER_SIZE), (off_t) offset);
        while (n < 0 && errno == EINTR);

        if (n < 0)
                return error_set_errno(error, -errno, "Could not read the image");
        if (n == 0)
                return became_shorter(error);

        r = write_sparse(t, offset, (size_t) n, error);
        if (r < 0)
                return r;

        *ret = (size_t) n;
        return 0;
}

static int copy_data(Transfer *t, uint64_t begin, uint64_t end, Error *error) {
        int r;

        while (begin < end) {
                size_t size = MIN(end - begin, CHUNK_SIZE), n = 0;

                r = copy_in_kernel(t, begin, size, &n, error);
                if (r >= 0 && n == 0)
                        r = copy_by_hand(t, begin, size, &n, error);
                if (r < 0)
                        return r;

                /* Begins to write to disk now what will be waited for at the end. */
                (void) sync_file_range(t->target, (off_t) begin, (off_t) n, SYNC_FILE_RANGE_WRITE);

                begin += n;
                r = tick(t, begin, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int copy_all(Transfer *t, Error *error) {
        uint64_t begin, end;
        struct stat st;
        int r;

        /* What is not written is a hole. */
        if (ftruncate(t->target, (off_t) t->size) < 0)
                return write_failed(t, -errno, error);

        for (uint64_t offset = 0; offset < t->size; offset = end) {
                image_next_data(t->source, offset, t->size, &begin, &end);
                r = copy_data(t, begin, end, error);
                if (r < 0)
                        return r;
        }

        /* Behind its end it looked like a hole. */
        if (fstat(t->source, &st) < 0)
                return error_set_errno(error, -errno, "Could not look at the image");
        return (uint64_t) st.st_size < t->size ? became_shorter(error) : 0;
}

/* 1 if the file system could share the blocks. */
static int share(const Transfer *t, Error *error) {
        struct stat st;

        if (ioctl(t->target, FICLONE, t->source) < 0)
                return 0;

        if (fstat(t->target, &st) < 0)
                return error_set_errno(error, -errno, "Could not look at the copy");
        if ((uint64_t) st.st_size < t->size)
                return became_shorter(error);
        if (ftruncate(t->target, (off_t) t->size) < 0)
                return write_failed(t, -errno, error);
        return 1;
}

int reflink(int source, int target, uint64_t size, Error *error) {
        const Transfer t = { .source = source, .target = target, .size = size };

        return share(&t, error);
}

int transfer(int source, int target, uint64_t size, Error *error) {
        _cleanup_free_ uint8_t *buffer = NULL;
        Transfer t = { .source = source, .target = target, .size = size, .in_kernel = true };
        int r;

        child_report_progress("copying", 0, size);
        r = share(&t, error);
        if (r != 0)
                return r < 0 ? r : 0;

        r = preflight(&t, error);
        if (r < 0)
                return r;

        t.buffer = buffer = malloc(BUFFER_SIZE);
        if (!buffer)
                return error_set_errno(error, -ENOMEM, "Could not copy the image");

        (void) posix_fadvise(source, 0, 0, POSIX_FADV_SEQUENTIAL);
        return copy_all(&t, error);
}
