/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The real helper, on real files. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/statvfs.h>

#include "image-run.h"
#include "image/temporary.h"
#include "qcow2-image.h"

#define MAX_VIRTUAL (16 * TIB)

static uint8_t image[QCOW2_IMAGE_SIZE];

static int make_file(ImageRun *run, const char *name, uint64_t size) {
        int fd = openat(run->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_return_code(ftruncate(fd, (off_t) size), errno);
        return fd;
}

static void write_data(int fd, uint64_t offset, uint64_t size, uint8_t seed) {
        static uint8_t block[64 * KIB];

        for (size_t i = 0; i < sizeof(block); i++)
                block[i] = (uint8_t) (i * 7 + i / 251 + seed) | 1;
        for (uint64_t done = 0; done < size; done += sizeof(block))
                assert_int_equal(pwrite(fd, block, sizeof(block), (off_t) (offset + done)),
                                 sizeof(block));
}

/* Until the file system is full. */
static void fill(int fd) {
        static const uint8_t block[64 * KIB] = { 1 };
        ssize_t n;

        do
                n = write(fd, block, sizeof(block));
        while (n > 0);
        assert_int_equal(errno, ENOSPC);
}

static void copy(ImageRun *run, int source, const char *name, uint64_t grow_to) {
        image_run_reset(run);
        image_run_wait(run, image_copy(run->event, run->helper, source, run->directory, name,
                                       grow_to, MAX_VIRTUAL, UINT64_MAX, &image_run_handler, run, &run->task));
}

static int open_copy(ImageRun *run, const char *name) {
        int fd = openat(run->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

        assert_true(fd >= 0);
        return fd;
}

static void assert_same(int a, int b, uint64_t size) {
        static uint8_t x[MIB], y[MIB];

        for (uint64_t offset = 0; offset < size; offset += sizeof(x)) {
                ssize_t n = pread(a, x, sizeof(x), (off_t) offset),
                        m = pread(b, y, sizeof(y), (off_t) offset);

                assert_true(n > 0 && m >= n);
                assert_memory_equal(x, y, (size_t) n);
        }
}

static void test_sparse(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = make_file(run, "source", 256 * MIB);
        struct stat st;

        write_data(source, 0, MIB, 1);
        write_data(source, 100 * MIB, 5 * MIB, 2);
        write_data(source, 256 * MIB - 64 * KIB, 64 * KIB, 3);

        copy(run, source, "copy", 0);
        image_run_expect_done(run);
        assert_string_equal(run->info.format, "raw");
        assert_int_equal(run->info.virtual_size, 256 * MIB);
        assert_true(run->n_progress > 0);

        _cleanup_close_ int target = open_copy(run, "copy.raw");
        assert_return_code(fstat(target, &st), errno);
        assert_int_equal(st.st_size, 256 * MIB);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_true((uint64_t) st.st_blocks * 512 < 8 * MIB);
        assert_same(source, target, 256 * MIB);
        assert_int_equal(image_run_count_files(run), 2);
}

/* From another file system, where only reading and writing works, zeros become holes. */
static void test_zeros(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = memfd_create("source", MFD_CLOEXEC);
        static const uint8_t zeros[64 * KIB];
        struct stat st;

        write_data(source, 0, MIB, 1);
        for (uint64_t offset = MIB; offset < 33 * MIB; offset += sizeof(zeros))
                assert_int_equal(pwrite(source, zeros, sizeof(zeros), (off_t) offset),
                                 sizeof(zeros));
        write_data(source, 33 * MIB, MIB, 9);
        assert_int_equal(pwrite(source, "end", 3, (off_t) (40 * MIB)), 3);
        assert_return_code(lseek(source, 12345, SEEK_SET),
                           errno); /* where the client is does not matter */

        copy(run, source, "copy", 0);
        image_run_expect_done(run);
        assert_int_equal(run->info.virtual_size, 40 * MIB + 512);

        _cleanup_close_ int target = open_copy(run, "copy.raw");
        assert_return_code(fstat(target, &st), errno);
        assert_int_equal(st.st_size, 40 * MIB + 512);
        assert_true((uint64_t) st.st_blocks * 512 < 4 * MIB);
        assert_same(source, target, 40 * MIB + 3);
}

static void test_grow(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = make_file(run, "source", 10 * MIB);

        copy(run, source, "same", 10 * MIB);
        image_run_expect_done(run);
        assert_int_equal(run->info.virtual_size, 10 * MIB);

        copy(run, source, "larger", 50 * MIB + 1);
        image_run_expect_done(run);
        assert_int_equal(run->info.virtual_size, 50 * MIB + 512);

        copy(run, source, "smaller", 10 * MIB - 512);
        image_run_expect_error(run, ERROR_INVALID_OPTION, "disk-size");
        copy(run, source, "huge", MAX_VIRTUAL + 512);
        image_run_expect_error(run, ERROR_INVALID_OPTION, "limit");
        assert_int_equal(image_run_count_files(run), 3);
}

static bool have_program(const char *program) {
        char command[64];

        (void) snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
        return system(command) == 0;
}

static void test_qcow2(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = -EBADF;

        qcow2_image_make(image);
        source = memory_file(image, sizeof(image));
        copy(run, source, "copy", 0);
        image_run_expect_done(run);
        assert_string_equal(run->info.format, "qcow2");
        assert_int_equal(run->info.virtual_size, QCOW2_VIRTUAL_SIZE);
        _cleanup_close_ int target = open_copy(run, "copy.qcow2");
        assert_same(source, target, sizeof(image));

        copy(run, source, "smaller", QCOW2_VIRTUAL_SIZE / 2);
        image_run_expect_error(run, ERROR_INVALID_OPTION, "disk-size");
        assert_int_equal(image_run_count_files(run), 1);

        if (!have_program("qemu-img"))
                return;
        copy(run, source, "larger", 5 * GIB);
        image_run_expect_done(run);
        assert_string_equal(run->info.format, "qcow2");
        assert_int_equal(run->info.virtual_size, 5 * GIB);
        assert_return_code(faccessat(run->dir_fd, "larger.qcow2", F_OK, 0), errno);
        assert_int_equal(image_run_count_files(run), 2);
}

static void test_rejected(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = -EBADF;

        qcow2_image_make(image);
        put64(image, 8, 512);
        source = memory_file(image, sizeof(image));
        copy(run, source, "copy", 0);
        image_run_expect_error(run, ERROR_IMAGE_REJECTED, "backing file");

        assert_return_code(ftruncate(source, 0), errno);
        copy(run, source, "copy", 0);
        image_run_expect_error(run, ERROR_IMAGE_REJECTED, "empty");
        assert_int_equal(image_run_count_files(run), 0);
}

/* What is too much is told before anything of it is copied. */
static void test_not_allowed(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = memory_file("", 1);

        assert_return_code(ftruncate(source, (off_t) (2 * MIB)), errno);
        for (uint64_t allowed = 2 * MIB - 1; allowed <= 2 * MIB; allowed++) {
                image_run_reset(run);
                image_run_wait(run, image_copy(run->event, run->helper, source, run->directory, "copy", 0, MAX_VIRTUAL,
                                               allowed, &image_run_handler, run, &run->task));
                if (allowed < 2 * MIB) {
                        image_run_expect_error(run, ERROR_LIMIT_EXCEEDED, "2M");
                        assert_int_equal(run->n_progress, 0);
                } else
                        image_run_expect_done(run);
        }
        assert_int_equal(image_run_count_files(run), 1);
}

static void test_exists(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = make_file(run, "source", MIB);

        (void) close_fd(make_file(run, "taken.qcow2", 0));
        copy(run, source, "copy", 0);
        image_run_expect_done(run);
        copy(run, source, "copy", 0);
        image_run_expect_error(run, ERROR_IMAGE_EXISTS, "copy");
        copy(run, source, "taken", 0);
        image_run_expect_error(run, ERROR_IMAGE_EXISTS, "taken");
        assert_int_equal(image_run_count_files(run), 3);
}

static void test_descriptors(void **state) {
        ImageRun *run = *state;
        int pipe_fds[2], sockets[2];

        assert_return_code(pipe2(pipe_fds, O_CLOEXEC), errno);
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), errno);

        (void) close_fd(make_file(run, "source", MIB));
        _cleanup_close_ int writer = openat(run->dir_fd, "source", O_WRONLY | O_CLOEXEC),
                            path = openat(run->dir_fd, "source", O_PATH | O_CLOEXEC),
                            device = open("/dev/zero", O_RDONLY | O_CLOEXEC),
                            proc = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
        const struct {
                int fd;
                ErrorCode code;
                const char *text;
        } bad[] = {
                { pipe_fds[0], ERROR_INVALID_OPTION, "not a regular file" },
                { sockets[0], ERROR_INVALID_OPTION, "not a regular file" },
                { run->dir_fd, ERROR_INVALID_OPTION, "not a regular file" },
                { device, ERROR_INVALID_OPTION, "not a regular file" },
                { writer, ERROR_INVALID_OPTION, "writing only" },
                { path, ERROR_INVALID_OPTION, "O_PATH" },
                { proc, ERROR_IMAGE_REJECTED, "empty" },
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                copy(run, bad[i].fd, "copy", 0);
                image_run_expect_error(run, bad[i].code, bad[i].text);
        }
        assert_int_equal(image_run_count_files(run), 1);

        for (size_t i = 0; i < 2; i++) {
                (void) close_fd(pipe_fds[i]);
                (void) close_fd(sockets[i]);
        }
}

