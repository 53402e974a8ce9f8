/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What one connection, one user and all of them may hold, and what is made of the bus's answers about whose a
 * connection is. The bus is a connection to the test itself, which answers as it is told. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <systemd/sd-id128.h>

#include <cmocka.h>

#include "bus/callers.h"

typedef enum Answer { ANSWER_UID, ANSWER_NO_OWNER, ANSWER_LIMITS, ANSWER_NONSENSE } Answer;

static struct Fixture {
        sd_event *event;
        sd_bus *ours, *theirs;
        Callers *callers;

        Answer answer;
        uid_t uid;
        unsigned n_silent;   /* questions to leave unanswered */
        unsigned n_asked;

        unsigned n_files;    /* that the process may have open */
        unsigned n_identified;
        Caller *identified;
        int result;
} f;

static int on_question(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;

        if (!sd_bus_message_is_method_call(m, "org.freedesktop.DBus", "GetConnectionUnixUser"))
                return 0;
        assert_true(sd_bus_message_read(m, "s", &name) > 0);

        f.n_asked++;
        if (f.n_silent > 0) {
                f.n_silent--;
                return 1;
        }
        switch (f.answer) {
        case ANSWER_UID:
                return sd_bus_reply_method_return(m, "u", (uint32_t) f.uid) < 0 ? -1 : 1;
        case ANSWER_NO_OWNER:
                return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_NAME_HAS_NO_OWNER, "no %s", name) < 0 ? -1 : 1;
        case ANSWER_LIMITS:
                return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_LIMITS_EXCEEDED, "too much") < 0 ? -1 : 1;
        default:
                return sd_bus_reply_method_return(m, "s", "nobody") < 0 ? -1 : 1;
        }
}

static void on_identified(Caller *caller, int r, void *userdata) {
        assert_ptr_equal(userdata, &f);
        f.n_identified++;
        f.identified = caller;
        f.result = r;
}

static int set_up(void **state) {
        sd_id128_t id;
        int fds[2];

        f = (struct Fixture) { .n_files = callers_descriptors_wanted() };
        assert_return_code(sd_event_new(&f.event), 0);
        assert_return_code(sd_id128_randomize(&id), 0);
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);

        assert_return_code(sd_bus_new(&f.theirs), 0);
        assert_return_code(sd_bus_set_fd(f.theirs, fds[0], fds[0]), 0);
        assert_return_code(sd_bus_set_server(f.theirs, true, id), 0);
        assert_return_code(sd_bus_add_filter(f.theirs, NULL, on_question, NULL), 0);
        assert_return_code(sd_bus_start(f.theirs), 0);
        assert_return_code(sd_bus_attach_event(f.theirs, f.event, 0), 0);

        assert_return_code(sd_bus_new(&f.ours), 0);
        assert_return_code(sd_bus_set_fd(f.ours, fds[1], fds[1]), 0);
        assert_return_code(sd_bus_start(f.ours), 0);
        assert_return_code(sd_bus_attach_event(f.ours, f.event, 0), 0);
        assert_return_code(callers_new(f.ours, f.n_files, on_identified, &f, &f.callers), 0);
        return 0;
}

static int tear_down(void **state) {
        callers_free(f.callers);
        sd_bus_close_unref(f.ours);
        sd_bus_close_unref(f.theirs);
        sd_event_unref(f.event);
        return 0;
}

static Caller *caller_of(const char *name) {
        Caller *caller;

        assert_return_code(callers_get(f.callers, name, &caller), 0);
        return caller;
}

static int identify(Caller *caller) {
        unsigned before = f.n_identified;

        assert_false(caller_is_known(caller)); /* there would be no answer */
        assert_return_code(caller_identify(caller), 0);
        assert_int_equal(f.n_identified, before); /* never from within */
        while (f.n_identified == before)
                assert_return_code(sd_event_run(f.event, UINT64_MAX), 0);
        assert_ptr_equal(f.identified, caller);
        return f.result;
}

