/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A child is watched by two sources: its standard output, a line at a time, and its end, by pidfd.
 * done() follows the end; what it wrote before is in the pipe by then, so the pipe is drained
 * without waiting for end of file, which a grandchild could withhold for ever. */

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "child.h"
#include "io.h"
#include "json.h"
#include "strv.h"

#define LINE_SIZE_MAX (64 * KIB)
#define FIRST_HANDED_FD 3

/* How much is still read after the end: more than a pipe holds, less than a grandchild can go on
 * writing. */
#define DRAIN_SIZE_MAX MIB

struct Child {
        pid_t pid;
        ChildHandler handler;
        void *userdata;

        sd_event_source *exit_source; /* owns the pidfd */
        sd_event_source *output_source;
        int output_fd;
        bool dispatching; /* a handler may abandon the child that called it */
        bool abandoned;

        struct json_object *result;
        Error error;

        size_t line_size;
        char line[LINE_SIZE_MAX];
};

static void close_output(Child *c) {
        c->output_source = sd_event_source_disable_unref(c->output_source);
        c->output_fd = close_fd(c->output_fd);
}

static Child *child_free(Child *c) {
        if (!c)
                return NULL;

        close_output(c);
        (void) sd_event_source_disable_unref(c->exit_source);
        (void) json_unref(c->result);
        error_clear(&c->error);
        free(c);
        return NULL;
}

DEFINE_CLEANUP(Child *, child_free);

/* Signals go to the whole group, which is the child and what it started: it leads a session of its
 * own, and its pid is nobody else's before it is reaped.
 *
 * What a child that breaks the protocol says after that counts as little as what it said before. */
static void child_broken(Child *c, const char *what) {
        c->result = json_unref(c->result);
        error_clear(&c->error);
        (void) error_set(&c->error, ERROR_INTERNAL, "A helper process %s", what);
        close_output(c);
        (void) kill(-c->pid, SIGKILL);
}

static void take_error(Child *c, struct json_object *o) {
        const char *name = json_string(o, "name"), *message = json_string(o, "message"),
                   *remedy = json_string(o, "remedy");
        ErrorCode code = name ? error_code_from_name(name) : ERROR_NONE;

        if (code == ERROR_NONE || !message)
                return child_broken(c, "reported an error without a name");

        (void) error_set(&c->error, code, "%s", message);
        if (remedy)
                error_set_remedy(&c->error, "%s", remedy);
}

static void take_progress(Child *c, struct json_object *o) {
        double progress = json_object_get_double(json_object_object_get(o, "progress"));
        uint64_t bytes = json_object_get_uint64(json_object_object_get(o, "bytes"));

        if (c->handler.progress)
                c->handler.progress(json_string(o, "phase"), MIN(progress, 1.0), bytes,
                                    c->userdata);
}

static void take_document(Child *c, struct json_object *o) {
        struct json_object *value = NULL;

        if (c->result || error_is_set(&c->error))
                return child_broken(c, "went on after its result");

        if (json_object_object_get_ex(o, "result", &value) && value)
                c->result = json_object_get(value);
        else if (json_object_object_get_ex(o, "error", &value))
                take_error(c, value);
        else if (json_string(o, "phase"))
                take_progress(c, o);
        else
                child_broken(c, "wrote what is not understood");
}

static void take_line(Child *c, const char *line, size_t size) {
        _cleanup_json_ struct json_object *o = json_parse(line, size);

        if (json_object_is_type(o, json_type_object))
                take_document(c, o);
        else
                child_broken(c, "wrote what is not JSON");
}

static void take_lines(Child *c) {
        char *start = c->line, *end = c->line + c->line_size, *newline;

        /* The output is closed by a broken document, and nothing counts after that. */
        while (c->output_fd >= 0 && (newline = memchr(start, '\n', (size_t) (end - start)))) {
                take_line(c, start, (size_t) (newline - start));
                start = newline + 1;
        }

        c->line_size = (size_t) (end - start);
        memmove(c->line, start, c->line_size);

        if (c->output_fd >= 0 && c->line_size == sizeof(c->line))
                child_broken(c, "wrote a line without end");
}

/* One read; returns the number of bytes, 0 at the end or where nothing more is to be had now. */
static size_t child_read(Child *c) {
        ssize_t n;

        if (c->output_fd < 0)
                return 0;

        do
                n = read(c->output_fd, c->line + c->line_size, sizeof(c->line) - c->line_size);
        while (n < 0 && errno == EINTR);

        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n <= 0) {
                close_output(c);
                return 0;
        }

        c->line_size += (size_t) n;
        take_lines(c);
        return (size_t) n;
}

static int on_output(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents,
                     void *userdata) {
        Child *c = userdata;

        c->dispatching = true;
        (void) child_read(c);
        c->dispatching = false;

        if (c->abandoned)
                (void) child_abandon(c);
        return 0;
}

