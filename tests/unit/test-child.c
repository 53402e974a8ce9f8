/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Children are this program itself, called with the name of what they are to do. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/child.h"

typedef struct Run {
        sd_event *event;
        Child *child;
        unsigned n_progress;
        unsigned n_done;
        char phase[64];
        double progress;
        uint64_t bytes;
        char *result; /* as JSON */
        Error error;
        bool abandon_in_progress;
} Run;

static char *json_text(struct json_object *o) {
        return strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                                JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void on_progress(const char *phase, double progress, uint64_t bytes, void *userdata) {
        Run *run = userdata;

        run->n_progress++;
        run->progress = progress;
        run->bytes = MAX(run->bytes, bytes);
        (void) snprintf(run->phase, sizeof(run->phase), "%s", phase);
        if (run->abandon_in_progress)
                run->child = child_abandon(run->child);
}

static void on_done(struct json_object *result, const Error *error, void *userdata) {
        Run *run = userdata;

        run->n_done++;
        run->child = NULL;
        if (result)
                run->result = json_text(result);
        error_copy(&run->error, error);
}

static void run_begin(Run *run, const char *const argv[], struct json_object *request,
                      const int fds[], size_t n_fds) {
        static const ChildHandler handler = { .progress = on_progress, .done = on_done };

        *run = (Run) {};
        assert_return_code(sd_event_new(&run->event), 0);
        assert_int_equal(child_spawn(run->event, argv, request, fds, n_fds, &handler, run,
                                     &run->child),
                         0);
        assert_true(child_pid(run->child) > 0);
}

static void run_wait(Run *run) {
        for (unsigned i = 0; run->child && i < 100000; i++)
                assert_true(sd_event_run(run->event, 20 * USEC_PER_SEC) > 0);
        assert_int_equal(run->n_done, 1);
        assert_true(!!run->result == !error_is_set(&run->error));
}

static void run_end(Run *run) {
        free(run->result);
        error_clear(&run->error);
        (void) sd_event_unref(run->event);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left to reap */
        assert_int_equal(errno, ECHILD);
}

static void run_self(Run *run, const char *what, struct json_object *request, const int fds[],
                     size_t n_fds) {
        run_begin(run, (const char *const[]) { "/proc/self/exe", what, NULL }, request, fds, n_fds);
        run_wait(run);
}

static void run_shell(Run *run, const char *script) {
        run_begin(run, (const char *const[]) { "/bin/sh", "-c", script, NULL }, NULL, NULL, 0);
        run_wait(run);
}

static void expect_internal(Run *run, const char *text) {
        assert_int_equal(run->error.code, ERROR_INTERNAL);
        if (!strstr(run->error.message, text))
                fail_msg("\"%s\" does not mention \"%s\"", run->error.message, text);
        run_end(run);
}

static void test_result(_unused_ void **state) {
        struct json_object *request = json_object_new_object();
        Run run;

        json_object_object_add(request, "text", json_object_new_string("a\nb \"c\" \\ é"));
        run_self(&run, "echo", request, NULL, 0);
        _cleanup_free_ char *expected = json_text(request);
        json_object_put(request);
        assert_non_null(run.result);
        assert_string_equal(run.result, expected);
        run_end(&run);
}

static void test_no_request(_unused_ void **state) {
        Run run;

        run_self(&run, "echo", NULL, NULL, 0);
        assert_string_equal(run.result, "{}");
        run_end(&run);
}

static void test_progress(_unused_ void **state) {
        Run run;

        run_self(&run, "progress", NULL, NULL, 0);
        assert_int_equal(run.n_progress, 3);
        assert_string_equal(run.phase, "last");
        assert_true(fabs(run.progress - 1.0) < 0.001); /* 7 was reported */
        assert_int_equal(run.bytes, 4096);
        assert_non_null(run.result);
        run_end(&run);
}

static void test_error(_unused_ void **state) {
        Run run;

        run_self(&run, "error", NULL, NULL, 0);
        assert_int_equal(run.error.code, ERROR_IMAGE_REJECTED);
        assert_string_equal(run.error.message, "the image is \"bad\"");
        assert_string_equal(run.error.remedy, "Make it good.");
        run_end(&run);

        run_self(&run, "plain-error", NULL, NULL, 0);
        assert_int_equal(run.error.code, ERROR_BUSY);
        assert_null(run.error.remedy);
        assert_string_equal(error_remedy(&run.error), error_code_remedy(ERROR_BUSY));
        run_end(&run);
}

static void test_descriptors(_unused_ void **state) {
        _cleanup_close_ int a = memfd_create("a", MFD_CLOEXEC), b = memfd_create("b", MFD_CLOEXEC);
        /* Opened without O_CLOEXEC, as careless libraries do. */
        _cleanup_close_ int careless = open("/dev/null", O_RDONLY);
        Run run;

        assert_return_code(dprintf(a, "first"), errno);
        assert_return_code(dprintf(b, "second"), errno);
        assert_true(careless >= 0);

        run_self(&run, "descriptors", NULL, (const int[]) { b, a, b }, 3);
        assert_string_equal(run.result, "[\"second\",\"first\",\"second\",\"3 after those\"]");
        run_end(&run);
}

/* Sources that are themselves low numbers, in the order that would overwrite the other. */
static void test_descriptors_crossed(_unused_ void **state) {
        _cleanup_close_ int a = memfd_create("a", MFD_CLOEXEC), b = memfd_create("b", MFD_CLOEXEC);
        int low = MIN(a, b), high = MAX(a, b);
        Run run;

        assert_return_code(dprintf(low, "low"), errno);
        assert_return_code(dprintf(high, "high"), errno);
        run_self(&run, "descriptors", NULL, (const int[]) { high, low }, 2);
        assert_string_equal(run.result, "[\"high\",\"low\",\"2 after those\"]");
        run_end(&run);
}

static void test_environment(_unused_ void **state) {
        Run run;

        assert_int_equal(setenv("SECRET", "1", true), 0);
        assert_int_equal(setenv("JOURNAL_STREAM", "1:2", true), 0);
        run_self(&run, "environment", NULL, NULL, 0);
        assert_string_equal(
                run.result,
                "[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\","
                "\"LANG=C.UTF-8\",\"JOURNAL_STREAM=1:2\"]");
        run_end(&run);

        assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
        run_self(&run, "environment", NULL, NULL, 0);
        assert_null(strstr(run.result, "JOURNAL_STREAM"));
        run_end(&run);
}

static void test_signals(_unused_ void **state) {
        sigset_t blocked, before;
        Run run;

        (void) sigemptyset(&blocked);
        (void) sigaddset(&blocked, SIGTERM);
        (void) sigaddset(&blocked, SIGUSR1);
        assert_int_equal(sigprocmask(SIG_BLOCK, &blocked, &before), 0);
        (void) signal(SIGHUP, SIG_IGN);

        run_self(&run, "signals", NULL, NULL, 0);
        assert_string_equal(run.result, "{\"blocked\":0,\"ignored\":0,\"session\":true}");
        run_end(&run);

        (void) signal(SIGHUP, SIG_DFL);
        assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
}

static void test_broken(_unused_ void **state) {
        Run run;

        run_shell(&run, "exit 0");
        expect_internal(&run, "status 0 and without an answer");
        run_shell(&run, "exit 7");
        expect_internal(&run, "status 7");
        run_shell(&run, "kill -SEGV $$");
        expect_internal(&run, "signal 11");
        run_shell(&run, "echo '{\"result\":{}}'; exit 1");
        expect_internal(&run, "status 1");
        run_shell(&run, "printf '{\"result\":{}}'"); /* without its newline: cut off */
        expect_internal(&run, "without an answer");
        run_shell(&run, "echo hello; sleep 100");
        expect_internal(&run, "not JSON");
        run_shell(&run, "echo '[1]'; sleep 100");
        expect_internal(&run, "not JSON");
        run_shell(&run, "echo '{\"result\":\"\\0377\"}'; sleep 100");
        expect_internal(&run, "not JSON");
        run_shell(&run, "echo '{\"result\":{}} {\"result\":{}}'; sleep 100");
        expect_internal(&run, "not JSON");
        run_shell(&run, "printf '{\"result\":{}}\\0\\n'; sleep 100");
        expect_internal(&run, "not JSON");
        run_shell(&run, "echo '{}'; sleep 100");
        expect_internal(&run, "not understood");
        run_shell(&run, "echo '{\"result\":null}'; sleep 100");
        expect_internal(&run, "not understood");
        run_shell(&run, "echo '{\"error\":{\"name\":\"foo\",\"message\":\"bar\"}}'; sleep 100");
        expect_internal(&run, "without a name");
        run_shell(&run, "echo '{\"error\":3}'; sleep 100");
        expect_internal(&run, "without a name");
        run_shell(&run, "echo '{\"result\":{}}'; echo '{\"result\":{}}'; sleep 100");
        expect_internal(&run, "went on");
}

static void test_endless_line(_unused_ void **state) {
        Run run;

        run_shell(&run, "exec cat /dev/zero");
        expect_internal(&run, "without end");
}

static void test_many_lines(_unused_ void **state) {
        Run run;

        run_shell(&run, "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); "
                        "echo '{\"phase\":\"p\",\"progress\":-1}'; "
                        "done; echo '{\"result\":{\"n\":5000}}'");
        assert_int_equal(run.n_progress, 5000);
        assert_true(run.progress < 0);
        assert_string_equal(run.result, "{\"n\":5000}");
        run_end(&run);
}

/* A grandchild keeps standard output open, silent or noisy: the end of the child is what counts. */
static void test_grandchild(_unused_ void **state) {
        Run run;

        run_shell(&run, "sleep 3 & echo '{\"result\":{}}'");
        assert_non_null(run.result);
        run_end(&run);

        run_self(&run, "noisy", NULL, NULL, 0);
        expect_internal(&run, "status 3");
}

static void test_closes_output_early(_unused_ void **state) {
        Run run;

        run_shell(&run, "echo '{\"result\":{}}'; exec >&-; sleep 0.2");
        assert_non_null(run.result);
        run_end(&run);
}

static void test_terminate(_unused_ void **state) {
        Run run;

        run_begin(&run, (const char *const[]) { "/bin/sh", "-c", "sleep 100 & wait", NULL }, NULL,
                  NULL, 0);
        child_terminate(run.child);
        run_wait(&run);
        expect_internal(&run, "signal 15");
}

/* The loop reaps them; it is not told when. */
static void run_until_reaped(Run *run) {
        bool reaped = false;

        for (unsigned i = 0; i < 3000 && !reaped; i++) {
                assert_return_code(sd_event_run(run->event, 10 * USEC_PER_MSEC), 0);
                reaped = waitid(P_ALL, 0, &(siginfo_t) {}, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
        }
        assert_true(reaped);
}

static void make_marker(char marker[static 32]) {
        (void) strcpy(marker, "/tmp/vmkit-test-XXXXXX");
        _cleanup_close_ int fd = mkstemp(marker);
        assert_true(fd >= 0);
        assert_int_equal(unlink(marker), 0);
}

/* It runs on, to the end, although nobody reads what it says, and is reaped. */
static void test_abandon(_unused_ void **state) {
        char marker[32];
        Run run;

        make_marker(marker);
        run_begin(&run, (const char *const[]) { "/proc/self/exe", "slow", marker, NULL }, NULL,
                  NULL, 0);
        run.child = child_abandon(run.child);
        run_until_reaped(&run);
        assert_int_equal(unlink(marker), 0);
        assert_int_equal(run.n_done, 0);
        run_end(&run);
        assert_null(child_abandon(NULL));
}

static void test_abandon_in_handler(_unused_ void **state) {
        Run run;

        run_begin(&run, (const char *const[]) { "/proc/self/exe", "progress", NULL }, NULL,
                  NULL, 0);
        run.abandon_in_progress = true;
        while (run.child)
                assert_true(sd_event_run(run.event, 20 * USEC_PER_SEC) > 0);
        run_until_reaped(&run);
        assert_int_equal(run.n_progress, 1);
        assert_int_equal(run.n_done, 0);
        run_end(&run);
}

static void test_no_such_program(_unused_ void **state) {
        static const ChildHandler handler = { .done = on_done };
        sd_event *event = NULL;
        Child *child = NULL;

        assert_return_code(sd_event_new(&event), 0);
        assert_int_equal(child_spawn(event, (const char *const[]) { "/nonexistent", NULL }, NULL,
                                     NULL, 0, &handler, NULL, &child),
                         -ENOENT);
        assert_int_equal(child_spawn(event, (const char *const[]) { "/bin/true", NULL }, NULL,
                                     (const int[]) { 9999 }, 1, &handler, NULL, &child),
                         -EBADF);
        assert_null(child);
        (void) sd_event_unref(event);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* The child's side. */

static int child_error(const char *remedy) {
        _cleanup_error_ Error error = ERROR_INIT;

        if (remedy) {
                (void) error_set(&error, ERROR_IMAGE_REJECTED, "the image is \"%s\"", "bad");
                error_set_remedy(&error, "%s", remedy);
        } else
                (void) error_set(&error, ERROR_BUSY, "not now");
        return child_report_error(&error);
}

static int child_descriptors(void) {
        struct json_object *list = json_object_new_array();
        char text[64];
        int fd = 3, open_fds = 0;

        for (;; fd++) {
                ssize_t n = pread(fd, text, sizeof(text), 0);
                if (n < 0)
                        break;
                json_object_array_add(list, json_object_new_string_len(text, (int) n));
        }

        for (int i = fd; i < 1024; i++)
                open_fds += fcntl(i, F_GETFD) >= 0;

        (void) snprintf(text, sizeof(text), "%d after those", fd - 3 + open_fds);
        json_object_array_add(list, json_object_new_string(text));
        return child_report_result(list);
}

static int child_environment(void) {
        struct json_object *list = json_object_new_array();

        for (char **e = environ; *e; e++)
                json_object_array_add(list, json_object_new_string(*e));
        return child_report_result(list);
}

static int child_signals(void) {
        struct json_object *o = json_object_new_object();
        int n_blocked = 0, n_ignored = 0;
        struct sigaction action;
        sigset_t blocked;

        (void) sigprocmask(SIG_SETMASK, NULL, &blocked);
        for (int i = 1; i < SIGRTMIN; i++) {
                n_blocked += sigismember(&blocked, i) == 1;
                n_ignored += i != SIGPIPE && sigaction(i, NULL, &action) == 0 &&
                             action.sa_handler == SIG_IGN;
        }

        json_object_object_add(o, "blocked", json_object_new_int(n_blocked));
        json_object_object_add(o, "ignored", json_object_new_int(n_ignored));
        json_object_object_add(o, "session", json_object_new_boolean(getsid(0) == getpid()));
        return child_report_result(o);
}

static int child_progress(void) {
        child_report_progress("first", 0, 0);
        child_report_progress("second", 0.5, 4096);
        child_report_progress("last", 7, 0);
        return child_report_result(NULL);
}

static int child_noisy(void) {
        if (fork() != 0)
                return 3;

        (void) alarm(3);
        for (;;)
                child_report_progress("noise", 0.5, 0);
}

static int child_slow(const char *marker) {
        (void) usleep(100 * USEC_PER_MSEC);
        child_report_progress("to nobody", 0.5, 0);
        child_report_progress("to nobody", 0.6, 0);
        (void) close_fd(open(marker, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        return child_report_result(NULL);
}

static int child_main(char *argv[]) {
        struct json_object *request = NULL;
        int r;

        if (child_read_request(&request) < 0)
                return 99;

        if (streq(argv[1], "echo"))
                return child_report_result(request);

        if (streq(argv[1], "progress"))
                r = child_progress();
        else if (streq(argv[1], "error"))
                r = child_error("Make it good.");
        else if (streq(argv[1], "plain-error"))
                r = child_error(NULL);
        else if (streq(argv[1], "descriptors"))
                r = child_descriptors();
        else if (streq(argv[1], "noisy"))
                r = child_noisy();
        else if (streq(argv[1], "environment"))
                r = child_environment();
        else if (streq(argv[1], "signals"))
                r = child_signals();
        else
                r = child_slow(argv[2]);

        json_object_put(request);
        return r;
}

int main(int argc, char *argv[]) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_result),
                cmocka_unit_test(test_no_request),
                cmocka_unit_test(test_progress),
                cmocka_unit_test(test_error),
                cmocka_unit_test(test_descriptors),
                cmocka_unit_test(test_descriptors_crossed),
                cmocka_unit_test(test_environment),
                cmocka_unit_test(test_signals),
                cmocka_unit_test(test_broken),
                cmocka_unit_test(test_endless_line),
                cmocka_unit_test(test_many_lines),
                cmocka_unit_test(test_grandchild),
                cmocka_unit_test(test_closes_output_early),
                cmocka_unit_test(test_terminate),
                cmocka_unit_test(test_abandon),
                cmocka_unit_test(test_abandon_in_handler),
                cmocka_unit_test(test_no_such_program),
        };

        if (argc > 1)
                return child_main(argv);
        if (pidfd_open(getpid(), 0) < 0)
                return 77; /* under a valgrind that does not know it */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
