/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The start of QEMU as a step: what it tells meanwhile, and how it is cut off. libvirt's answers, the clock and
 * the workers are the test's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "bare-manager.h"
#include "core/vm-launch.h"

#define VM "41e1d301-60ba-482f-95ac-c60ad74578a5"
#define OTHER "51e1d301-60ba-482f-95ac-c60ad74578a5"

static struct Fixture {
        Tree *tree;
        Manager manager;
        Vm *vm;
        Job *job;

        VirtDone started, destroyed; /* asked of libvirt, and not answered yet */
        void *started_data, *destroyed_data;
        unsigned n_destroys;
        sd_event_time_handler_t tick;
        void *tick_data;
        WorkFunc run, done;
        void *work;
} f;

/* --- what is around it -------------------------------------------------------------------------------------- */

int __wrap_virt_start(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error);
int __wrap_virt_destroy(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error);
int __wrap_worker_submit(WorkerPool *p, WorkFunc run, WorkFunc done, void *work);
bool __wrap_worker_take_back(WorkerPool *p, const void *work);
int __real_sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock, uint64_t usec,
                                      uint64_t accuracy, sd_event_time_handler_t callback, void *userdata);
int __wrap_sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock, uint64_t usec,
                                      uint64_t accuracy, sd_event_time_handler_t callback, void *userdata);

int __wrap_virt_start(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error) {
        assert_string_equal(uuid, VM);
        f.started = done;
        f.started_data = userdata;
        return 0;
}

int __wrap_virt_destroy(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error) {
        assert_string_equal(uuid, VM);
        assert_null(f.destroyed); /* one at a time */
        f.destroyed = done;
        f.destroyed_data = userdata;
        f.n_destroys++;
        return 0;
}

int __wrap_worker_submit(WorkerPool *p, WorkFunc run, WorkFunc done, void *work) {
        assert_null(f.work);
        f.run = run;
        f.done = done;
        f.work = work;
        return 0;
}

bool __wrap_worker_take_back(WorkerPool *p, const void *work) {
        return false; /* a thread has it */
}

/* The first is that of the step; a job that has ended sets another. */
int __wrap_sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock, uint64_t usec,
                                      uint64_t accuracy, sd_event_time_handler_t callback, void *userdata) {
        if (!f.tick) {
                f.tick = callback;
                f.tick_data = userdata;
        }
        return __real_sd_event_add_time_relative(e, ret, clock, 3600 * USEC_PER_SEC, accuracy, callback, userdata);
}

static void answer_start(ErrorCode code) {
        bare_answer(&f.started, f.started_data, code);
}

static void answer_destroy(ErrorCode code) {
        bare_answer(&f.destroyed, f.destroyed_data, code);
}

static void tick(uint64_t seconds) {
        (void) f.tick(f.job->timer, now_usec() + seconds * USEC_PER_SEC, f.tick_data);
}

static void finish_look(void) {
        void *work = f.work;

        assert_non_null(work);
        f.work = NULL;
        f.run(work);
        f.done(work);
}

static void write_qemu(unsigned pid, const char *uuid, uint64_t locked_kib) {
        char path[64], line[256];
        int size = snprintf(line, sizeof(line), "qemu-system-x86_64%c-name%cguest=vm%c-uuid%c%s%c-S", 0, 0, 0, 0, uuid,
                            0);

        (void) snprintf(path, sizeof(path), "proc/%u/comm", pid);
        tree_write(f.tree, path, "qemu-system-x86\n");
        (void) snprintf(path, sizeof(path), "proc/%u/cmdline", pid);
        tree_write_bytes(f.tree, path, line, (size_t) size + 1);
        (void) snprintf(path, sizeof(path), "proc/%u/status", pid);
        tree_write(f.tree, path, "Name:\tqemu-system-x86\nVmPeak:\t 9000000 kB\nVmLck:\t  %llu kB\nVmPin:\t 0 kB\n",
                   (unsigned long long) locked_kib);
}

static void add_vm(unsigned n_devices) {
        f.vm = bare_vm_new(&f.manager, "vm", VM, DOMAIN_STOPPED);
        for (unsigned i = 0; i < n_devices; i++) {
                VmDevice *d = vm_spec_add_device(f.vm->spec);

                assert_non_null(d);
                d->address = d->requested = (PciAddress) { .bus = (uint8_t) (i + 1) };
                d->kind = strdup("nvme");
        }
}

static void begin(unsigned n_devices) {
        static const JobStep step = { .phase = LAUNCH_PHASE, .run = vm_run_launch, .undo = vm_undo_launch,
                                      .cancel = vm_cancel_launch };

        add_vm(n_devices);
        assert_int_equal(job_new(&f.manager, "start", 1000, &f.job), 0);
        job_set_vm(f.job, f.vm);
        assert_int_equal(job_add_steps(f.job, &step, 1), 0);
        assert_true(job_begin(f.job) >= 0);
        assert_true(sd_event_run(f.manager.event, UINT64_MAX) > 0);
        assert_non_null(f.started);
}

static int setup(void **state) {
        static const Observer observer = { BARE_OBSERVER, .job_ended = bare_job_told };

        f = (struct Fixture) { .tree = tree_new() };
        bare_manager_init(&f.manager, f.tree, &observer, NULL);
        return 0;
}

static int teardown(void **state) {
        bare_manager_clear(&f.manager);
        tree_free(f.tree);
        return 0;
}

/* --- tests -------------------------------------------------------------------------------------------------- */

