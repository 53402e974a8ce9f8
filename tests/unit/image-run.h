/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Runs tasks of the image helper to their end, in a directory of the test's own. The helper is the
 * program that VMKIT_IMAGE_HELPER names. */

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "image/image.h"

typedef struct ImageRun {
        sd_event *event;
        const char *helper;
        char directory[64];
        int dir_fd;

        ImageTask *task;
        unsigned n_done;
        unsigned n_progress;
        uint64_t cancel_at_progress; /* the number of the report to cancel at; 0: never */
        ImageInfo info;
        Error error;
} ImageRun;

static inline void image_run_progress(_unused_ const char *phase, _unused_ double progress,
                                      _unused_ uint64_t bytes, void *userdata) {
        ImageRun *run = userdata;

        if (++run->n_progress == run->cancel_at_progress)
                image_task_cancel(run->task);
}

static inline void image_run_done(const ImageInfo *info, const Error *error, void *userdata) {
        ImageRun *run = userdata;

        run->n_done++;
        run->task = NULL;
        if (info)
                run->info = (ImageInfo) { strdup(info->format), info->virtual_size, info->used };
        error_copy(&run->error, error);
}

static const ImageHandler image_run_handler = { .progress = image_run_progress,
                                                .done = image_run_done };

/* Not under a valgrind that does not know pidfds. */
static inline bool image_run_is_possible(void) {
        _cleanup_close_ int fd = pidfd_open(getpid(), 0);

        return fd >= 0;
}

static inline void image_run_reset(ImageRun *run) {
        image_info_clear(&run->info);
        error_clear(&run->error);
        run->n_done = run->n_progress = 0;
}

/* Waits for the task that was just started. */
static inline void image_run_wait(ImageRun *run, int r) {
        assert_int_equal(r, 0);
        while (run->task)
                assert_true(sd_event_run(run->event, 30 * USEC_PER_SEC) > 0);
        assert_int_equal(run->n_done, 1);
        assert_true(!!run->info.format == !error_is_set(&run->error));
}

static inline void image_run_expect_done(ImageRun *run) {
        if (error_is_set(&run->error))
                fail_msg("failed: %s", run->error.message);
}

static inline void image_run_expect_error(ImageRun *run, ErrorCode code, const char *text) {
        assert_int_equal(run->error.code, code);
        if (!strstr(run->error.message, text))
                fail_msg("\"%s\" does not say \"%s\"", run->error.message, text);
}

static inline unsigned image_run_count_files(const ImageRun *run) {
        int fd = openat(run->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fdopendir(fd);
        unsigned n = 0;

        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d));)
                n += !streq(e->d_name, ".") && !streq(e->d_name, "..");
        (void) closedir(d);
        return n;
}

static inline int image_run_remove(const char *path, _unused_ const struct stat *st,
                                   _unused_ int type, _unused_ struct FTW *ftw) {
        return remove(path);
}

static inline void image_run_make_directory(ImageRun *run, const char *parent) {
        (void) snprintf(run->directory, sizeof(run->directory), "%s/vmkit-test-XXXXXX", parent);
        assert_non_null(mkdtemp(run->directory));
        run->dir_fd = open(run->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(run->dir_fd >= 0);
}

static inline int image_run_setup(void **state) {
        static ImageRun run;

        run = (ImageRun) { .helper = getenv("VMKIT_IMAGE_HELPER") };
        if (!run.helper) {
                print_message("VMKIT_IMAGE_HELPER is not set\n");
                return -1;
        }
        image_run_make_directory(&run, "/var/tmp"); /* a disk: tmpfs knows fewer ways to copy */
        assert_return_code(sd_event_new(&run.event), 0);
        *state = &run;
        return 0;
}

static inline int image_run_teardown(void **state) {
        ImageRun *run = *state;

        image_run_reset(run);
        (void) sd_event_unref(run->event);
        run->dir_fd = close_fd(run->dir_fd);
        (void) nftw(run->directory, image_run_remove, 16, FTW_DEPTH | FTW_PHYS);
        return 0;
}
