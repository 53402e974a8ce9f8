/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Stopping all VMs: each is asked once, what is in the way is cancelled, and the job ends when none is left or
 * the time is over. The stop of one VM is played by the test. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bare-manager.h"
#include "core/stop-all.h"
#include "core/vm-stop.h"

typedef struct Fixture {
        Manager manager;
        Job *all;
        unsigned n_refused; /* how often vm_stop() fails before it works */
        bool deaf;          /* guests do not shut down when they are asked */
        char trace[256];    /* "name:seconds[!] ", '!' for force */
} Fixture;

static Fixture *fixture;

/* --- the stop of one VM, as the test plays it ------------------------------------------------------------- */

static int on_obeyed(sd_event_source *source, void *userdata) {
        Job *job = userdata;

        job->timer = sd_event_source_disable_unref(job->timer);
        job->vm->state = DOMAIN_STOPPED;
        job_step_done(job, 0, NULL);
        return 0;
}

static int run_asked(Job *job, Error *error) {
        const StopData *data = stop_data_of(job);

        if (fixture->deaf && !(data->options.force && data->options.timeout == 0))
                return STEP_ASYNC;
        return sd_event_add_defer(fixture->manager.event, &job->timer, on_obeyed, job) < 0 ? -EIO : STEP_ASYNC;
}

static int on_cancelled(sd_event_source *source, void *userdata) {
        Job *job = userdata;
        _cleanup_error_ Error error = ERROR_INIT;
        int r = error_set(&error, ERROR_CANCELLED, "cancelled");

        job->timer = sd_event_source_disable_unref(job->timer);
        job_step_done(job, r, &error);
        return 0;
}

static void cancel_asked(Job *job) {
        assert_true(sd_event_add_defer(fixture->manager.event, &job->timer, on_cancelled, job) >= 0);
}

static int begin_job(Vm *vm, const char *operation, const StopOptions *options, Job **ret) {
        static const JobStep step = { .phase = "p", .run = run_asked, .cancel = cancel_asked };
        Job *job;

        assert_true(stop_job_new(vm, operation, 0, options, &job) >= 0);
        assert_true(job_add_steps(job, &step, 1) >= 0);
        assert_true(job_begin(job) >= 0);
        *ret = job;
        return 0;
}

int __wrap_vm_stop(Vm *vm, uid_t caller, const StopOptions *options, Job **ret, Error *error);

int __wrap_vm_stop(Vm *vm, uid_t caller, const StopOptions *options, Job **ret, Error *error) {
        char text[64];

        assert_null(vm->job);
        if (fixture->n_refused > 0) {
                fixture->n_refused--;
                return error_set(error, ERROR_LIBVIRT_UNAVAILABLE, "away");
        }

        snprintf(text, sizeof(text), "%s:%.0f%s ", vm->spec->name, (double) options->timeout / USEC_PER_SEC,
                 options->force ? "!" : "");
        strcat(fixture->trace, text);
        return begin_job(vm, "stop", options, ret);
}

/* --- the surroundings ------------------------------------------------------------------------------------- */

static void on_job_ended(Job *job, void *userdata) {
        Fixture *f = userdata;

        if (job == f->all)
                (void) sd_event_exit(f->manager.event, 0);
}

static int setup(void **state) {
        static const Observer observer = { BARE_OBSERVER, .job_ended = on_job_ended };
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        bare_manager_init(&f->manager, NULL, &observer, f);
        *state = fixture = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        bare_manager_clear(&f->manager);
        free(f);
        return 0;
}

static Vm *add_vm(Fixture *f, const char *name, DomainState state) {
        return bare_vm_new(&f->manager, name, "", state);
}

static void begin(Fixture *f, uint64_t seconds, bool force) {
        const StopOptions options = { .timeout = seconds * USEC_PER_SEC, .force = force };

        assert_true(stop_all(&f->manager, 0, &options, &f->all) >= 0);
}

static void run(Fixture *f) {
        assert_true(sd_event_loop(f->manager.event) >= 0);
        assert_null(f->manager.stop_all);
}

/* --- tests ------------------------------------------------------------------------------------------------ */

static void test_nothing_runs(void **state) {
        Fixture *f = *state;

        add_vm(f, "idle", DOMAIN_STOPPED);
        begin(f, 90, true);
        run(f);
        assert_int_equal(f->all->state, JOB_DONE);
        assert_string_equal(f->trace, "");
}

static void test_each_is_asked_once(void **state) {
        Fixture *f = *state;
        Vm *one = add_vm(f, "one", DOMAIN_RUNNING), *two = add_vm(f, "two", DOMAIN_PAUSED);

        add_vm(f, "idle", DOMAIN_STOPPED);
        begin(f, 90, true);
        run(f);
        assert_int_equal(f->all->state, JOB_DONE);
        assert_int_equal(one->state, DOMAIN_STOPPED);
        assert_int_equal(two->state, DOMAIN_STOPPED);
        assert_string_equal(f->trace, "two:90! one:90! ");
}

