/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The parts of vmkitctl that need no service: the command line, tables, suggestions, key files. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/strv.h"
#include "client/args.h"
#include "client/files.h"
#include "client/json.h"
#include "client/device.h"
#include "client/permission.h"
#include "client/progress.h"
#include "client/table.h"
#include "client/text.h"

/* The command line */

static const OptionSpec make_options[] = {
        { .name = "memory", .kind = OPTION_SIZE, .value = "SIZE", .key = "memory" },
        { .name = "gpu", .kind = OPTION_ADDRESS, .value = "ADDRESS", .key = "gpu" },
        { .name = "graphics", .kind = OPTION_CHOICE, .value = "none|spice|vnc", .key = "graphics" },
        { .name = "start", .kind = OPTION_FLAG, .key = "start" },
        { 0 },
};

static const Verb verbs[] = {
        { .name = "create", .operands = "NAME [IMAGE]", .options = make_options },
        { .name = "list", .operands = "" },
        { .name = "image list", .operands = "" },
        { 0 },
};

#define PARSE(args, failure, ...)                                                       \
        ({                                                                              \
                const char *const _argv[] = { "vmkitctl", __VA_ARGS__ };                \
                args_parse((args), verbs, (int) ELEMENTSOF(_argv), _argv, (failure));   \
        })

static void test_args_mixed_order(_unused_ void **state) {
        _cleanup_(args_done) Args args = { 0 };
        _cleanup_failure_ Failure failure = { 0 };

        assert_int_equal(PARSE(&args, &failure, "-q", "create", "--memory", "1G", "vm",
                               "--gpu=auto", "image", "--gpu", "01:00.0", "--start", "--json"),
                         0);
        assert_string_equal(args.verb->name, "create");
        assert_string_equal(args_operand(&args, 0), "vm");
        assert_string_equal(args_operand(&args, 1), "image");
        assert_null(args_operand(&args, 2));
        assert_string_equal(args_value(&args, "memory"), "1G");
        assert_string_equal(args_value(&args, "gpu"), "01:00.0");
        assert_true(args_has(&args, "quiet"));
        assert_true(args_has(&args, "json"));
        assert_false(args_has(&args, "host"));
}

static void test_args_two_words(_unused_ void **state) {
        _cleanup_(args_done) Args args = { 0 };
        _cleanup_failure_ Failure failure = { 0 };

        assert_int_equal(PARSE(&args, &failure, "image", "list"), 0);
        assert_string_equal(args.verb->name, "image list");
}

static void test_args_end_of_options(_unused_ void **state) {
        _cleanup_(args_done) Args args = { 0 };
        _cleanup_failure_ Failure failure = { 0 };

        assert_int_equal(PARSE(&args, &failure, "create", "--", "--start", "-"), 0);
        assert_string_equal(args_operand(&args, 0), "--start");
        assert_string_equal(args_operand(&args, 1), "-");
}

#define ASSERT_USAGE(text, ...)                                                         \
        do {                                                                            \
                _cleanup_(args_done) Args _args = { 0 };                                \
                _cleanup_failure_ Failure _failure = { 0 };                             \
                assert_true(PARSE(&_args, &_failure, __VA_ARGS__) < 0);                 \
                assert_int_equal(_failure.exit_code, EXIT_USAGE);                       \
                assert_non_null(strstr(_failure.message, text));                        \
        } while (0)

static void test_args_refused(_unused_ void **state) {
        ASSERT_USAGE("unknown command 'crate'", "crate");
        ASSERT_USAGE("create needs NAME", "create");
        ASSERT_USAGE("unexpected 'c'", "create", "a", "b", "c");
        ASSERT_USAGE("--memory: 'x' is not", "create", "a", "--memory", "x");
        ASSERT_USAGE("--memory: '' is not", "create", "a", "--memory=");
        ASSERT_USAGE("--memory needs a value", "create", "a", "--memory");
        ASSERT_USAGE("--graphics: 'spic' is not one of", "create", "a", "--graphics", "spic");
        ASSERT_USAGE("--gpu: '01:00.9' is not", "create", "a", "--gpu", "01:00.9");
        ASSERT_USAGE("--start takes no value", "create", "a", "--start=yes");
        ASSERT_USAGE("unknown option '--start'", "list", "--start");
        ASSERT_USAGE("unknown option '-x'", "list", "-x");
        ASSERT_USAGE("image needs a command", "image");
}