static void test_cancel(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = memfd_create("source", MFD_CLOEXEC);

        write_data(source, 0, 200 * MIB, 1);
        run->cancel_at_progress = 1;
        copy(run, source, "copy", 0);
        image_run_expect_error(run, ERROR_CANCELLED, "cancelled");
        assert_int_equal(image_run_count_files(run), 0);
}

/* Starts a copy, waits for the first report and sends the helper a signal. */
static void start_and_signal(ImageRun *run, int source, int signal_number) {
        char path[64];
        pid_t pid;

        assert_int_equal(image_copy(run->event, run->helper, source, run->directory, "copy", 0,
                                    MAX_VIRTUAL, UINT64_MAX, &image_run_handler, run, &run->task),
                         0);
        while (run->task && run->n_progress == 0)
                assert_true(sd_event_run(run->event, 30 * USEC_PER_SEC) > 0);

        (void) snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int) getpid());
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        if (f && fscanf(f, "%d", &pid) == 1)
                (void) kill(pid, signal_number);
}

/* As by the kernel: nothing is left of it either. */
static void test_killed(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = memfd_create("source", MFD_CLOEXEC);

        write_data(source, 0, 128 * MIB, 1);
        start_and_signal(run, source, SIGKILL);
        image_run_wait(run, 0);
        if (!error_is_set(&run->error)) /* it was faster */
                return;
        image_run_expect_error(run, ERROR_INTERNAL, "signal 9");
        assert_int_equal(image_run_count_files(run), 0);
}