static Caller *known(const char *name, uid_t uid) {
        Caller *caller = caller_of(name);

        f.answer = ANSWER_UID;
        f.uid = uid;
        assert_int_equal(identify(caller), 0);
        return caller;
}

/* --- the bus's answers -------------------------------------------------------------------------------------- */

static void test_identified(void **state) {
        Caller *caller = known(":1.1", 1000);

        assert_true(caller_is_known(caller));
        assert_int_equal(caller_uid(caller), 1000);
}

static void test_asked_once(void **state) {
        Caller *caller = known(":1.1", 1000);

        assert_return_code(caller_identify(caller), 0);
        assert_ptr_equal(caller_of(":1.1"), caller);
        assert_int_equal(f.n_asked, 1);
}

static void test_asked_once_while_under_way(void **state) {
        Caller *caller = caller_of(":1.1");

        assert_return_code(caller_identify(caller), 0);
        assert_int_equal(identify(caller), 0);
        assert_int_equal(f.n_asked, 1);
        assert_int_equal(f.n_identified, 1);
}

static void test_left(void **state) {
        Caller *caller = caller_of(":1.1");

        f.answer = ANSWER_NO_OWNER;
        assert_int_equal(identify(caller), -ENOENT);
        assert_false(caller_is_known(caller));
}

/* Nothing else means that the caller has gone; and the next call asks anew. */
static void test_other_answers(void **state) {
        static const Answer answers[] = { ANSWER_LIMITS, ANSWER_NONSENSE };

        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                Caller *caller = caller_of(":1.1");

                f.answer = answers[i];
                assert_int_equal(identify(caller), -EIO);
                assert_false(caller_is_known(caller));
        }
        assert_int_equal(caller_uid(known(":1.1", 1000)), 1000);
}

static void test_lost_answers(void **state) {
        f.n_silent = 2;
        assert_int_equal(caller_uid(known(":1.1", 1000)), 1000);
        assert_int_equal(f.n_asked, 3);
}

/* Those with a call stay; of the others, the ones that called last. */
static void test_forgotten(void **state) {
        Caller *first = known(":1.1", 1000);
        const Cost cost = { .calls = 1 };
        Charge charge = {};
        char name[32];

        assert_return_code(charge_take(&charge, first, &cost, NULL), 0);
        (void) known(":1.2", 1000);
        for (unsigned i = 0; i < 2000; i++) {
                snprintf(name, sizeof(name), ":2.%u", i);
                (void) caller_of(name);
        }
        assert_ptr_equal(caller_of(":1.1"), first);
        assert_true(caller_is_known(first));
        assert_false(caller_is_known(caller_of(":1.2")));
        charge_release(&charge);
}

/* --- limits ------------------------------------------------------------------------------------------------- */

/* Takes charges of this cost until one is refused; returns how many there were, and releases them. */
static unsigned count_until_refused(Caller *caller, Cost cost, const char *whose) {
        _cleanup_error_ Error error = ERROR_INIT;
        Charge charges[4096] = {};
        unsigned n = 0;

        while (charge_take(&charges[n], caller, &cost, &error) >= 0)
                n++;
        assert_int_equal(error.code, ERROR_LIMIT_EXCEEDED);
        assert_non_null(strstr(error.message, whose));
        for (unsigned i = 0; i < n; i++)
                charge_release(&charges[i]);
        return n;
}

static void test_one_connection(void **state) {
        Caller *caller = known(":1.1", 1000);

        assert_int_equal(count_until_refused(caller, (Cost) { .calls = 1 }, "this connection"), 32);
        assert_int_equal(count_until_refused(caller, (Cost) { 1, MESSAGE_DESCRIPTORS_MAX, 0 }, "this connection"),
                         32);
        assert_int_equal(count_until_refused(caller, (Cost) { 1, 0, MESSAGE_BYTES_MAX }, "this connection"), 2);
        /* Nothing is left of them. */
        assert_int_equal(count_until_refused(caller, (Cost) { .calls = 1 }, "this connection"), 32);
}