static void test_args_suggest(_unused_ void **state) {
        _cleanup_(args_done) Args args = { 0 };
        _cleanup_failure_ Failure failure = { 0 };

        assert_true(PARSE(&args, &failure, "create", "a", "--memry", "1G") < 0);
        assert_non_null(strstr(failure.remedy, "'--memory'"));
}

/* Suggestions */

static void test_distance(_unused_ void **state) {
        assert_int_equal(text_distance("", "abc"), 3);
        assert_int_equal(text_distance("games", "games"), 0);
        assert_int_equal(text_distance("game", "games"), 1);
        assert_int_equal(text_distance("kitten", "sitting"), 3);
        assert_int_equal(text_distance("gup", "gpu"), 1);
        assert_int_equal(text_distance("lits", "list"), 1);
        assert_int_equal(text_distance("ca", "abc"), 3);
}

static void test_nearest(_unused_ void **state) {
        Nearest nearest = { .word = "gaming-wm" };

        nearest_offer(&nearest, "list");
        assert_null(nearest.best);
        nearest_offer(&nearest, "gaming-v");
        nearest_offer(&nearest, "gaming-vm");
        nearest_offer(&nearest, "gaming");
        assert_string_equal(nearest.best, "gaming-vm");
}

/* Tables */

static void test_table_layout(_unused_ void **state) {
        static const Column columns[] = {
                { .title = "A" },
                { .title = "STATUS", .min_width = 8 },
                { .title = "PRODUCT", .min_width = 9 },
        };
        _cleanup_table_ Table table = { .columns = columns, .n_columns = 3 };
        int widths[3];

        table_add(&table, "12345");
        table_add(&table, "0123456789012345");      /* 16 */
        table_add(&table, "01234567890123456789"); /* 20 */

        table_layout(&table, 0, widths);
        assert_int_equal(widths[2], 20);

        table_layout(&table, 40, widths); /* needs 45: the last column gives 5 */
        assert_int_equal(widths[1], 16);
        assert_int_equal(widths[2], 15);

        table_layout(&table, 30, widths); /* the last gives 11, the one before it 4 */
        assert_int_equal(widths[0], 5);
        assert_int_equal(widths[1], 12);
        assert_int_equal(widths[2], 9);

        table_layout(&table, 5, widths); /* never below the least */
        assert_int_equal(widths[1], 8);
        assert_int_equal(widths[2], 9);
}

/* Progress */

#define SECOND ((uint64_t) 1000000)

static void test_progress_line(_unused_ void **state) {
        Progress p = { .fraction = -1 };
        char line[PROGRESS_LINE_MAX];

        progress_set(&p, "copying the image", 0, GIB, 100 * SECOND);
        assert_string_equal(progress_line(&p, 100 * SECOND, 79, line),
                            "copying the image  [                              ]    0%  0B of 1G");

        progress_set(&p, "copying the image", 0.25, GIB, 101 * SECOND);
        progress_line(&p, 101 * SECOND, 79, line);
        assert_string_equal(line, "copying the image  [#####                ]   25%  256M of 1G  256M/s  0:03 left");
        assert_int_equal(text_columns(line), 79);

        for (int columns = 1; columns < 200; columns++)
                assert_true(text_columns(progress_line(&p, 101 * SECOND, columns, line)) <= columns);
        assert_string_equal(progress_line(&p, 101 * SECOND, 24, line), "copying the image   25%");
        assert_string_equal(progress_line(&p, 101 * SECOND, 7, line), "copying");

        progress_set(&p, "copying the image", 1, GIB, 102 * SECOND);
        assert_null(strstr(progress_line(&p, 102 * SECOND, 79, line), "left"));
}

