/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Bytes carried from one descriptor to another without ever blocking on either: what a console and
 * a viewer's connections are made of. The owner polls; a channel says for what, and is told what
 * came. */

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#define CHANNEL_BUFFER (64 * 1024)

typedef struct Channel {
        int from;
        int to;
        size_t start, end; /* of what waits in the buffer */
        bool input_over;   /* nothing more comes from `from` */
        bool broken;       /* `to` takes nothing more */
        char buffer[CHANNEL_BUFFER];
} Channel;

void channel_init(Channel *channel, int from, int to);

/* Fills two entries: for reading and for writing. Unused ones are set to be ignored. */
void channel_poll(const Channel *channel, struct pollfd ret[2]);

/* Moves what can be moved. */
void channel_move(Channel *channel, const struct pollfd polled[2]);

/* Everything that came has been delivered, or cannot be. */
bool channel_done(const Channel *channel);

/* The bytes read but not yet written, for a filter. */
static inline char *channel_pending(Channel *channel, size_t *ret_size) {
        *ret_size = channel->end - channel->start;
        return channel->buffer + channel->start;
}

/* Carries bytes between a pair of descriptors and another until one side has no more to say. */
int relay_join(int input, int output, int other);

/* A descriptor on which every signal that would end us becomes readable instead, so that what was changed (a
 * terminal, a socket) can be put back; or a negative errno. */
int relay_watch_signals(void);
