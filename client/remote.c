/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ssh joins its arguments with spaces and gives the line to a shell over there, so each is quoted.
 * Files are the caller's, on this side: one can travel as standard input, public keys travel as
 * text. */

#include <signal.h>
#include <sys/wait.h>

#include "base/strv.h"
#include "dbus/errors.h"
#include "files.h"
#include "fleet.h"
#include "remote.h"

typedef struct Remote {
        const Args *args;
        char **command; /* the words for the other side, quoted */
        int input;      /* the file that becomes standard input, or negative */
} Remote;

static void remote_done(Remote *remote) {
        strv_free(remote->command);
        close_fd(remote->input);
}

/* 'it'\''s' */
static char *quote(const char *s) {
        char *quoted = malloc(4 * strlen(s) + 3), *p = quoted;

        if (!quoted)
                return NULL;

        *p++ = '\'';
        for (; *s; s++)
                if (*s == '\'')
                        p = stpcpy(p, "'\\''");
                else
                        *p++ = *s;
        strcpy(p, "'");
        return quoted;
}

static int add_word(Remote *remote, const char *word) {
        char *quoted = quote(word);
        return quoted ? strv_consume(&remote->command, quoted) : -ENOMEM;
}

static int add_option(Remote *remote, const char *name, const char *value) {
        _cleanup_free_ char *word = NULL;

        if (asprintf(&word, "--%s%s%s", name, value ? "=" : "", value ?: "") < 0)
                return -ENOMEM;

        return add_word(remote, word);
}

/* Opens the one file that travels. */
static int take_input(Remote *remote, const char *path, Failure *failure) {
        if (remote->input >= 0) {
                (void) failure_usage(failure, "create",
                                     "with --host only one file can be sent, and '%s' is a second",
                                     path);
                failure_advise(
                        failure,
                        "'vmkitctl --host HOST image import NAME FILE' sends an image beforehand; "
                        "'@NAME' then stands for it.");
                return -EINVAL;
        }

        return image_open(path, &remote->input, failure);
}

static int add_keys(Remote *remote, const Option *option, Failure *failure) {
        _cleanup_strv_ char **keys = NULL;
        int r;

        r = keys_read(option->value, &keys, failure);
        STRV_FOREACH(key, keys)
                if (r >= 0)
                        r = add_option(remote, option->spec->name, *key);

        return r;
}

static int add_rom(Remote *remote, const Option *option, Failure *failure) {
        const char *file = strchr(option->value, '=') + 1;
        _cleanup_free_ char *value = NULL;
        int r;

        r = take_input(remote, file, failure);
        if (r < 0)
                return r;
        if (asprintf(&value, "%.*s-", (int) (file - option->value), option->value) < 0)
                return -ENOMEM;

        return add_option(remote, option->spec->name, value);
}

static int add_given_option(Remote *remote, const Option *option, Failure *failure) {
        int r;

        switch (option->spec->kind) {
        case OPTION_KEYS:
                return add_keys(remote, option, failure);
        case OPTION_ROM:
                return add_rom(remote, option, failure);
        case OPTION_FILE:
                r = take_input(remote, option->value, failure);
                return r < 0 ? r : add_option(remote, option->spec->name, "-");
        default:
                return streq(option->spec->name, "host") ? 0
                        : add_option(remote, option->spec->name, option->value);
        }
}

static bool is_file_operand(const Args *args, size_t i) {
        return i == 1 && args->operands[i][0] != '@' &&
               (streq(args->verb->name, "create") || streq(args->verb->name, "image import"));
}

static int add_operand(Remote *remote, size_t i, Failure *failure) {
        const char *operand = remote->args->operands[i];
        int r;

        if (!is_file_operand(remote->args, i))
                return add_word(remote, operand);

        r = take_input(remote, operand, failure);
        return r < 0 ? r : add_word(remote, "-");
}

/* vmkitctl VERB --option=value … -- OPERAND … */
static int build_command(Remote *remote, const char *extra, Failure *failure) {
        const Args *args = remote->args;
        int r;

        r = strv_push(&remote->command, "vmkitctl");
        if (r < 0)
                return r;
        r = strv_push(&remote->command, args->verb->name); /* our own words: nothing to quote */
        if (r < 0)
                return r;
        for (size_t i = 0; i < args->n_options; i++) {
                r = add_given_option(remote, &args->options[i], failure);
                if (r < 0)
                        return r;
        }
        if (extra && !args_has(args, extra)) {
                r = add_option(remote, extra, NULL);
                if (r < 0)
                        return r;
        }
        r = strv_push(&remote->command, "--");
        if (r < 0)
                return r;
        for (size_t i = 0; i < args->n_operands; i++) {
                r = add_operand(remote, i, failure);
                if (r < 0)
                        return r;
        }

        return 0;
}