static void test_progress_unknown(_unused_ void **state) {
        Progress p = { .fraction = -1 };
        char line[PROGRESS_LINE_MAX];

        progress_set(&p, "starting QEMU", -1, 0, 100 * SECOND);
        assert_string_equal(progress_line(&p, 101 * SECOND, 79, line), "starting QEMU");
        progress_set(&p, "starting QEMU", -1, 0, 110 * SECOND);
        assert_string_equal(progress_line(&p, 165 * SECOND, 79, line), "starting QEMU  1:05");
        progress_set(&p, "returning the devices", -1, 0, 170 * SECOND);
        assert_string_equal(progress_line(&p, 171 * SECOND, 79, line), "returning the devices");
}

/* A stall does not make the rate jump, and a new phase does not inherit it. */
static void test_progress_rate(_unused_ void **state) {
        Progress p = { .fraction = -1 };

        progress_set(&p, "copying", 0, 100 * MIB, 0);
        progress_set(&p, "copying", 0.1, 100 * MIB, SECOND);
        assert_int_equal((uint64_t) p.rate, 10 * MIB);
        progress_set(&p, "copying", 0.1, 100 * MIB, 2 * SECOND);
        assert_int_equal((uint64_t) p.rate, 7 * MIB);
        progress_set(&p, "converting", 0.5, 100 * MIB, 3 * SECOND);
        assert_int_equal((uint64_t) p.rate, 0);
}

/* What others wrote */

/* Title, erasing, C1 in its two bytes and in one, DEL, and the other way round. */
#define HOSTILE "\x1b]0;x\a\x1b[2J\xc2\x9b" "1m\x9b\x7f\r\u202eb\u2066"
#define SHOWN "?]0;x??[2J??1m??????b???"

typedef struct Capture {
        FILE *stream;
        char *text;
        size_t size;
} Capture;

static Capture capture_begin(void) {
        Capture capture = { .stream = tmpfile() };

        assert_non_null(capture.stream);
        return capture;
}

static const char *capture_end(Capture *capture) {
        long size = ftell(capture->stream);

        capture->text = calloc(1, (size_t) size + 1);
        rewind(capture->stream);
        assert_int_equal(fread(capture->text, 1, (size_t) size, capture->stream), size);
        fclose(capture->stream);
        return capture->text;
}

static void capture_done(Capture *capture) {
        free(capture->text);
}

#define _cleanup_capture_ _cleanup_(capture_done)

static void test_print_text(_unused_ void **state) {
        _cleanup_capture_ Capture capture = capture_begin();

        print_text(capture.stream, "\n%s is %d\n\n", "one\ntwo: " HOSTILE "\n", 3);
        print_text(capture.stream, "Gr\u00fc\u00dfe, \u20ac");
        print_text(capture.stream, "\n");
        print_colored(capture.stream, COLOR_RED, "%s\n", HOSTILE);
        assert_string_equal(capture_end(&capture), "\none?two: " SHOWN "? is 3\n\nGr\u00fc\u00dfe, \u20ac\n" SHOWN "\n");
}

static void test_print_wrapped(_unused_ void **state) {
        _cleanup_capture_ Capture capture = capture_begin();

        print_wrapped(capture.stream, 2, "first " HOSTILE "\n\nthird \u20ac\t" HOSTILE);
        print_wrapped(capture.stream, 2, "");
        assert_string_equal(capture_end(&capture), "first " SHOWN "\n  \n  third \u20ac?" SHOWN "\n\n");
}

static void test_table_is_printable(_unused_ void **state) {
        static const Column columns[] = { { .title = "NAME" }, { .title = "STATE" } };
        _cleanup_table_ Table table = { .columns = columns, .n_columns = ELEMENTSOF(columns) };
        _cleanup_capture_ Capture capture = capture_begin();

        table_add(&table, "a\nb");
        table_add_colored(&table, COLOR_RED, HOSTILE);
        assert_int_equal(table_print(&table, capture.stream), 0);
        assert_string_equal(capture_end(&capture), "NAME  STATE\na?b   " SHOWN "\n");
}

static void test_progress_is_printable(_unused_ void **state) {
        char line[PROGRESS_LINE_MAX];
        Progress p = { .fraction = -1 };

        progress_set(&p, HOSTILE, -1, 0, 0);
        assert_string_equal(progress_line(&p, 0, 79, line), SHOWN);
}

