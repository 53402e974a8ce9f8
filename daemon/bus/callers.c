/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <search.h>

#include "base/log.h"
#include "callers.h"

/* Connections without a call that are remembered, so that the bus need not be asked again. */
#define IDLE_CALLERS_MAX 256

/* dbus-daemon answers at once, but drops its answer when our queue is full at that moment, which a flood of
 * descriptors sees to. So the question is asked again soon, and then more and more slowly: 16 s in all. */
#define FIRST_TIMEOUT_USEC (250 * USEC_PER_MSEC)
#define LAST_TIMEOUT_USEC (8 * USEC_PER_SEC)

typedef struct User {
        uid_t uid;
        unsigned n_callers;
        Cost held;
} User;

struct Caller {
        Callers *callers;
        char *name;
        User *user;         /* NULL: not known yet */
        sd_bus_slot *slot;  /* the question for it, under way */
        uint64_t timeout_usec; /* of that question */
        Cost held;
        Caller *newer, *older; /* in the list of those without a call */
};

struct Callers {
        sd_bus *bus;
        CallerIdentified identified;
        void *userdata;

        void *by_name; /* of Caller */
        void *by_uid;  /* of User */
        Caller *newest, *oldest;
        unsigned n_idle;
        Cost unknown, known;
        unsigned descriptors_limit; /* of the process: how many it may have open */
};

/* --- limits ----------------------------------------------------------------------------------------------- */

typedef enum Level {
        LEVEL_CALLER,
        LEVEL_USER,
        LEVEL_UNKNOWN,
        LEVEL_KNOWN,
        _LEVEL_MAX,
} Level;

static const struct {
        Cost limit;
        const char *whose;
} levels[_LEVEL_MAX] = {
        [LEVEL_CALLER] = { { 32, 32 * MESSAGE_DESCRIPTORS_MAX, 2 * MIB }, "calls of this connection" },
        [LEVEL_USER] = { { 64, 64 * MESSAGE_DESCRIPTORS_MAX, 4 * MIB }, "calls of yours" },
        /* dbus-daemon gives a user 256 connections: one alone cannot fill it for those who come anew. */
        [LEVEL_UNKNOWN] = { { 8192, 8192 * MESSAGE_DESCRIPTORS_MAX, 512 * MIB }, "calls of new connections" },
        [LEVEL_KNOWN] = { { 1024, 1024 * MESSAGE_DESCRIPTORS_MAX, 64 * MIB }, "calls" },
};

/* Half of the descriptors that the process may have is for messages whose caller is unknown. A quarter is for
 * those of known ones, of which each can be there twice, since arguments that are read are copied. The rest is
 * the service's. */
static unsigned share_of(Level level, unsigned descriptors_limit) {
        return level == LEVEL_UNKNOWN ? descriptors_limit / 2 : descriptors_limit / 8;
}

unsigned callers_descriptors_wanted(void) {
        return MAX(2 * levels[LEVEL_UNKNOWN].limit.descriptors, 8 * levels[LEVEL_KNOWN].limit.descriptors);
}

static bool fits(const Cost *held, const Cost *cost, Level level) {
        const Cost *limit = &levels[level].limit;

        return held->calls + cost->calls <= limit->calls &&
               held->descriptors + cost->descriptors <= limit->descriptors &&
               held->bytes + cost->bytes <= limit->bytes;
}

/* The same for one of the two that all share. */
static bool fits_all(const Callers *callers, const Cost *cost, Level level) {
        const Cost *held = level == LEVEL_UNKNOWN ? &callers->unknown : &callers->known;

        return fits(held, cost, level) &&
               held->descriptors + cost->descriptors <= share_of(level, callers->descriptors_limit);
}

static int refuse(Level level, Error *error) {
        int r = error_set(error, ERROR_LIMIT_EXCEEDED, "Too many %s wait for an answer", levels[level].whose);

        error_set_remedy(error, "Wait a moment and try again.");
        return r;
}

