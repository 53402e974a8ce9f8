/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "temporary.h"

#define FD_PATH_MAX 32

void temporary_block_sigterm(void) {
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
}

bool temporary_is_cancelled(void) {
        sigset_t pending;

        return sigpending(&pending) == 0 && sigismember(&pending, SIGTERM) == 1;
}

static char *name_of_new(const char *name) {
        char *s;

        return asprintf(&s, ".%s.new", name) < 0 ? NULL : s;
}

int temporary_open_named(int dir_fd, const char *name, Temporary *ret) {
        _cleanup_free_ char *new = name_of_new(name);

        if (!new)
                return -ENOMEM;

        temporary_block_sigterm();
        (void) unlinkat(dir_fd, new, 0); /* of a process that was killed */

        int fd = openat(dir_fd, new, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;

        *ret = (Temporary) { .dir_fd = dir_fd, .fd = fd, .name = TAKE_PTR(new) };
        return 0;
}

int temporary_open(int dir_fd, const char *name, Temporary *ret) {
        int fd = openat(dir_fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

        if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
                return temporary_open_named(dir_fd, name, ret);
        if (fd < 0)
                return -errno;

        *ret = (Temporary) { .dir_fd = dir_fd, .fd = fd };
        return 0;
}

static int link_nameless(Temporary *t, const char *name) {
        char path[FD_PATH_MAX];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", t->fd);
        return linkat(AT_FDCWD, path, t->dir_fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int rename_to(Temporary *t, const char *name, bool replace) {
        if (replace)
                return renameat(t->dir_fd, t->name, t->dir_fd, name) < 0 ? -errno : 0;
        if (renameat2(t->dir_fd, t->name, t->dir_fd, name, RENAME_NOREPLACE) >= 0)
                return 0;
        if (errno != EINVAL)
                return -errno;

        /* The file system does not know how; nobody else writes in this directory. */
        if (faccessat(t->dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) >= 0)
                return -EEXIST;
        return renameat(t->dir_fd, t->name, t->dir_fd, name) < 0 ? -errno : 0;
}

/* A link replaces nothing, a rename does. */
static int give_name(Temporary *t, const char *name, bool replace) {
        int r;

        if (!t->name && !replace)
                return link_nameless(t, name);

        if (!t->name) {
                _cleanup_free_ char *new = name_of_new(name);
                if (!new)
                        return -ENOMEM;

                (void) unlinkat(t->dir_fd, new, 0);
                r = link_nameless(t, new);
                if (r < 0)
                        return r;
                t->name = TAKE_PTR(new);
        }

        r = rename_to(t, name, replace);
        if (r < 0)
                return r;

        free(t->name);
        t->name = NULL;
        return 0;
}

int temporary_publish(Temporary *t, const char *name, bool replace) {
        int r;

        if (fsync(t->fd) < 0)
                return -errno;

        temporary_block_sigterm();
        r = give_name(t, name, replace);
        if (r < 0)
                return r;

        if (fsync(t->dir_fd) < 0) {
                r = -errno;
                (void) unlinkat(t->dir_fd, name, 0);
        }
        return r;
}

void temporary_clear(Temporary *t) {
        if (t->name)
                (void) unlinkat(t->dir_fd, t->name, 0);
        free(t->name);
        t->fd = close_fd(t->fd);
        *t = TEMPORARY_INIT;
}
