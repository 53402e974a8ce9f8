/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "base/log.h"
#include "polkit.h"

/* Without a prompt polkit answers at once; but the bus drops its answer when our queue is full at that moment,
 * which a flood of descriptors sees to, so such a question is asked once more. With a prompt, it waits for a
 * person. */
#define SILENT_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define SECOND_TIMEOUT_USEC (20 * USEC_PER_SEC)
#define PROMPT_TIMEOUT_USEC (600 * USEC_PER_SEC)

static const char *const action_ids[_ACTION_MAX] = {
        [ACTION_CONTROL_OWN_VM] = "org.vmkit.control-own-vm",
        [ACTION_CONTROL_ANY_VM] = "org.vmkit.control-any-vm",
        [ACTION_DESTROY_OWN_VM] = "org.vmkit.destroy-own-vm",
        [ACTION_DESTROY_ANY_VM] = "org.vmkit.destroy-any-vm",
        [ACTION_CREATE_VM] = "org.vmkit.create-vm",
        [ACTION_USE_DEVICE] = "org.vmkit.use-device",
        [ACTION_OVERRIDE_DEVICE] = "org.vmkit.override-device",
        [ACTION_MANAGE_DEVICE] = "org.vmkit.manage-device",
};

const char *action_id(Action action) {
        return action_ids[action];
}

struct PolkitCheck {
        sd_bus *bus;
        char *sender;
        bool interactive;
        Auth *auth;
        PolkitDone done;
        void *userdata;

        size_t current;             /* item that polkit is being asked about */
        bool denied;                /* one has a plain no */
        bool prompting;
        bool asked_twice;           /* the current one */
        sd_bus_slot *slot;
        sd_event_source *at_once;
};

/* --- what is asked ---------------------------------------------------------------------------------------- */

static const char *const detail_keys[_DETAIL_MAX] = {
        [DETAIL_VM] = "vm",
        [DETAIL_DEVICE] = "device",
        [DETAIL_KIND] = "kind",
        [DETAIL_VENDOR] = "vendor",
        [DETAIL_REQUESTED] = "requested",
};

static void auth_item_clear(AuthItem *item) {
        for (AuthDetail i = 0; i < _DETAIL_MAX; i++)
                free(item->details[i]);
}

int auth_add(Auth *auth, Action action, const char *const details[_DETAIL_MAX]) {
        AuthItem *grown = reallocarray(auth->items, auth->n + 1, sizeof(AuthItem)), *item;

        if (!grown)
                return -ENOMEM;
        auth->items = grown;

        item = &auth->items[auth->n];
        *item = (AuthItem) { .action = action };
        for (AuthDetail i = 0; i < _DETAIL_MAX; i++) {
                item->details[i] = details[i] ? strdup(details[i]) : NULL;
                if (details[i] && !item->details[i]) {
                        auth_item_clear(item);
                        return -ENOMEM;
                }
        }
        auth->n++;
        return 0;
}

int auth_add_vm(Auth *auth, Action action, const char *vm) {
        return auth_add(auth, action, (const char *const[_DETAIL_MAX]) { [DETAIL_VM] = vm });
}

int auth_describe(Auth *auth, const char *format, ...) {
        va_list ap;

        free(auth->act);
        va_start(ap, format);
        if (vasprintf(&auth->act, format, ap) < 0)
                auth->act = NULL;
        va_end(ap);
        return auth->act ? 0 : -ENOMEM;
}

void auth_clear(Auth *auth) {
        for (size_t i = 0; i < auth->n; i++)
                auth_item_clear(&auth->items[i]);
        free(auth->items);
        free(auth->act);
        *auth = (Auth) {};
}

static bool auth_item_equal(const AuthItem *a, const AuthItem *b) {
        for (AuthDetail i = 0; i < _DETAIL_MAX; i++)
                if (!streq_ptr(a->details[i], b->details[i]))
                        return false;
        return a->action == b->action;
}

bool auth_equal(const Auth *a, const Auth *b) {
        if (a->n != b->n || !(a->act && b->act ? streq(a->act, b->act) : a->act == b->act))
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (!auth_item_equal(&a->items[i], &b->items[i]))
                        return false;
        return true;
}

/* --- asking ----------------------------------------------------------------------------------------------- */

PolkitCheck *polkit_check_drop(PolkitCheck *check) {
        if (!check)
                return NULL;

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

static int append_details(sd_bus_message *m, const PolkitCheck *check, const char *const details[_DETAIL_MAX]) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (AuthDetail i = 0; r >= 0 && i < _DETAIL_MAX; i++)
                if (details[i])
                        r = sd_bus_message_append(m, "{ss}", detail_keys[i], details[i]);

        if (r >= 0 && check->prompting && check->auth->act) {
                _cleanup_free_ char *text = NULL;

                if (asprintf(&text, "Authentication is required to %s", check->auth->act) < 0)
                        return -ENOMEM;
                r = sd_bus_message_append(m, "{ss}", "polkit.message", text);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error);

static int ask(PolkitCheck *check, Action action, const char *const details[_DETAIL_MAX]) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(check->bus, &m, "org.freedesktop.PolicyKit1",
                                           "/org/freedesktop/PolicyKit1/Authority",
                                           "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(m, "(sa{sv})s", "system-bus-name", 1, "name", "s", check->sender,
                                          action_id(action));
        if (r >= 0)
                r = append_details(m, check, details);
        if (r >= 0)
                r = sd_bus_message_append(m, "us", (uint32_t) check->prompting, "");
        if (r < 0)
                return r;

        check->slot = sd_bus_slot_unref(check->slot);
        return sd_bus_call_async(check->bus, &check->slot, m, on_answer, check,
                                 check->prompting      ? PROMPT_TIMEOUT_USEC
                                 : check->asked_twice ? SECOND_TIMEOUT_USEC
                                                       : SILENT_TIMEOUT_USEC);
}