static void judge_end(Child *c, const siginfo_t *si) {
        if (error_is_set(&c->error))
                return;

        if (si->si_code != CLD_EXITED)
                (void) error_set(&c->error, ERROR_INTERNAL,
                                 "A helper process was ended by signal %d (%s)", si->si_status,
                                 strsignal(si->si_status));
        else if (si->si_status != 0 || !c->result)
                (void) error_set(&c->error, ERROR_INTERNAL,
                                 "A helper process ended with status %d and without an answer",
                                 si->si_status);
}

static void reap(int pidfd) {
        siginfo_t si;

        (void) waitid(P_PIDFD, (id_t) pidfd, &si, WEXITED | WNOHANG);
}

/* sd_event_add_child_pidfd() would need SIGCHLD blocked in the whole process; a pidfd alone does
 * not. */
static int on_exit_of_child(sd_event_source *s, int pidfd, _unused_ uint32_t revents,
                            void *userdata) {
        Child *c = userdata;
        siginfo_t si = {};

        if (!c) { /* abandoned */
                reap(pidfd);
                return sd_event_source_set_floating(s, false); /* the loop lets go of the source */
        }

        /* Not reaped before the last use of its pid. */
        if (waitid(P_PIDFD, (id_t) pidfd, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
                (void) error_set_errno(&c->error, -errno, "Could not wait for a helper process");
        else if (si.si_pid == 0)
                return 0;

        c->dispatching = true;
        for (size_t n = 1, total = 0; n > 0 && total < DRAIN_SIZE_MAX; total += n)
                n = child_read(c);

        judge_end(c, &si);
        if (error_is_set(&c->error))
                c->result = json_unref(c->result);
        if (c->handler.done)
                c->handler.done(c->result, &c->error, c->userdata);

        reap(pidfd);
        (void) child_free(c);
        return 0;
}

static int make_request(struct json_object *request, int *ret_fd) {
        _cleanup_close_ int fd = memfd_create("vmkit-request", MFD_CLOEXEC);
        int r;

        if (fd < 0)
                return -errno;

        const char *text =
                request ? json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN) : "{}";
        if (!text)
                return -ENOMEM;

        r = write_all(fd, text, strlen(text));
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return -errno;

        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int make_output(sd_event *event, Child *c, int *ret_write_fd) {
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;

        c->output_fd = fds[0];
        _cleanup_close_ int write_fd = fds[1];

        if (fcntl(c->output_fd, F_SETFL, O_NONBLOCK) < 0)
                return -errno;

        r = sd_event_add_io(event, &c->output_source, c->output_fd, EPOLLIN, on_output, c);
        if (r < 0)
                return r;

        *ret_write_fd = TAKE_FD(write_fd);
        return 0;
}

static int add_fd(posix_spawn_file_actions_t *actions, int fd, int target) {
        return -posix_spawn_file_actions_adddup2(actions, fd, target);
}

/* Copies the descriptors out of the way first, so that no source is overwritten before its turn. */
static int add_fds(posix_spawn_file_actions_t *actions, const int sources[], const int targets[],
                   int copies[], size_t n) {
        int r;

        for (size_t i = 0; i < n; i++) {
                copies[i] = fcntl(sources[i], F_DUPFD_CLOEXEC, FIRST_HANDED_FD + (int) n);
                if (copies[i] < 0)
                        return -errno;

                r = add_fd(actions, copies[i], targets[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Of ours it gets what a service has of systemd. */
static int make_environment(char ***ret) {
        static const char *const passed_on[] = { "JOURNAL_STREAM", "RUNTIME_DIRECTORY" };
        _cleanup_strv_ char **environment = NULL;
        int r;

        r = strv_push(&environment, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        if (r >= 0)
                r = strv_push(&environment, "LANG=C.UTF-8");
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(passed_on); i++) {
                _cleanup_free_ char *entry = NULL;
                const char *value = getenv(passed_on[i]);

                if (!value)
                        continue;
                if (asprintf(&entry, "%s=%s", passed_on[i], value) < 0) {
                        entry = NULL;
                        return -ENOMEM;
                }
                r = strv_push(&environment, entry);
        }
        if (r >= 0)
                *ret = TAKE_PTR(environment);
        return r;
}

static int spawn_with_actions(const char *const argv[], posix_spawn_file_actions_t *actions,
                              posix_spawnattr_t *attributes, pid_t *ret) {
        _cleanup_strv_ char **environment = NULL;
        sigset_t all, none;
        int r;

        r = make_environment(&environment);
        if (r < 0)
                return r;

        (void) sigfillset(&all);
        (void) sigemptyset(&none);
        (void) posix_spawnattr_setsigdefault(attributes, &all);
        (void) posix_spawnattr_setsigmask(attributes, &none);
        (void) posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF |
                                                            POSIX_SPAWN_SETSIGMASK);

        return -posix_spawn(ret, argv[0], actions, attributes, (char *const *) argv, environment);
}

/* The child has fds[0] and fds[1] as standard input and output, and the rest from 3 on. */
static int spawn(const char *const argv[], const int fds[], size_t n_fds, pid_t *ret) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        int targets[n_fds], copies[n_fds], r;

        for (size_t i = 0; i < n_fds; i++) {
                targets[i] = i < 2 ? (int) i : FIRST_HANDED_FD + (int) i - 2;
                copies[i] = -EBADF;
        }

        r = -posix_spawn_file_actions_init(&actions);
        if (r < 0)
                return r;
        r = -posix_spawnattr_init(&attributes);
        if (r < 0)
                goto finish;

        r = add_fds(&actions, fds, targets, copies, n_fds);
        if (r >= 0) /* what some library opened without O_CLOEXEC */
                r = -posix_spawn_file_actions_addclosefrom_np(&actions,
                                                              FIRST_HANDED_FD + (int) n_fds - 2);
        if (r >= 0)
                r = spawn_with_actions(argv, &actions, &attributes, ret);

        (void) posix_spawnattr_destroy(&attributes);
finish:
        (void) posix_spawn_file_actions_destroy(&actions);
        for (size_t i = 0; i < n_fds; i++)
                copies[i] = close_fd(copies[i]);
        return r;
}

static int watch_exit(sd_event *event, Child *c) {
        _cleanup_close_ int pidfd = pidfd_open(c->pid, 0);
        int r;

        if (pidfd < 0)
                return -errno;

        r = sd_event_add_io(event, &c->exit_source, pidfd, EPOLLIN, on_exit_of_child, c);
        if (r < 0)
                return r;

        (void) sd_event_source_set_io_fd_own(c->exit_source, true);
        (void) TAKE_FD(pidfd);
        return 0;
}

int child_spawn(sd_event *event, const char *const argv[], struct json_object *request,
                const int fds[], size_t n_fds, const ChildHandler *handler, void *userdata,
                Child **ret) {
        _cleanup_(child_freep) Child *c = calloc(1, sizeof(Child));
        _cleanup_close_ int input_fd = -EBADF, output_fd = -EBADF;
        int all_fds[n_fds + 2], r;

        if (!c)
                return -ENOMEM;

        c->handler = *handler;
        c->userdata = userdata;
        c->output_fd = -EBADF;

        r = make_request(request, &input_fd);
        if (r < 0)
                return r;
        r = make_output(event, c, &output_fd);
        if (r < 0)
                return r;

        all_fds[0] = input_fd;
        all_fds[1] = output_fd;
        for (size_t i = 0; i < n_fds; i++)
                all_fds[i + 2] = fds[i];

        r = spawn(argv, all_fds, n_fds + 2, &c->pid);
        if (r < 0)
                return r;

        r = watch_exit(event, c);
        if (r < 0) {
                (void) kill(c->pid, SIGKILL);
                (void) waitpid(c->pid, NULL, 0); /* no longer than a killed process takes */
                return r;
        }

        *ret = TAKE_PTR(c);
        return 0;
}

pid_t child_pid(const Child *c) {
        return c->pid;
}

void child_terminate(Child *c) {
        (void) kill(-c->pid, SIGTERM);
}

/* Closing the pipe does not end a helper: child_read_request() has switched SIGPIPE off. */
Child *child_abandon(Child *c) {
        if (!c)
                return NULL;

        c->handler = (ChildHandler) {};
        c->abandoned = true;
        if (c->dispatching)
                return NULL;

        (void) sd_event_source_set_userdata(c->exit_source, NULL);
        if (sd_event_source_set_floating(c->exit_source, true) >= 0)
                c->exit_source = sd_event_source_unref(c->exit_source);
        return child_free(c);
}

int child_read_request(struct json_object **ret) {
        struct sigaction ignore = { .sa_handler = SIG_IGN };

        /* What was begun is brought to its end, whether or not the daemon lives to hear of it. */
        (void) sigaction(SIGPIPE, &ignore, NULL);

        struct json_object *o = json_object_from_fd(STDIN_FILENO);
        if (!o)
                return -EBADMSG;

        *ret = o;
        return 0;
}

static int report(struct json_object *document) {
        const char *text = json_object_to_json_string_ext(document, JSON_C_TO_STRING_PLAIN);

        /* One write, so that the daemon rarely sees half a line. */
        return text && dprintf(STDOUT_FILENO, "%s\n", text) > 0 ? 0 : -EIO;
}

void child_report_progress(const char *phase, double progress, uint64_t bytes) {
        _cleanup_json_ struct json_object *o = json_object_new_object();

        json_add_string(o, "phase", phase);
        json_object_object_add(o, "progress", json_object_new_double(progress));
        json_object_object_add(o, "bytes", json_object_new_uint64(bytes));
        (void) report(o);
}

int child_report_result(struct json_object *result) {
        _cleanup_json_ struct json_object *o = json_object_new_object();

        json_object_object_add(o, "result", result ? result : json_object_new_object());
        return report(o) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int child_report_error(const Error *error) {
        _cleanup_json_ struct json_object *o = json_object_new_object(),
                                          *e = json_object_new_object();
        const char *name = error_code_name(error->code);

        json_add_string(e, "name", name ? name : error_code_name(ERROR_INTERNAL));
        json_add_string(e, "message", error->message ? error->message : "Out of memory");
        json_add_string(e, "remedy", error->remedy);
        json_object_object_add(o, "error", TAKE_PTR(e));
        (void) report(o);
        return EXIT_FAILURE;
}