/* A terminal over there is for prompts, progress and the console; it would garble a file. */
static bool wants_terminal(const Remote *remote) {
        return remote->input < 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

static void exec_ssh(const Remote *remote, const char *host, const char *line) {
        if (remote->input >= 0 && dup2(remote->input, STDIN_FILENO) < 0)
                _exit(SSH_FAILED);

        execlp("ssh", "ssh", wants_terminal(remote) ? "-t" : "-T", "--", host, line, NULL);
        _exit(SSH_FAILED);
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(_unused_ int number) {
        interrupted = 1;
}

/* Ctrl-C reaches ssh as well, which passes it on if it has a terminal over there; its end is ours. */
static int wait_child(pid_t pid) {
        int status;

        (void) signal(SIGINT, on_interrupt);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;

        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Without a terminal the command over there has not heard of it. */
static int fail_interrupted(const char *host, Failure *failure) {
        (void) failure_set(failure, VMKIT_ERROR_PREFIX "Cancelled", "Interrupted");
        failure_advise(failure, "What has begun on '%s' may go on: 'vmkitctl --host %s jobs' shows it, and 'cancel' "
                                "ends it.", host, host);
        failure->exit_code = EXIT_INTERRUPTED;
        return -EINTR;
}

static int run_ssh(const Remote *remote, const char *host, Failure *failure) {
        _cleanup_free_ char *line = strv_join(remote->command, " ");
        pid_t pid;
        int r;

        if (!line)
                return failure_oom(failure);

        pid = fork();
        if (pid < 0)
                return failure_errno(failure, -errno, "Cannot start ssh");
        if (pid == 0)
                exec_ssh(remote, host, line);

        r = wait_child(pid);
        if (r == SSH_FAILED && interrupted)
                return fail_interrupted(host, failure);
        return r == SSH_FAILED || r == SHELL_NOT_FOUND ? remote_unreachable(failure, host, r, NULL) : r;
}

int remote_unreachable(Failure *failure, const char *host, int code, const char *said) {
        if (code == SHELL_NOT_FOUND) {
                (void) failure_set(failure, SD_BUS_ERROR_NO_SERVER, "There is no vmkitctl on '%s'", host);
                failure_advise(failure, "Install vmkit there, or see that 'ssh %s vmkitctl --version' finds it.",
                               host);
                return -ENOENT;
        }

        (void) failure_set(failure, SD_BUS_ERROR_NO_SERVER, "'%s' cannot be reached by ssh%s%s", host,
                           str_empty(said) ? "" : ": ", said ?: "");
        failure_advise(failure, "'ssh %s vmkitctl --version' has to work first.", host);
        return -EHOSTUNREACH;
}

int remote_failed(Failure *failure, const char *host, int code) {
        if (code == SSH_FAILED || code == SHELL_NOT_FOUND)
                return remote_unreachable(failure, host, code, NULL);

        (void) failure_set(failure, VMKIT_ERROR_PREFIX "NotReady", "vmkitctl on '%s' did not do it", host);
        failure_advise(failure, "What it said stands above.");
        failure->exit_code = code ?: EXIT_FAILED;
        return -EREMOTEIO;
}

int remote_line(const Args *args, const char *extra, char **ret, Failure *failure) {
        _cleanup_(remote_done) Remote remote = { .args = args, .input = -EBADF };
        int r;

        r = build_command(&remote, extra, failure);
        if (r < 0)
                return r;

        *ret = strv_join(remote.command, " ");
        return *ret ? 0 : failure_oom(failure);
}

/* Hosts */

static int add_hosts(char ***hosts, const char *list, Failure *failure) {
        for (const char *p = list, *end; p; p = *end ? end + 1 : NULL) {
                end = p + strcspn(p, ",");

                _cleanup_free_ char *host = strndup(p, (size_t) (end - p));
                if (!host)
                        return failure_oom(failure);
                if (!*host)
                        return failure_usage(failure, NULL, "--host: '%s' is not a list of hosts", list);
                if (!strv_contains(*hosts, host) && strv_push(hosts, host) < 0)
                        return failure_oom(failure);
        }

        return 0;
}

static int hosts_given(const Args *args, char ***hosts, Failure *failure) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < args->n_options; i++)
                if (streq(args->options[i].spec->name, "host"))
                        r = add_hosts(hosts, args->options[i].value, failure);

        return r;
}

static int run_on(const Args *args, const char *host, Failure *failure) {
        _cleanup_(remote_done) Remote remote = { .args = args, .input = -EBADF };
        int r;

        r = build_command(&remote, NULL, failure);
        return r < 0 ? r : run_ssh(&remote, host, failure);
}

/* The viewer is to be seen here. */
static int show_display(const Args *args, const char *host, Failure *failure) {
        _cleanup_free_ char *line = NULL;
        int r;

        r = remote_line(args, "stdio", &line, failure);
        return r < 0 ? r : display_from(host, line, failure);
}

int remote_run(const Args *args, Failure *failure) {
        _cleanup_strv_ char **hosts = NULL;
        int r;

        r = hosts_given(args, &hosts, failure);
        if (r < 0)
                return r;
        if (strv_length(hosts) == 1)
                return streq(args->verb->name, "display") && !args_has(args, "stdio")
                               ? show_display(args, hosts[0], failure)
                               : run_on(args, hosts[0], failure);
        if (!args->verb->fleet)
                return failure_usage(failure, args->verb->name,
                                     "%s runs on one host at a time; list, devices and check answer for several",
                                     args->verb->name);

        return fleet_run(args, hosts, failure);
}
