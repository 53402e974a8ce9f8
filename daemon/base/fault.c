/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every passing of an armed point rewrites the file under a lock, so that a point counts the same whether one
 * helper passes it or several that run side by side, and what was killed does not find it armed again. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "fault.h"
#include "io.h"
#include "log.h"
#include "parse.h"
#include "strv.h"

#define FAULTS_SIZE_MAX 4096

static const struct {
        const char *name;
        bool may_fail;
} points[_FAULT_MAX] = {
#define FAULT_ENTRY(identifier, name, may_fail) [FAULT_##identifier] = { name, may_fail },
        FAULT_POINTS(FAULT_ENTRY)
#undef FAULT_ENTRY
};

static int fault_dir_fd = -EBADF;
static const char *fault_path;

void fault_init(int dir_fd, const char *path) {
        fault_dir_fd = dir_fd;
        fault_path = path;
}

void fault_list(void) {
        for (FaultPoint point = 0; point < _FAULT_MAX; point++)
                printf("%s%s\n", points[point].name, points[point].may_fail ? " fail" : "");
}

/* --- actions -------------------------------------------------------------------------------------------- */

/* A helper that has outlived vmkitd has another parent, which is not to be harmed. */
static pid_t daemon_pid(void) {
        _cleanup_free_ char *own = NULL, *parent = NULL;

        if (read_line_at(AT_FDCWD, "/proc/self/comm", &own) >= 0 && streq(own, "vmkitd"))
                return getpid();

        pid_t pid = getppid();
        char path[32];
        snprintf(path, sizeof(path), "/proc/%d/comm", (int) pid);
        return read_line_at(AT_FDCWD, path, &parent) >= 0 && streq(parent, "vmkitd") ? pid : 0;
}

static void kill_daemon(void) {
        pid_t pid = daemon_pid();

        if (pid > 0)
                (void) kill(pid, SIGKILL);
}

static int act(FaultPoint point, const char *action, Error *error) {
        log_notice("Fault at %s: %s", points[point].name, action);

        if (streq(action, "fail"))
                return error_set(error, ERROR_INTERNAL, "A test made it fail (%s)", points[point].name);
        if (streq(action, "kill-daemon") || streq(action, "kill-both"))
                kill_daemon();
        if (streq(action, "kill-helper") || streq(action, "kill-both"))
                (void) kill(getpid(), SIGKILL);
        return 0;
}

/* --- the file ------------------------------------------------------------------------------------------- */

/* One line: kept as it is, kept with a lower number, or taken away, and then it is the action. */
static int take_line(FaultPoint point, const char *line, char **ret_action, FILE *kept) {
        _cleanup_strv_ char **words = NULL;
        uint64_t number;
        int r;

        r = strv_split(line, " ", &words);
        if (r < 0)
                return r;
        if (strv_length(words) != 3 || parse_uint(words[1], 10, UINT32_MAX, &number) < 0)
                return 0;

        if (!streq(words[0], points[point].name)) {
                fprintf(kept, "%s\n", line);
                return 0;
        }
        if (number > 1 || *ret_action) {
                fprintf(kept, "%s %llu %s\n", words[0], (unsigned long long) (number > 1 ? number - 1 : 1), words[2]);
                return 0;
        }

        *ret_action = strdup(words[2]);
        return *ret_action ? 0 : -ENOMEM;
}

static int take_lines(FaultPoint point, char *content, char **ret_action, FILE *kept) {
        int r = 0;

        for (char *line; r >= 0 && (line = strsep(&content, "\n"));)
                r = take_line(point, line, ret_action, kept);
        return r;
}

static int rewrite(int fd, const char *content, size_t size) {
        if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
                return -errno;
        return write_all(fd, content, size);
}

static int take_action(FaultPoint point, int fd, char **ret_action) {
        _cleanup_free_ char *content = NULL, *kept = NULL;
        size_t size = 0;
        int r;

        if (flock(fd, LOCK_EX) < 0)
                return -errno;
        r = read_file_at(fault_dir_fd, fault_path, FAULTS_SIZE_MAX, &content);
        if (r < 0)
                return r;

        FILE *stream = open_memstream(&kept, &size);
        if (!stream)
                return -ENOMEM;
        r = take_lines(point, content, ret_action, stream);
        (void) fclose(stream);
        return r < 0 ? r : rewrite(fd, kept, size);
}

int fault_hit(FaultPoint point, Error *error) {
        _cleanup_free_ char *action = NULL;
        int r;

        if (fault_dir_fd < 0)
                return 0;

        _cleanup_close_ int fd = openat(fault_dir_fd, fault_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return 0;

        r = take_action(point, fd, &action);
        if (r < 0)
                log_errno(r, "Could not read the faults");
        fd = close_fd(fd);
        return action ? act(point, action, error) : 0;
}

uint64_t fault_seconds(const char *variable, uint64_t seconds) {
        uint64_t shorter;

        return parse_uint(secure_getenv(variable), 10, seconds, &shorter) < 0 ? seconds : shorter;
}
