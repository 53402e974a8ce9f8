/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The documents of a seed, and the ISO image that the real helper makes of them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <blkid.h>
#include <cmocka.h>

#include "base/json.h"
#include "image-run.h"
#include "image/cloud-init.h"
#include "qcow2-image.h"

#define ED25519 "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
#define UUID "6f1e5e3c-2b1a-4a53-9b52-0d6c4f3f9d11"

static struct json_object *parse(const char *text) {
        struct json_object *o = json_parse(text, strlen(text));

        assert_non_null(o);
        return o;
}

static struct json_object *get_config(const CloudInit *c) {
        _cleanup_free_ char *text = NULL;
        const char *json;

        assert_int_equal(cloud_init_config(c, &text), 0);
        assert_non_null(text);
        json = str_after(text, "#cloud-config\n");
        assert_non_null(json);
        assert_null(strstr(json, "\\/"));
        assert_ptr_equal(strchr(json, '\n'), json + strlen(json) - 1); /* one line */
        return parse(json);
}

static void test_meta_data(_unused_ void **state) {
        CloudInit c = { .hostname = (char *) "web-1.example.org",
                        .user_data_fd = -EBADF,
                        .instance_id = (char *) UUID };
        _cleanup_free_ char *text = cloud_init_meta_data(&c), *without = NULL;
        _cleanup_json_ struct json_object *o = parse(text), *o_without = NULL;

        assert_string_equal(json_string(o, "instance-id"), UUID);
        assert_string_equal(json_string(o, "local-hostname"), "web-1.example.org");

        c.hostname = NULL;
        without = cloud_init_meta_data(&c);
        o_without = parse(without);
        assert_int_equal(json_object_object_length(o_without), 1);
}

static void test_config_default_user(_unused_ void **state) {
        CloudInit c = { .ssh_keys = (char *[]) { (char *) ED25519 " a/b \"c\" \\", (char *) ED25519,
                                                NULL } };
        _cleanup_json_ struct json_object *o = get_config(&c);
        struct json_object *keys = json_array(o, "ssh_authorized_keys");

        assert_int_equal(json_object_array_length(keys), 2);
        assert_string_equal(json_object_get_string(json_object_array_get_idx(keys, 0)),
                            ED25519 " a/b \"c\" \\");
        assert_false(json_object_get_boolean(json_object_object_get(o, "ssh_pwauth")));
        assert_non_null(json_object_object_get(o, "ssh_pwauth"));
        assert_true(json_object_get_boolean(json_object_object_get(o, "disable_root")));
        assert_null(json_object_object_get(o, "users"));
}

static void test_config_user(_unused_ void **state) {
        CloudInit c = { .ssh_keys = (char *[]) { (char *) ED25519, NULL },
                        .user = (char *) "alice" };
        _cleanup_json_ struct json_object *o = get_config(&c);
        struct json_object *user = json_object_array_get_idx(json_array(o, "users"), 0);

        assert_string_equal(json_string(user, "name"), "alice");
        assert_int_equal(json_object_array_length(json_array(user, "ssh_authorized_keys")), 1);
        assert_true(json_object_get_boolean(json_object_object_get(user, "lock_passwd")));
        assert_non_null(json_string(user, "sudo"));
        assert_null(json_object_object_get(o, "ssh_authorized_keys"));

        c.ssh_keys = NULL;
        _cleanup_json_ struct json_object *without = get_config(&c);
        assert_null(json_object_object_get(without, "ssh_pwauth")); /* or nobody could log in */
}

static void test_config_none(_unused_ void **state) {
        CloudInit c = { .hostname = (char *) "x" };
        char *text = (char *) "unchanged";

        assert_int_equal(cloud_init_config(&c, &text), 0);
        assert_null(text);
}

