/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images of other formats, by qemu-img, whose readers of them are old and little used: it gets our own copy as
 * standard input and an empty file as standard output, in a sandbox in which there is nothing else. What an image
 * names (a parent, an extent in another file) cannot be opened there, so such an image is refused.
 *
 * As a service we have it done by another user, in a unit of its own (vmkit-convert@.service), which is sent the
 * files. There it has to open them once more, and may: they have no name yet, so nobody else comes to them, and
 * their mode is opened for that long. Elsewhere a child of ours does it. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "conversion.h"
#include "helper.h"
#include "temporary.h"

#define MEMORY_MAX (2 * GIB)
#define CPU_SECONDS_MAX 3600
#define SECONDS_MAX 7200
#define TICK_MSEC 200
#define MAP_SIZE_MAX (256 * MIB)
#define BLOCK_SIZE UINT64_C(4096)

#define MODE_OURS 0600
#define MODE_READABLE 0444
#define MODE_WRITABLE 0666

/* --- waiting ------------------------------------------------------------------------------------------------ */

static uint64_t now_seconds(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec;
}

/* Until there is something to read from fd. */
static int wait_readable(int fd, Error *error) {
        const uint64_t deadline = now_seconds() + SECONDS_MAX;
        struct pollfd pollfd = { .fd = fd, .events = POLLIN };

        while (poll(&pollfd, 1, TICK_MSEC) <= 0) {
                if (temporary_is_cancelled())
                        return error_set(error, ERROR_CANCELLED, "The conversion was cancelled");
                if (now_seconds() > deadline)
                        return error_set(error, ERROR_IMAGE_REJECTED, "Converting the image took longer than %u hours",
                                         SECONDS_MAX / 3600);
        }
        return 0;
}

/* --- in a child of ours ------------------------------------------------------------------------------------- */