/* As many as one user may have connections to the bus: it leaves others who are new their place. */
static void test_unknown_connections(void **state) {
        const Cost cost = { 1, MESSAGE_DESCRIPTORS_MAX, 64 * KIB };
        static Charge charges[256 * 32];
        char name[32];

        for (unsigned i = 0; i < ELEMENTSOF(charges) - 32; i++) {
                snprintf(name, sizeof(name), ":1.%u", i / 32);
                assert_return_code(charge_take(&charges[i], caller_of(name), &cost, NULL), 0);
        }
        assert_int_equal(count_until_refused(caller_of(":2.1"), cost, "this connection"), 32);
        for (unsigned i = 0; i < ELEMENTSOF(charges) - 32; i++)
                charge_release(&charges[i]);
}

static void test_one_user(void **state) {
        const Cost cost = { .calls = 1 };
        Caller *callers[3] = { known(":1.1", 1000), known(":1.2", 1000), known(":1.3", 1000) };
        Caller *other = known(":1.4", 1001);
        Charge charges[64] = {};

        for (unsigned i = 0; i < 64; i++)
                assert_return_code(charge_take(&charges[i], callers[i % 2], &cost, NULL), 0);
        assert_int_equal(count_until_refused(callers[2], cost, "of yours"), 0);
        assert_int_equal(count_until_refused(other, cost, "this connection"), 32);
        for (unsigned i = 0; i < 64; i++)
                charge_release(&charges[i]);
        assert_int_equal(count_until_refused(callers[2], cost, "this connection"), 32);
}

/* Counted for their user once that is known, and refused one by one where that is too much. */
static void test_calls_of_a_user_that_becomes_known(void **state) {
        const Cost cost = { .calls = 1 };
        Caller *first = known(":1.1", 1000), *second = caller_of(":1.2"), *third = caller_of(":1.3");
        Charge charges[96] = {};
        unsigned n_granted = 0;

        for (unsigned i = 0; i < 96; i++)
                assert_return_code(charge_take(&charges[i], i < 32 ? first : i < 64 ? second : third, &cost, NULL),
                                   0);
        (void) known(":1.2", 1000);
        (void) known(":1.3", 1000);
        for (unsigned i = 0; i < 96; i++)
                n_granted += charge_to_user(&charges[i], NULL) >= 0;
        assert_int_equal(n_granted, 64);
        for (unsigned i = 0; i < 96; i++)
                charge_release(&charges[i]);
        assert_int_equal(count_until_refused(third, cost, "this connection"), 32);
}

static void test_root_is_not_limited_by_others(void **state) {
        const Cost cost = { .calls = 1 };
        Charge charges[1024] = {};
        unsigned n = 0;
        char name[32];

        for (uid_t uid = 1000; n < ELEMENTSOF(charges); uid++) {
                snprintf(name, sizeof(name), ":1.%u", uid);
                Caller *caller = known(name, uid);

                for (unsigned i = 0; i < 32; i++)
                        assert_return_code(charge_take(&charges[n++], caller, &cost, NULL), 0);
        }
        assert_int_equal(count_until_refused(known(":2.1", 999), cost, "Too many calls wait"), 0);
        for (unsigned i = 0; i < 3; i++) {
                snprintf(name, sizeof(name), ":3.%u", i);
                assert_int_equal(count_until_refused(known(name, 0), cost, "this connection"), 32);
        }
        while (n > 0)
                charge_release(&charges[--n]);
}

