/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images of other formats by the service that converts them: what systemd does with its socket is done here, as
 * far as it matters, which is the user it runs as. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "image-run.h"
#include "image/conversion.h"

#define NOBODY 65534
#define MAX_VIRTUAL (64 * TIB)

/* What the other end of the socket does. */
typedef enum Behaviour {
        SERVE,
        HANG_UP,
} Behaviour;

static _Noreturn void become_service(int fd) {
        const char *program = getenv("VMKIT_CONVERT_SERVICE");

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
                _exit(1);
        if (dup2(fd, STDIN_FILENO) >= 0)
                (void) execl(program, program, NULL);
        _exit(1);
}

static pid_t start_service(int fd) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                become_service(fd);
        return pid;
}

static _Noreturn void accept_all(int listen_fd, Behaviour behaviour) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
                int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

                if (fd < 0)
                        _exit(1);
                if (behaviour == SERVE)
                        (void) waitpid(start_service(fd), NULL, 0);
                (void) close(fd);
        }
}

/* In a directory beside that of the images. */
typedef struct Service {
        char directory[96];
        int listen_fd;
        pid_t pid;
} Service;

static void service_open(Service *s, const ImageRun *run, Behaviour behaviour) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        (void) snprintf(s->directory, sizeof(s->directory), "%s.run", run->directory);
        assert_return_code(mkdir(s->directory, 0700), errno);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/" CONVERSION_SOCKET, s->directory);
        s->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_true(s->listen_fd >= 0);
        assert_return_code(bind(s->listen_fd, (struct sockaddr *) &address, sizeof(address)), errno);
        assert_return_code(listen(s->listen_fd, 8), errno);
        assert_return_code(setenv("RUNTIME_DIRECTORY", s->directory, true), errno);

        s->pid = fork();
        assert_true(s->pid >= 0);
        if (s->pid == 0)
                accept_all(s->listen_fd, behaviour);
}

static void service_close(Service *s) {
        char path[128];

        assert_return_code(kill(s->pid, SIGKILL), errno);
        assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
        (void) close(s->listen_fd);
        (void) snprintf(path, sizeof(path), "%s/" CONVERSION_SOCKET, s->directory);
        (void) unlink(path);
        (void) rmdir(s->directory);
        (void) unsetenv("RUNTIME_DIRECTORY");
}

/* A VDI with some content. */
static int make_vdi(const ImageRun *run) {
        char path[128], command[640];
        int fd;

        (void) snprintf(path, sizeof(path), "%s/foreign", run->directory);
        (void) snprintf(command, sizeof(command),
                        "head -c 1M /dev/urandom >'%s.raw' && qemu-img convert -q -f raw -O vdi '%s.raw' '%s' && "
                        "rm '%s.raw'", path, path, path, path);
        assert_int_equal(system(command), 0);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_return_code(unlink(path), errno);
        return fd;
}

static void import(ImageRun *run, int source) {
        image_run_reset(run);
        image_run_wait(run, image_copy(run->event, run->helper, source, run->directory, "image", 0, MAX_VIRTUAL,
                                       UINT64_MAX, &image_run_handler, run, &run->task));
}

/* Nobody could open the copy and the new image, but that their modes are opened; and they are closed again. */
static void test_by_another_user(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = make_vdi(run);
        struct stat st;
        Service service;

        service_open(&service, run, SERVE);
        import(run, source);
        service_close(&service);

        image_run_expect_done(run);
        assert_string_equal(run->info.format, "qcow2");
        assert_int_equal(run->info.virtual_size, MIB);
        assert_return_code(fstatat(run->dir_fd, "image.qcow2", &st, 0), errno);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(image_run_count_files(run), 1);
}

static void test_damaged(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = make_vdi(run), cut = memfd_create("cut", MFD_CLOEXEC);
        char start[4096];
        Service service;

        assert_int_equal(pread(source, start, sizeof(start), 0), sizeof(start));
        assert_int_equal(pwrite(cut, start, sizeof(start), 0), sizeof(start));
        service_open(&service, run, SERVE);
        import(run, cut);
        service_close(&service);

        image_run_expect_error(run, ERROR_IMAGE_REJECTED, "VDI");
        assert_int_equal(image_run_count_files(run), 0);
}

static void test_service_ends(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = make_vdi(run);
        Service service;

        service_open(&service, run, HANG_UP);
        import(run, source);
        service_close(&service);

        image_run_expect_error(run, ERROR_INTERNAL, "without an answer");
        assert_int_equal(image_run_count_files(run), 0);
}

/* A service that is not there is no reason to do with less. */
static void test_no_service(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = make_vdi(run);

        assert_return_code(setenv("RUNTIME_DIRECTORY", run->directory, true), errno);
        import(run, source);
        (void) unsetenv("RUNTIME_DIRECTORY");

        image_run_expect_error(run, ERROR_NOT_READY, "converts images");
        assert_int_equal(image_run_count_files(run), 0);
}

