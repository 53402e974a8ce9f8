/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may do what: polkit decides, asked about the caller's bus name. A call may need several actions, and one
 * action about several functions. All are checked without interaction first: a no to any of them refuses. If some
 * need a password, there is one prompt, for the strongest action, whose text names the whole act. Anything but a
 * clear yes is a no.
 *
 * dbus-daemon lets a connection wait for 128 answers at a time, and refuses further questions. A prompt waits for a
 * person, who may never come. So prompts are few for each user and few in all, silent questions have a number of
 * their own, and wait in turn where there are more, those of one user behind those of others. */

#include <systemd/sd-bus.h>

#include "auth.h"

typedef enum Verdict {
        VERDICT_GRANTED,
        VERDICT_DENIED,
        VERDICT_NEEDS_INTERACTION, /* a password would help, but the caller does not allow to ask */
        VERDICT_TOO_MANY_PROMPTS,  /* the same, and as many are shown already as may be */
        VERDICT_NOT_ANSWERED,      /* the prompt was shown for as long as it may be */
        VERDICT_UNAVAILABLE,       /* polkit does not answer */
} Verdict;

/* Exactly once, unless the check is dropped before. Which items are missing stands in the Auth. */
typedef void (*PolkitDone)(Verdict verdict, void *userdata);

typedef struct Polkit Polkit;
typedef struct PolkitCheck PolkitCheck;

int polkit_new(sd_bus *bus, Polkit **ret);
Polkit *polkit_free(Polkit *polkit); /* after its checks */
DEFINE_CLEANUP(Polkit *, polkit_free);

/* auth stays the caller's and must outlive the check. root passes without being asked. */
int polkit_check(Polkit *polkit, const char *sender, uid_t uid, bool interactive, Auth *auth,
                 PolkitDone done, void *userdata, PolkitCheck **ret);

/* A prompt that is shown goes. */
PolkitCheck *polkit_check_drop(PolkitCheck *check);
