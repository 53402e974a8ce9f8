/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>

#include "base/fault.h"
#include "base/log.h"
#include "polkit.h"

#define POLKIT "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority", \
               "org.freedesktop.PolicyKit1.Authority"

/* Without a prompt polkit answers at once; but the bus drops its answer when our queue is full at that moment,
 * which a flood of descriptors sees to, so such a question is asked once more. With a prompt, it waits for a
 * person. */
#define SILENT_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define SECOND_TIMEOUT_USEC (20 * USEC_PER_SEC)
#define PROMPT_TIMEOUT_USEC (FAULT_SECONDS("VMKIT_PROMPT_SECONDS", UINT64_C(120)) * USEC_PER_SEC)

/* Together fewer than the 128 answers that dbus-daemon lets a connection wait for. */
#define SILENT_MAX 56
#define SILENT_PER_USER_MAX 8
#define PROMPTS_MAX 48
#define PROMPTS_PER_USER_MAX 3

typedef enum CheckState {
        CHECK_WAITING, /* for its turn to ask the next question */
        CHECK_ASKING,
        CHECK_PROMPTING,
        _CHECK_STATE_MAX,
} CheckState;

/* One who is asked about now. */
typedef struct PolkitUser {
        uid_t uid;
        unsigned n[_CHECK_STATE_MAX];
        struct PolkitUser *next;
} PolkitUser;

struct PolkitCheck {
        Polkit *polkit;
        PolkitUser *user;
        char *sender;
        bool interactive;
        Auth *auth;
        PolkitDone done;
        void *userdata;

        CheckState state;
        size_t current;        /* item that polkit is being asked about */
        bool denied;           /* one has a plain no */
        bool asked_twice;      /* the current one */
        uint64_t id;           /* of the prompt */
        sd_bus_slot *slot;     /* the question */
        sd_event_source *at_once;

        PolkitCheck *next, *previous;
};

struct Polkit {
        sd_bus *bus;
        PolkitUser *users;
        unsigned n[_CHECK_STATE_MAX];
        PolkitCheck *first, *last; /* in the order in which they ask their next question */
        uint64_t last_id;
        sd_event_source *turn;     /* runs while one waits that may ask */
};

/* --- all checks ------------------------------------------------------------------------------------------- */

static void link_last(PolkitCheck *check) {
        Polkit *p = check->polkit;

        check->previous = p->last;
        check->next = NULL;
        *(p->last ? &p->last->next : &p->first) = check;
        p->last = check;
}

static void unlink_check(PolkitCheck *check) {
        Polkit *p = check->polkit;

        *(check->previous ? &check->previous->next : &p->first) = check->next;
        *(check->next ? &check->next->previous : &p->last) = check->previous;
        check->next = check->previous = NULL;
}

static int user_find(Polkit *p, uid_t uid, PolkitUser **ret) {
        PolkitUser *user = p->users;

        while (user && user->uid != uid)
                user = user->next;
        if (!user) {
                user = calloc(1, sizeof(PolkitUser));
                if (!user)
                        return -ENOMEM;
                *user = (PolkitUser) { .uid = uid, .next = p->users };
                p->users = user;
        }
        *ret = user;
        return 0;
}

static void user_free_unless_needed(Polkit *p, PolkitUser *user) {
        PolkitUser **link = &p->users;

        for (CheckState state = 0; state < _CHECK_STATE_MAX; state++)
                if (user->n[state] > 0)
                        return;
        while (*link != user)
                link = &(*link)->next;
        *link = user->next;
        free(user);
}

static void count(PolkitCheck *check, int by) {
        check->user->n[check->state] += (unsigned) by;
        check->polkit->n[check->state] += (unsigned) by;
}

static void set_state(PolkitCheck *check, CheckState state) {
        count(check, -1);
        check->state = state;
        count(check, 1);
}

/* --- one check -------------------------------------------------------------------------------------------- */

static void cancel_prompt(const PolkitCheck *check) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        char id[32];
        int r;

        (void) snprintf(id, sizeof(id), "vmkit-%llu", (unsigned long long) check->id);
        r = sd_bus_message_new_method_call(check->polkit->bus, &m, POLKIT, "CancelCheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", id);
        if (r >= 0)
                r = sd_bus_message_set_expect_reply(m, false);
        if (r >= 0)
                r = sd_bus_send(NULL, m, NULL);
        if (r < 0)
                log_errno(r, "Could not take a prompt back");
}

static int on_turn(sd_event_source *source, void *userdata);

/* Checks that wait are looked at from the loop: never from within a call of who waits for an answer. */
static void give_turns(Polkit *p) {
        if (p->turn)
                (void) sd_event_source_set_enabled(p->turn, SD_EVENT_ONESHOT);
}

