/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "image/image.h"
#include "qcow2-image.h"

static char directory[] = "/tmp/vmkit-test-store-XXXXXX";
static int state_fd = -EBADF;

static int remove_one(const char *path, _unused_ const struct stat *st, _unused_ int type,
                      _unused_ struct FTW *ftw) {
        return remove(path);
}

static int setup(_unused_ void **state) {
        (void) strcpy(directory + strlen(directory) - 6, "XXXXXX");
        assert_non_null(mkdtemp(directory));
        state_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(state_fd >= 0);
        return 0;
}

static int teardown(_unused_ void **state) {
        state_fd = close_fd(state_fd);
        return nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put_file(const char *path, const void *data, size_t size) {
        _cleanup_close_ int fd =
                openat(state_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
}

static void prepare(uid_t uid, const char *expected) {
        _cleanup_free_ char *path = NULL;

        assert_int_equal(image_store_prepare(state_fd, uid, &path), 0);
        assert_string_equal(path, expected);
}

static void fill(void) {
        static uint8_t image[QCOW2_IMAGE_SIZE];

        qcow2_image_make(image);
        prepare(0, "images/0");
        prepare(1000, "images/1000");
        put_file("images/0/shared.raw", "0123456789", 10);
        put_file("images/0/both.raw", "shared", 6);
        put_file("images/1000/both.raw", "mine", 4);
        put_file("images/1000/own.qcow2", image, sizeof(image));
        put_file("images/1000/.own2.raw.new", "x", 1);
        put_file("images/1000/other.txt", "x", 1);
        put_file("images/1000/raw", "x", 1);
        put_file("images/1000/-bad.raw", "x", 1);
        assert_return_code(mkdirat(state_fd, "images/1000/directory.raw", 0700), errno);
        assert_return_code(symlinkat("/etc/passwd", state_fd, "images/1000/link.raw"), errno);
        assert_return_code(mkfifoat(state_fd, "images/1000/fifo.raw", 0600), errno);
}

static void test_prepare(_unused_ void **state) {
        mode_t before = umask(0077);
        struct stat st;

        prepare(1000, "images/1000");
        prepare(1000, "images/1000");
        (void) umask(before);
        prepare(4294967294, "images/4294967294");

        assert_return_code(fstatat(state_fd, "images", &st, AT_SYMLINK_NOFOLLOW), errno);
        assert_int_equal(st.st_mode, S_IFDIR | 0711);
        assert_return_code(fstatat(state_fd, "images/1000", &st, AT_SYMLINK_NOFOLLOW), errno);
        assert_int_equal(st.st_mode, S_IFDIR | 0711);
}

static void test_prepare_link(_unused_ void **state) {
        _cleanup_free_ char *path = NULL;

        assert_return_code(symlinkat("/tmp", state_fd, "images"), errno);
        assert_true(image_store_prepare(state_fd, 1000, &path) < 0);
        assert_null(path);
        assert_return_code(unlinkat(state_fd, "images", 0), errno);

        prepare(0, "images/0");
        assert_return_code(symlinkat("0", state_fd, "images/1000"), errno);
        assert_true(image_store_prepare(state_fd, 1000, &path) < 0);
        assert_null(path);
}

static void expect_item(const StoredImages *images, size_t i, const char *name, const char *format,
                        uint64_t virtual_size, uid_t owner) {
        assert_true(i < images->n);
        assert_string_equal(images->items[i].name, name);
        assert_string_equal(images->items[i].info.format, format);
        assert_int_equal(images->items[i].info.virtual_size, virtual_size);
        assert_int_equal(images->items[i].owner, owner);
}

static void test_list(_unused_ void **state) {
        _cleanup_(stored_images_clear) StoredImages none = {}, mine = {}, roots = {}, others = {};

        assert_int_equal(image_store_list(state_fd, 1000, &none), 0); /* before there is a store */
        assert_int_equal(none.n, 0);

        fill();
        assert_int_equal(image_store_list(state_fd, 1000, &mine), 0);
        assert_int_equal(mine.n, 4);
        expect_item(&mine, 0, "both", "raw", 4, 1000);
        expect_item(&mine, 1, "own", "qcow2", QCOW2_VIRTUAL_SIZE, 1000);
        expect_item(&mine, 2, "both", "raw", 6, 0);
        expect_item(&mine, 3, "shared", "raw", 10, 0);
        assert_true(mine.items[1].info.used >= QCOW2_CLUSTER);

        assert_int_equal(image_store_list(state_fd, 0, &roots), 0);
        assert_int_equal(roots.n, 2);
        assert_int_equal(image_store_list(state_fd, 1001, &others), 0);
        assert_int_equal(others.n, 2);
}

static void expect_content(uid_t uid, const char *name, const char *content, uid_t owner) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_error_ Error error = ERROR_INIT;
        char buffer[32] = "";
        uid_t found = 77;

        assert_int_equal(image_store_open(state_fd, uid, name, &fd, &found, &error), 0);
        assert_int_equal(found, owner);
        assert_true(read(fd, buffer, sizeof(buffer) - 1) >= 0);
        assert_memory_equal(buffer, content, strlen(content));
}

static void expect_not_opened(uid_t uid, const char *name, ErrorCode code) {
        _cleanup_error_ Error error = ERROR_INIT;
        int fd = -EBADF;
        uid_t owner;

        assert_int_equal(image_store_open(state_fd, uid, name, &fd, &owner, &error),
                         -error_code_errno(code));
        assert_int_equal(error.code, code);
        assert_int_equal(fd, -EBADF);
}

static void test_open(_unused_ void **state) {
        static const char *const invalid[] = { "",    ".",           "..",   "../0/shared",
                                               "a/b", "/etc/passwd", "-bad", ".own2" };

        expect_not_opened(1000, "shared", ERROR_NO_SUCH_IMAGE);
        fill();
        expect_content(1000, "both", "mine", 1000);
        expect_content(1001, "both", "shared", 0);
        expect_content(0, "both", "shared", 0);
        expect_content(1000, "shared", "0123456789", 0);
        expect_content(1000, "own", "QFI\xfb", 1000);

        expect_not_opened(1001, "own", ERROR_NO_SUCH_IMAGE);
        expect_not_opened(1000, "own.qcow2", ERROR_NO_SUCH_IMAGE);
        expect_not_opened(1000, "directory", ERROR_NO_SUCH_IMAGE);
        expect_not_opened(1000, "fifo", ERROR_NO_SUCH_IMAGE);
        expect_not_opened(1000, "link", ERROR_NO_SUCH_IMAGE);
        for (size_t i = 0; i < ELEMENTSOF(invalid); i++)
                expect_not_opened(1000, invalid[i], ERROR_INVALID_NAME);
}

static void test_remove(_unused_ void **state) {
        _cleanup_error_ Error error = ERROR_INIT;

        fill();
        assert_int_equal(image_store_remove(state_fd, 1000, "both", &error), 0);
        expect_content(1000, "both", "shared", 0); /* what was behind it */
        assert_int_equal(image_store_remove(state_fd, 1000, "own", &error), 0);
        assert_false(error_is_set(&error));

        assert_true(image_store_remove(state_fd, 1000, "both", &error) <
                    0); /* never another owner's */
        assert_int_equal(error.code, ERROR_NO_SUCH_IMAGE);
        error_clear(&error);
        assert_true(image_store_remove(state_fd, 1002, "shared", &error) < 0);
        assert_int_equal(error.code, ERROR_NO_SUCH_IMAGE);
        error_clear(&error);
        assert_true(image_store_remove(state_fd, 1000, "../0/shared", &error) < 0);
        assert_int_equal(error.code, ERROR_INVALID_NAME);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_prepare, setup, teardown),
                cmocka_unit_test_setup_teardown(test_prepare_link, setup, teardown),
                cmocka_unit_test_setup_teardown(test_list, setup, teardown),
                cmocka_unit_test_setup_teardown(test_open, setup, teardown),
                cmocka_unit_test_setup_teardown(test_remove, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
