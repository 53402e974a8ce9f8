/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "conversion.h"

/* --- the child ---------------------------------------------------------------------------------------------- */

static int set_streams(const Conversion *c) {
        return dup2(c->source, STDIN_FILENO) < 0 || dup2(c->target, STDOUT_FILENO) < 0 ||
                               dup2(c->messages, STDERR_FILENO) < 0 ||
                               (c->base >= 0 && dup2(c->base, CONVERSION_BASE_FD) < 0)
                       ? -errno
                       : 0;
}

static _Noreturn void run_child(const Conversion *c) {
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) signal(SIGXFSZ, SIG_IGN); /* an error of the write instead of the end */
        (void) signal(SIGPIPE, SIG_DFL);

        if (set_streams(c) < 0)
                _exit(EXIT_NO_STREAMS);
        if (sandbox_enter((const int[]) { STDIN_FILENO, CONVERSION_BASE_FD }, c->base >= 0 ? 2 : 1,
                          c->reopens_target ? STDOUT_FILENO : -EBADF, &c->limits) < 0)
                _exit(EXIT_NO_SANDBOX);
        (void) execvp(c->argv[0], (char *const *) c->argv);
        _exit(EXIT_NO_PROGRAM);
}

int conversion_start(const Conversion *c, pid_t *ret) {
        pid_t pid = fork();

        if (pid < 0)
                return -errno;
        if (pid == 0)
                run_child(c);
        *ret = pid;
        return 0;
}

/* --- the message -------------------------------------------------------------------------------------------- */

enum { FD_SOURCE, FD_TARGET, FD_MESSAGES, _FD_MAX };

typedef struct Head {
        SandboxLimits limits;
        uint64_t reopens_target; /* a whole word: what goes out has no gap */
} Head;

typedef union Control {
        struct cmsghdr header;
        char buffer[CMSG_SPACE(sizeof(int[_FD_MAX]))];
} Control;

/* The arguments, each with its end. */
static int join(const char *const argv[], char text[static CONVERSION_TEXT_MAX], size_t *ret) {
        size_t used = 0;

        for (size_t i = 0; argv[i]; i++) {
                size_t size = strlen(argv[i]) + 1;

                if (size > CONVERSION_TEXT_MAX - used)
                        return -E2BIG;
                memcpy(text + used, argv[i], size);
                used += size;
        }
        *ret = used;
        return 0;
}

static int split(const char *text, size_t size, const char *argv[static CONVERSION_ARGUMENTS_MAX + 1]) {
        size_t n = 0;

        if (size == 0 || text[size - 1] != '\0')
                return -EBADMSG;
        for (const char *p = text; p < text + size; p += strlen(p) + 1) {
                if (n == CONVERSION_ARGUMENTS_MAX)
                        return -E2BIG;
                argv[n++] = p;
        }
        argv[n] = NULL;
        return 0;
}

int conversion_send(int fd, const Conversion *c) {
        const int fds[_FD_MAX] = {
                [FD_SOURCE] = c->source, [FD_TARGET] = c->target, [FD_MESSAGES] = c->messages };
        Head head = { .limits = c->limits, .reopens_target = c->reopens_target };
        char text[CONVERSION_TEXT_MAX];
        struct iovec parts[] = { { &head, sizeof(head) }, { text, 0 } };
        Control control = {};
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = ELEMENTSOF(parts),
                                  .msg_control = &control, .msg_controllen = sizeof(control) };
        int r;

        r = join(c->argv, text, &parts[1].iov_len);
        if (r < 0)
                return r;

        control.header = (struct cmsghdr) {
                .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fds)) };
        memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
        return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static bool has_descriptors(const struct msghdr *message, const Control *control) {
        return message->msg_controllen >= CMSG_LEN(sizeof(int[_FD_MAX])) &&
               control->header.cmsg_level == SOL_SOCKET && control->header.cmsg_type == SCM_RIGHTS &&
               control->header.cmsg_len == CMSG_LEN(sizeof(int[_FD_MAX]));
}

int conversion_receive(int fd, ReceivedConversion *ret) {
        Conversion *c = &ret->conversion;
        Head head;
        struct iovec parts[] = { { &head, sizeof(head) }, { ret->text, sizeof(ret->text) } };
        Control control = {};
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = ELEMENTSOF(parts),
                                  .msg_control = &control, .msg_controllen = sizeof(control) };
        int fds[_FD_MAX];
        ssize_t n;

        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (n < 0)
                return -errno;
        if ((size_t) n <= sizeof(head) || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
            !has_descriptors(&message, &control))
                return -EBADMSG;

        memcpy(fds, CMSG_DATA(&control.header), sizeof(fds));
        *c = (Conversion) { .source = fds[FD_SOURCE], .base = -EBADF, .target = fds[FD_TARGET],
                            .messages = fds[FD_MESSAGES], .limits = head.limits,
                            .reopens_target = head.reopens_target };
        return split(ret->text, (size_t) n - sizeof(head), c->argv);
}

int conversion_send_status(int fd, int status) {
        return send(fd, &status, sizeof(status), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int conversion_receive_status(int fd, int *ret_status) {
        int status;
        ssize_t n = recv(fd, &status, sizeof(status), 0);

        if (n < 0)
                return errno == ECONNRESET ? -ENODATA : -errno;
        if (n != sizeof(status))
                return n == 0 ? -ENODATA : -EBADMSG;
        *ret_status = status;
        return 0;
}
