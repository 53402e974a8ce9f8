/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* display: a viewer wants a socket to connect to, once per channel; the service hands out one
 * connected descriptor per call. So we listen on a private socket, start the viewer on it, and join
 * each connection of the viewer with a descriptor of its own. For a VM of another host each of these
 * is an ssh, at whose other end vmkitctl joins its standard streams with such a descriptor. */

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "client.h"
#include "dbus/errors.h"
#include "relay.h"
#include "remote.h"
#include "verbs.h"

#define CONNECTIONS_MAX 32

typedef struct Viewer {
        const char *type;
        const char *program;
        const char *target; /* a format that takes the path of the socket */
} Viewer;

static const Viewer viewers[] = {
        { "spice", "remote-viewer", "spice+unix://%s"       },
        { "spice", "spicy",         "--uri=spice+unix://%s" },
        { "vnc",   "vncviewer",     "%s"                    },
        { "vnc",   "xtigervncviewer", "%s"                  },
};

typedef struct Connection {
        int viewer;
        int guest;
        Channel to_guest;
        Channel to_viewer;
} Connection;

const OptionSpec display_options[] = {
        { .name = "stdio", .kind = OPTION_FLAG,
          .help = "no viewer: say which kind it is, and join it with standard input and output" },
        { 0 },
};

typedef struct Display {
        Client *c; /* NULL: the VM is on another host */
        const char *vm_path;
        const char *host, *line;
        char directory[PATH_MAX];
        struct sockaddr_un address;
        int first; /* the descriptor that the first call brought */
        int listener;
        int signals;
        int viewer_fd;
        pid_t viewer;
        Connection *connections[CONNECTIONS_MAX];
        size_t n_connections;
} Display;

/* The guest's side */

/* The first line says which kind of display it is; what follows is the display's own. */
static int read_type(int fd, char **ret_type) {
        char type[16] = "";

        for (size_t n = 0; n < sizeof type - 1; n++) {
                if (read(fd, type + n, 1) != 1)
                        return -ECONNRESET;
                if (type[n] == '\n') {
                        type[n] = '\0';
                        *ret_type = strdup(type);
                        return *ret_type ? 0 : -ENOMEM;
                }
        }

        return -EBADMSG;
}

static int open_remote(const Display *d, char **ret_type, int *ret, Failure *failure) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
        _cleanup_free_ char *type = NULL;
        int ends[2], status;
        pid_t ssh;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                return failure_errno(failure, -errno, "Cannot make a socket for ssh");
        ours = ends[0];
        theirs = ends[1];

        ssh = fork();
        if (ssh < 0)
                return failure_errno(failure, -errno, "Cannot start ssh");
        if (ssh == 0) {
                if (dup2(theirs, STDIN_FILENO) >= 0 && dup2(theirs, STDOUT_FILENO) >= 0)
                        execlp("ssh", "ssh", "-T", "--", d->host, d->line, NULL);
                _exit(SSH_FAILED);
        }

        close_fd(TAKE_FD(theirs));
        if (read_type(ours, &type) < 0) {
                close_fd(TAKE_FD(ours));
                (void) waitpid(ssh, &status, 0);
                return remote_failed(failure, d->host, WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED);
        }

        if (ret_type)
                *ret_type = TAKE_PTR(type);
        *ret = TAKE_FD(ours);
        return 0;
}

static int open_guest(const Display *d, char **ret_type, int *ret, Failure *failure) {
        if (d->host)
                return open_remote(d, ret_type, ret, failure);

        return client_descriptor(d->c, d->vm_path, "OpenDisplay", ret_type, ret, failure);
}

/* The viewer's side */

static bool in_path(const char *program) {
        _cleanup_free_ char *path = strdup(getenv("PATH") ?: "/usr/bin:/bin");
        char *state = NULL, file[PATH_MAX];

        for (char *dir = strtok_r(path, ":", &state); dir; dir = strtok_r(NULL, ":", &state)) {
                snprintf(file, sizeof file, "%s/%s", dir, program);
                if (access(file, X_OK) == 0)
                        return true;
        }

        return false;
}