static void test_time_grows(void **state) {
        assert_true(launch_time(GIB) >= 180 * USEC_PER_SEC);
        assert_int_equal(launch_time(513 * GIB) - launch_time(GIB), 512 * 2 * USEC_PER_SEC);
        assert_int_equal(launch_time(GIB + 1), launch_time(2 * GIB));
}

static void test_starts(void **state) {
        begin(0);
        answer_start(ERROR_NONE);
        assert_int_equal(f.job->state, JOB_DONE);
        assert_int_equal(f.vm->state, DOMAIN_RUNNING);
        assert_null(f.vm->launch);
        assert_int_equal(f.n_destroys, 0);
}

static void test_fails(void **state) {
        begin(0);
        answer_start(ERROR_START_FAILED);
        assert_int_equal(f.job->error.code, ERROR_START_FAILED);
        assert_int_equal(f.vm->state, DOMAIN_STOPPED);
}

static void test_tells_what_is_pinned(void **state) {
        begin(1);
        tick(1);
        finish_look(); /* there is no QEMU yet */
        assert_string_equal(f.job->phase, LAUNCH_PHASE);
        assert_false(f.job->progress_known);

        write_qemu(99, OTHER, 900 * 1024);
        write_qemu(100, VM, 256 * 1024);
        tick(2);
        tick(3); /* one look at a time */
        finish_look();
        assert_string_equal(f.job->phase, LAUNCH_PHASE_PINNING);
        assert_true(f.job->progress_known);
        assert_true(f.job->progress > 0.2499 && f.job->progress < 0.2501);

        write_qemu(100, VM, 1100 * 1024);
        tick(4);
        finish_look();
        assert_string_equal(f.job->phase, LAUNCH_PHASE);
        assert_false(f.job->progress_known);

        answer_start(ERROR_NONE);
        assert_int_equal(f.job->state, JOB_DONE);
}

/* Nothing is pinned then, and QEMU takes memory as the guest does. */
static void test_no_look_without_devices(void **state) {
        begin(0);
        tick(1);
        assert_null(f.work);
        answer_start(ERROR_NONE);
}

static void test_end_during_a_look(void **state) {
        begin(1);
        tick(1);
        assert_non_null(f.work);
        f.vm->launch = launch_free(f.vm->launch);
        finish_look();
        assert_string_equal(f.job->phase, LAUNCH_PHASE);
}

static void test_deadline(void **state) {
        begin(1);
        tick(launch_time(GIB) / USEC_PER_SEC - 1);
        assert_int_equal(f.n_destroys, 0);
        finish_look();
        tick(launch_time(GIB) / USEC_PER_SEC + 1);
        assert_int_equal(f.n_destroys, 1);
        answer_destroy(ERROR_NONE);
        assert_int_equal(f.job->state, JOB_RUNNING); /* libvirt may still be at it */
        answer_start(ERROR_START_FAILED);
        assert_int_equal(f.job->error.code, ERROR_TIMEOUT);
        assert_non_null(strstr(f.job->error.message, "182 s"));
}

/* libvirt had not begun when it was to end it. */
static void test_cut_off_too_early(void **state) {
        begin(0);
        tick(launch_time(GIB) / USEC_PER_SEC + 1);
        answer_destroy(ERROR_WRONG_STATE);
        assert_int_equal(f.job->state, JOB_RUNNING);
        tick(launch_time(GIB) / USEC_PER_SEC + 2);
        assert_int_equal(f.n_destroys, 2);
        answer_destroy(ERROR_NONE);
        answer_start(ERROR_START_FAILED);
        assert_int_equal(f.job->error.code, ERROR_TIMEOUT);
}

/* The same, but it has started when that is answered: it runs, and must not. */
static void test_cut_off_crosses_the_start(void **state) {
        begin(0);
        assert_int_equal(job_cancel(f.job, NULL), 0);
        answer_start(ERROR_NONE);
        answer_destroy(ERROR_WRONG_STATE);
        assert_int_equal(f.job->state, JOB_RUNNING);
        tick(1);
        assert_int_equal(f.n_destroys, 2);
        answer_destroy(ERROR_NONE);
        assert_int_equal(f.job->state, JOB_CANCELLED);
}

static void test_cancel(void **state) {
        begin(0);
        assert_true(job_is_cancelable(f.job));
        assert_int_equal(job_cancel(f.job, NULL), 0);
        assert_int_equal(f.n_destroys, 1);
        answer_start(ERROR_START_FAILED);
        answer_destroy(ERROR_NONE);
        assert_int_equal(f.job->state, JOB_CANCELLED);
}

static void test_it_ended_before_the_cut(void **state) {
        begin(0);
        assert_int_equal(job_cancel(f.job, NULL), 0);
        answer_start(ERROR_NONE);
        answer_destroy(ERROR_WRONG_STATE);
        tick(1);
        answer_destroy(ERROR_WRONG_STATE);
        assert_int_equal(f.job->state, JOB_CANCELLED);
}

/* A vmkitd that stops is no reason to end what starts. */
static void test_interrupt(void **state) {
        begin(0);
        job_interrupt(f.job);
        assert_int_equal(f.n_destroys, 0);
        answer_start(ERROR_NONE);
        assert_int_equal(f.job->state, JOB_DONE);
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_time_grows),        TEST(test_starts),
                TEST(test_fails),             TEST(test_tells_what_is_pinned),
                TEST(test_no_look_without_devices), TEST(test_end_during_a_look),
                TEST(test_deadline),          TEST(test_cut_off_too_early),
                TEST(test_cut_off_crosses_the_start), TEST(test_cancel),
                TEST(test_it_ended_before_the_cut), TEST(test_interrupt),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
