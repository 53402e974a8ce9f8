/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A buffer that is either being filled or being drained, never both: simple back-pressure. */

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "base/util.h"
#include "relay.h"

void channel_init(Channel *channel, int from, int to) {
        channel->from = from;
        channel->to = to;
        channel->start = channel->end = 0;
        channel->input_over = channel->broken = false;
}

static bool has_pending(const Channel *channel) {
        return channel->end > channel->start;
}

void channel_poll(const Channel *channel, struct pollfd ret[2]) {
        bool reads = !channel->input_over && !channel->broken && !has_pending(channel);
        bool writes = has_pending(channel) && !channel->broken;

        ret[0] = (struct pollfd) { .fd = reads ? channel->from : -1, .events = POLLIN };
        ret[1] = (struct pollfd) { .fd = writes ? channel->to : -1, .events = POLLOUT };
}

static void fill(Channel *channel) {
        ssize_t n = read(channel->from, channel->buffer, sizeof channel->buffer);

        if (n > 0) {
                channel->start = 0;
                channel->end = (size_t) n;
        } else if (n == 0 || (errno != EINTR && errno != EAGAIN))
                channel->input_over = true; /* a terminal whose other end went says EIO */
}

/* Sockets are asked not to wait; a terminal that polls writable takes something at once. */
static ssize_t write_some(int fd, const char *data, size_t size) {
        ssize_t n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

        return n < 0 && errno == ENOTSOCK ? write(fd, data, size) : n;
}

static void drain(Channel *channel) {
        ssize_t n = write_some(channel->to, channel->buffer + channel->start,
                               channel->end - channel->start);

        if (n > 0)
                channel->start += (size_t) n;
        else if (n < 0 && errno != EINTR && errno != EAGAIN)
                channel->broken = true;
}

void channel_move(Channel *channel, const struct pollfd polled[2]) {
        if (polled[0].fd >= 0 && polled[0].revents)
                fill(channel);
        if (polled[1].fd >= 0 && polled[1].revents)
                drain(channel);
}

bool channel_done(const Channel *channel) {
        return channel->broken || (channel->input_over && !has_pending(channel));
}

int relay_join(int input, int output, int other) {
        _cleanup_free_ Channel *channels = calloc(2, sizeof *channels);
        struct pollfd fds[4];

        if (!channels)
                return -ENOMEM;
        channel_init(&channels[0], input, other);
        channel_init(&channels[1], other, output);

        while (!channel_done(&channels[0]) && !channel_done(&channels[1])) {
                channel_poll(&channels[0], fds);
                channel_poll(&channels[1], fds + 2);
                if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR)
                        return -errno;

                channel_move(&channels[0], fds);
                channel_move(&channels[1], fds + 2);
        }

        return 0;
}

int relay_watch_signals(void) {
        sigset_t mask;

        sigemptyset(&mask);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGHUP);
        sigaddset(&mask, SIGQUIT);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;

        int fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        return fd < 0 ? -errno : fd;
}