static void add(Cost *held, const Cost *cost) {
        held->calls += cost->calls;
        held->descriptors += cost->descriptors;
        held->bytes += cost->bytes;
}

static void subtract(Cost *held, const Cost *cost) {
        assert(held->calls >= cost->calls && held->descriptors >= cost->descriptors &&
               held->bytes >= cost->bytes);
        held->calls -= cost->calls;
        held->descriptors -= cost->descriptors;
        held->bytes -= cost->bytes;
}

/* --- users ------------------------------------------------------------------------------------------------ */

static int compare_users(const void *a, const void *b) {
        const User *x = a, *y = b;

        return (x->uid > y->uid) - (x->uid < y->uid);
}

static int user_ref(Callers *callers, uid_t uid, User **ret) {
        const User key = { .uid = uid };
        User **found = tfind(&key, &callers->by_uid, compare_users), *user;

        if (found) {
                (*found)->n_callers++;
                *ret = *found;
                return 0;
        }

        user = calloc(1, sizeof(User));
        if (!user)
                return -ENOMEM;
        *user = (User) { .uid = uid, .n_callers = 1 };
        if (!tsearch(user, &callers->by_uid, compare_users)) {
                free(user);
                return -ENOMEM;
        }
        *ret = user;
        return 0;
}

static User *user_unref(Callers *callers, User *user) {
        if (!user || --user->n_callers > 0)
                return NULL;

        assert(user->held.calls == 0);
        tdelete(user, &callers->by_uid, compare_users);
        free(user);
        return NULL;
}

/* --- connections ------------------------------------------------------------------------------------------ */

static int compare_callers(const void *a, const void *b) {
        const Caller *x = a, *y = b;

        return strcmp(x->name, y->name);
}

static bool is_idle(const Caller *caller) {
        return caller->held.calls == 0 && !caller->slot;
}

static void unlink_idle(Caller *caller) {
        Callers *callers = caller->callers;

        if (callers->newest != caller && !caller->newer)
                return; /* it is not in the list */

        *(caller->newer ? &caller->newer->older : &callers->newest) = caller->older;
        *(caller->older ? &caller->older->newer : &callers->oldest) = caller->newer;
        caller->newer = caller->older = NULL;
        callers->n_idle--;
}

static void caller_free(Caller *caller) {
        Callers *callers = caller->callers;

        unlink_idle(caller);
        tdelete(caller, &callers->by_name, compare_callers);
        user_unref(callers, caller->user);
        sd_bus_slot_unref(caller->slot);
        free(caller->name);
        free(caller);
}

/* The one used last is the last to be forgotten. */
static void link_if_idle(Caller *caller) {
        Callers *callers = caller->callers;

        unlink_idle(caller);
        if (!is_idle(caller))
                return;

        caller->older = callers->newest;
        *(caller->older ? &caller->older->newer : &callers->oldest) = caller;
        callers->newest = caller;
        callers->n_idle++;
}

static void forget_oldest(Callers *callers) {
        while (callers->n_idle > IDLE_CALLERS_MAX)
                caller_free(callers->oldest);
}

int callers_get(Callers *callers, const char *name, Caller **ret) {
        const Caller key = { .name = (char *) name };
        Caller **found = tfind(&key, &callers->by_name, compare_callers), *caller;

        if (found) {
                *ret = *found;
                return 0;
        }

        forget_oldest(callers);
        caller = calloc(1, sizeof(Caller));
        if (!caller)
                return -ENOMEM;
        caller->callers = callers;
        caller->name = strdup(name);
        if (!caller->name || !tsearch(caller, &callers->by_name, compare_callers)) {
                free(caller->name);
                free(caller);
                return -ENOMEM;
        }

        link_if_idle(caller);
        *ret = caller;
        return 0;
}

bool caller_is_known(const Caller *caller) {
        return caller->user;
}

uid_t caller_uid(const Caller *caller) {
        assert(caller->user);
        return caller->user->uid;
}

