/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Programs that know a format better than we should. What they say goes to the journal, never to a
 * client. */

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/log.h"
#include "helper.h"

#define TOOL_MEMORY_MAX (2 * GIB)
#define TOOL_CPU_SECONDS_MAX 120
#define TOOL_OUTPUT_MAX 4096

static void limit(pid_t pid) {
        struct rlimit memory = { .rlim_cur = TOOL_MEMORY_MAX, .rlim_max = TOOL_MEMORY_MAX },
                      cpu = { .rlim_cur = TOOL_CPU_SECONDS_MAX, .rlim_max = TOOL_CPU_SECONDS_MAX };

        (void) prlimit(pid, RLIMIT_AS, &memory, NULL);
        (void) prlimit(pid, RLIMIT_CPU, &cpu, NULL);
}

/* Three standard streams and extra_fd, which stays where it is. */
static int add_streams(posix_spawn_file_actions_t *actions, int messages_fd, int extra_fd) {
        int r;

        r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(actions, messages_fd, STDERR_FILENO);
        if (r == 0 && extra_fd >= 0) /* onto itself: takes O_CLOEXEC away */
                r = posix_spawn_file_actions_adddup2(actions, extra_fd, extra_fd);
        return -r;
}

static int start(const char *const argv[], int messages_fd, int extra_fd, pid_t *ret) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t all, none;
        int r;

        r = -posix_spawn_file_actions_init(&actions);
        if (r < 0)
                return r;
        r = -posix_spawnattr_init(&attributes);
        if (r < 0)
                goto finish;

        (void) sigfillset(&all);
        (void) sigemptyset(&none);
        (void) posix_spawnattr_setsigdefault(&attributes, &all);
        (void) posix_spawnattr_setsigmask(&attributes, &none);
        (void) posix_spawnattr_setflags(&attributes,
                                        POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);

        r = add_streams(&actions, messages_fd, extra_fd);
        if (r >= 0)
                r = -posix_spawnp(ret, argv[0], &actions, &attributes, (char *const *) argv,
                                  environ);

        (void) posix_spawnattr_destroy(&attributes);
finish:
        (void) posix_spawn_file_actions_destroy(&actions);
        return r;
}

void log_tool_messages(const char *tool, int fd) {
        char text[TOOL_OUTPUT_MAX + 1];
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
        _cleanup_strv_ char **lines = NULL;

        if (n <= 0)
                return;

        text[n] = '\0';
        if (strv_split(text, "\r\n", &lines) < 0)
                return;
        STRV_FOREACH(line, lines)
                log_warning("%s: %s", tool, *line);
}

static int wait_for(pid_t pid, int *ret_status) {
        while (waitpid(pid, ret_status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return 0;
}

int tool_missing(const char *tool, const char *package, Error *error) {
        int r = error_set(error, ERROR_NOT_READY, "The program %s is not installed", tool);

        error_set_remedy(error, "Install the package %s.", package);
        return r;
}

int run_tool(const char *const argv[], int extra_fd, const char *package, Error *error) {
        _cleanup_close_ int messages_fd = memfd_create("messages", MFD_CLOEXEC);
        int r, status;
        pid_t pid;

        if (messages_fd < 0)
                return error_set_errno(error, -errno, "Could not run %s", argv[0]);

        r = start(argv, messages_fd, extra_fd, &pid);
        if (r == -ENOENT)
                return tool_missing(argv[0], package, error);
        if (r < 0)
                return error_set_errno(error, r, "Could not run %s", argv[0]);

        limit(pid);
        r = wait_for(pid, &status);
        if (r < 0)
                return error_set_errno(error, r, "Could not wait for %s", argv[0]);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;

        log_tool_messages(argv[0], messages_fd);
        return error_set(error, ERROR_INTERNAL, "%s failed; the journal of vmkitd has its messages",
                         argv[0]);
}
