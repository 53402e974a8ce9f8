/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Jobs: steps in order, undo in reverse, one end. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bare-manager.h"
#include "core/job-record.h"

typedef struct Fixture {
        Tree *state;
        Manager manager;
        char trace[256];
        unsigned ended;
} Fixture;

static void note(Job *job, const char *what) {
        Fixture *f = job->manager->observer_data;

        strcat(f->trace, what);
}

static void on_job_ended(Job *job, void *userdata) {
        Fixture *f = userdata;

        f->ended++;
        (void) sd_event_exit(f->manager.event, 0);
}

static int setup(void **state) {
        static const Observer observer = { BARE_OBSERVER, .job_ended = on_job_ended };
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        f->state = tree_new();
        bare_manager_init(&f->manager, f->state, &observer, f);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        bare_manager_clear(&f->manager);
        tree_free(f->state);
        free(f);
        return 0;
}

/* --- steps ------------------------------------------------------------------------------------------------ */

static int run_a(Job *job, Error *error) {
        note(job, "a");
        return STEP_DONE;
}

static int undo_a(Job *job, Error *error) {
        note(job, "A");
        return STEP_DONE;
}

static int finish_later(sd_event_source *source, void *userdata) {
        Job *job = userdata;

        job->timer = sd_event_source_disable_unref(job->timer);
        job_step_done(job, 0, NULL);
        return 0;
}

static int run_b(Job *job, Error *error) {
        note(job, "b");
        return sd_event_add_defer(job->manager->event, &job->timer, finish_later, job) < 0 ? -EIO : STEP_ASYNC;
}

static int undo_b(Job *job, Error *error) {
        note(job, "B");
        return sd_event_add_defer(job->manager->event, &job->timer, finish_later, job) < 0 ? -EIO : STEP_ASYNC;
}

static int run_fails(Job *job, Error *error) {
        note(job, "x");
        return error_set(error, ERROR_BIND_FAILED, "it does not bind");
}

static int undo_fails(Job *job, Error *error) {
        note(job, "X");
        return error_set(error, ERROR_BUSY, "it cannot be undone");
}

static int run_waits(Job *job, Error *error) {
        note(job, "w");
        return STEP_ASYNC;
}

static void cancel_waits(Job *job) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = error_set(&error, ERROR_CANCELLED, "cancelled");

        note(job, "c");
        job_step_done(job, r, &error);
}

static const JobStep step_a = { "a", run_a, undo_a, NULL };
static const JobStep step_b = { "b", run_b, undo_b, NULL };
static const JobStep step_fails = { "fails", run_fails, undo_fails, NULL };
static const JobStep step_undo_fails = { "undo fails", run_a, undo_fails, NULL };
static const JobStep step_waits = { "waits", run_waits, NULL, cancel_waits };

static Job *begin(Fixture *f, const JobStep *const steps[]) {
        Job *job;

        assert_int_equal(job_new(&f->manager, "test", 1000, &job), 0);
        for (size_t i = 0; steps[i]; i++)
                assert_int_equal(job_add_steps(job, steps[i], 1), 0);
        assert_true(job_begin(job) >= 0);
        return job;
}

static Job *run(Fixture *f, const JobStep *const steps[]) {
        Job *job = begin(f, steps);

        assert_int_equal(f->ended, 0);
        assert_int_equal(sd_event_loop(f->manager.event), 0);
        assert_int_equal(f->ended, 1);
        return job;
}

/* --- tests ------------------------------------------------------------------------------------------------ */

static void test_all_done(void **state) {
        Fixture *f = *state;
        const Job *job = run(f, (const JobStep *const[]) { &step_a, &step_b, &step_a, NULL });

        assert_string_equal(f->trace, "aba");
        assert_int_equal(job->state, JOB_DONE);
        assert_true(job->progress_known);
}

/* Whoever answers twice, or late, is not heard. */
static void test_one_end(void **state) {
        Fixture *f = *state;
        Job *job = run(f, (const JobStep *const[]) { &step_b, NULL });

        job_step_done(job, -EIO, NULL);
        assert_int_equal(f->ended, 1);
        assert_int_equal(job->state, JOB_DONE);
        assert_int_equal(job->current, 1);
        assert_string_equal(f->trace, "b");
}