static int find_viewer(const char *type, const Viewer **ret, Failure *failure) {
        for (size_t i = 0; i < ELEMENTSOF(viewers); i++)
                if (streq(viewers[i].type, type) && in_path(viewers[i].program)) {
                        *ret = &viewers[i];
                        return 0;
                }

        (void) failure_set(failure, VMKIT_ERROR_PREFIX "NotSupported",
                           "No viewer for %s is installed", type);
        failure_advise(failure, streq(type, "spice")
                                        ? "Install remote-viewer ('apt install virt-viewer')."
                                        : "Install TigerVNC ('apt install tigervnc-viewer').");
        return -EOPNOTSUPP;
}

static int listen_privately(Display *d) {
        const char *runtime = getenv("XDG_RUNTIME_DIR");

        snprintf(d->directory, sizeof d->directory, "%s/vmkitctl-XXXXXX",
                 str_empty(runtime) ? "/tmp" : runtime);
        if (!mkdtemp(d->directory)) {
                d->directory[0] = '\0';
                return -errno;
        }

        d->address.sun_family = AF_UNIX;
        int n = snprintf(d->address.sun_path, sizeof d->address.sun_path, "%s/display",
                         d->directory);
        if (n < 0 || (size_t) n >= sizeof d->address.sun_path)
                return -ENAMETOOLONG;

        d->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (d->listener < 0 ||
            bind(d->listener, (const struct sockaddr *) &d->address, sizeof d->address) < 0 ||
            listen(d->listener, CONNECTIONS_MAX) < 0)
                return -errno;

        return 0;
}

static void exec_viewer(const Viewer *viewer, const char *socket) {
        char target[PATH_MAX];
        sigset_t none;

        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(target, sizeof target, viewer->target, socket);
#pragma GCC diagnostic pop
        execlp(viewer->program, viewer->program, target, NULL);
        _exit(127);
}

static int start_viewer(Display *d, const Viewer *viewer) {
        d->viewer = fork();
        if (d->viewer < 0)
                return -errno;
        if (d->viewer == 0)
                exec_viewer(viewer, d->address.sun_path);

        d->viewer_fd = pidfd_open(d->viewer, 0);
        return d->viewer_fd < 0 ? -errno : 0;
}

/* Connections */

static Connection *connection_free(Connection *connection) {
        if (connection) {
                close_fd(connection->viewer);
                close_fd(connection->guest);
                free(connection);
        }

        return NULL;
}

static int take_guest_end(Display *d, int *ret, Failure *failure) {
        if (d->first >= 0) {
                *ret = TAKE_FD(d->first);
                return 0;
        }

        return open_guest(d, NULL, ret, failure);
}

static int connect_viewer(Display *d, Failure *failure) {
        _cleanup_close_ int viewer = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC), guest = -EBADF;
        int r;

        if (viewer < 0 || d->n_connections == CONNECTIONS_MAX)
                return 0;
        r = take_guest_end(d, &guest, failure);
        if (r < 0)
                return r;

        Connection *connection = malloc(sizeof *connection);
        if (!connection)
                return -ENOMEM;

        connection->viewer = TAKE_FD(viewer);
        connection->guest = TAKE_FD(guest);
        channel_init(&connection->to_guest, connection->viewer, connection->guest);
        channel_init(&connection->to_viewer, connection->guest, connection->viewer);
        d->connections[d->n_connections++] = connection;
        return 0;
}

static void drop_finished(Display *d) {
        for (size_t i = d->n_connections; i-- > 0;) {
                Connection *connection = d->connections[i];

                if (channel_done(&connection->to_guest) || channel_done(&connection->to_viewer)) {
                        connection_free(connection);
                        d->connections[i] = d->connections[--d->n_connections];
                }
        }
}

enum { POLL_LISTENER, POLL_VIEWER, POLL_SIGNALS, POLL_CHANNELS };

