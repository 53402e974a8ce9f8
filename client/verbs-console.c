/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* console: the terminal in raw mode and the guest's serial port, joined until Ctrl-]. What the guest sends is
 * made for a terminal, and reaches this one as it is. */

#include <signal.h>
#include <termios.h>

#include "client.h"
#include "relay.h"
#include "terminal.h"
#include "verbs.h"

#define DETACH 0x1d /* Ctrl-] */

typedef enum End {
        END_NONE,
        END_DETACHED,
        END_CLOSED,
        END_SIGNAL,
} End;

typedef struct Console {
        Channel keys;   /* terminal to guest */
        Channel screen; /* guest to terminal */
        struct termios settings;
        bool raw;
        int signals;
} Console;

/* The terminal */

static void enter_raw_mode(Console *console) {
        struct termios raw;

        if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &console->settings) < 0)
                return;

        raw = console->settings;
        cfmakeraw(&raw);
        console->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) >= 0;
}

static void leave_raw_mode(Console *console) {
        if (console->raw)
                (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &console->settings);
        console->raw = false;
}

/* Joining */

static bool wants_to_detach(Console *console) {
        size_t size;
        char *typed = channel_pending(&console->keys, &size);

        return console->raw && memchr(typed, DETACH, size);
}

/* Without a terminal the end of the input is not the end: output is shown as long as it comes. */
static End what_ended(Console *console, bool signalled) {
        if (signalled)
                return END_SIGNAL;
        if (wants_to_detach(console) || (console->raw && channel_done(&console->keys)))
                return END_DETACHED;

        return channel_done(&console->screen) ? END_CLOSED : END_NONE;
}

static End join(Console *console) {
        End end = END_NONE;

        while (end == END_NONE) {
                struct pollfd fds[5];

                channel_poll(&console->keys, fds);
                channel_poll(&console->screen, fds + 2);
                fds[4] = (struct pollfd) { .fd = console->signals, .events = POLLIN };

                if (poll(fds, ELEMENTSOF(fds), -1) < 0)
                        continue;

                channel_move(&console->keys, fds);
                channel_move(&console->screen, fds + 2);
                end = what_ended(console, fds[4].revents);
        }

        return end;
}

static End run_console(int fd, Console *console) {
        End end;

        channel_init(&console->keys, STDIN_FILENO, fd);
        channel_init(&console->screen, fd, STDOUT_FILENO);

        enter_raw_mode(console);
        end = join(console);
        leave_raw_mode(console);
        return end;
}

/* The command */

static int open_console(Client *c, const char *name, int *ret, Failure *failure) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = client_find_vm(c, name, &path, failure);
        return r < 0 ? r : client_descriptor(c, path, "OpenConsole", NULL, ret, failure);
}

static bool is_watched(const Client *c) {
        return !c->quiet && isatty(STDERR_FILENO);
}

int verb_console(Client *c, Failure *failure) {
        const char *name = args_operand(c->args, 0);
        _cleanup_close_ int fd = -EBADF, signals = -EBADF;
        _cleanup_free_ Console *console = calloc(1, sizeof *console);
        int r;

        if (!console)
                return failure_oom(failure);
        r = open_console(c, name, &fd, failure);
        if (r < 0)
                return r;

        agent_close(&c->agent); /* it shares our terminal */
        signals = relay_watch_signals();
        if (signals < 0)
                return failure_errno(failure, signals, "Cannot watch for signals");
        console->signals = signals;

        if (is_watched(c))
                print_text(stderr, "Connected to the console of %s. Ctrl-] leaves.\n", name);
        End end = run_console(fd, console);
        if (is_watched(c))
                print_text(stderr, end == END_CLOSED ? "\nNo more comes from the console of %s.\n"
                                                     : "\nLeft the console of %s.\n", name);

        return end == END_SIGNAL ? EXIT_INTERRUPTED : EXIT_DONE;
}