PolkitCheck *polkit_check_drop(PolkitCheck *check) {
        if (!check)
                return NULL;

        if (check->state == CHECK_PROMPTING)
                cancel_prompt(check);
        count(check, -1);
        user_free_unless_needed(check->polkit, check->user);
        unlink_check(check);
        give_turns(check->polkit);
        sd_bus_slot_unref(check->slot);
        sd_event_source_disable_unref(check->at_once);
        free(check->sender);
        free(check);
        return NULL;
}

static void finish(PolkitCheck *check, Verdict verdict) {
        PolkitDone done = check->done;
        void *userdata = check->userdata;

        polkit_check_drop(check);
        done(verdict, userdata);
}

/* A prompt that has ended by itself is not to be taken back. */
static void finish_prompt(PolkitCheck *check, Verdict verdict) {
        set_state(check, CHECK_ASKING);
        finish(check, verdict);
}

/* --- asking ----------------------------------------------------------------------------------------------- */

static int append_details(sd_bus_message *m, const PolkitCheck *check, const char *const details[_DETAIL_MAX]) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (AuthDetail i = 0; r >= 0 && i < _DETAIL_MAX; i++)
                if (details[i])
                        r = sd_bus_message_append(m, "{ss}", auth_detail_key(i), details[i]);

        if (r >= 0 && check->state == CHECK_PROMPTING && check->auth->act) {
                _cleanup_free_ char *text = NULL;

                if (asprintf(&text, "Authentication is required to %s", check->auth->act) < 0)
                        return -ENOMEM;
                r = sd_bus_message_append(m, "{ss}", "polkit.message", text);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error);

static uint64_t timeout_of(const PolkitCheck *check) {
        if (check->state == CHECK_PROMPTING)
                return PROMPT_TIMEOUT_USEC;
        return check->asked_twice ? SECOND_TIMEOUT_USEC : SILENT_TIMEOUT_USEC;
}

static int ask(PolkitCheck *check, Action action, const char *const details[_DETAIL_MAX]) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        bool prompting = check->state == CHECK_PROMPTING;
        char id[32] = "";
        int r;

        if (prompting)
                (void) snprintf(id, sizeof(id), "vmkit-%llu", (unsigned long long) check->id);
        r = sd_bus_message_new_method_call(check->polkit->bus, &m, POLKIT, "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(m, "(sa{sv})s", "system-bus-name", 1, "name", "s", check->sender,
                                          action_id(action));
        if (r >= 0)
                r = append_details(m, check, details);
        if (r >= 0)
                r = sd_bus_message_append(m, "us", (uint32_t) prompting, id);
        if (r < 0)
                return r;

        check->slot = sd_bus_slot_unref(check->slot);
        return sd_bus_call_async(check->polkit->bus, &check->slot, m, on_answer, check, timeout_of(check));
}

static void ask_or_fail(PolkitCheck *check, Action action, const char *const details[_DETAIL_MAX]) {
        int r = ask(check, action, details);

        if (r < 0) {
                log_errno(r, "Could not ask polkit");
                finish_prompt(check, VERDICT_UNAVAILABLE);
        }
}

static void ask_current(PolkitCheck *check) {
        const AuthItem *item = &check->auth->items[check->current];

        set_state(check, CHECK_ASKING);
        ask_or_fail(check, item->action, (const char *const *) item->details);
}

/* --- turns ------------------------------------------------------------------------------------------------ */

static PolkitCheck *next_to_ask(const Polkit *p) {
        if (p->n[CHECK_ASKING] >= SILENT_MAX)
                return NULL;
        for (PolkitCheck *check = p->first; check; check = check->next)
                if (check->state == CHECK_WAITING && check->user->n[CHECK_ASKING] < SILENT_PER_USER_MAX)
                        return check;
        return NULL;
}

static int on_turn(sd_event_source *source, void *userdata) {
        PolkitCheck *check;

        while ((check = next_to_ask(userdata)))
                ask_current(check);
        return 0;
}

/* Behind those who wait already, so that many questions of one call do not hold up others. */
static void wait_for_turn(PolkitCheck *check) {
        set_state(check, CHECK_WAITING);
        check->slot = sd_bus_slot_unref(check->slot);
        check->asked_twice = false;
        unlink_check(check);
        link_last(check);
        give_turns(check->polkit);
}

/* --- the prompt ------------------------------------------------------------------------------------------- */

/* polkit takes it back when the caller leaves the bus. One prompt stands for all questions of its action, so it has the details that they share. A rule that asks for a
 * weaker password for one function or kind does not apply to a unit in which there are others. */
