/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table of methods: every row is guarded by an action or public on purpose. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bus/methods.h"

/* What the contract calls reading. Whoever makes another method public must say so here too. */
static const char *const public_methods[] = {
        "PlanVM",    "GetVM",      "ListVMs",    "ListDevices",  "GetDevice",
        "FindDevice", "CheckHost", "ListImages", "GetAddresses", "Inspect",
};

static bool is_public(const char *member) {
        for (size_t i = 0; i < ELEMENTSOF(public_methods); i++)
                if (streq(public_methods[i], member))
                        return true;
        return false;
}

static void test_every_row_is_guarded(void **state) {
        for (size_t i = 0; i < n_methods; i++) {
                const MethodRow *row = &method_table[i];

                if (is_public(row->member))
                        assert_int_equal(row->action, ACTION_PUBLIC);
                else {
                        assert_true(row->action > ACTION_PUBLIC && row->action < _ACTION_MAX);
                        assert_non_null(action_id(row->action));
                }
        }
}

static void test_every_row_is_whole(void **state) {
        for (size_t i = 0; i < n_methods; i++) {
                const MethodRow *row = &method_table[i];

                assert_non_null(row->handle);
                assert_non_null(row->in);
                assert_non_null(row->in_names);
                assert_non_null(row->out);
                assert_non_null(row->out_names);
                assert_ptr_equal(method_find(row->interface, row->member), row);
        }
}

/* A method that changes something takes options, so that it can grow. */
static void test_changing_methods_take_options(void **state) {
        for (size_t i = 0; i < n_methods; i++) {
                const MethodRow *row = &method_table[i];
                size_t n = strlen(row->in);

                if (row->action != ACTION_PUBLIC)
                        assert_true(n >= 5 && streq(row->in + n - 5, "a{sv}"));
        }
}

/* Without a reader of its own, a row's arguments are options alone, of which none is known. */
static void test_rows_without_a_reader(void **state) {
        for (size_t i = 0; i < n_methods; i++)
                if (!method_table[i].read)
                        assert_string_equal(method_table[i].in, "a{sv}");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_row_is_guarded),
                cmocka_unit_test(test_every_row_is_whole),
                cmocka_unit_test(test_changing_methods_take_options),
                cmocka_unit_test(test_rows_without_a_reader),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
