/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmkit-convert: runs qemu-img once, on the files that come over the connection it has as standard input, and
 * answers how it ended. It is nobody's but that connection's: when the other side goes, so does it. What it may
 * do is in vmkit-convert@.service. */

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/util.h"
#include "conversion.h"

/* 1: it has ended; 0: nobody waits for it any more. */
static int wait_for_end(int pidfd) {
        struct pollfd fds[] = { { .fd = pidfd, .events = POLLIN },
                                { .fd = STDIN_FILENO, .events = POLLRDHUP } };

        while (poll(fds, ELEMENTSOF(fds), -1) < 0)
                if (errno != EINTR)
                        return -errno;
        return fds[0].revents != 0;
}

static int finish(pid_t pid) {
        _cleanup_close_ int pidfd = pidfd_open(pid, 0);
        int status, r = pidfd < 0 ? -errno : wait_for_end(pidfd);

        if (r <= 0)
                (void) kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;

        if (r == 0)
                log_info("The conversion was cancelled");
        return r <= 0 ? r : conversion_send_status(STDIN_FILENO, status);
}

static int serve(void) {
        ReceivedConversion received;
        pid_t pid;
        int r;

        r = conversion_receive(STDIN_FILENO, &received);
        if (r < 0)
                return r;
        /* Not a way to run anything else, whoever reaches the socket. */
        if (!streq(received.conversion.argv[0], "qemu-img"))
                return -EPERM;

        log_info("Running qemu-img %s as uid %u", str_na(received.conversion.argv[1]), getuid());
        r = conversion_start(&received.conversion, &pid);
        return r < 0 ? r : finish(pid);
}

int main(void) {
        int r = serve();

        if (r < 0) {
                log_errno(r, "Could not convert");
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
