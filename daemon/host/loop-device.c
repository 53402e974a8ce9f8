/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sysfs tells of a loop device what its backing file was called where it was opened, which proves
 * nothing: desktops set up a loop device over any file that a user hands them, and in a mount
 * namespace of one's own a file can be called /dev/nvme0n1. The driver tells the number of the
 * block device, if it is one.
 *
 * The driver asks the file system of the backing file for it, and that can be a user's as well
 * (FUSE), which need not answer, or with an error. So each loop device is asked by a process of its
 * own, all at the same time. The attributes of a device node are in memory: what has not answered
 * in two seconds, or was refused an answer, lies on a file. Only where nobody could be asked is
 * nothing known. */

#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/strv.h"
#include "loop-device.h"
#include "sysfs.h"

#define ANSWER_USEC (2 * USEC_PER_SEC)

/* Of all that the child might keep open it needs these two. */
#define CHILD_ANSWER_FD 0
#define CHILD_ROOT_FD 1

typedef struct Answer {
        int error;         /* 0, or why the driver could not be asked */
        dev_t backing;     /* 0: no block device */
} Answer;

typedef struct Question {
        const char *name;  /* borrowed */
        pid_t pid;
        int answer_fd;     /* -EBADF: answered, or never asked */
        Answer answer;
} Question;

static void questions_end(Question *questions, size_t n) {
        for (size_t i = 0; i < n; i++) {
                if (questions[i].pid <= 0)
                        continue;
                (void) close_fd(questions[i].answer_fd);
                (void) kill(questions[i].pid, SIGKILL);
                /* One that even this does not end is left behind: it has nothing open but what it
                 * asks. */
                (void) waitpid(questions[i].pid, NULL, questions[i].answer_fd < 0 ? 0 : WNOHANG);
        }
}

/* --- the child -------------------------------------------------------------------------------- */

/* As the kernel writes numbers for programs: 12 bits of the major between 8 and 12 more of the
 * minor. */
static dev_t decode_number(uint64_t n) {
        return makedev((unsigned) (n >> 8 & 0xfff), (unsigned) ((n & 0xff) | (n >> 12 & 0xfff00)));
}

static Answer ask_driver(int root_fd, const char *name) {
        struct loop_info64 info = {};
        int fd = openat(root_fd, PATH_TEXT("dev/%s", name),
                        O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

        if (fd < 0 && errno != ENOENT && errno != ENXIO && errno != ENODEV)
                return (Answer) { .error = -errno };
        if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
                return (Answer) {}; /* it is gone, or the file system refused */
        return (Answer) { .backing = decode_number(info.lo_rdevice) };
}

/* Neither the lock of a disk nor the pipe to vmkitd may outlive the helper here. */
static int keep_two(int root_fd, int answer_fd) {
        int root = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
        int out = fcntl(answer_fd, F_DUPFD_CLOEXEC, 3);

        if (root < 0 || out < 0 || dup2(out, CHILD_ANSWER_FD) < 0 ||
            dup2(root, CHILD_ROOT_FD) < 0 || close_range(2, ~0U, 0) < 0)
                return -errno;
        return 0;
}

_Noreturn static void give_answer(int root_fd, int answer_fd, const char *name) {
        int r = keep_two(root_fd, answer_fd);
        Answer answer = r < 0 ? (Answer) { .error = r } : ask_driver(CHILD_ROOT_FD, name);

        (void) write_all(r < 0 ? answer_fd : CHILD_ANSWER_FD, &answer, sizeof(answer));
        _exit(EXIT_SUCCESS);
}

/* --- asking ----------------------------------------------------------------------------------- */

static int ask(int root_fd, Question *q) {
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;

        q->pid = fork();
        if (q->pid == 0)
                give_answer(root_fd, ends[1], q->name);

        (void) close(ends[1]);
        if (q->pid < 0) {
                int r = -errno;

                (void) close(ends[0]);
                return r;
        }
        q->answer_fd = ends[0];
        return 0;
}

static void take_answer(Question *q) {
        Answer answer;

        q->answer = read(q->answer_fd, &answer, sizeof(answer)) == sizeof(answer)
                            ? answer
                            : (Answer) { .error = -EIO }; /* it died */
        q->answer_fd = close_fd(q->answer_fd);
}

static int wait_for_answers(Question *questions, struct pollfd *polled, size_t n) {
        uint64_t end = now_usec() + ANSWER_USEC;

        for (;;) {
                uint64_t now = now_usec();
                size_t open = 0;

                for (size_t i = 0; i < n; i++) {
                        polled[i] = (struct pollfd) { .fd = questions[i].answer_fd,
                                                      .events = POLLIN };
                        open += questions[i].answer_fd >= 0;
                }
                if (open == 0)
                        return 0;

                /* When the time is over, what has been said by then still counts. */
                int r = poll(polled, n, now < end ? (int) ((end - now) / USEC_PER_MSEC + 1) : 0);
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r == 0 && now >= end)
                        return 0;

                for (size_t i = 0; r > 0 && i < n; i++)
                        if (questions[i].answer_fd >= 0 && polled[i].revents != 0)
                                take_answer(&questions[i]);
        }
}

/* --- the list --------------------------------------------------------------------------------- */

void loop_devices_clear(LoopDevices *loops) {
        for (size_t i = 0; i < loops->n; i++)
                free(loops->items[i].name);
        free(loops->items);
        *loops = (LoopDevices) {};
}

/* Loop devices that have something behind them. */
static int list_loops(int root_fd, char ***ret) {
        _cleanup_strv_ char **disks = NULL, **loops = NULL;
        int r;

        r = list_dir_if_exists_at(root_fd, "sys/block", &disks);
        STRV_FOREACH(disk, disks) {
                if (r < 0)
                        return r;
                if (str_after(*disk, "loop") &&
                    path_exists_at(root_fd, PATH_TEXT("sys/block/%s/loop/backing_file", *disk)))
                        r = strv_push(&loops, *disk);
        }
        if (r < 0)
                return r;

        *ret = TAKE_PTR(loops);
        return 0;
}

static int take_found(const Question *questions, size_t n, LoopDevices *ret) {
        _cleanup_loop_devices_ LoopDevices loops = {};

        loops.items = calloc(n + 1, sizeof(LoopDevice));
        if (!loops.items)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                const Answer *answer = &questions[i].answer;

                if (answer->error < 0)
                        return answer->error;
                if (answer->backing == 0)
                        continue;

                LoopDevice *loop = &loops.items[loops.n];
                *loop = (LoopDevice) { .name = strdup(questions[i].name),
                                       .backing = answer->backing };
                if (!loop->name)
                        return -ENOMEM;
                loops.n++;
        }

        *ret = loops;
        loops = (LoopDevices) {};
        return 0;
}

int loop_devices_find(int root_fd, LoopDevices *ret) {
        _cleanup_strv_ char **names = NULL;
        int r;

        r = list_loops(root_fd, &names);
        if (r < 0)
                return r;

        size_t n = strv_length(names);
        _cleanup_free_ Question *questions = calloc(n + 1, sizeof(Question));
        _cleanup_free_ struct pollfd *polled = calloc(n + 1, sizeof(struct pollfd));
        if (!questions || !polled)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++)
                questions[i] = (Question) { .name = names[i], .answer_fd = -EBADF };
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = ask(root_fd, &questions[i]);
        if (r >= 0)
                r = wait_for_answers(questions, polled, n);
        questions_end(questions, n);
        return r < 0 ? r : take_found(questions, n, ret);
}
