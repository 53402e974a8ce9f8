/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images of other formats, by qemu-img, whose readers of them are old and little used: it gets our own copy as
 * standard input and an empty file as standard output, in a sandbox in which there is nothing else. What an image
 * names (a parent, an extent in another file) cannot be opened there, so such an image is refused. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>

#include "helper.h"
#include "sandbox.h"
#include "temporary.h"

#define MEMORY_MAX (2 * GIB)
#define CPU_SECONDS_MAX 3600
#define SECONDS_MAX 7200
#define BASE_FD 3 /* of the child */
#define TICK_MSEC 200
#define MAP_SIZE_MAX (256 * MIB)
#define BLOCK_SIZE UINT64_C(4096)

/* Exit codes of our side of the child; qemu-img has 0 to 3. */
enum {
        EXIT_NO_SANDBOX = 100,
        EXIT_NO_PROGRAM,
        EXIT_NO_STREAMS,
};

typedef struct Streams {
        int source, base, target, messages; /* base below 0: none */
        bool reopens_target; /* by /proc/self/fd, which is an open() to the kernel */
} Streams;

static int set_streams(const Streams *s) {
        return dup2(s->source, STDIN_FILENO) < 0 || dup2(s->target, STDOUT_FILENO) < 0 ||
                               dup2(s->messages, STDERR_FILENO) < 0 ||
                               (s->base >= 0 && dup2(s->base, BASE_FD) < 0)
                       ? -errno
                       : 0;
}

static _Noreturn void run_child(const char *const argv[], const Streams *s, const SandboxLimits *limits) {
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) signal(SIGXFSZ, SIG_IGN); /* an error of the write instead of the end */
        (void) signal(SIGPIPE, SIG_DFL);

        if (set_streams(s) < 0)
                _exit(EXIT_NO_STREAMS);
        if (sandbox_enter((const int[]) { STDIN_FILENO, BASE_FD }, s->base >= 0 ? 2 : 1,
                          s->reopens_target ? STDOUT_FILENO : -EBADF, limits) < 0)
                _exit(EXIT_NO_SANDBOX);
        (void) execvp(argv[0], (char *const *) argv);
        _exit(EXIT_NO_PROGRAM);
}

static uint64_t now_seconds(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec;
}

