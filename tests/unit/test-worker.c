/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/idle.h"
#include "base/io.h"
#include "base/strv.h"
#include "base/worker.h"

#define N_THREADS 3

typedef struct Fixture {
        sd_event *event;
        WorkerPool *pool;
        pthread_t loop_thread;
        unsigned n_done;
} Fixture;

typedef struct Work {
        Fixture *fixture;
        atomic_int *gate; /* waits until it is not 0; may be NULL */
        unsigned runs, dones;
        bool ran_on_loop, done_elsewhere, signals_open;
} Work;

static atomic_int n_running, n_running_max;

static void run(void *data) {
        Work *w = data;
        int now = atomic_fetch_add(&n_running, 1) + 1, max = atomic_load(&n_running_max);
        sigset_t mask;

        while (now > max && !atomic_compare_exchange_weak(&n_running_max, &max, now))
                ;
        w->runs++;
        w->ran_on_loop = pthread_equal(pthread_self(), w->fixture->loop_thread);
        (void) pthread_sigmask(SIG_SETMASK, NULL, &mask);
        w->signals_open = !sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGCHLD);

        for (int i = 0; w->gate && i < 5000 && !atomic_load(w->gate); i++)
                (void) usleep(1000);
        atomic_fetch_sub(&n_running, 1);
}

static void done(void *data) {
        Work *w = data;

        w->dones++;
        w->done_elsewhere = !pthread_equal(pthread_self(), w->fixture->loop_thread);
        w->fixture->n_done++;
}