static void ask_or_fail(PolkitCheck *check, Action action, const char *const details[_DETAIL_MAX]) {
        int r = ask(check, action, details);

        if (r < 0) {
                log_errno(r, "Could not ask polkit");
                finish(check, VERDICT_UNAVAILABLE);
        }
}

static void ask_current(PolkitCheck *check) {
        const AuthItem *item = &check->auth->items[check->current];

        ask_or_fail(check, item->action, (const char *const *) item->details);
}

static const AuthItem *strongest_challenge(const Auth *auth) {
        const AuthItem *strongest = NULL;

        for (size_t i = 0; i < auth->n; i++)
                if (auth->items[i].challenge && (!strongest || auth->items[i].action > strongest->action))
                        strongest = &auth->items[i];
        return strongest;
}

/* One prompt stands for all questions of its action, so it has the details that they share. A rule that asks for a
 * weaker password for one function or kind does not apply to a unit in which there are others. */
static void prompt(PolkitCheck *check, const AuthItem *strongest) {
        const Auth *auth = check->auth;
        const char *shared[_DETAIL_MAX];

        for (AuthDetail k = 0; k < _DETAIL_MAX; k++) {
                shared[k] = strongest->details[k];
                for (size_t i = 0; i < auth->n; i++)
                        if (auth->items[i].challenge && auth->items[i].action == strongest->action &&
                            !streq_ptr(auth->items[i].details[k], strongest->details[k]))
                                shared[k] = NULL;
        }

        check->prompting = true;
        ask_or_fail(check, strongest->action, shared);
}

static void after_silent_checks(PolkitCheck *check) {
        const AuthItem *strongest = strongest_challenge(check->auth);

        if (check->denied)
                finish(check, VERDICT_DENIED);
        else if (!strongest)
                finish(check, VERDICT_GRANTED);
        else if (!check->interactive)
                finish(check, VERDICT_NEEDS_INTERACTION);
        else
                prompt(check, strongest);
}

/* A no to one does not end the round: whoever is refused should learn of everything that is missing. */
static void take_silent_answer(PolkitCheck *check, bool authorised, bool challenge) {
        AuthItem *item = &check->auth->items[check->current];

        item->granted = authorised;
        item->challenge = !authorised && challenge;
        if (!authorised && !challenge)
                check->denied = true;

        check->asked_twice = false;
        if (++check->current < check->auth->n)
                ask_current(check);
        else
                after_silent_checks(check);
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        PolkitCheck *check = userdata;
        int authorised = false, challenge = false, r;

        if (sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NO_REPLY) && !check->prompting &&
            !check->asked_twice) {
                check->asked_twice = true;
                ask_current(check);
                return 0;
        }
        if (sd_bus_message_is_method_error(reply, NULL)) {
                log_error("polkit cannot be asked: %s", str_na(sd_bus_message_get_error(reply)->message));
                finish(check, VERDICT_UNAVAILABLE);
                return 0;
        }

        r = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
        if (r >= 0)
                r = sd_bus_message_read(reply, "bb", &authorised, &challenge);
        if (r < 0) {
                log_errno(r, "polkit's answer cannot be understood");
                finish(check, VERDICT_UNAVAILABLE);
                return 0;
        }

        if (check->prompting)
                finish(check, authorised ? VERDICT_GRANTED : VERDICT_DENIED);
        else
                take_silent_answer(check, authorised, challenge);
        return 0;
}

static int on_at_once(sd_event_source *source, void *userdata) {
        finish(userdata, VERDICT_GRANTED);
        return 0;
}

int polkit_check(sd_bus *bus, const char *sender, uid_t uid, bool interactive, Auth *auth,
                 PolkitDone done, void *userdata, PolkitCheck **ret) {
        PolkitCheck *check = calloc(1, sizeof(PolkitCheck));
        int r;

        if (!check)
                return -ENOMEM;
        *check = (PolkitCheck) {
                .bus = bus,
                .sender = strdup(sender),
                .interactive = interactive,
                .auth = auth,
                .done = done,
                .userdata = userdata,
        };

        /* Nothing to ask would be a bug of the table, and must not pass for a yes. */
        if (!check->sender || auth->n == 0)
                r = check->sender ? -EINVAL : -ENOMEM;
        else if (uid == 0)
                r = sd_event_add_defer(sd_bus_get_event(bus), &check->at_once, on_at_once, check);
        else
                r = ask(check, auth->items[0].action, (const char *const *) auth->items[0].details);
        if (r < 0) {
                polkit_check_drop(check);
                return r;
        }

        *ret = check;
        return 0;
}