static void prompt(PolkitCheck *check, Action action) {
        Polkit *p = check->polkit;
        const char *shared[_DETAIL_MAX] = {};

        if (check->user->n[CHECK_PROMPTING] >= PROMPTS_PER_USER_MAX || p->n[CHECK_PROMPTING] >= PROMPTS_MAX) {
                finish(check, VERDICT_TOO_MANY_PROMPTS);
                return;
        }

        auth_shared_details(check->auth, action, shared);
        check->id = ++p->last_id;
        set_state(check, CHECK_PROMPTING);
        ask_or_fail(check, action, shared);
        give_turns(p);
}

/* --- answers ---------------------------------------------------------------------------------------------- */

static void after_silent_checks(PolkitCheck *check) {
        const AuthItem *strongest = auth_strongest_challenge(check->auth);

        if (check->denied)
                finish(check, VERDICT_DENIED);
        else if (!strongest)
                finish(check, VERDICT_GRANTED);
        else if (!check->interactive)
                finish(check, VERDICT_NEEDS_INTERACTION);
        else
                prompt(check, strongest->action);
}

/* A no to one does not end the round: whoever is refused should learn of everything that is missing. */
static void take_silent_answer(PolkitCheck *check, bool authorised, bool challenge) {
        AuthItem *item = &check->auth->items[check->current];

        item->granted = authorised;
        item->challenge = !authorised && challenge;
        if (!authorised && !challenge)
                check->denied = true;

        if (++check->current < check->auth->n)
                wait_for_turn(check);
        else
                after_silent_checks(check);
}

static void take_failure(PolkitCheck *check, sd_bus_message *reply) {
        bool late = sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NO_REPLY);

        if (late && check->state == CHECK_PROMPTING)
                finish(check, VERDICT_NOT_ANSWERED);
        else if (late && !check->asked_twice) {
                check->asked_twice = true;
                ask_current(check);
        } else {
                log_error("polkit cannot be asked: %s", str_na(sd_bus_message_get_error(reply)->message));
                finish_prompt(check, VERDICT_UNAVAILABLE);
        }
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        PolkitCheck *check = userdata;
        int authorised = false, challenge = false, r;

        if (sd_bus_message_is_method_error(reply, NULL)) {
                take_failure(check, reply);
                return 0;
        }

        r = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
        if (r >= 0)
                r = sd_bus_message_read(reply, "bb", &authorised, &challenge);
        if (r < 0) {
                log_errno(r, "polkit's answer cannot be understood");
                finish_prompt(check, VERDICT_UNAVAILABLE);
                return 0;
        }

        if (check->state == CHECK_PROMPTING)
                finish_prompt(check, authorised ? VERDICT_GRANTED : VERDICT_DENIED);
        else
                take_silent_answer(check, authorised, challenge);
        return 0;
}

/* --- from outside ----------------------------------------------------------------------------------------- */

static int on_at_once(sd_event_source *source, void *userdata) {
        finish(userdata, VERDICT_GRANTED);
        return 0;
}

static int check_begin(PolkitCheck *check) {
        if (check->user->uid != 0) {
                wait_for_turn(check);
                return 0;
        }
        set_state(check, CHECK_ASKING);
        return sd_event_add_defer(sd_bus_get_event(check->polkit->bus), &check->at_once, on_at_once, check);
}

int polkit_check(Polkit *p, const char *sender, uid_t uid, bool interactive, Auth *auth, PolkitDone done,
                 void *userdata, PolkitCheck **ret) {
        PolkitUser *user;
        PolkitCheck *check;
        int r;

        /* Nothing to ask would be a bug of the table, and must not pass for a yes. */
        assert(auth->n > 0);
        check = calloc(1, sizeof(PolkitCheck));
        if (!check)
                return -ENOMEM;
        r = user_find(p, uid, &user);
        if (r < 0) {
                free(check);
                return r;
        }

        *check = (PolkitCheck) {
                .polkit = p,
                .user = user,
                .sender = strdup(sender),
                .interactive = interactive,
                .auth = auth,
                .done = done,
                .userdata = userdata,
        };
        link_last(check);
        count(check, 1);

        r = check->sender ? check_begin(check) : -ENOMEM;
        if (r < 0) {
                polkit_check_drop(check);
                return r;
        }

        *ret = check;
        return 0;
}

int polkit_new(sd_bus *bus, Polkit **ret) {
        _cleanup_(polkit_freep) Polkit *p = calloc(1, sizeof(Polkit));
        int r;

        if (!p)
                return -ENOMEM;
        p->bus = bus;
        r = sd_event_add_defer(sd_bus_get_event(bus), &p->turn, on_turn, p);
        if (r >= 0)
                r = sd_event_source_set_enabled(p->turn, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(p);
        return 0;
}

Polkit *polkit_free(Polkit *p) {
        if (!p)
                return NULL;

        assert(!p->first && !p->users);
        sd_event_source_disable_unref(p->turn);
        free(p);
        return NULL;
}