/* The connection has left only where the bus says that nobody has the name. Anything else (it is short of memory,
 * its policy forbids the question, it does not answer in time) is a failure that the caller should hear of. */
static int read_answer(Caller *caller, sd_bus_message *reply) {
        uint32_t uid;
        int r;

        if (sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return -ENOENT;
        if (sd_bus_message_is_method_error(reply, NULL)) {
                log_error("The bus does not say whose connection %s is: %s", caller->name,
                          str_na(sd_bus_message_get_error(reply)->message));
                return -EIO;
        }

        r = sd_bus_message_read(reply, "u", &uid);
        return r < 0 ? -EIO : user_ref(caller->callers, uid, &caller->user);
}

static int ask(Caller *caller);

static bool is_asked_again(Caller *caller, sd_bus_message *reply) {
        if (!sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NO_REPLY) ||
            caller->timeout_usec >= LAST_TIMEOUT_USEC)
                return false;

        caller->timeout_usec *= 2;
        return ask(caller) >= 0;
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Caller *caller = userdata;
        Callers *callers = caller->callers;
        int r;

        if (is_asked_again(caller, reply))
                return 0;

        /* Until this is over the caller stays, whatever becomes of its calls. */
        r = read_answer(caller, reply);
        callers->identified(caller, r, callers->userdata);
        caller->slot = sd_bus_slot_unref(caller->slot);
        link_if_idle(caller);
        return 0;
}

static int ask(Caller *caller) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        sd_bus *bus = caller->callers->bus;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                           "org.freedesktop.DBus", "GetConnectionUnixUser");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", caller->name);
        if (r < 0)
                return r;

        caller->slot = sd_bus_slot_unref(caller->slot);
        return sd_bus_call_async(bus, &caller->slot, m, on_answer, caller, caller->timeout_usec);
}

/* Not sd_bus_query_sender_creds(), which would make the loop wait for the bus. */
int caller_identify(Caller *caller) {
        int r;

        if (caller->user || caller->slot)
                return 0;

        caller->timeout_usec = FIRST_TIMEOUT_USEC;
        r = ask(caller);
        link_if_idle(caller);
        return r;
}

/* --- charges ---------------------------------------------------------------------------------------------- */

/* Where the limits of the user and of all users do not hold. */
static bool is_exempt(const Caller *caller) {
        return caller->user && caller->user->uid == 0;
}

static int check_user(const Caller *caller, const Cost *cost, Error *error) {
        if (is_exempt(caller))
                return 0;
        if (!fits(&caller->user->held, cost, LEVEL_USER))
                return refuse(LEVEL_USER, error);
        if (!fits_all(caller->callers, cost, LEVEL_KNOWN))
                return refuse(LEVEL_KNOWN, error);
        return 0;
}

static void add_for_user(Charge *charge) {
        Caller *caller = charge->caller;

        charge->identified = true;
        add(&caller->user->held, &charge->cost);
        if (!is_exempt(caller))
                add(&caller->callers->known, &charge->cost);
}

static int check_caller(const Caller *caller, const Cost *cost, Error *error) {
        if (!fits(&caller->held, cost, LEVEL_CALLER))
                return refuse(LEVEL_CALLER, error);
        if (caller->user)
                return check_user(caller, cost, error);
        if (!fits_all(caller->callers, cost, LEVEL_UNKNOWN))
                return refuse(LEVEL_UNKNOWN, error);
        return 0;
}

int charge_take(Charge *charge, Caller *caller, const Cost *cost, Error *error) {
        int r;

        assert(!charge->caller);
        r = check_caller(caller, cost, error);
        if (r < 0)
                return r;

        *charge = (Charge) { .caller = caller, .cost = *cost };
        add(&caller->held, cost);
        if (caller->user)
                add_for_user(charge);
        else
                add(&caller->callers->unknown, cost);
        link_if_idle(caller);
        return 0;
}

