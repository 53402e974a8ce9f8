/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Paths are opened here and nowhere else; what the service gets is a read-only descriptor. */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/strv.h"
#include "dbus/errors.h"
#include "files.h"

#define KEY_FILE_MAX (64 * KIB)
#define COPY_BUFFER MIB

/* Standard input */

static bool regular_file(int fd) {
        struct stat st;
        return fstat(fd, &st) >= 0 && S_ISREG(st.st_mode);
}

/* A file given by '<' needs no copy, unless somebody has read from it. */
static bool usable_as_is(int fd) {
        int flags = fcntl(fd, F_GETFL);

        return regular_file(fd) && flags >= 0 && (flags & O_ACCMODE) == O_RDONLY &&
               lseek(fd, 0, SEEK_CUR) == 0;
}

static int open_unnamed(void) {
        const char *dir = getenv("TMPDIR");
        int fd = open(str_empty(dir) ? "/var/tmp" : dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        return fd >= 0 ? fd : memfd_create("image", MFD_CLOEXEC);
}

static int copy_all(int from, int to) {
        _cleanup_free_ char *buffer = malloc(COPY_BUFFER);

        if (!buffer)
                return -ENOMEM;

        for (;;) {
                ssize_t n = read(from, buffer, COPY_BUFFER);
                if (n == 0)
                        return 0;
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;

                int r = write_all(to, buffer, (size_t) n);
                if (r < 0)
                        return r;
        }
}

static int reopen_read_only(int fd) {
        char path[32];

        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int copy = open(path, O_RDONLY | O_CLOEXEC);
        return copy < 0 ? -errno : copy;
}

static int spool(int from) {
        _cleanup_close_ int fd = open_unnamed();
        int r;

        if (fd < 0)
                return -errno;

        r = copy_all(from, fd);
        return r < 0 ? r : reopen_read_only(fd);
}

static int open_stdin(int *ret, Failure *failure) {
        int fd;

        if (isatty(STDIN_FILENO))
                return failure_usage(failure, NULL,
                                     "'-' stands for standard input, which is a terminal here");

        if (usable_as_is(STDIN_FILENO)) {
                fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
                fd = fd < 0 ? -errno : fd;
        } else
                fd = spool(STDIN_FILENO);
        if (fd < 0)
                return failure_errno(failure, fd, "Cannot take standard input");

        *ret = fd;
        return 0;
}

/* Files by name */

static int cannot_open(const char *path, int r, Failure *failure) {
        (void) failure_errno(failure, r, "Cannot open '%s'", path);
        if (r == -EACCES)
                failure_advise(failure, "Files are read with your own rights, never the service's: 'ls -ld' on the "
                                        "file and its directories shows what is missing.");
        else if (r == -ENOENT)
                failure_advise(failure, "'ls' shows what there is; a relative path begins at the current directory.");
        return r;
}

int file_open(const char *path, int *ret, Failure *failure) {
        if (streq(path, "-"))
                return open_stdin(ret, failure);

        /* O_NONBLOCK: a FIFO must not make us wait before it is refused. */
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return cannot_open(path, -errno, failure);
        if (!regular_file(fd))
                return failure_usage(failure, NULL, "'%s' is not a regular file", path);

        *ret = TAKE_FD(fd);
        return 0;
}

int image_open(const char *path, int *ret, Failure *failure) {
        int r = file_open(path, ret, failure);

        if (r == -ENOENT) {
                (void) failure_set(failure, VMKIT_ERROR_PREFIX "NoSuchImage",
                                   "There is no file '%s'", path);
                failure_advise(failure, "Give the path of a disk image, or @NAME for one that "
                                        "'vmkitctl image list' shows.");
        }

        return r;
}

/* Public keys */

static bool key_type_at(const char *s) {
        static const char *const types[] = { "ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-" };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (str_after(s, types[i])) {
                        const char *data = strchr(s, ' ');
                        return data && str_after(data + strspn(data, " "), "AAAA");
                }

        return false;
}

/* A type and base64 data, at the start of the line or behind options. */
static bool is_public_key(const char *line) {
        for (const char *p = line; p; p = strchr(p, ' ')) {
                p += strspn(p, " ");
                if (key_type_at(p))
                        return true;
        }

        return false;
}

static bool is_private_key(const char *text) {
        return strstr(text, "PRIVATE KEY-----") || strstr(text, "PuTTY-User-Key-File");
}

static char *trim(char *line) {
        line += strspn(line, " \t");
        for (size_t n = strlen(line); n > 0 && strchr(" \t\r", line[n - 1]); n--)
                line[n - 1] = '\0';

        return line;
}

static int add_key_line(const char *path, const char *line, char ***keys, Failure *failure) {
        if (!*line || *line == '#')
                return 0;
        if (!is_public_key(line))
                return failure_usage(failure, NULL, "--ssh-key: a line of '%s' is not a public key",
                                     path);

        return strv_push(keys, line) < 0 ? failure_oom(failure) : 0;
}

static int add_key_lines(const char *path, char *text, char ***keys, Failure *failure) {
        size_t before = strv_length(*keys);
        char *state = NULL;
        int r;

        for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                r = add_key_line(path, trim(line), keys, failure);
                if (r < 0)
                        return r;
        }

        if (strv_length(*keys) == before)
                return failure_usage(failure, NULL, "--ssh-key: no public key in '%s'", path);
        return 0;
}

static int read_text(const char *path, char **ret, Failure *failure) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *text = calloc(1, KEY_FILE_MAX + 1);
        int r;

        if (!text)
                return failure_oom(failure);
        r = file_open(path, &fd, failure);
        if (r < 0)
                return r;

        ssize_t n = read(fd, text, KEY_FILE_MAX);
        if (n < 0)
                return failure_errno(failure, -errno, "Cannot read '%s'", path);

        *ret = TAKE_PTR(text);
        return 0;
}

int keys_read(const char *path_or_key, char ***keys, Failure *failure) {
        _cleanup_free_ char *text = NULL;
        int r;

        if (is_public_key(path_or_key))
                return strv_push(keys, path_or_key) < 0 ? failure_oom(failure) : 0;

        r = read_text(path_or_key, &text, failure);
        if (r < 0)
                return r;
        if (is_private_key(text)) {
                (void) failure_usage(failure, NULL, "--ssh-key: '%s' is a private key",
                                     path_or_key);
                failure_advise(failure, "Give the public one, usually '%s.pub'.", path_or_key);
                return -EINVAL;
        }

        return add_key_lines(path_or_key, text, keys, failure);
}
