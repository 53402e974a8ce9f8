/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is left to a process in the sandbox: each test enters it in a child, and tells by its exit code. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/util.h"
#include "image/sandbox.h"

enum { NOT_SUPPORTED = 77 };

typedef struct Files {
        int read_fd, write_fd;
} Files;

static int make_file(void) {
        char path[] = "/var/tmp/vmkit-test-XXXXXX";
        int fd = mkostemp(path, O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(write(fd, "content", 7), 7);
        return fd;
}

static int reopen(int fd, int flags) {
        char path[32];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return open(path, flags | O_CLOEXEC);
}

/* 0 where the test is true in the sandbox. */
static void in_sandbox(bool (*test)(const Files *files)) {
        const SandboxLimits limits = { .memory = 8 * GIB, .cpu_seconds = 60, .file_size = 4096 };
        const Files files = { .read_fd = make_file(), .write_fd = make_file() };
        int status, r;

        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void) signal(SIGXFSZ, SIG_IGN);
                r = sandbox_enter(&files.read_fd, 1, files.write_fd, &limits);
                _exit(r == -EOPNOTSUPP ? NOT_SUPPORTED : r < 0 ? 2 : test(&files) ? 0 : 1);
        }

        assert_int_equal(waitpid(pid, &status, 0), pid);
        (void) close(files.read_fd);
        (void) close(files.write_fd);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == NOT_SUPPORTED)
                skip(); /* valgrind does not know these calls */
        assert_int_equal(WEXITSTATUS(status), 0);
}

static bool has_the_given_files(const Files *files) {
        return reopen(files->read_fd, O_RDONLY) >= 0 && reopen(files->write_fd, O_RDWR) >= 0 &&
               reopen(files->read_fd, O_RDWR) < 0 && errno == EACCES;
}

static bool has_no_other(const Files *files) {
        static const char *const paths[] = { "/etc/passwd", "/proc/self/environ", "/var/tmp", "/" };

        for (size_t i = 0; i < ELEMENTSOF(paths); i++)
                if (open(paths[i], O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
                        return false;
        return open("/var/tmp/vmkit-test-new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0 && errno == EACCES;
}

static bool has_programs(const Files *files) {
        return open("/usr/bin/env", O_RDONLY | O_CLOEXEC) >= 0 && open("/usr/bin/env", O_RDWR | O_CLOEXEC) < 0;
}

static bool has_no_network(const Files *files) {
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0 && errno == EPERM &&
               socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0 && errno == EPERM;
}

static bool has_no_other_process(const Files *files) {
        return kill(getppid(), 0) < 0 && errno == EPERM;
}

static bool has_limits(const Files *files) {
        char data[8192] = { 1 };

        return pwrite(files->write_fd, data, sizeof(data), 0) == 4096 &&
               pwrite(files->write_fd, data, 1, 4096) < 0 && errno == EFBIG;
}

#define TEST(name)                                                                                        \
        static void test_##name(void **state) {                                                           \
                in_sandbox(name);                                                                         \
        }

TEST(has_the_given_files)
TEST(has_no_other)
TEST(has_programs)
TEST(has_no_network)
TEST(has_no_other_process)
TEST(has_limits)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_has_the_given_files), cmocka_unit_test(test_has_no_other),
                cmocka_unit_test(test_has_programs),        cmocka_unit_test(test_has_no_network),
                cmocka_unit_test(test_has_no_other_process), cmocka_unit_test(test_has_limits),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