int charge_to_user(Charge *charge, Error *error) {
        Caller *caller = charge->caller;
        int r;

        assert(caller && caller->user);
        if (charge->identified)
                return 0;

        r = check_user(caller, &charge->cost, error);
        if (r < 0)
                return r;
        subtract(&caller->callers->unknown, &charge->cost);
        add_for_user(charge);
        return 0;
}

void charge_release(Charge *charge) {
        Caller *caller = charge->caller;

        if (!caller)
                return;

        subtract(&caller->held, &charge->cost);
        if (!charge->identified)
                subtract(&caller->callers->unknown, &charge->cost);
        else {
                subtract(&caller->user->held, &charge->cost);
                if (!is_exempt(caller))
                        subtract(&caller->callers->known, &charge->cost);
        }
        *charge = (Charge) {};
        link_if_idle(caller);
}

/* --- all -------------------------------------------------------------------------------------------------- */

int callers_new(sd_bus *bus, unsigned descriptors_limit, CallerIdentified identified, void *userdata,
                Callers **ret) {
        Callers *callers = calloc(1, sizeof(Callers));

        if (!callers)
                return -ENOMEM;
        *callers = (Callers) {
                .bus = bus,
                .identified = identified,
                .userdata = userdata,
                .descriptors_limit = descriptors_limit,
        };
        *ret = callers;
        return 0;
}

Callers *callers_free(Callers *callers) {
        if (!callers)
                return NULL;

        while (callers->by_name)
                caller_free(*(Caller **) callers->by_name);
        assert(!callers->by_uid);
        free(callers);
        return NULL;
}

/* --- how long a message is -------------------------------------------------------------------------------- */

static int spend(size_t *left, size_t n) {
        if (n > *left)
                return -E2BIG;
        *left -= n;
        return 0;
}

static int measure_string(sd_bus_message *m, char type, size_t *left) {
        const char *value;
        int r = sd_bus_message_read_basic(m, type, &value);

        return r < 0 ? r : spend(left, strlen(value) + 1);
}

static int measure_basic(sd_bus_message *m, char type, size_t *left) {
        if (strchr("sog", type))
                return measure_string(m, type, left);

        const char one[] = { type, '\0' };
        int r = sd_bus_message_skip(m, one);
        return r < 0 ? r : spend(left, sizeof(uint64_t));
}

/* Numbers side by side are one block, which is as long as it says. */
static bool is_block(char type, const char *contents) {
        return type == 'a' && strlen(contents) == 1 && strchr("ynqiuxtd", contents[0]);
}

static int measure_block(sd_bus_message *m, char type, size_t *left) {
        const void *block;
        size_t size;
        int r = sd_bus_message_read_array(m, type, &block, &size);

        return r < 0 ? r : spend(left, size);
}

/* As deep as D-Bus lets arguments be nested, which sd-bus has checked. */
static int measure(sd_bus_message *m, size_t *left) {
        const char *contents;
        char type;
        int r;

        while ((r = sd_bus_message_peek_type(m, &type, &contents)) > 0) {
                if (!strchr("aver", type))
                        r = measure_basic(m, type, left);
                else if (is_block(type, contents))
                        r = measure_block(m, contents[0], left);
                else {
                        r = sd_bus_message_enter_container(m, type, contents);
                        if (r >= 0)
                                r = spend(left, sizeof(uint64_t));
                        if (r >= 0)
                                r = measure(m, left);
                        if (r >= 0)
                                r = sd_bus_message_exit_container(m);
                }
                if (r < 0)
                        return r;
        }
        return r;
}

int message_measure(sd_bus_message *m, size_t *ret) {
        size_t left = MESSAGE_BYTES_MAX;
        int r = measure(m, &left), q;

        q = sd_bus_message_rewind(m, true);
        if (r == -E2BIG)
                return r;
        if (r < 0 || q < 0)
                return -EBADMSG;
        *ret = MESSAGE_BYTES_MAX - left;
        return 0;
}