/* The values are what they were, and the text of them steers nothing. */
static void test_json_is_printable(_unused_ void **state) {
        static const char value[] = "\x1b]0;x\a \xc2\x9b" "31m \x7f \u202e \u00fc \U0001f600 \n";
        _cleanup_json_ json_object *document = json_object_new_object(), *back = NULL;
        _cleanup_capture_ Capture capture = capture_begin();

        json_object_object_add(document, value, json_object_new_string(value));
        json_print_line(capture.stream, document);
        const char *text = capture_end(&capture);

        assert_non_null(strstr(text, "\\u001b]0;x\\u0007 \\u009b31m \\u007f \\u202e \u00fc \U0001f600 \\n"));
        assert_int_equal(strcspn(text, "\x1b\a\x7f\x9b"), strlen(text));
        back = json_parse_answer(text, strlen(text));
        assert_string_equal(json_string(back, value), value);
}

static void test_json_of_no_utf8(_unused_ void **state) {
        _cleanup_json_ json_object *document = json_object_new_string("a\x9b" "b");
        _cleanup_capture_ Capture capture = capture_begin();

        json_print_line(capture.stream, document);
        assert_string_equal(capture_end(&capture), "\"a\\ufffdb\"\n");
}

/* What another host may answer to list. */

static const JsonField row_fields[] = {
        { "name", json_type_string },
        { "cpus", json_type_int },
        { "devices", json_type_array, json_type_string },
};

static bool are_rows(const char *text, size_t size) {
        _cleanup_json_ json_object *document = json_parse_answer(text, size);

        return json_are_rows(document, row_fields, ELEMENTSOF(row_fields));
}

static void test_rows(_unused_ void **state) {
        static const char *const good[] = {
                "[]", " [ ] \n", "[{\"name\":\"a\"}]", "[{\"name\":\"a\",\"cpus\":null,\"devices\":[]}]\n",
                "[{\"name\":\"\\u001b[2J\",\"cpus\":2,\"devices\":[\"x\",\"y\"],\"new\":{\"a\":[1]}}]",
        };
        static const char *const bad[] = {
                "", "\n", "null", "1", "true", "\"a\"", "{}", "{\"name\":\"a\"}", "[1]", "[null]", "[[]]", "[\"a\"]",
                "[{}]", "[{\"name\":null}]", "[{\"name\":1}]", "[{\"name\":[\"a\"]}]", "[{\"name\":{}}]",
                "[{\"name\":\"a\"},1]", "[{\"name\":\"a\"},{\"name\":\"b\",\"cpus\":\"2\"}]",
                "[{\"name\":\"a\",\"cpus\":1.5}]", "[{\"name\":\"a\",\"devices\":\"x\"}]",
                "[{\"name\":\"a\",\"devices\":{}}]", "[{\"name\":\"a\",\"devices\":[1]}]",
                "[{\"name\":\"a\",\"devices\":[null]}]", "[][]", "[] x", "[", "[{\"name\":\"a\"}", "[{\"name\":\"a\"}]]",
                "['a']", "[,]", "[NaN]", "[{\"name\":\"\xff\"}]", "[{\"name\":\"\x9b\"}]", "welcome\n[]",
        };

        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                if (!are_rows(good[i], strlen(good[i])))
                        fail_msg("refused: %s", good[i]);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (are_rows(bad[i], strlen(bad[i])))
                        fail_msg("taken: %s", bad[i]);

        assert_false(are_rows("[]\0[]", 5));
        assert_false(are_rows("[]\0", 3));
        assert_false(are_rows("\0[]", 3));
}

/* Neither depth nor number is without limit. */
static void test_json_limits(_unused_ void **state) {
        const size_t n = 4 * MIB;
        _cleanup_free_ char *text = malloc(n);

        memset(text, '[', n);
        assert_null(json_parse_answer(text, n));

        for (size_t i = 1; i < n; i++)
                text[i] = i % 2 == 1 ? '1' : ',';
        text[n - 2] = ']';
        assert_null(json_parse_answer(text, n - 1));
        text[20000] = ']';
        _cleanup_json_ json_object *small = json_parse_answer(text, 20001);
        assert_int_equal(json_length(small), 10000);
}