static void test_shrinks(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = memfd_create("source", MFD_CLOEXEC);

        write_data(source, 0, 128 * MIB, 1);
        start_and_signal(run, source, 0);
        assert_return_code(ftruncate(source, 4096), errno);
        image_run_wait(run, 0);
        if (!error_is_set(&run->error))
                return;
        image_run_expect_error(run, ERROR_INVALID_OPTION, "shorter");
        assert_int_equal(image_run_count_files(run), 0);
}

static void test_full(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int source = memfd_create("source", MFD_CLOEXEC);
        int original = run->dir_fd;

        /* In a mount namespace of its own, so that nothing stays mounted whatever happens. */
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", run->directory, "tmpfs", 0, "size=8m") < 0)
                skip();
        run->dir_fd = open(run->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        write_data(source, 0, 16 * MIB, 1); /* seen before */
        copy(run, source, "copy", 0);
        ErrorCode before = run->error.code;
        char *message_before = strdup(run->error.message);

        /* Seen on the way: data that says it is a hole until it is read cannot be made here, so
         * something else takes the rest of the space while the helper works: it gets there first, or
         * finds out on the way. */
        assert_return_code(ftruncate(source, (off_t) (7 * MIB)), errno);
        assert_int_equal(image_copy(run->event, run->helper, source, run->directory, "copy", 0,
                                    MAX_VIRTUAL, UINT64_MAX, &image_run_handler, run, &run->task),
                         0);
        image_run_reset(run);
        _cleanup_close_ int other = make_file(run, "other", 0);
        fill(other);
        image_run_wait(run, 0);
        ErrorCode during = run->error.code;
        unsigned n_files = image_run_count_files(run);

        other = close_fd(other);
        (void) close_fd(run->dir_fd);
        run->dir_fd = original;
        assert_return_code(umount2(run->directory, MNT_DETACH), errno);

        assert_int_equal(before, ERROR_NO_SPACE);
        assert_non_null(strstr(message_before, "needs 16M"));
        assert_non_null(strstr(message_before, "8M are free"));
        free(message_before);
        assert_true(during == ERROR_NO_SPACE || during == ERROR_NONE);
        assert_int_equal(n_files, during == ERROR_NONE ? 2 : 1);
}

static void test_readonly(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int iso = memory_file("", 1), rom = memory_file("\x55\xaa", 2);

        assert_int_equal(pwrite(iso, "CD001", 5, 0x8001), 5);
        image_run_wait(run, image_copy_readonly(run->event, run->helper, IMAGE_CDROM, iso,
                                                run->directory, "cd", GIB, &image_run_handler, run,
                                                &run->task));
        image_run_expect_done(run);
        assert_return_code(faccessat(run->dir_fd, "cd.iso", F_OK, 0), errno);

        image_run_reset(run);
        image_run_wait(run,
                       image_copy_readonly(run->event, run->helper, IMAGE_ROM, rom, run->directory,
                                           "vbios", GIB, &image_run_handler, run, &run->task));
        image_run_expect_done(run);
        assert_int_equal(run->info.virtual_size, 2); /* unchanged */
        assert_return_code(faccessat(run->dir_fd, "vbios.rom", F_OK, 0), errno);

        image_run_reset(run);
        image_run_wait(run,
                       image_copy_readonly(run->event, run->helper, IMAGE_ROM, iso, run->directory,
                                           "bad", GIB, &image_run_handler, run, &run->task));
        image_run_expect_error(run, ERROR_IMAGE_REJECTED, "rom");
        assert_int_equal(image_run_count_files(run), 2);
}

static void test_empty(void **state) {
        ImageRun *run = *state;

        if (!have_program("qemu-img"))
                skip();

        image_run_wait(run, image_create_empty(run->event, run->helper, run->directory, "disk",
                                               10 * GIB, &image_run_handler, run, &run->task));
        image_run_expect_done(run);
        assert_string_equal(run->info.format, "qcow2");
        assert_int_equal(run->info.virtual_size, 10 * GIB);

        image_run_reset(run);
        image_run_wait(run, image_create_empty(run->event, run->helper, run->directory, "disk", GIB,
                                               &image_run_handler, run, &run->task));
        image_run_expect_error(run, ERROR_IMAGE_EXISTS, "disk");
        assert_int_equal(image_run_count_files(run), 1);
}

static void expect_temporary(ImageRun *run, int (*open_it)(int, const char *, Temporary *),
                             unsigned while_open) {
        for (unsigned replace = 0; replace < 2; replace++) {
                _cleanup_temporary_ Temporary t = TEMPORARY_INIT, again = TEMPORARY_INIT;

                assert_int_equal(open_it(run->dir_fd, "x", &t), 0);
                assert_int_equal(image_run_count_files(run), while_open + replace);
                assert_int_equal(pwrite(t.fd, "abc", 3, 0), 3);
                assert_int_equal(temporary_publish(&t, "x", replace), 0);
                assert_int_equal(image_run_count_files(run), 1);

                assert_int_equal(open_it(run->dir_fd, "x", &again), 0);
                assert_int_equal(temporary_publish(&again, "x", false), -EEXIST);
                temporary_clear(&again);
                assert_int_equal(image_run_count_files(run), 1);
        }
        assert_return_code(unlinkat(run->dir_fd, "x", 0), errno);
}

/* The second way is taken where the file system knows no files without names. */
static void test_temporary(void **state) {
        ImageRun *run = *state;

        expect_temporary(run, temporary_open, 0);
        expect_temporary(run, temporary_open_named, 1);

        assert_false(temporary_is_cancelled());
        assert_return_code(raise(SIGTERM), errno); /* blocked by now */
        assert_true(temporary_is_cancelled());
        (void) signal(SIGTERM, SIG_IGN); /* forgets it */
        assert_false(temporary_is_cancelled());
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, image_run_setup, image_run_teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_sparse),   TEST(test_zeros),  TEST(test_grow),     TEST(test_qcow2),
                TEST(test_rejected), TEST(test_not_allowed), TEST(test_exists), TEST(test_descriptors),
                TEST(test_cancel),
                TEST(test_killed),   TEST(test_shrinks), TEST(test_full),    TEST(test_readonly),
                TEST(test_empty),    TEST(test_temporary),
        };

        if (!image_run_is_possible())
                return 77;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
