/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "auth.h"

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

const char *auth_detail_key(AuthDetail detail) {
        return detail_keys[detail];
}

const AuthItem *auth_strongest_challenge(const Auth *auth) {
        const AuthItem *strongest = NULL;

        for (size_t i = 0; i < auth->n; i++)
                if (auth->items[i].challenge && (!strongest || auth->items[i].action > strongest->action))
                        strongest = &auth->items[i];
        return strongest;
}

static void share(const AuthItem *item, bool first, const char *shared[_DETAIL_MAX]) {
        for (AuthDetail k = 0; k < _DETAIL_MAX; k++) {
                if (first)
                        shared[k] = item->details[k];
                else if (!streq_ptr(shared[k], item->details[k]))
                        shared[k] = NULL;
        }
}

void auth_shared_details(const Auth *auth, Action action, const char *ret[_DETAIL_MAX]) {
        bool first = true;

        for (size_t i = 0; i < auth->n; i++) {
                if (!auth->items[i].challenge || auth->items[i].action != action)
                        continue;
                share(&auth->items[i], first, ret);
                first = false;
        }
}
