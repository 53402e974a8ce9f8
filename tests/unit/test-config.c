/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What vmkitd.conf(5) and the installed vmkitd.conf say about settings is what config.c does: every setting is
 * there, none that does not exist, and each with its default. The table is private, so the source is read in. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../daemon/config.c"

#define DOCUMENT_MAX (64 * 1024)

static Config *defaults(void) {
        Config *config;

        assert_int_equal(config_new(&config), 0);
        return config;
}

/* A copy of what a document says the default is, set as from the file, must not differ from it. */
static void assert_is_default(const Setting *setting, const char *value) {
        _cleanup_(config_freep) Config *expected = defaults(), *found = defaults();
        const char *a = (const char *) expected + setting->offset, *b = (const char *) found + setting->offset;

        assert_int_equal(config_set(found, setting->section, setting->key, value), 0);
        if (setting->set == set_string || setting->set == set_directory || setting->set == set_domain_type)
                assert_string_equal(*(char *const *) a, *(char *const *) b);
        else if (setting->set == set_networks)
                for (size_t i = 0; expected->networks[i] || found->networks[i]; i++)
                        assert_string_equal(expected->networks[i], found->networks[i]);
        else if (setting->set == set_log_level)
                assert_int_equal(expected->log_level, found->log_level);
        else
                assert_int_equal(*(const uint64_t *) a, *(const uint64_t *) b);
}

/* What follows before, key and after at the beginning of a line, up to its end. */
static char *find_default(const char *content, const char *before, const char *key, const char *after) {
        _cleanup_free_ char *head = NULL;
        const char *found;

        assert_true(asprintf(&head, "\n%s%s%s", before, key, after) > 0);
        found = strstr(content, head);
        return found ? strndup(found + strlen(head), strcspn(found + strlen(head), "\n")) : NULL;
}

static void assert_documented(const char *document, const char *before, const char *after) {
        _cleanup_free_ char *content = NULL;

        assert_int_equal(read_file_at(AT_FDCWD, document, DOCUMENT_MAX, &content), 0);
        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                _cleanup_free_ char *value = find_default(content, before, settings[i].key, after);

                if (!value)
                        fail_msg("%s says nothing about %s", document, settings[i].key);
                assert_is_default(&settings[i], value);
        }
}

/* No more lines of that form than there are settings. */
static void assert_nothing_else(const char *document, const char *before, const char *after) {
        _cleanup_free_ char *content = NULL;
        size_t n = 0;

        assert_int_equal(read_file_at(AT_FDCWD, document, DOCUMENT_MAX, &content), 0);
        for (char *rest = content, *line; (line = strsep(&rest, "\n"));)
                if (strncmp(line, before, strlen(before)) == 0 && isupper((unsigned char) line[strlen(before)]) &&
                    strstr(line, after))
                        n++;
        assert_int_equal(n, ELEMENTSOF(settings));
}

static void test_manual(void **state) {
        assert_documented(DAEMON_DIR "/vmkitd.conf.5", "\\fB", "=\\fR");
        assert_nothing_else(DAEMON_DIR "/vmkitd.conf.5", "\\fB", "=\\fR");
}

static void test_installed_file(void **state) {
        assert_documented(DAEMON_DIR "/vmkitd.conf", "#", "=");
        assert_nothing_else(DAEMON_DIR "/vmkitd.conf", "#", "=");
}

/* As it is installed it changes nothing, and can be read. */
static void test_installed_file_is_read(void **state) {
        _cleanup_(config_freep) Config *expected = defaults(), *found = defaults();
        _cleanup_error_ Error error = ERROR_INIT;

        assert_int_equal(config_read(found, DAEMON_DIR, &error), 0);
        assert_memory_equal(&expected->limits, &found->limits, sizeof(Limits));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_manual),
                cmocka_unit_test(test_installed_file),
                cmocka_unit_test(test_installed_file_is_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