/* Were these let through to a document, they would still be no more than text in it. */
static void test_injection(_unused_ void **state) {
        static const char evil[] = ED25519 " x\"]\nruncmd: [\"touch /pwned\"]\n#\u2028: {}\t'\\";
        CloudInit c = { .ssh_keys = (char *[]) { (char *) evil, NULL }, .user = (char *) "a\nb: c",
                        .hostname = (char *) "h\"\nx: y", .instance_id = (char *) UUID };
        _cleanup_json_ struct json_object *o = get_config(&c);
        struct json_object *user = json_object_array_get_idx(json_array(o, "users"), 0),
                           *keys = json_array(user, "ssh_authorized_keys");
        _cleanup_free_ char *meta_data = cloud_init_meta_data(&c);
        _cleanup_json_ struct json_object *meta = parse(meta_data);
        _cleanup_error_ Error error = ERROR_INIT;

        assert_null(json_object_object_get(o, "runcmd"));
        assert_string_equal(json_object_get_string(json_object_array_get_idx(keys, 0)), evil);
        assert_string_equal(json_string(user, "name"), "a\nb: c");
        assert_int_equal(json_object_object_length(meta), 2);
        assert_true(cloud_init_check(&c, &error) < 0);
}

static void test_keys(_unused_ void **state) {
        static const char *const good[] = {
                ED25519,
                ED25519 " alice@example.org",
                ED25519 " a comment of several words, \"quoted\" {and} [bracketed]: # all of it",
                "ssh-rsa AAAA",
                "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=",
                "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIA== x",
                "sk-ecdsa-sha2-nistp256@openssh.com AAAA",
        };
        static const char *const bad[] = {
                "",
                " ",
                "ssh-ed25519",
                "ssh-ed25519 ",
                "ssh-ed25519  AAAA",
                "ssh-ed25519\tAAAA",
                "ssh-dss AAAA",
                "ssh-ed25519x AAAA",
                " ssh-ed25519 AAAA",
                "command=\"reboot\" ssh-ed25519 AAAA",
                "ssh-ed25519 AAA",
                "ssh-ed25519 AAAAA",
                "ssh-ed25519 AA=A",
                "ssh-ed25519 A===",
                "ssh-ed25519 ====",
                "ssh-ed25519 AAAA====",
                "ssh-ed25519 AA*A",
                "ssh-ed25519 AAAA\n",
                "ssh-ed25519 AAAA\nssh-ed25519 AAAA",
                "ssh-ed25519 AAAA comment\r",
                "ssh-ed25519 AAAA com\tment",
                "ssh-ed25519 AAAA \x1b[31mred",
                "ssh-ed25519 AAAA k\xc3\xa4the",
                "ssh-ed25519 AAAA \x7f",
                "-----BEGIN OPENSSH PRIVATE KEY-----",
        };

        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                assert_int_equal(ssh_key_check(good[i], NULL), 0);

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_error_ Error error = ERROR_INIT;

                if (ssh_key_check(bad[i], &error) == 0)
                        fail_msg("accepted: %s", bad[i]);
                assert_int_equal(error.code, ERROR_INVALID_OPTION);
                if (strlen(bad[i]) > strlen("ssh-ed25519 "))
                        assert_null(strstr(error.message, bad[i])); /* never repeated */
        }

        _cleanup_free_ char *huge = malloc(16 * KIB + 2);
        memset(huge, 'A', 16 * KIB + 1);
        memcpy(huge, "ssh-rsa ", 8);
        huge[16 * KIB] = '\0';
        assert_int_equal(ssh_key_check(huge, NULL), 0);
        memset(huge + 16 * KIB, 'A', 1);
        huge[16 * KIB + 1] = '\0';
        assert_true(ssh_key_check(huge, NULL) < 0);
}

