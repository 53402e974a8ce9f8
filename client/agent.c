/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pkttyagent registers itself for its parent, which is us, says so by closing the descriptor it is
 * given, and lets a desktop's agent go first (--fallback). It switches the terminal's echo off
 * while a password is typed; should it end in the middle of that, we put the settings back. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "agent.h"

#define PKTTYAGENT "/usr/bin/pkttyagent"

static void exec_agent(int notify_fd, pid_t parent) {
        char fd_text[16];
        sigset_t none;

        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);

        if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
                _exit(EXIT_FAILURE);
        if (fcntl(notify_fd, F_SETFD, 0) < 0)
                _exit(EXIT_FAILURE);

        snprintf(fd_text, sizeof fd_text, "%d", notify_fd);
        execl(PKTTYAGENT, PKTTYAGENT, "--notify-fd", fd_text, "--fallback", NULL);
        _exit(EXIT_FAILURE);
}

static void wait_until_closed(int fd) {
        struct pollfd p = { .fd = fd };

        while (poll(&p, 1, -1) < 0 && errno == EINTR)
                ;
}

static int remember_terminal(Agent *agent) {
        _cleanup_close_ int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

        if (fd < 0 || tcgetattr(fd, &agent->settings) < 0)
                return -errno;

        agent->tty = TAKE_FD(fd);
        return 0;
}

void agent_open(Agent *agent) {
        int pipe_fds[2];
        pid_t parent = getpid();

        if (agent->pid > 0 || geteuid() == 0 || access(PKTTYAGENT, X_OK) < 0)
                return;
        if (agent->tty < 0 && remember_terminal(agent) < 0)
                return;
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return;

        pid_t pid = fork();
        if (pid == 0)
                exec_agent(pipe_fds[1], parent);

        close_fd(pipe_fds[1]);
        if (pid > 0) {
                agent->pid = pid;
                wait_until_closed(pipe_fds[0]);
        }
        close_fd(pipe_fds[0]);
}

static void stop(pid_t pid) {
        (void) kill(pid, SIGTERM);
        (void) kill(pid, SIGCONT);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
}

void agent_close(Agent *agent) {
        if (agent->pid > 0) {
                stop(agent->pid);
                (void) tcsetattr(agent->tty, TCSADRAIN, &agent->settings);
        }

        agent->tty = close_fd(agent->tty);
        agent->pid = 0;
}
