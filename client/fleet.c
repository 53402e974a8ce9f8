/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every host is asked for the document of --json, by an ssh of its own whose output is collected until it ends.
 * None of them can ask for anything: answers to many questions at once would be anyone's guess. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/printable.h"
#include "base/strv.h"
#include "dbus/errors.h"
#include "fleet.h"
#include "remote.h"

#define AT_ONCE_MAX 32      /* how many hosts are asked at a time */
#define OUTPUT_MAX (16 * MIB)
#define REMEDY_INDENT 2     /* a line that begins without one is ours */

enum { OUT, ERR, _STREAM_MAX };

typedef struct Stream {
        int fd; /* negative when it is over, or not begun */
        char *text;
        size_t size;
        FILE *file; /* writes to text */
} Stream;

typedef struct Member {
        const char *host;
        pid_t pid; /* 0: not started */
        Stream streams[_STREAM_MAX];
        int status; /* what ssh exited with */
        bool ended;
} Member;

typedef struct Run {
        const char *line; /* for the shell over there */
        Member *members;
        size_t n, started, running;
} Run;

static void stream_done(Stream *stream) {
        close_fd(stream->fd);
        if (stream->file)
                fclose(stream->file);
        free(stream->text);
}

static void run_done(Run *run) {
        for (size_t i = 0; i < run->n; i++) {
                Member *m = run->members + i;

                for (size_t k = 0; k < _STREAM_MAX; k++)
                        stream_done(&m->streams[k]);
                if (m->pid > 0 && !m->ended) {
                        (void) kill(m->pid, SIGTERM);
                        (void) waitpid(m->pid, NULL, 0);
                }
        }
        free(run->members);
}

/* Starting */

static void exec_member(const Run *run, const char *host, const int ends[_STREAM_MAX]) {
        int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);

        if (nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 && dup2(ends[OUT], STDOUT_FILENO) >= 0 &&
            dup2(ends[ERR], STDERR_FILENO) >= 0)
                execlp("ssh", "ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o",
                       "ServerAliveInterval=5", "--", host, run->line, NULL);
        _exit(SSH_FAILED);
}

static int open_stream(Stream *stream, int *ret_end) {
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        stream->fd = ends[0];
        *ret_end = ends[1];

        stream->file = open_memstream(&stream->text, &stream->size);
        return stream->file ? 0 : -ENOMEM;
}

static int start_member(Run *run, Member *m) {
        _cleanup_close_ int out = -EBADF, err = -EBADF;
        int r;

        r = open_stream(&m->streams[OUT], &out);
        if (r < 0)
                return r;
        r = open_stream(&m->streams[ERR], &err);
        if (r < 0)
                return r;

        m->pid = fork();
        if (m->pid < 0)
                return -errno;
        if (m->pid == 0)
                exec_member(run, m->host, (int[]) { out, err });

        run->started++;
        run->running++;
        return 0;
}

/* Collecting */

static void take(Member *m, Stream *stream) {
        char buffer[8192];
        ssize_t n = read(stream->fd, buffer, sizeof buffer);

        if (n > 0 && stream->size + (size_t) n <= OUTPUT_MAX) {
                fwrite(buffer, 1, (size_t) n, stream->file);
                fflush(stream->file); /* sets text and size */
                return;
        }
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;

        if (n > 0)
                (void) kill(m->pid, SIGTERM); /* whoever sends so much may go on without end */
        close_fd(stream->fd);
        stream->fd = -EBADF;
}

/* Neither ssh without a connection nor a shell without vmkitctl has asked the service. */
static bool is_unreachable(int status) {
        return status == SSH_FAILED || status == SHELL_NOT_FOUND;
}

static void end_member(Run *run, Member *m) {
        int status;

        while (waitpid(m->pid, &status, 0) < 0)
                if (errno != EINTR)
                        return;

        m->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        m->ended = true;
        run->running--;
}

static bool is_over(const Member *m) {
        return m->pid > 0 && !m->ended && m->streams[OUT].fd < 0 && m->streams[ERR].fd < 0;
}