static void test_check(_unused_ void **state) {
        static const char *const good_hosts[] = { "a", "web-1", "a.b.c", "Host1", "1st" };
        static const char *const bad_hosts[] = {
                "",
                "-a",
                "a-",
                "a..b",
                ".a",
                "a.",
                "a b",
                "a_b",
                "a\n",
                "h\xc3\xa4",
                "0123456789012345678901234567890123456789012345678901234567890123"
        };
        static const char *const good_users[] = { "a", "_x", "alice", "a-b_c9" };
        static const char *const bad_users[] = {
                "",    "root", "9a",  "-a", "A",
                "a b", "a:b",  "a\n", "a$", "a23456789012345678901234567890123"
        };

        for (size_t i = 0; i < ELEMENTSOF(good_hosts); i++)
                assert_int_equal(cloud_init_check(&(CloudInit) { .hostname =
                                                                        (char *) good_hosts[i] },
                                                  NULL),
                                 0);
        for (size_t i = 0; i < ELEMENTSOF(bad_hosts); i++)
                assert_true(cloud_init_check(&(CloudInit) { .hostname = (char *) bad_hosts[i] },
                                             NULL) < 0);
        for (size_t i = 0; i < ELEMENTSOF(good_users); i++)
                assert_int_equal(cloud_init_check(&(CloudInit) { .user = (char *) good_users[i] },
                                                  NULL),
                                 0);
        for (size_t i = 0; i < ELEMENTSOF(bad_users); i++)
                assert_true(cloud_init_check(&(CloudInit) { .user = (char *) bad_users[i] }, NULL) <
                            0);

        char *keys[66] = {};
        for (size_t i = 0; i < 65; i++)
                keys[i] = (char *) ED25519;
        assert_true(cloud_init_check(&(CloudInit) { .ssh_keys = keys }, NULL) < 0);
        keys[64] = NULL;
        assert_int_equal(cloud_init_check(&(CloudInit) { .ssh_keys = keys }, NULL), 0);
}

static char *user_data(const char *config, const char *theirs) {
        _cleanup_free_ char *data = NULL;
        size_t size;

        assert_int_equal(cloud_init_user_data(config, theirs, theirs ? strlen(theirs) : 0, &data,
                                              &size),
                         0);
        return strndup(data, size);
}

static void test_user_data(_unused_ void **state) {
        static const char config[] = "#cloud-config\n{\"x\":1}\n";
        _cleanup_free_ char *nothing = user_data(NULL, NULL), *ours = user_data(config, NULL),
                            *theirs = user_data(NULL, "#!/bin/sh\necho\n"),
                            *both = user_data(config, "#!/bin/sh\necho\n");

        assert_string_equal(nothing, "#cloud-config\n{}\n");
        assert_string_equal(ours, config);
        assert_string_equal(theirs, "#!/bin/sh\necho\n");
        assert_string_equal(both, "Content-Type: multipart/mixed; boundary=\"==vmkit-0==\"\n"
                                  "MIME-Version: 1.0\n"
                                  "\n"
                                  "--==vmkit-0==\n"
                                  "Content-Type: text/plain; charset=\"utf-8\"\n"
                                  "MIME-Version: 1.0\n"
                                  "Content-Transfer-Encoding: base64\n"
                                  "\n"
                                  "IyEvYmluL3NoCmVjaG8K\n"
                                  "--==vmkit-0==\n"
                                  "Content-Type: text/cloud-config; charset=\"utf-8\"\n"
                                  "MIME-Version: 1.0\n"
                                  "Content-Transfer-Encoding: base64\n"
                                  "\n"
                                  "I2Nsb3VkLWNvbmZpZwp7IngiOjF9Cg==\n"
                                  "--==vmkit-0==--\n");
}

static void test_user_data_kinds(_unused_ void **state) {
        static const char config
                [] = "#cloud-config\n{}\n",
          mime[] = "Content-Type: multipart/mixed; boundary=\"==vmkit-0==\"\nMIME-Version: 1.0\n\n"
                   "--==vmkit-0==\n\nx\n--==vmkit-0==--\n";
        _cleanup_free_ char *nested = user_data(config, mime),
                            *gzip = user_data(config, "\x1f\x8b\x08rest"), *lines = NULL;

        /* A message is a part as it stands, and ours gets another boundary. */
        assert_non_null(strstr(nested, "boundary=\"==vmkit-1==\""));
        assert_non_null(strstr(nested, mime));
        assert_non_null(strstr(gzip, "application/gzip"));

        char text[200];
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        lines = user_data(config, text);
        for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n"))
                assert_true(strlen(line) <= 76);
}

