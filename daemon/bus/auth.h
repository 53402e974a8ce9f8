/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a call needs to be allowed: actions, each about something that rules and prompts are told. */

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

/* polkit's name of a detail: "vm", "device", … */
const char *auth_detail_key(AuthDetail detail);

/* Of those that need a password, one of the strongest action; NULL: none does. */
const AuthItem *auth_strongest_challenge(const Auth *auth);

/* What all that need a password for the same action say alike; NULL where they differ. Borrowed. */
void auth_shared_details(const Auth *auth, Action action, const char *ret[_DETAIL_MAX]);