/* Public keys */

static char *write_temporary(const char *content) {
        char *path = strdup("/tmp/test-client-XXXXXX");
        _cleanup_close_ int fd = mkstemp(path);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, content, strlen(content)), (ssize_t) strlen(content));
        return path;
}

static int read_keys_of(const char *content, char ***keys, Failure *failure) {
        _cleanup_free_ char *path = write_temporary(content);
        int r = keys_read(path, keys, failure);

        (void) unlink(path);
        return r;
}

#define KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAzutoAu me@host"

static void test_keys(_unused_ void **state) {
        _cleanup_strv_ char **keys = NULL;
        _cleanup_failure_ Failure failure = { 0 };

        assert_int_equal(read_keys_of("# mine\n\n" KEY "\r\n  no-pty,command=\"a b\" " KEY "\n",
                                      &keys, &failure),
                         0);
        assert_int_equal(strv_length(keys), 2);
        assert_string_equal(keys[0], KEY);
        assert_string_equal(keys[1], "no-pty,command=\"a b\" " KEY);

        assert_int_equal(keys_read(KEY, &keys, &failure), 0);
        assert_int_equal(strv_length(keys), 3);
}

static void test_keys_refused(_unused_ void **state) {
        _cleanup_strv_ char **keys = NULL;
        _cleanup_failure_ Failure failure = { 0 };

        assert_true(read_keys_of("-----BEGIN OPENSSH PRIVATE KEY-----\nxyz\n", &keys, &failure) <
                    0);
        assert_non_null(strstr(failure.message, "is a private key"));
        assert_true(read_keys_of("hello\n", &keys, &failure) < 0);
        assert_non_null(strstr(failure.message, "not a public key"));
        assert_true(read_keys_of("# nothing\n", &keys, &failure) < 0);
        assert_non_null(strstr(failure.message, "no public key"));
        assert_true(keys_read("/nonexistent/key.pub", &keys, &failure) < 0);
        assert_null(keys);
}

/* Refusals and devices */

static void test_permission_remedy(_unused_ void **state) {
        _cleanup_free_ char *one = permission_remedy("needs org.vmkit.create-vm."),
                            *none = permission_remedy("no");
        _cleanup_free_ char *two = permission_remedy(
                "org.vmkit.use-device, org.vmkit.create-vm, org.vmkit.use-device");

        assert_null(none);
        assert_non_null(strstr(one, "action.id == \"org.vmkit.create-vm\")"));
        assert_non_null(strstr(two, "[\"org.vmkit.use-device\", \"org.vmkit.create-vm\"].indexOf"));
}

static void test_device_address(_unused_ void **state) {
        _cleanup_free_ char *address = device_address("/org/vmkit/device/10000_e1_00_0");

        assert_string_equal(address, "10000:e1:00.0");
        assert_null(device_address("/org/vmkit/vm/1234"));
        assert_null(device_address(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_args_mixed_order),  cmocka_unit_test(test_args_two_words),
                cmocka_unit_test(test_args_end_of_options), cmocka_unit_test(test_args_refused),
                cmocka_unit_test(test_args_suggest),      cmocka_unit_test(test_distance),
                cmocka_unit_test(test_nearest),           cmocka_unit_test(test_table_layout),
                cmocka_unit_test(test_progress_line),     cmocka_unit_test(test_progress_unknown),
                cmocka_unit_test(test_progress_rate),
                cmocka_unit_test(test_print_text),        cmocka_unit_test(test_print_wrapped),
                cmocka_unit_test(test_table_is_printable), cmocka_unit_test(test_progress_is_printable),
                cmocka_unit_test(test_json_is_printable), cmocka_unit_test(test_json_of_no_utf8),
                cmocka_unit_test(test_rows),              cmocka_unit_test(test_json_limits),
                cmocka_unit_test(test_keys),              cmocka_unit_test(test_keys_refused),
                cmocka_unit_test(test_permission_remedy), cmocka_unit_test(test_device_address),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