/* --- the service itself ------------------------------------------------------------------------------------- */

typedef struct Files {
        int source, target, messages;
} Files;

/* Not in memory: Landlock knows only files of a file system. */
static Files make_files(void) {
        const Files files = { open("/var/tmp", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600),
                              memfd_create("target", MFD_CLOEXEC), memfd_create("messages", MFD_CLOEXEC) };

        assert_return_code(ftruncate(files.source, MIB), errno);
        assert_return_code(fchmod(files.source, 0444), errno);
        return files;
}

static void close_files(Files *files) {
        (void) close(files->source);
        (void) close(files->target);
        (void) close(files->messages);
}

static Conversion make_conversion(const Files *files, uint64_t file_size) {
        return (Conversion) {
                .source = files->source, .base = -EBADF, .target = files->target, .messages = files->messages,
                .limits = { .memory = 2 * GIB, .cpu_seconds = 60, .file_size = file_size },
        };
}

/* The service's end is closed here, so that it is gone with the service. */
static pid_t connect_service(int *ret_fd) {
        int fds[2];
        pid_t pid;

        assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), errno);
        pid = start_service(fds[1]);
        (void) close(fds[1]);
        *ret_fd = fds[0];
        return pid;
}

static int end_of(pid_t pid) {
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_answer(void **state) {
        Files files = make_files();
        Conversion c = make_conversion(&files, MIB);
        int fd, status;
        pid_t pid = connect_service(&fd);

        memcpy(c.argv, ((const char *[]) { "qemu-img", "map", "-f", "raw", "/proc/self/fd/0", NULL }),
               6 * sizeof(char *));
        assert_int_equal(conversion_send(fd, &c), 0);
        assert_int_equal(conversion_receive_status(fd, &status), 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_true(lseek(files.target, 0, SEEK_END) > 0);
        assert_int_equal(end_of(pid), 0);
        assert_int_equal(conversion_receive_status(fd, &status), -ENODATA);
        (void) close(fd);
        close_files(&files);
}

/* It would read for a minute; that nobody waits for it ends it at once. */
static void test_cancelled(void **state) {
        Files files = make_files();
        Conversion c = make_conversion(&files, MIB);
        int fd, pipe_fds[2];
        char text[4096];
        pid_t pid = connect_service(&fd);

        assert_return_code(pipe2(pipe_fds, O_CLOEXEC), errno);
        c.target = pipe_fds[1];
        memcpy(c.argv, ((const char *[]) { "qemu-img", "bench", "-c", "2000000000", "-f", "raw", "/proc/self/fd/0",
                                           NULL }), 8 * sizeof(char *));
        assert_int_equal(conversion_send(fd, &c), 0);
        (void) close(pipe_fds[1]);
        (void) close(fd);
        assert_int_equal(end_of(pid), 0); /* not for want of somebody to tell how qemu-img ended */

        while (read(pipe_fds[0], text, sizeof(text)) > 0) /* until qemu-img, which can write there, is gone too */
                ;
        (void) close(pipe_fds[0]);
        close_files(&files);
}

static void test_output_limit(void **state) {
        Files files = make_files();
        Conversion c = make_conversion(&files, 16);
        int fd, status;
        pid_t pid = connect_service(&fd);

        memcpy(c.argv, ((const char *[]) { "qemu-img", "info", "-f", "raw", "/proc/self/fd/0", NULL }),
               6 * sizeof(char *));
        assert_int_equal(conversion_send(fd, &c), 0);
        assert_int_equal(conversion_receive_status(fd, &status), 0);
        assert_int_equal(lseek(files.target, 0, SEEK_END), 16);
        assert_int_equal(end_of(pid), 0);
        (void) close(fd);
        close_files(&files);
}

static void expect_refused(const Conversion *c) {
        int fd, status;
        pid_t pid = connect_service(&fd);

        if (c)
                assert_int_equal(conversion_send(fd, c), 0);
        else
                assert_int_equal(send(fd, "nonsense", 8, 0), 8);
        assert_int_equal(conversion_receive_status(fd, &status), -ENODATA);
        assert_int_equal(end_of(pid), EXIT_FAILURE);
        (void) close(fd);
}

static void test_refused(void **state) {
        Files files = make_files();
        Conversion c = make_conversion(&files, MIB);

        memcpy(c.argv, ((const char *[]) { "sh", "-c", "true", NULL }), 4 * sizeof(char *));
        expect_refused(&c);
        expect_refused(NULL);
        close_files(&files);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, image_run_setup, image_run_teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_by_another_user),     TEST(test_damaged),
                TEST(test_service_ends),        TEST(test_no_service),
                cmocka_unit_test(test_answer),  cmocka_unit_test(test_cancelled),
                cmocka_unit_test(test_output_limit), cmocka_unit_test(test_refused),
        };

        if (!image_run_is_possible())
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