static void test_no_steps(void **state) {
        Fixture *f = *state;

        assert_int_equal(run(f, (const JobStep *const[]) { NULL })->state, JOB_DONE);
}

static void test_failure_is_undone_in_reverse(void **state) {
        Fixture *f = *state;
        const Job *job = run(f, (const JobStep *const[]) { &step_a, &step_b, &step_fails, &step_a, NULL });

        assert_string_equal(f->trace, "abxBA");
        assert_int_equal(job->state, JOB_FAILED);
        assert_int_equal(job->error.code, ERROR_BIND_FAILED);
        assert_string_equal(job->error.message, "it does not bind");
}

/* What cannot be undone is told in the log; the rest is undone, and the first cause stays the error. */
static void test_failing_undo(void **state) {
        Fixture *f = *state;
        const Job *job = run(f, (const JobStep *const[]) { &step_b, &step_undo_fails, &step_fails, NULL });

        assert_string_equal(f->trace, "baxXB");
        assert_int_equal(job->error.code, ERROR_BIND_FAILED);
}

static void test_cancel(void **state) {
        Fixture *f = *state;
        Job *job = begin(f, (const JobStep *const[]) { &step_b, &step_waits, &step_a, NULL });

        while (!strchr(f->trace, 'w'))
                assert_true(sd_event_run(f->manager.event, UINT64_MAX) >= 0);
        assert_int_equal(job_cancel(job, NULL), 0);
        assert_int_equal(sd_event_loop(f->manager.event), 0);

        assert_string_equal(f->trace, "bwcB");
        assert_int_equal(job->state, JOB_CANCELLED);
        assert_int_equal(job->error.code, ERROR_CANCELLED);
        assert_int_equal(f->ended, 1);
}

static void test_cancel_before_start(void **state) {
        Fixture *f = *state;
        Job *job = begin(f, (const JobStep *const[]) { &step_a, NULL });

        assert_int_equal(job_cancel(job, NULL), 0);
        assert_int_equal(sd_event_loop(f->manager.event), 0);
        assert_string_equal(f->trace, "");
        assert_int_equal(job->state, JOB_CANCELLED);
}

static void test_cancel_after_end(void **state) {
        Fixture *f = *state;
        _cleanup_error_ Error error = ERROR_INIT;
        Job *job = run(f, (const JobStep *const[]) { &step_a, NULL });

        assert_true(job_cancel(job, &error) < 0);
        assert_int_equal(error.code, ERROR_WRONG_STATE);
        assert_int_equal(f->ended, 1);
}

static void test_ids_are_never_used_again(void **state) {
        Fixture *f = *state;
        Job *first = begin(f, (const JobStep *const[]) { NULL });
        uint64_t id = first->id;

        job_free(first);
        Job *second = begin(f, (const JobStep *const[]) { NULL });
        assert_true(second->id > id);
        assert_null(manager_find_job(&f->manager, id));
}

/* --- vmkitd stops ----------------------------------------------------------------------------------------- */

static int interrupt_soon(sd_event_source *source, uint64_t usec, void *userdata) {
        job_interrupt(userdata);
        return 0;
}

static Job *begin_interrupted(Fixture *f, const JobStep *const steps[]) {
        Job *job = begin(f, steps);

        assert_true(sd_event_add_time_relative(f->manager.event, NULL, CLOCK_MONOTONIC, 20 * USEC_PER_MSEC, 0,
                                               interrupt_soon, job) >= 0);
        assert_int_equal(sd_event_loop(f->manager.event), 0);
        assert_int_equal(f->ended, 1);
        return job;
}

/* Nobody has cancelled it. */
static void test_interrupted_is_not_cancelled(void **state) {
        Fixture *f = *state;
        Job *job = begin_interrupted(f, (const JobStep *const[]) { &step_a, &step_waits, &step_a, NULL });

        assert_string_equal(f->trace, "awcA");
        assert_int_equal(job->state, JOB_FAILED);
        assert_int_equal(job->error.code, ERROR_INTERRUPTED);
        assert_string_equal(job->error.message, "vmkitd was stopped during the test (waits)");
}

/* --- vmkitd is killed ------------------------------------------------------------------------------------- */

static void forget_jobs(Fixture *f) {
        while (f->manager.n_jobs > 0)
                job_free(f->manager.jobs[0]);
        f->manager.last_job_id = 0;
        f->ended = 0;
}

