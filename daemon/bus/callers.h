/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who calls, and how much of the daemon each may hold.
 *
 * A call that waits (for its caller's uid, for polkit, for a look at devices) keeps its message in memory, and
 * the descriptors in it open. Anyone may send calls, so what they hold is counted from the moment a message is
 * read, and refused by name at a limit.
 *
 * The bus says whose connection a unique name is, but only when asked. It is asked once for each connection,
 * however many calls come from it: unique names are not used twice. Until it has answered, a call counts for its
 * connection and for all that are unknown; afterwards for its connection, its user and all users. */

#include <systemd/sd-bus.h>

#include "base/error.h"

/* What a call holds, or several do. */
typedef struct Cost {
        unsigned calls;
        unsigned descriptors;
        size_t bytes;
} Cost;

/* How many descriptors a message can carry: the stock limit of dbus-daemon. How many one does carry sd-bus does
 * not say, so a call that may carry some is taken to carry all; the bus policy lets no others pass. */
#define MESSAGE_DESCRIPTORS_MAX 16

/* The longest message that is kept. Every method has room in it for all its options at their longest that
 * make sense; files come as descriptors. */
#define MESSAGE_BYTES_MAX (1 * MIB)

typedef struct Callers Callers;
typedef struct Caller Caller; /* one connection */

/* What became of the question whose a connection is. 0: its uid is known. -ENOENT: it has left the bus, so there
 * is nobody to answer. Otherwise the bus did not say. Called once for each question. */
typedef void (*CallerIdentified)(Caller *caller, int r, void *userdata);

/* descriptors_limit: how many the process may have open. */
int callers_new(sd_bus *bus, unsigned descriptors_limit, CallerIdentified identified, void *userdata,
                Callers **ret);
Callers *callers_free(Callers *callers);
DEFINE_CLEANUP(Callers *, callers_free);

/* The connection of this unique name. It lives at least until the next call of this function; while it has a
 * charge, until that is released. */
int callers_get(Callers *callers, const char *name, Caller **ret);

/* Asks whose connection it is, unless that is known or has been asked already: identified() follows, never from
 * within. */
int caller_identify(Caller *caller);
bool caller_is_known(const Caller *caller);
uid_t caller_uid(const Caller *caller); /* only where it is known */

/* A call counted. */
typedef struct Charge {
        Caller *caller;     /* NULL: nothing is counted */
        Cost cost;
        bool identified;    /* counted for the user */
} Charge;

/* Counts a call, or refuses with LimitExceeded and says whose limit is reached. */
int charge_take(Charge *charge, Caller *caller, const Cost *cost, Error *error);

/* Once the caller is known: counts the call for its user from here on; LimitExceeded if that is too much. root is
 * not limited. Does nothing where this has been done. */
int charge_to_user(Charge *charge, Error *error);

void charge_release(Charge *charge);

/* The limit of open files (the unit's LimitNOFILE) with which all calls have what the limits give them. With a lower
 * one, all together have less. */
unsigned callers_descriptors_wanted(void);

/* How long the message is, as far as its arguments decide; its position is at the beginning afterwards. -E2BIG:
 * longer than MESSAGE_BYTES_MAX, found without reading further than that. -EBADMSG: it cannot be read. */
int message_measure(sd_bus_message *m, size_t *ret);
