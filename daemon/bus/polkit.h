/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may do what: polkit decides, asked about the caller's bus name. A call may need several actions, and one
 * action about several functions. All are checked without interaction first: a no to any of them refuses. If some
 * need a password, there is one prompt, for the strongest action, whose text names the whole act. Anything but a
 * clear yes is a no. */

#include <systemd/sd-bus.h>

#include "base/error.h"

typedef enum Action {
        ACTION_PUBLIC,          /* reading: no right is needed */
        /* From the weakest to the strongest. */
        ACTION_CONTROL_OWN_VM,
        ACTION_DESTROY_OWN_VM,
        ACTION_CONTROL_ANY_VM,
        ACTION_CREATE_VM,
        ACTION_DESTROY_ANY_VM,
        ACTION_MANAGE_DEVICE,
        ACTION_USE_DEVICE,
        ACTION_OVERRIDE_DEVICE,
        _ACTION_MAX,
} Action;

const char *action_id(Action action); /* "org.vmkit.create-vm" */

/* What a question is about, for rules and prompts: polkit's details. All values are our own words: names that
 * passed the allow-list, canonical addresses. */
typedef enum AuthDetail {
        DETAIL_VM,        /* name */
        DETAIL_DEVICE,    /* address of the function that the question is about */
        DETAIL_KIND,      /* of that function */
        DETAIL_VENDOR,    /* of that function: four hex digits */
        DETAIL_REQUESTED, /* address that was named or chosen, with which the function moves */
        _DETAIL_MAX,
} AuthDetail;

/* One action that is needed. NULL: a detail that is not said. */
typedef struct AuthItem {
        Action action;
        char *details[_DETAIL_MAX];
        bool granted;   /* without a prompt */
        bool challenge; /* with one it may be */
} AuthItem;

typedef struct Auth {
        AuthItem *items;
        size_t n;
        char *act; /* what is about to be done, for the prompt: "create the VM x with …"; NULL: by action */
} Auth;

int auth_add(Auth *auth, Action action, const char *const details[_DETAIL_MAX]);
int auth_add_vm(Auth *auth, Action action, const char *vm); /* NULL: about nothing that has a name */
int auth_describe(Auth *auth, const char *format, ...) _printf_(2, 3); /* sets act */
void auth_clear(Auth *auth);

/* Whether both ask for the same, in the same words. */
bool auth_equal(const Auth *a, const Auth *b);

typedef enum Verdict {
        VERDICT_GRANTED,
        VERDICT_DENIED,
        VERDICT_NEEDS_INTERACTION, /* a password would help, but the caller does not allow to ask */
        VERDICT_UNAVAILABLE,       /* polkit does not answer */
} Verdict;

/* Exactly once, unless the check is dropped before. Which items are missing stands in the Auth. */
typedef void (*PolkitDone)(Verdict verdict, void *userdata);

typedef struct PolkitCheck PolkitCheck;

/* auth stays the caller's and must outlive the check. root passes without being asked. */
int polkit_check(sd_bus *bus, const char *sender, uid_t uid, bool interactive, Auth *auth,
                 PolkitDone done, void *userdata, PolkitCheck **ret);
PolkitCheck *polkit_check_drop(PolkitCheck *check);