static Job *begin_only(Fixture *f, const JobStep *step) {
        Job *job;

        assert_int_equal(job_new(&f->manager, "test", 1000, &job), 0);
        assert_int_equal(job_add_steps(job, step, 1), 0);
        assert_true(job_begin(job) >= 0);
        assert_true(sd_event_run(f->manager.event, 0) >= 0);
        return job;
}

static void test_a_job_that_ended_leaves_its_number(void **state) {
        Fixture *f = *state;
        uint64_t id;

        f->manager.last_job_id = 41;
        id = run(f, (const JobStep *const[]) { &step_a, NULL })->id;
        forget_jobs(f);

        assert_int_equal(job_records_take_over(&f->manager), 0);
        assert_int_equal(f->manager.n_jobs, 0);
        assert_int_equal(f->manager.last_job_id, id);
}

static void test_a_job_under_way_is_taken_over(void **state) {
        Fixture *f = *state;
        Job *job = begin_only(f, &step_waits);
        uint64_t id = job->id, started_at = job->started_at;

        forget_jobs(f);
        assert_int_equal(job_records_take_over(&f->manager), 0);
        assert_int_equal(f->manager.n_jobs, 1);
        assert_int_equal(f->manager.last_job_id, id);

        job = f->manager.jobs[0];
        assert_int_equal(job->id, id);
        assert_string_equal(job->operation, "test");
        assert_int_equal(job->started_by, 1000);
        assert_true(job->started_at == started_at);
        assert_int_equal(job->state, JOB_RUNNING);
        assert_string_equal(job->phase, "undoing");
        assert_false(job_is_cancelable(job));

        /* Not before the journal was compared with libvirt, nor while devices are on their way. */
        job_records_settle(&f->manager);
        f->manager.reconciled = true;
        f->manager.n_transfers = 1;
        job_records_settle(&f->manager);
        assert_int_equal(job->state, JOB_RUNNING);

        f->manager.n_transfers = 0;
        job_records_settle(&f->manager);
        assert_int_equal(job->state, JOB_FAILED);
        assert_int_equal(job->error.code, ERROR_INTERRUPTED);
        assert_non_null(strstr(job->error.message, "vmkitd ended during the test (waits)"));
        assert_int_equal(f->ended, 1);

        /* Told once. */
        forget_jobs(f);
        assert_int_equal(job_records_take_over(&f->manager), 0);
        assert_int_equal(f->manager.n_jobs, 0);
        assert_int_equal(f->manager.last_job_id, id);
}

static void test_a_job_that_was_interrupted_is_told_of_again(void **state) {
        Fixture *f = *state;

        (void) begin_interrupted(f, (const JobStep *const[]) { &step_waits, NULL });
        forget_jobs(f);
        assert_int_equal(job_records_take_over(&f->manager), 0);
        assert_int_equal(f->manager.n_jobs, 1);
        assert_int_equal(f->manager.jobs[0]->state, JOB_FAILED);
        assert_string_equal(f->manager.jobs[0]->error.message, "vmkitd was stopped during the test (waits)");
}

static void test_a_record_that_is_no_record(void **state) {
        Fixture *f = *state;

        tree_write(f->state, "jobs/7", "%s", "");
        tree_write(f->state, "jobs/8", "{\"version\": 1, \"operation\": \"bind\", \"device\": \"../x\"}");
        tree_write(f->state, "jobs/9", "{\"version\": 1, \"operation\": \"start\", \"vm\": \"../../etc\"}");
        assert_int_equal(job_records_take_over(&f->manager), 0);
        assert_int_equal(f->manager.n_jobs, 0);
        assert_int_equal(f->manager.last_job_id, 9);
        assert_false(tree_exists(f->state, "jobs/7"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_all_done),
                TEST(test_one_end),
                TEST(test_no_steps),
                TEST(test_failure_is_undone_in_reverse),
                TEST(test_failing_undo),
                TEST(test_cancel),
                TEST(test_cancel_before_start),
                TEST(test_cancel_after_end),
                TEST(test_ids_are_never_used_again),
                TEST(test_interrupted_is_not_cancelled),
                TEST(test_a_job_that_ended_leaves_its_number),
                TEST(test_a_job_under_way_is_taken_over),
                TEST(test_a_job_that_was_interrupted_is_told_of_again),
                TEST(test_a_record_that_is_no_record),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