static int wait_for(pid_t pid, int *ret_status, Error *error) {
        _cleanup_close_ int fd = pidfd_open(pid, 0);
        const uint64_t deadline = now_seconds() + SECONDS_MAX;
        struct pollfd pollfd = { .fd = fd, .events = POLLIN };
        int r = fd < 0 ? error_set_errno(error, -errno, "Could not watch qemu-img") : 0;

        while (r >= 0 && poll(&pollfd, 1, TICK_MSEC) <= 0) {
                if (temporary_is_cancelled())
                        r = error_set(error, ERROR_CANCELLED, "The conversion was cancelled");
                else if (now_seconds() > deadline)
                        r = error_set(error, ERROR_IMAGE_REJECTED, "Converting the image took longer than %u hours",
                                      SECONDS_MAX / 3600);
        }

        if (r < 0)
                (void) kill(pid, SIGKILL);
        while (waitpid(pid, ret_status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return r;
}

static int explain(int status, const char *what, int messages_fd, Error *error) {
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1, r;

        if (code == EXIT_NO_PROGRAM)
                return tool_missing("qemu-img", "qemu-utils", error);
        if (code == EXIT_NO_SANDBOX || code == EXIT_NO_STREAMS) {
                r = error_set(error, ERROR_NOT_READY,
                              "The image is %s, and this host offers no sandbox to convert it in",
                              what ? what : "laid over another");
                error_set_remedy(error, "Convert it first (qemu-img convert -O qcow2 FILE NEW.qcow2), or boot a kernel "
                                        "with Landlock.");
                return r;
        }

        log_tool_messages("qemu-img", messages_fd);
        if (!what)
                return error_set(error, ERROR_INTERNAL, "The disk could not be made one with the image that it was "
                                 "made from; the journal of vmkitd has qemu-img's messages");
        r = error_set(error, ERROR_IMAGE_REJECTED,
                      "The image is %s that could not be converted: damaged, too large when unpacked, or in need of "
                      "another file", what);
        error_set_remedy(error, "Try 'qemu-img convert -O qcow2 FILE NEW.qcow2' yourself, and give its result.");
        return r;
}

/* All that is free, but for what others may need before this ends. */
static uint64_t output_max(int fd) {
        struct statvfs vfs;

        if (fstatvfs(fd, &vfs) < 0)
                return 0;
        return (uint64_t) vfs.f_bavail * vfs.f_frsize / 10 * 9;
}

static int run(const char *const argv[], int source, int base, int target, bool reopens_target,
               uint64_t output_size, const char *what, Error *error) {
        _cleanup_close_ int messages = memfd_create("messages", MFD_CLOEXEC);
        const Streams streams = { source, base, target, messages, reopens_target };
        const SandboxLimits limits = { MEMORY_MAX, CPU_SECONDS_MAX, output_size };
        int r, status = 0;

        if (messages < 0)
                return error_set_errno(error, -errno, "Could not run qemu-img");

        temporary_block_sigterm();
        pid_t pid = fork();
        if (pid < 0)
                return error_set_errno(error, -errno, "Could not run qemu-img");
        if (pid == 0)
                run_child(argv, &streams, &limits);

        r = wait_for(pid, &status, error);
        if (r < 0)
                return r;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : explain(status, what, messages, error);
}

/* A line for each stretch of the disk; those that lie in the file as they are say where. */
static bool lies_outside(const char *line, uint64_t size) {
        const char *length = strstr(line, "\"length\": "), *offset = strstr(line, "\"offset\": ");
        uint64_t end;

        if (!length || !offset)
                return false;
        length += strlen("\"length\": ");
        offset += strlen("\"offset\": ");
        return __builtin_add_overflow(strtoull(length, NULL, 10), strtoull(offset, NULL, 10), &end) ||
               end > ((size + BLOCK_SIZE - 1) & ~(BLOCK_SIZE - 1));
}

/* Behind the end of a file QEMU reads zeros, so of some formats it would not notice that the end is missing. */
static int check_complete(int source, uint64_t size, const char *driver, const char *what, Error *error) {
        const char *const argv[] = { "qemu-img", "map", "-f", driver, "--output=json", "--", "/proc/self/fd/0", NULL };
        _cleanup_close_ int fd = memfd_create("map", MFD_CLOEXEC);
        _cleanup_free_ char *line = NULL;
        size_t allocated = 0;
        bool complete = true;
        int r;

        if (fd < 0)
                return error_set_errno(error, -errno, "Could not check the image");
        r = run(argv, source, -EBADF, fd, false, MAP_SIZE_MAX, what, error);
        if (r < 0)
                return r;

        FILE *map = fdopen(TAKE_FD(fd), "r");
        if (!map)
                return -ENOMEM;
        rewind(map);
        while (complete && getline(&line, &allocated, map) > 0)
                complete = !lies_outside(line, size);
        (void) fclose(map);
        if (complete)
                return 0;

        r = error_set(error, ERROR_IMAGE_REJECTED, "The image is %s that is truncated", what);
        error_set_remedy(error, "Download or copy it again, and compare its checksum.");
        return r;
}

int convert(int source, uint64_t size, int target, const char *driver, const char *what, Error *error) {
        const char *const argv[] = { "qemu-img", "convert", "-f", driver, "-O", "qcow2", "--", "/proc/self/fd/0",
                                     "/proc/self/fd/1", NULL };
        int r;

        child_report_progress("converting", -1);
        r = check_complete(source, size, driver, what, error);
        return r < 0 ? r : run(argv, source, -EBADF, target, true, output_max(target), what, error);
}

/* The overlay was QEMU's to write, so what it says of its base does not count. */
int flatten(int fd, int base_fd, const char *base_format, int target, Error *error) {
        _cleanup_free_ char *source = NULL;

        if (asprintf(&source,
                     "json:{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"/proc/self/fd/0\"}, "
                     "\"backing\": {\"driver\": \"%s\", \"file\": {\"driver\": \"file\", \"filename\": "
                     "\"/proc/self/fd/%d\"}}}", base_format, BASE_FD) < 0) {
                source = NULL;
                return -ENOMEM;
        }

        const char *const argv[] = { "qemu-img", "convert", "-O", "qcow2", "--", source, "/proc/self/fd/1", NULL };

        child_report_progress("merging", -1);
        return run(argv, fd, base_fd, target, true, output_max(target), NULL, error);
}
