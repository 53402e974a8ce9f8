/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "io.h"
#include "parse.h"
#include "strv.h"

int read_file_at(int dir_fd, const char *path, size_t max, char **ret) {
        _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        _cleanup_free_ char *content = NULL;
        size_t size = 0, allocated = 0;

        if (fd < 0)
                return -errno;

        for (;;) {
                if (allocated - size < 2) {
                        allocated = allocated ? allocated * 2 : 256;
                        char *grown = realloc(content, allocated);
                        if (!grown)
                                return -ENOMEM;
                        content = grown;
                }

                ssize_t n = read(fd, content + size, allocated - size - 1);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;

                size += (size_t) n;
                if (size > max)
                        return -EFBIG;
        }

        content[size] = '\0';
        *ret = TAKE_PTR(content);
        return 0;
}

int read_line_at(int dir_fd, const char *path, char **ret) {
        _cleanup_free_ char *content = NULL;
        int r;

        r = read_file_at(dir_fd, path, 4096, &content);
        if (r < 0)
                return r;

        content[strcspn(content, "\n")] = '\0';
        *ret = TAKE_PTR(content);
        return 0;
}

int read_uint_at(int dir_fd, const char *path, uint64_t *ret) {
        _cleanup_free_ char *line = NULL;
        int r;

        r = read_line_at(dir_fd, path, &line);
        if (r < 0)
                return r;

        const char *hex = str_after(line, "0x");
        return parse_uint(hex ? hex : line, hex ? 16 : 10, UINT64_MAX, ret);
}

int read_link_at(int dir_fd, const char *path, char **ret) {
        char target[PATH_MAX];

        ssize_t n = readlinkat(dir_fd, path, target, sizeof(target) - 1);
        if (n < 0)
                return -errno;

        target[n] = '\0';
        char *copy = strdup(target);
        if (!copy)
                return -ENOMEM;

        *ret = copy;
        return 0;
}

int read_link_name_at(int dir_fd, const char *path, char **ret) {
        _cleanup_free_ char *target = NULL;
        int r;

        r = read_link_at(dir_fd, path, &target);
        if (r < 0)
                return r;

        const char *slash = strrchr(target, '/');
        char *name = strdup(slash ? slash + 1 : target);
        if (!name)
                return -ENOMEM;

        *ret = name;
        return 0;
}

int write_attribute_at(int dir_fd, const char *path, const char *value) {
        _cleanup_close_ int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        ssize_t n;

        if (fd < 0)
                return -errno;

        do
                n = write(fd, value, strlen(value));
        while (n < 0 && errno == EINTR);

        if (n < 0)
                return -errno;
        return (size_t) n == strlen(value) ? 0 : -EIO;
}

int write_all(int fd, const void *data, size_t size) {
        const char *p = data;

        while (size > 0) {
                ssize_t n = write(fd, p, size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                p += n;
                size -= (size_t) n;
        }
        return 0;
}

static int write_file_synced(int dir_fd, const char *name, const char *content, mode_t mode) {
        _cleanup_close_ int fd =
                openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        int r;

        if (fd < 0)
                return -errno;

        r = write_all(fd, content, strlen(content));
        if (r < 0)
                return r;
        return fsync(fd) < 0 ? -errno : 0;
}

int write_file_atomic_at(int dir_fd, const char *name, const char *content, mode_t mode) {
        _cleanup_free_ char *temporary = NULL;
        int r;

        if (asprintf(&temporary, ".%s.new", name) < 0)
                return -ENOMEM;

        /* A crash may have left one behind; the directory is root's alone, so it is ours. */
        (void) unlinkat(dir_fd, temporary, 0);

        r = write_file_synced(dir_fd, temporary, content, mode);
        if (r >= 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(dir_fd, temporary, 0);
                return r;
        }

        return fsync(dir_fd) < 0 ? -errno : 0;
}

int remove_file_at(int dir_fd, const char *name) {
        if (unlinkat(dir_fd, name, 0) < 0)
                return errno == ENOENT ? 0 : -errno;
        return fsync(dir_fd) < 0 ? -errno : 0;
}

int open_dir_at(int dir_fd, const char *path) {
        int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static DIR *close_dir(DIR *d) {
        if (d)
                (void) closedir(d);
        return NULL;
}

DEFINE_CLEANUP(DIR *, close_dir);

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

int list_dir_at(int dir_fd, const char *path, char ***ret) {
        _cleanup_(close_dirp) DIR *d = NULL;
        _cleanup_free_ char **names = NULL;
        size_t n = 0, allocated = 0;
        int r = 0;

        int fd = open_dir_at(dir_fd, path);
        if (fd < 0)
                return fd;

        d = fdopendir(fd);
        if (!d) {
                r = -errno;
                (void) close_fd(fd);
                return r;
        }

        for (struct dirent *entry; (entry = readdir(d));) {
                if (entry->d_name[0] == '.')
                        continue;

                if (n + 1 >= allocated) {
                        allocated = allocated ? allocated * 2 : 16;
                        char **grown = reallocarray(names, allocated, sizeof(char *));
                        if (!grown) {
                                r = -ENOMEM;
                                break;
                        }
                        names = grown;
                }

                names[n] = strdup(entry->d_name);
                if (!names[n]) {
                        r = -ENOMEM;
                        break;
                }
                names[++n] = NULL;
        }

        if (r < 0) {
                strv_free(TAKE_PTR(names));
                return r;
        }

        if (n > 0)
                qsort(names, n, sizeof(char *), compare_names);
        *ret = TAKE_PTR(names);
        return 0;
}

static int for_each_entry(int fd, int (*func)(int fd, const char *name)) {
        _cleanup_(close_dirp) DIR *d = NULL;

        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return -errno;

        d = fdopendir(copy);
        if (!d) {
                int r = -errno;
                (void) close_fd(copy);
                return r;
        }

        for (struct dirent *entry; (entry = readdir(d));) {
                if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
                        continue;

                int r = func(fd, entry->d_name);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int unlink_entry(int fd, const char *name) {
        return unlinkat(fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int remove_flat_dir_at(int dir_fd, const char *path, int fd) {
        int r = for_each_entry(fd, unlink_entry);

        if (r < 0)
                return r;
        return unlinkat(dir_fd, path, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}