static void test_what_is_in_the_way_is_cancelled(void **state) {
        static const StopOptions none = { .timeout = UINT64_MAX };
        Fixture *f = *state;
        Vm *vm = add_vm(f, "one", DOMAIN_RUNNING);
        Job *reboot;

        f->deaf = true;
        begin_job(vm, "reboot", &none, &reboot);
        begin(f, 0, true);
        run(f);
        assert_int_equal(reboot->state, JOB_CANCELLED);
        assert_int_equal(f->all->state, JOB_DONE);
        assert_string_equal(f->trace, "one:0! ");
}

static void test_a_destruction_is_waited_for(void **state) {
        static const StopOptions at_once = { .timeout = 0, .force = true };
        Fixture *f = *state;
        Vm *vm = add_vm(f, "one", DOMAIN_RUNNING);
        Job *destroy;

        begin_job(vm, "destroy", &at_once, &destroy);
        begin(f, 0, true);
        run(f);
        assert_int_equal(destroy->state, JOB_DONE);
        assert_int_equal(f->all->state, JOB_DONE);
        assert_string_equal(f->trace, "");
}

/* A stop that somebody began with more patience than there is time. */
static void test_a_patient_stop_is_replaced(void **state) {
        static const StopOptions patient = { .timeout = 1000 * USEC_PER_SEC };
        Fixture *f = *state;
        Vm *vm = add_vm(f, "one", DOMAIN_RUNNING);
        Job *stop;

        f->deaf = true;
        begin_job(vm, "stop", &patient, &stop);
        begin(f, 0, true);
        run(f);
        assert_int_equal(stop->state, JOB_CANCELLED);
        assert_int_equal(f->all->state, JOB_DONE);
        assert_string_equal(f->trace, "one:0! ");
}

static void test_without_force_who_is_left_is_named(void **state) {
        Fixture *f = *state;

        add_vm(f, "one", DOMAIN_RUNNING);
        add_vm(f, "two", DOMAIN_STOPPED);
        add_vm(f, "three", DOMAIN_RUNNING);
        begin(f, 0, false);
        run(f);
        assert_int_equal(f->all->state, JOB_FAILED);
        assert_int_equal(f->all->error.code, ERROR_TIMEOUT);
        assert_string_equal(f->all->error.message, "Not stopped in time: one, three");
        assert_string_equal(f->trace, "");
}

/* Where libvirt is away for a moment, it is tried again. */
static void test_again_when_libvirt_is_back(void **state) {
        Fixture *f = *state;

        add_vm(f, "one", DOMAIN_RUNNING);
        f->n_refused = 1;
        begin(f, 90, true);
        run(f);
        assert_int_equal(f->all->state, JOB_DONE);
        assert_int_equal(f->n_refused, 0);
        assert_true(strlen(f->trace) > 0);
}

static void test_a_second_call_joins(void **state) {
        Fixture *f = *state;
        const StopOptions hurried = { .timeout = 0, .force = true };
        Job *second;

        add_vm(f, "one", DOMAIN_RUNNING);
        f->deaf = true;
        begin(f, 1000, false);
        assert_true(sd_event_run(f->manager.event, 0) >= 0); /* the step begins */
        assert_true(sd_event_run(f->manager.event, 0) >= 0); /* the first look */
        assert_string_equal(f->trace, "one:1000 ");

        assert_true(stop_all(&f->manager, 0, &hurried, &second) >= 0);
        assert_ptr_equal(second, f->all);
        run(f);
        assert_int_equal(f->all->state, JOB_DONE);
        assert_string_equal(f->trace, "one:1000 one:0! ");
}

static void test_nothing_starts_meanwhile(void **state) {
        Fixture *f = *state;
        _cleanup_error_ Error error = ERROR_INIT;

        assert_int_equal(stop_all_check_start(&f->manager, &error), 0);
        begin(f, 90, true);
        assert_true(stop_all_check_start(&f->manager, &error) < 0);
        assert_int_equal(error.code, ERROR_BUSY);
        run(f);
        assert_int_equal(stop_all_check_start(&f->manager, &error), 0);
}

static void test_cancel(void **state) {
        Fixture *f = *state;
        _cleanup_error_ Error error = ERROR_INIT;

        add_vm(f, "one", DOMAIN_RUNNING);
        f->deaf = true;
        begin(f, 90, true);
        assert_true(sd_event_run(f->manager.event, 0) >= 0);
        assert_true(job_cancel(f->all, &error) >= 0);
        run(f);
        assert_int_equal(f->all->state, JOB_CANCELLED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_nothing_runs, setup, teardown),
                cmocka_unit_test_setup_teardown(test_each_is_asked_once, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_is_in_the_way_is_cancelled, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_destruction_is_waited_for, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_patient_stop_is_replaced, setup, teardown),
                cmocka_unit_test_setup_teardown(test_without_force_who_is_left_is_named, setup, teardown),
                cmocka_unit_test_setup_teardown(test_again_when_libvirt_is_back, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_second_call_joins, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nothing_starts_meanwhile, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