static size_t fill_poll(const Display *d, struct pollfd *fds) {
        fds[POLL_LISTENER] = (struct pollfd) { .fd = d->listener, .events = POLLIN };
        fds[POLL_VIEWER] = (struct pollfd) { .fd = d->viewer_fd, .events = POLLIN };
        fds[POLL_SIGNALS] = (struct pollfd) { .fd = d->signals, .events = POLLIN };

        for (size_t i = 0; i < d->n_connections; i++) {
                channel_poll(&d->connections[i]->to_guest, fds + POLL_CHANNELS + 4 * i);
                channel_poll(&d->connections[i]->to_viewer, fds + POLL_CHANNELS + 4 * i + 2);
        }

        return POLL_CHANNELS + 4 * d->n_connections;
}

static void move_all(Display *d, const struct pollfd *fds) {
        for (size_t i = 0; i < d->n_connections; i++) {
                channel_move(&d->connections[i]->to_guest, fds + POLL_CHANNELS + 4 * i);
                channel_move(&d->connections[i]->to_viewer, fds + POLL_CHANNELS + 4 * i + 2);
        }
}

static int serve(Display *d, Failure *failure) {
        struct pollfd fds[POLL_CHANNELS + 4 * CONNECTIONS_MAX];
        int r;

        for (;;) {
                if (poll(fds, fill_poll(d, fds), -1) < 0)
                        continue;

                move_all(d, fds);
                drop_finished(d);
                if (fds[POLL_VIEWER].revents)
                        return EXIT_DONE;
                if (fds[POLL_SIGNALS].revents)
                        return EXIT_INTERRUPTED;
                if (fds[POLL_LISTENER].revents) {
                        r = connect_viewer(d, failure);
                        if (r < 0)
                                return r;
                }
        }
}

/* The command */

static void display_done(Display *d) {
        for (size_t i = 0; i < d->n_connections; i++)
                connection_free(d->connections[i]);

        if (d->viewer > 0) {
                (void) kill(d->viewer, SIGTERM);
                (void) waitpid(d->viewer, NULL, 0);
        }

        close_fd(d->first);
        close_fd(d->listener);
        close_fd(d->signals);
        close_fd(d->viewer_fd);
        if (d->address.sun_path[0])
                (void) unlink(d->address.sun_path);
        if (d->directory[0])
                (void) rmdir(d->directory);
}

static int run_display(Display *d, const Viewer *viewer, Failure *failure) {
        int r;

        r = listen_privately(d);
        if (r < 0)
                return failure_errno(failure, r, "Cannot make a socket for the viewer");
        d->signals = relay_watch_signals();
        if (d->signals < 0)
                return d->signals;
        r = start_viewer(d, viewer);
        if (r < 0)
                return failure_errno(failure, r, "Cannot start %s", viewer->program);

        return serve(d, failure);
}

/* Opens the display and shows it. */
static int show(Display *d, Failure *failure) {
        _cleanup_free_ char *type = NULL;
        const Viewer *viewer;
        int r;

        r = open_guest(d, &type, &d->first, failure);
        if (r < 0)
                return r;
        r = find_viewer(type, &viewer, failure);
        if (r < 0)
                return r;

        return run_display(d, viewer, failure);
}

#define DISPLAY_INIT { .first = -EBADF, .listener = -EBADF, .signals = -EBADF, .viewer_fd = -EBADF }

int display_from(const char *host, const char *line, Failure *failure) {
        _cleanup_(display_done) Display d = DISPLAY_INIT;

        d.host = host;
        d.line = line;
        return show(&d, failure);
}

static int join_standard_streams(Client *c, const char *path, Failure *failure) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *type = NULL;
        int r;

        r = client_descriptor(c, path, "OpenDisplay", &type, &fd, failure);
        if (r < 0)
                return r;

        puts(type);
        fflush(stdout);
        r = relay_join(STDIN_FILENO, STDOUT_FILENO, fd);
        return r < 0 ? failure_errno(failure, r, "The display cannot be joined") : EXIT_DONE;
}

int verb_display(Client *c, Failure *failure) {
        _cleanup_free_ char *path = NULL;
        _cleanup_(display_done) Display d = DISPLAY_INIT;
        int r;

        r = client_find_vm(c, args_operand(c->args, 0), &path, failure);
        if (r < 0)
                return r;
        if (args_has(c->args, "stdio"))
                return join_standard_streams(c, path, failure);

        d.c = c;
        d.vm_path = path;
        return show(&d, failure);
}
