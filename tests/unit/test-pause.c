/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Pause and resume are over when libvirt has answered and its event is there, whichever comes first. Both are
 * the test's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bare-manager.h"

#define VM "41e1d301-60ba-482f-95ac-c60ad74578a5"

static struct Fixture {
        Tree *tree;
        Manager manager;
        Vm *vm;
        Job *job;
        VirtDone asked; /* of libvirt, and not answered yet */
        void *asked_data;
        unsigned n_looks;
        DomainState seen; /* by who was told that the job has ended */
} f;

/* --- what is around it -------------------------------------------------------------------------------------- */

int __wrap_virt_suspend(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error);
int __wrap_virt_resume(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error);
bool __wrap_virt_is_connected(const Virt *virt);
void __wrap_virt_look_again(Virt *virt, const char *uuid);

int __wrap_virt_suspend(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error) {
        assert_string_equal(uuid, VM);
        f.asked = done;
        f.asked_data = userdata;
        return 0;
}

int __wrap_virt_resume(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error) {
        return __wrap_virt_suspend(virt, uuid, done, userdata, error);
}

bool __wrap_virt_is_connected(const Virt *virt) {
        return true;
}

void __wrap_virt_look_again(Virt *virt, const char *uuid) {
        assert_string_equal(uuid, VM);
        f.n_looks++;
}

static void answer(ErrorCode code) {
        bare_answer(&f.asked, f.asked_data, code);
}

static void on_job_ended(Job *job, void *userdata) {
        f.seen = f.vm->state;
}

static void add_vm(DomainState state) {
        f.vm = bare_vm_new(&f.manager, "vm", VM, state);
}

static void begin(int (*operation)(Vm *vm, uid_t caller, Job **ret, Error *error)) {
        assert_true(operation(f.vm, 1000, &f.job, NULL) >= 0);
        assert_true(sd_event_run(f.manager.event, UINT64_MAX) > 0);
        assert_non_null(f.asked);
}

static int setup(void **state) {
        static const Observer observer = { BARE_OBSERVER, .job_ended = on_job_ended };

        f = (struct Fixture) { .tree = tree_new(), .seen = DOMAIN_UNKNOWN };
        bare_manager_init(&f.manager, f.tree, &observer, NULL);
        return 0;
}

static int teardown(void **state) {
        bare_manager_clear(&f.manager);
        tree_free(f.tree);
        return 0;
}

/* --- tests -------------------------------------------------------------------------------------------------- */

static void test_answer_before_event(void **state) {
        add_vm(DOMAIN_RUNNING);
        begin(vm_pause);
        answer(ERROR_NONE);
        assert_int_equal(f.job->state, JOB_RUNNING);
        vm_state_changed(f.vm, DOMAIN_PAUSED);
        assert_int_equal(f.job->state, JOB_DONE);
        assert_int_equal(f.seen, DOMAIN_PAUSED);
}

static void test_event_before_answer(void **state) {
        add_vm(DOMAIN_PAUSED);
        begin(vm_resume);
        vm_state_changed(f.vm, DOMAIN_RUNNING);
        assert_int_equal(f.job->state, JOB_RUNNING);
        answer(ERROR_NONE);
        assert_int_equal(f.job->state, JOB_DONE);
        assert_int_equal(f.seen, DOMAIN_RUNNING);
}

/* What libvirt sent of the operation before must not end the one after it. */
static void test_one_after_the_other(void **state) {
        add_vm(DOMAIN_RUNNING);
        begin(vm_pause);
        answer(ERROR_NONE);
        vm_state_changed(f.vm, DOMAIN_PAUSED);
        begin(vm_resume);
        answer(ERROR_NONE);
        assert_int_equal(f.job->state, JOB_RUNNING);
        vm_state_changed(f.vm, DOMAIN_RUNNING);
        assert_int_equal(f.job->state, JOB_DONE);
        assert_int_equal(f.seen, DOMAIN_RUNNING);
}

static void test_asleep_by_itself(void **state) {
        add_vm(DOMAIN_SUSPENDED);
        begin(vm_resume);
        answer(ERROR_NONE);
        vm_state_changed(f.vm, DOMAIN_PAUSED);
        assert_int_equal(f.job->state, JOB_RUNNING);
        vm_state_changed(f.vm, DOMAIN_RUNNING);
        assert_int_equal(f.job->state, JOB_DONE);
}

static void test_stopped_meanwhile(void **state) {
        add_vm(DOMAIN_PAUSED);
        begin(vm_resume);
        answer(ERROR_NONE);
        vm_state_changed(f.vm, DOMAIN_STOPPED);
        assert_int_equal(f.job->state, JOB_DONE);
}

static void test_event_is_lost(void **state) {
        add_vm(DOMAIN_RUNNING);
        begin(vm_pause);
        answer(ERROR_NONE);
        assert_non_null(f.job->timer);
        assert_true(sd_event_source_set_time(f.job->timer, 0) >= 0);
        while (f.job->state == JOB_RUNNING)
                assert_true(sd_event_run(f.manager.event, UINT64_MAX) > 0);
        assert_int_equal(f.job->state, JOB_DONE);
        assert_int_equal(f.n_looks, 1);
}

static void test_failure(void **state) {
        add_vm(DOMAIN_RUNNING);
        begin(vm_pause);
        answer(ERROR_LIBVIRT_UNAVAILABLE);
        assert_int_equal(f.job->state, JOB_FAILED);
        assert_int_equal(f.job->error.code, ERROR_LIBVIRT_UNAVAILABLE);
}

static void refuse(int (*operation)(Vm *vm, uid_t caller, Job **ret, Error *error), const char *words) {
        _cleanup_error_ Error error = ERROR_INIT;
        Job *job = NULL;

        assert_true(operation(f.vm, 1000, &job, &error) < 0);
        assert_int_equal(error.code, ERROR_WRONG_STATE);
        assert_string_equal(error.message, words);
}

static void test_wrong_state(void **state) {
        add_vm(DOMAIN_STOPPED);
        refuse(vm_pause, "The VM vm is stopped: it cannot be paused");
        refuse(vm_resume, "The VM vm is stopped: it cannot be resumed");
        vm_state_changed(f.vm, DOMAIN_RUNNING);
        refuse(vm_resume, "The VM vm is running: it cannot be resumed");
        vm_state_changed(f.vm, DOMAIN_SUSPENDED);
        refuse(vm_pause, "The VM vm is suspended: it cannot be paused");
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_answer_before_event), TEST(test_event_before_answer), TEST(test_one_after_the_other),
                TEST(test_asleep_by_itself),    TEST(test_stopped_meanwhile),   TEST(test_event_is_lost),
                TEST(test_failure),             TEST(test_wrong_state),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
