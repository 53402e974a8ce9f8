/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon's refusals name the polkit actions that are missing. From these names follow the two
 * ways on: an administrator's password typed at a prompt, or a rule. */

#include <pwd.h>
#include <sys/types.h>

#include "base/util.h"
#include "permission.h"
#include "terminal.h"

#define ACTION_PREFIX "org.vmkit."
#define ACTIONS_MAX 8

typedef struct Action {
        const char *name;
        size_t length;
} Action;

static bool action_same(Action a, Action b) {
        return a.length == b.length && memcmp(a.name, b.name, a.length) == 0;
}

static bool action_known(const Action *actions, size_t n, Action action) {
        for (size_t i = 0; i < n; i++)
                if (action_same(actions[i], action))
                        return true;

        return false;
}

static size_t find_actions(const char *text, Action *ret, size_t max) {
        size_t n = 0;

        for (const char *p = text; n < max && (p = strstr(p, ACTION_PREFIX));) {
                size_t tail = strspn(p + strlen(ACTION_PREFIX), "abcdefghijklmnopqrstuvwxyz-");
                Action action = { p, strlen(ACTION_PREFIX) + tail };

                if (tail > 0 && !action_known(ret, n, action))
                        ret[n++] = action;
                p += action.length;
        }

        return n;
}

static void write_condition(FILE *f, const Action *actions, size_t n) {
        if (n == 1) {
                fprintf(f, "action.id == \"%.*s\"", (int) actions[0].length, actions[0].name);
                return;
        }

        fputc('[', f);
        for (size_t i = 0; i < n; i++)
                fprintf(f, "%s\"%.*s\"", i > 0 ? ", " : "", (int) actions[i].length,
                        actions[i].name);
        fputs("].indexOf(action.id) >= 0", f);
}

static const char *user_name(void) {
        const struct passwd *pw = getpwuid(getuid());
        return pw ? pw->pw_name : "USER";
}

static void write_remedy(FILE *f, const Action *actions, size_t n) {
        if (!terminal_can_ask())
                fputs("Run it in a terminal (ssh -t) to be asked for the administrator's password, "
                      "or ask "
                      "the administrator",
                      f);
        else
                fputs("Try again with the administrator's password, or ask the administrator", f);

        fputs(" for this rule in /etc/polkit-1/rules.d/50-vmkit.rules (README, \"Permissions\"):\n",
              f);
        fprintf(f,
                "  polkit.addRule(function(action, subject) { if (subject.user == \"%s\" &&\n    ",
                user_name());
        write_condition(f, actions, n);
        fputs(")\n      return polkit.Result.YES; });", f);
}

char *permission_remedy(const char *refusal) {
        Action actions[ACTIONS_MAX];
        size_t size, n = find_actions(refusal, actions, ELEMENTSOF(actions));
        char *text = NULL;

        if (n == 0)
                return NULL;

        FILE *f = open_memstream(&text, &size);
        if (!f)
                return NULL;

        write_remedy(f, actions, n);
        fclose(f);
        return text;
}