static int wait_for_child(pid_t pid, int *ret_status, Error *error) {
        _cleanup_close_ int fd = pidfd_open(pid, 0);
        int r = fd < 0 ? error_set_errno(error, -errno, "Could not watch qemu-img") : wait_readable(fd, error);

        if (r < 0)
                (void) kill(pid, SIGKILL);
        while (waitpid(pid, ret_status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return r;
}

static int run_here(const Conversion *c, int *ret_status, Error *error) {
        pid_t pid;
        int r = conversion_start(c, &pid);

        return r < 0 ? error_set_errno(error, r, "Could not run qemu-img") : wait_for_child(pid, ret_status, error);
}

/* --- in the unit -------------------------------------------------------------------------------------------- */

static int service_missing(int r, Error *error) {
        r = error_set(error, ERROR_NOT_READY, "The service that converts images cannot be reached: %s", strerror(-r));
        error_set_remedy(error, "See 'systemctl status vmkit-convert.socket', and start it.");
        return r;
}

static int connect_to_service(const char *directory, Error *error) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/" CONVERSION_SOCKET, directory);

        if (n < 0 || (size_t) n >= sizeof(address.sun_path))
                return service_missing(-ENAMETOOLONG, error);
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return service_missing(-errno, error);
        return TAKE_FD(fd);
}

static int service_died(Error *error) {
        int r = error_set(error, ERROR_INTERNAL, "The service that converts images ended without an answer");

        error_set_remedy(error, "'journalctl --unit=vmkit-convert@*' says why.");
        return r;
}

static int ask_service(int fd, const Conversion *c, int *ret_status, Error *error) {
        int r = conversion_send(fd, c);

        if (r == -EPIPE || r == -ECONNRESET)
                return service_died(error);
        if (r < 0)
                return error_set_errno(error, r, "Could not ask for the conversion");

        r = wait_readable(fd, error);
        if (r < 0)
                return r; /* the connection is closed, and that ends it there */
        r = conversion_receive_status(fd, ret_status);
        return r < 0 ? service_died(error) : 0;
}

static int open_mode(const Conversion *c) {
        if (fchmod(c->source, MODE_READABLE) < 0)
                return -errno;
        return c->reopens_target && fchmod(c->target, MODE_WRITABLE) < 0 ? -errno : 0;
}

static int close_mode(const Conversion *c) {
        if (fchmod(c->source, MODE_OURS) < 0)
                return -errno;
        return c->reopens_target && fchmod(c->target, MODE_OURS) < 0 ? -errno : 0;
}

static int run_in_unit(const char *directory, const Conversion *c, int *ret_status, Error *error) {
        _cleanup_close_ int fd = connect_to_service(directory, error);
        int r, closed;

        if (fd < 0)
                return fd;

        r = open_mode(c);
        if (r >= 0)
                r = ask_service(fd, c, ret_status, error);
        closed = close_mode(c);
        return r < 0 ? r : closed;
}

/* Where a file has a name, anybody could open it by that. */
static bool is_nameless(int fd) {
        struct stat st;

        return fstat(fd, &st) >= 0 && st.st_nlink == 0;
}

/* A disk and the image below it are QEMU's and the store's, and stay closed to other users. */
static bool may_leave(const Conversion *c) {
        return c->base < 0 && is_nameless(c->source) && is_nameless(c->target);
}

/* ------------------------------------------------------------------------------------------------------------ */

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

static int run(Conversion *c, const char *what, Error *error) {
        _cleanup_close_ int messages = memfd_create("messages", MFD_CLOEXEC);
        const char *directory = getenv("RUNTIME_DIRECTORY"); /* only a service has one */
        int r, status = 0;

        if (messages < 0)
                return error_set_errno(error, -errno, "Could not run qemu-img");
        c->messages = messages;

        temporary_block_sigterm();
        r = directory && may_leave(c) ? run_in_unit(directory, c, &status, error) : run_here(c, &status, error);
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
        _cleanup_close_ int fd = memfd_create("map", MFD_CLOEXEC);
        Conversion c = {
                .argv = { "qemu-img", "map", "-f", driver, "--output=json", "--", "/proc/self/fd/0" },
                .source = source, .base = -EBADF, .target = fd,
                .limits = { MEMORY_MAX, CPU_SECONDS_MAX, MAP_SIZE_MAX },
        };
        _cleanup_free_ char *line = NULL;
        size_t allocated = 0;
        bool complete = true;
        int r;

        if (fd < 0)
                return error_set_errno(error, -errno, "Could not check the image");
        r = run(&c, what, error);
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
        Conversion c = {
                .argv = { "qemu-img", "convert", "-f", driver, "-O", "qcow2", "--", "/proc/self/fd/0",
                          "/proc/self/fd/1" },
                .source = source, .base = -EBADF, .target = target, .reopens_target = true,
                .limits = { MEMORY_MAX, CPU_SECONDS_MAX, output_max(target) },
        };
        int r;

        child_report_progress("converting", -1, 0);
        r = check_complete(source, size, driver, what, error);
        return r < 0 ? r : run(&c, what, error);
}

/* The overlay was QEMU's to write, so what it says of its base does not count. */
int flatten(int fd, int base_fd, const char *base_format, int target, Error *error) {
        _cleanup_free_ char *source = NULL;

        if (asprintf(&source,
                     "json:{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"/proc/self/fd/0\"}, "
                     "\"backing\": {\"driver\": \"%s\", \"file\": {\"driver\": \"file\", \"filename\": "
                     "\"/proc/self/fd/%d\"}}}", base_format, CONVERSION_BASE_FD) < 0) {
                source = NULL;
                return -ENOMEM;
        }

        Conversion c = {
                .argv = { "qemu-img", "convert", "-O", "qcow2", "--", source, "/proc/self/fd/1" },
                .source = fd, .base = base_fd, .target = target, .reopens_target = true,
                .limits = { MEMORY_MAX, CPU_SECONDS_MAX, output_max(target) },
        };

        child_report_progress("merging", -1, 0);
        return run(&c, NULL, error);
}