static void test_the_unit_leaves_room(void **state) {
        _cleanup_fclose_ FILE *file = fopen(SYSTEMD_DIR "/vmkitd.service.in", "re");
        char line[1024];
        unsigned limit = 0;

        assert_non_null(file);
        while (limit == 0 && fgets(line, sizeof(line), file))
                (void) sscanf(line, "LimitNOFILE=%u", &limit);
        assert_true(limit >= callers_descriptors_wanted());
}

/* Half of them for the messages of those who are unknown, and for those of known ones an eighth, since these may be
 * copied. */
static void test_fewer_open_files(void **state) {
        const Cost cost = { 1, MESSAGE_DESCRIPTORS_MAX, 0 };

        callers_free(f.callers);
        f.n_files = 512;
        assert_return_code(callers_new(f.ours, f.n_files, on_identified, &f, &f.callers), 0);

        assert_int_equal(count_until_refused(caller_of(":1.1"), cost, "new connections"), 16);
        assert_int_equal(count_until_refused(known(":1.2", 1000), cost, "Too many calls wait"), 4);
}

/* --- lengths ------------------------------------------------------------------------------------------------ */

static sd_bus_message *message_of(const char *text, size_t n_numbers) {
        _cleanup_free_ uint64_t *numbers = calloc(n_numbers + 1, sizeof(uint64_t));
        sd_bus_message *m;

        assert_return_code(sd_bus_message_new_method_call(f.ours, &m, "a.b", "/", "a.b", "C"), 0);
        assert_return_code(sd_bus_message_open_container(m, 'a', "{sv}"), 0);
        assert_return_code(sd_bus_message_append(m, "{sv}", "text", "as", 2, text, "second"), 0);
        assert_return_code(sd_bus_message_open_container(m, 'e', "sv"), 0);
        assert_return_code(sd_bus_message_append(m, "s", "numbers"), 0);
        assert_return_code(sd_bus_message_open_container(m, 'v', "at"), 0);
        assert_return_code(sd_bus_message_append_array(m, 't', numbers, n_numbers * sizeof(uint64_t)), 0);
        for (unsigned i = 0; i < 3; i++)
                assert_return_code(sd_bus_message_close_container(m), 0);
        assert_return_code(sd_bus_message_append(m, "bv", true, "(yd)", 1, 2.0), 0);
        assert_return_code(sd_bus_message_seal(m, 1, 0), 0);
        return m;
}

static void test_lengths(void **state) {
        _cleanup_free_ char *text = calloc(1, MESSAGE_BYTES_MAX + 1);
        static const struct {
                size_t text, numbers;
                int r;
        } cases[] = {
                { 0, 0, 0 },
                { 1000, 1000, 0 },
                { MESSAGE_BYTES_MAX - 1000, 0, 0 },
                { MESSAGE_BYTES_MAX, 0, -E2BIG },
                { 0, MESSAGE_BYTES_MAX / 8, -E2BIG },
                { MESSAGE_BYTES_MAX / 2, MESSAGE_BYTES_MAX / 16, -E2BIG },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
                size_t size = 0;
                const char *key;

                memset(text, 'x', cases[i].text);
                text[cases[i].text] = '\0';
                m = message_of(text, cases[i].numbers);
                assert_int_equal(message_measure(m, &size), cases[i].r);
                if (cases[i].r >= 0) {
                        assert_true(size >= cases[i].text + cases[i].numbers * 8);
                        assert_true(size <= cases[i].text + cases[i].numbers * 8 + 200);
                }

                /* It can be read from its beginning. */
                assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
                assert_true(sd_bus_message_enter_container(m, 'e', "sv") > 0);
                assert_true(sd_bus_message_read(m, "s", &key) > 0);
                assert_string_equal(key, "text");
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_identified, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_asked_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_asked_once_while_under_way, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_left, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_other_answers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_lost_answers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_forgotten, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_one_connection, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_unknown_connections, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_one_user, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_calls_of_a_user_that_becomes_known, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_root_is_not_limited_by_others, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_the_unit_leaves_room, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_fewer_open_files, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_lengths, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