static void make_seed(ImageRun *run, const CloudInit *c) {
        image_run_reset(run);
        image_run_wait(run, image_make_seed(run->event, run->helper, c, run->directory,
                                            &image_run_handler, run, &run->task));
}

/* As cloud-init finds it. */
static void assert_label(int fd, const char *expected) {
        blkid_probe probe = blkid_new_probe();
        const char *label = NULL;

        assert_non_null(probe);
        assert_int_equal(blkid_probe_set_device(probe, fd, 0, 0), 0);
        assert_int_equal(blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_LABEL), 0);
        assert_int_equal(blkid_do_safeprobe(probe), 0);
        assert_int_equal(blkid_probe_lookup_value(probe, "LABEL", &label, NULL), 0);
        assert_string_equal(label, expected);
        blkid_free_probe(probe);
}

static bool contains(const ImageRun *run, const char *text) {
        _cleanup_close_ int fd = openat(run->dir_fd, "seed.iso", O_RDONLY | O_CLOEXEC);
        static char content[4 * MIB];
        ssize_t n = read(fd, content, sizeof(content));

        assert_true(n > 0);
        return memmem(content, (size_t) n, text, strlen(text));
}

static void test_iso(void **state) {
        ImageRun *run = *state;
        CloudInit c = { .ssh_keys = (char *[]) { (char *) ED25519, NULL },
                        .hostname = (char *) "first",
                        .user_data_fd = -EBADF,
                        .instance_id = (char *) UUID };
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (!image_run_is_possible())
                skip();

        make_seed(run, &c);
        image_run_expect_done(run);
        assert_string_equal(run->info.format, "raw");
        assert_int_equal(image_run_count_files(run), 1);
        assert_true(contains(run, ED25519));
        assert_true(contains(run, "first"));

        fd = openat(run->dir_fd, "seed.iso", O_RDONLY | O_CLOEXEC);
        assert_label(fd, "cidata");
        assert_return_code(fstat(fd, &st), errno);
        assert_int_equal(st.st_mode & 07777, 0600);

        c.hostname = (char *) "second"; /* in place of the first */
        make_seed(run, &c);
        image_run_expect_done(run);
        assert_int_equal(image_run_count_files(run), 1);
        assert_true(contains(run, "second"));
        assert_false(contains(run, "first"));
}

static void test_iso_user_data(void **state) {
        ImageRun *run = *state;
        _cleanup_close_ int script = memory_file("#!/bin/sh\n", 10), huge = memory_file("#", 1);
        CloudInit c = { .user_data_fd = script, .instance_id = (char *) UUID };

        if (!image_run_is_possible())
                skip();

        make_seed(run, &c);
        image_run_expect_done(run);
        assert_true(contains(run, "#!/bin/sh\n"));

        assert_return_code(ftruncate(huge, 64 * KIB + 1), errno);
        c.user_data_fd = huge;
        make_seed(run, &c);
        image_run_expect_error(run, ERROR_INVALID_OPTION, "user-data");
        c.user_data_fd = run->dir_fd;
        make_seed(run, &c);
        image_run_expect_error(run, ERROR_INVALID_OPTION, "user-data is not a regular file");
        assert_int_equal(image_run_count_files(run), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_meta_data),
                cmocka_unit_test(test_config_default_user),
                cmocka_unit_test(test_config_user),
                cmocka_unit_test(test_config_none),
                cmocka_unit_test(test_injection),
                cmocka_unit_test(test_keys),
                cmocka_unit_test(test_check),
                cmocka_unit_test(test_user_data),
                cmocka_unit_test(test_user_data_kinds),
                cmocka_unit_test_setup_teardown(test_iso, image_run_setup, image_run_teardown),
                cmocka_unit_test_setup_teardown(test_iso_user_data, image_run_setup,
                                                image_run_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