static int collect(Run *run) {
        _cleanup_free_ struct pollfd *fds = calloc(run->started * _STREAM_MAX, sizeof *fds);

        if (!fds)
                return -ENOMEM;

        for (size_t i = 0; i < run->started * _STREAM_MAX; i++)
                fds[i] = (struct pollfd) {
                        .fd = run->members[i / _STREAM_MAX].streams[i % _STREAM_MAX].fd, .events = POLLIN,
                };
        if (poll(fds, run->started * _STREAM_MAX, -1) < 0)
                return errno == EINTR ? 0 : -errno;

        for (size_t i = 0; i < run->started * _STREAM_MAX; i++) {
                Member *m = run->members + i / _STREAM_MAX;

                if (fds[i].revents)
                        take(m, &m->streams[i % _STREAM_MAX]);
                if (is_over(m))
                        end_member(run, m);
        }

        return 0;
}

static int ask_all(Run *run) {
        int r;

        while (run->started < run->n || run->running > 0) {
                while (run->started < run->n && run->running < AT_ONCE_MAX) {
                        r = start_member(run, run->members + run->started);
                        if (r < 0)
                                return r;
                }
                r = collect(run);
                if (r < 0)
                        return r;
        }

        return 0;
}

/* The answer */

#define SAID_MAX 1024

/* What ssh itself, or the shell over there, said last is why it failed. */
static char *last_line(const Stream *stream) {
        const char *text = stream->text ?: "", *end = text + stream->size;

        while (end > text && strchr("\r\n", end[-1]))
                end--;

        const char *start = memrchr(text, '\n', (size_t) (end - text));
        start = start ? start + 1 : text;
        return strndup(start, (size_t) (end - start));
}

static json_object *no_answer(const Member *m) {
        _cleanup_failure_ Failure failure = { 0 };

        (void) failure_set(&failure, VMKIT_ERROR_PREFIX "Internal",
                           "'%s' sent no answer that this version understands", m->host);
        failure_advise(&failure, "See that the same version of vmkit is installed on '%s' as here, where "
                                 "'vmkitctl --version' shows it, and that its shell says nothing on standard output.",
                       m->host);
        return failure_document(&failure);
}

static json_object *own_error(const Member *m, char *said) {
        _cleanup_failure_ Failure failure = { 0 };

        if (said)
                make_printable(said, SAID_MAX);
        if (is_unreachable(m->status))
                (void) remote_unreachable(&failure, m->host, m->status, said);
        else
                (void) failure_set(&failure, VMKIT_ERROR_PREFIX "Internal", "vmkitctl on '%s' failed: %s", m->host,
                                   said ?: "");
        return failure_document(&failure);
}

static const JsonField error_fields[] = {
        { "message", json_type_string },
        { "name", json_type_string },
        { "remedy", json_type_string },
};

/* {error: {name, message, remedy}}, which came from the service over there. NULL: it is something else. */
static json_object *told_error(json_object *document) {
        static const char *const keys[] = { "name", "message", "remedy" };
        _cleanup_json_ json_object *one = json_object_new_array(), *picked = NULL;

        json_object_array_add(one, json_object_get(json_get(document, "error")));
        if (!json_are_rows(one, error_fields, ELEMENTSOF(error_fields)))
                return NULL;

        picked = json_pick_fields(one, keys, ELEMENTSOF(keys));
        return json_object_get(json_at(picked, 0));
}

/* Whatever ssh and the shell over there had to say comes before it. */
static json_object *error_of(const Member *m) {
        _cleanup_free_ char *said = last_line(&m->streams[ERR]);
        _cleanup_json_ json_object *document = json_parse_answer(said ?: "", strlen(said ?: ""));
        json_object *error = told_error(document);

        if (error)
                return error;
        if (is_unreachable(m->status))
                return own_error(m, said);
        return document || m->status == EXIT_DONE || m->streams[OUT].size > 0 ? no_answer(m) : own_error(m, said);
}

static json_object *rows_in(const Fleet *fleet, json_object *result) {
        return fleet->key ? json_get(result, fleet->key) : result;
}