static void run_until(Fixture *f, unsigned n_done) {
        for (int i = 0; i < 500 && f->n_done < n_done; i++)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
        assert_int_equal(f->n_done, n_done);
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        assert_true(sd_event_new(&f->event) >= 0);
        assert_true(worker_pool_new(f->event, N_THREADS, &f->pool) >= 0);
        f->loop_thread = pthread_self();
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        worker_pool_free(f->pool);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

static void test_each_runs_and_is_done_once(void **state) {
        Fixture *f = *state;
        Work works[100] = {};

        atomic_store(&n_running_max, 0);
        for (size_t i = 0; i < ELEMENTSOF(works); i++) {
                works[i].fixture = f;
                assert_true(worker_submit(f->pool, run, done, &works[i]) >= 0);
        }
        run_until(f, ELEMENTSOF(works));

        for (size_t i = 0; i < ELEMENTSOF(works); i++) {
                assert_int_equal(works[i].runs, 1);
                assert_int_equal(works[i].dones, 1);
                assert_false(works[i].ran_on_loop);
                assert_false(works[i].done_elsewhere);
                assert_false(works[i].signals_open);
        }
        assert_in_range(atomic_load(&n_running_max), 1, N_THREADS);
}

static void test_as_many_at_once_as_allowed(void **state) {
        Fixture *f = *state;
        atomic_int gate = 0;
        Work works[N_THREADS + 2] = {};

        atomic_store(&n_running_max, 0);
        for (size_t i = 0; i < ELEMENTSOF(works); i++) {
                works[i] = (Work) { .fixture = f, .gate = &gate };
                assert_true(worker_submit(f->pool, run, done, &works[i]) >= 0);
        }
        for (int i = 0; i < 5000 && atomic_load(&n_running) < N_THREADS; i++)
                (void) usleep(1000);
        assert_int_equal(atomic_load(&n_running), N_THREADS);

        atomic_store(&gate, 1);
        run_until(f, ELEMENTSOF(works));
        assert_int_equal(atomic_load(&n_running_max), N_THREADS);
}

static void test_idle_time(_unused_ void **state) {
        const char *const ignored[] = { "", "0x1", "31", "-1", "1 " };

        assert_int_equal(idle_usec(), 30 * USEC_PER_SEC);
        for (size_t i = 0; i < ELEMENTSOF(ignored); i++) {
                assert_int_equal(setenv("VMKIT_IDLE_SECONDS", ignored[i], 1), 0);
                assert_int_equal(idle_usec(), 30 * USEC_PER_SEC);
        }
        assert_int_equal(setenv("VMKIT_IDLE_SECONDS", "1", 1), 0);
#ifdef VMKIT_FAULT_POINTS
        assert_int_equal(idle_usec(), USEC_PER_SEC);
#else
        assert_int_equal(idle_usec(), 30 * USEC_PER_SEC);
#endif
        assert_int_equal(unsetenv("VMKIT_IDLE_SECONDS"), 0);
}

#ifdef VMKIT_FAULT_POINTS
static size_t n_threads(void) {
        _cleanup_strv_ char **tasks = NULL;

        assert_int_equal(list_dir_at(AT_FDCWD, "/proc/self/task", &tasks), 0);
        return strv_length(tasks);
}

static int setup_short(void **state) {
        assert_int_equal(setenv("VMKIT_IDLE_SECONDS", "1", 1), 0);
        return setup(state);
}

static int teardown_short(void **state) {
        assert_int_equal(unsetenv("VMKIT_IDLE_SECONDS"), 0);
        return teardown(state);
}

static void test_idle_threads_end(void **state) {
        Fixture *f = *state;
        size_t before = n_threads();
        Work first = { .fixture = f }, second = { .fixture = f };

        assert_true(worker_submit(f->pool, run, done, &first) >= 0);
        run_until(f, 1);
        assert_int_equal(n_threads(), before + 1);

        for (int i = 0; i < 500 && n_threads() > before; i++)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
        assert_int_equal(n_threads(), before);

        assert_true(worker_submit(f->pool, run, done, &second) >= 0);
        run_until(f, 2);
        assert_int_equal(second.runs, 1);
}
#endif

static void test_take_back(void **state) {
        Fixture *f = *state;
        atomic_int gate = 0;
        Work works[N_THREADS + 3] = {};

        for (size_t i = 0; i < ELEMENTSOF(works); i++) {
                works[i] = (Work) { .fixture = f, .gate = &gate };
                assert_true(worker_submit(f->pool, run, done, &works[i]) >= 0);
        }
        for (int i = 0; i < 5000 && atomic_load(&n_running) < N_THREADS; i++)
                (void) usleep(1000);

        assert_true(worker_take_back(f->pool, &works[N_THREADS + 2]));
        assert_true(worker_take_back(f->pool, &works[N_THREADS]));
        assert_false(worker_take_back(f->pool, &works[N_THREADS]));
        assert_false(worker_take_back(f->pool, &works[0]));

        atomic_store(&gate, 1);
        run_until(f, N_THREADS + 1);
        assert_int_equal(works[N_THREADS].runs, 0);
        assert_int_equal(works[N_THREADS + 2].dones, 0);
        assert_int_equal(works[N_THREADS + 1].dones, 1);
}

static void *post_many(void *data) {
        Work *w = data;

        for (int i = 0; i < 1000; i++)
                assert_true(worker_post(w->fixture->pool, done, w) >= 0);
        return NULL;
}

static void test_post_from_any_thread(void **state) {
        Fixture *f = *state;
        Work works[4] = {};
        pthread_t threads[ELEMENTSOF(works)];

        for (size_t i = 0; i < ELEMENTSOF(works); i++) {
                works[i].fixture = f;
                assert_int_equal(worker_thread_start(&threads[i], post_many, &works[i]), 0);
        }
        run_until(f, 1000 * ELEMENTSOF(works));
        for (size_t i = 0; i < ELEMENTSOF(works); i++) {
                (void) pthread_join(threads[i], NULL);
                assert_int_equal(works[i].dones, 1000);
                assert_false(works[i].done_elsewhere);
        }
}

static void test_free_waits_for_what_runs(void **state) {
        Fixture *f = *state;
        atomic_int gate = 1;
        Work works[50] = {};

        for (size_t i = 0; i < ELEMENTSOF(works); i++) {
                works[i] = (Work) { .fixture = f, .gate = &gate };
                assert_true(worker_submit(f->pool, run, done, &works[i]) >= 0);
        }
        f->pool = worker_pool_free(f->pool);
        for (size_t i = 0; i < ELEMENTSOF(works); i++) {
                assert_true(works[i].runs <= 1);
                assert_int_equal(works[i].dones, works[i].runs);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_each_runs_and_is_done_once, setup, teardown),
                cmocka_unit_test_setup_teardown(test_as_many_at_once_as_allowed, setup, teardown),
                cmocka_unit_test(test_idle_time),
#ifdef VMKIT_FAULT_POINTS
                cmocka_unit_test_setup_teardown(test_idle_threads_end, setup_short, teardown_short),
#endif
                cmocka_unit_test_setup_teardown(test_take_back, setup, teardown),
                cmocka_unit_test_setup_teardown(test_post_from_any_thread, setup, teardown),
                cmocka_unit_test_setup_teardown(test_free_waits_for_what_runs, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