/* What is not well on a host is an answer too (exit code 1 of check). NULL: there is none. */
static json_object *result_of(const Fleet *fleet, const Member *m) {
        const Stream *out = &m->streams[OUT];
        _cleanup_json_ json_object *result = NULL;

        if (m->status != EXIT_DONE && !(fleet->exit_tells && m->status == EXIT_FAILED))
                return NULL;

        result = json_parse_answer(out->text ?: "", out->size);
        return json_are_rows(rows_in(fleet, result), fleet->fields, fleet->n_fields) ? TAKE_PTR(result) : NULL;
}

/* Only what vmkitctl says by its exit code is taken over, and never that all is done when it is not. */
static int exit_code_of(const Member *m, bool answered) {
        if (is_unreachable(m->status))
                return EXIT_UNREACHABLE;
        if (m->status > EXIT_UNREACHABLE || (m->status == EXIT_DONE && !answered))
                return EXIT_FAILED;
        return m->status;
}

static json_object *member_document(const Fleet *fleet, const Member *m) {
        json_object *d = json_object_new_object(), *result = result_of(fleet, m);

        json_set_string(d, "host", m->host);
        json_object_object_add(d, "exit_code", json_object_new_int(exit_code_of(m, result)));
        json_object_object_add(d, "result", result);
        json_object_object_add(d, "error", result ? NULL : error_of(m));
        return d;
}

static void add_rows(const Fleet *fleet, json_object *member, json_object *rows) {
        json_object *all = rows_in(fleet, json_get(member, "result"));
        _cleanup_json_ json_object *own = all && fleet->rows ? fleet->rows(all) : json_object_get(all);

        for (size_t i = 0; i < json_length(own); i++) {
                json_object *row = json_object_get(json_at(own, i));

                json_object_object_add(row, "host", json_object_get(json_get(member, "host")));
                json_object_array_add(rows, row);
        }
}

static void print_failure(json_object *member) {
        json_object *error = json_get(member, "error");
        if (error)
                failure_print(json_string(member, "host"), json_string(error, "message"),
                              json_string(error, "remedy"), REMEDY_INDENT);
}

static bool is_one_unwell(json_object *members) {
        for (size_t i = 0; i < json_length(members); i++)
                if (json_has(json_at(members, i), "result") &&
                    json_int(json_at(members, i), "exit_code", 0) == EXIT_FAILED)
                        return true;

        return false;
}

static int print_fleet(const Args *args, json_object *members) {
        _cleanup_json_ json_object *rows = json_object_new_array();
        const Fleet *fleet = args->verb->fleet;
        int r;

        for (size_t i = 0; i < json_length(members); i++)
                add_rows(fleet, json_at(members, i), rows);

        if (!fleet->exit_tells || !args_has(args, "quiet")) {
                r = listing_show(args, fleet->listing, rows);
                if (r < 0)
                        return r;
        }

        for (size_t i = 0; i < json_length(members); i++)
                print_failure(json_at(members, i));
        if (fleet->hint && is_one_unwell(members) && !args_has(args, "quiet"))
                print_text(stderr, "%s\n", fleet->hint);
        return 0;
}

static int show(const Args *args, const Run *run) {
        _cleanup_json_ json_object *members = json_object_new_array();
        int exit_code = EXIT_DONE, r = 0;

        for (size_t i = 0; i < run->n; i++) {
                json_object *member = member_document(args->verb->fleet, run->members + i);

                json_object_array_add(members, member);
                exit_code = MAX(exit_code, (int) json_int(member, "exit_code", EXIT_FAILED));
        }

        if (args_has(args, "json"))
                json_print(members);
        else
                r = print_fleet(args, members);

        return r < 0 ? r : exit_code;
}

int fleet_run(const Args *args, char *const *hosts, Failure *failure) {
        size_t n = strv_length(hosts);
        _cleanup_(run_done) Run run = { .members = calloc(n, sizeof(Member)), .n = n };
        _cleanup_free_ char *line = NULL;
        int r;

        if (!run.members)
                return failure_oom(failure);
        for (size_t i = 0; i < n; i++)
                run.members[i] = (Member) { .host = hosts[i], .streams = { { .fd = -EBADF }, { .fd = -EBADF } } };

        r = remote_line(args, "json", &line, failure);
        if (r < 0)
                return r;
        run.line = line;

        r = ask_all(&run);
        return r < 0 ? failure_errno(failure, r, "Cannot ask the hosts") : show(args, &run);
}
