/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What base/ reads: numbers, sizes and names of callers, PCI addresses, files of the kernel. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/parse.h"
#include "base/pci-address.h"
#include "base/printable.h"
#include "base/strv.h"
#include "tree.h"

static void test_uint(void **state) {
        uint64_t value = 7;

        assert_int_equal(parse_uint("0", 10, UINT64_MAX, &value), 0);
        assert_int_equal(value, 0);
        assert_int_equal(parse_uint("18446744073709551615", 10, UINT64_MAX, &value), 0);
        assert_int_equal(value, UINT64_MAX);
        assert_int_equal(parse_uint("fF", 16, UINT64_MAX, &value), 0);
        assert_int_equal(value, 255);

        static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "1x", "0x1", "a", "1.0" };
        value = 7;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(parse_uint(bad[i], 10, UINT64_MAX, &value), -EINVAL);
        assert_int_equal(parse_uint("0x1", 16, UINT64_MAX, &value), -EINVAL);
        assert_int_equal(parse_uint(NULL, 10, UINT64_MAX, &value), -EINVAL);
        assert_int_equal(parse_uint("18446744073709551616", 10, UINT64_MAX, &value), -ERANGE);
        assert_int_equal(parse_uint("256", 10, 255, &value), -ERANGE);
        assert_int_equal(value, 7);
}

static void test_size(void **state) {
        uint64_t value = 7;

        assert_int_equal(parse_size("512", &value), 0);
        assert_int_equal(value, 512);
        assert_int_equal(parse_size("4K", &value), 0);
        assert_int_equal(value, 4096);
        assert_int_equal(parse_size("16G", &value), 0);
        assert_int_equal(value, 16 * GIB);
        assert_int_equal(parse_size("2T", &value), 0);
        assert_int_equal(value, 2 * TIB);

        static const char *const bad[] = { "",    "G",   "1g",  "1GB",  "1.5G",
                                           "-1G", " 1G", "1 G", "1GiB", "0x1G" };
        value = 7;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(parse_size(bad[i], &value), -EINVAL);
        assert_int_equal(parse_size("16777216T", &value), -ERANGE);
        assert_int_equal(parse_size("99999999999999999999", &value), -ERANGE);
        assert_int_equal(value, 7);
}

static void test_format_size(void **state) {
        char buffer[SIZE_TEXT_MAX];

        assert_string_equal(format_size(0, buffer), "0B");
        assert_string_equal(format_size(1023, buffer), "1023B");
        assert_string_equal(format_size(1024, buffer), "1K");
        assert_string_equal(format_size(1536 * MIB, buffer), "1.5G");
        assert_string_equal(format_size(16 * GIB, buffer), "16G");
        assert_string_equal(format_size(UINT64_MAX, buffer), "16E");
}

static void test_names(void **state) {
        assert_true(name_is_valid("gaming-vm"));
        assert_true(name_is_valid("a"));
        assert_true(name_is_valid("9.0_x"));
        assert_true(
                name_is_valid("012345678901234567890123456789012345678901234567890123456789012"));

        static const char *const bad[] = {
                "", "-a", ".a", "_a", "a/b", "a b", "ä", "a\n", "a;b", "../x",
                "0123456789012345678901234567890123456789012345678901234567890123",
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_false(name_is_valid(bad[i]));
        assert_false(name_is_valid(NULL));
}

static void test_uuid(void **state) {
        assert_true(uuid_is_valid("a2f8b2e4-1b7c-4f51-9c11-0a1b2c3d4e5f"));
        assert_false(uuid_is_valid("A2F8B2E4-1B7C-4F51-9C11-0A1B2C3D4E5F"));
        assert_false(uuid_is_valid("a2f8b2e41b7c4f519c110a1b2c3d4e5f"));
        assert_false(uuid_is_valid("a2f8b2e4-1b7c-4f51-9c11-0a1b2c3d4e5"));
        assert_false(uuid_is_valid("a2f8b2e4-1b7c-4f51-9c11-0a1b2c3d4e5g"));
        assert_false(uuid_is_valid("a2f8b2e4-1b7c-4f51-9c110-a1b2c3d4e5f"));
        assert_false(uuid_is_valid(""));
        assert_false(uuid_is_valid(NULL));
}

static void test_address(void **state) {
        PciAddress a;

        assert_int_equal(pci_address_parse("0000:01:00.0", &a), 0);
        assert_string_equal(PCI_ADDRESS_TEXT(&a), "0000:01:00.0");
        assert_int_equal(pci_address_parse("10000:E1:1F.7", &a), 0);
        assert_int_equal(a.domain, 0x10000);
        assert_string_equal(PCI_ADDRESS_TEXT(&a), "10000:e1:1f.7");
        assert_int_equal(pci_address_parse("ffffffff:ff:1f.7", &a), 0);
        assert_string_equal(PCI_ADDRESS_TEXT(&a), "ffffffff:ff:1f.7");

        static const char *const bad[] = {
                "",
                "01:00.0",
                "000:01:00.0",
                "000000000:01:00.0",
                "0000:1:00.0",
                "0000:01:0.0",
                "0000:01:20.0",
                "0000:01:00.8",
                "0000:01:00",
                "0000:01:00.",
                "0000:01:00.0 ",
                " 0000:01:00.0",
                "0000:01:00.0/",
                "0000:01:00.00",
                "0000.01.00.0",
                "../../etc/passwd",
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(pci_address_parse(bad[i], &a), -EINVAL);
        assert_int_equal(pci_address_parse(NULL, &a), -EINVAL);
        assert_string_equal(PCI_ADDRESS_TEXT(&a), "ffffffff:ff:1f.7");

        assert_int_equal(pci_address_parse_short("01:00.1", &a), 0);
        assert_string_equal(PCI_ADDRESS_TEXT(&a), "0000:01:00.1");
        assert_int_equal(pci_address_parse_short("0001:01:00.1", &a), 0);
        assert_string_equal(PCI_ADDRESS_TEXT(&a), "0001:01:00.1");
        assert_int_equal(pci_address_parse_short("1:00.1", &a), -EINVAL);
}

static void test_address_order(void **state) {
        static const char *const ordered[] = {
                "0000:00:00.0", "0000:00:1f.7", "0000:01:00.0", "0000:01:00.1",
                "0000:ff:00.0", "0001:00:00.0", "10000:00:00.0",
        };
        PciAddress a, b;

        for (size_t i = 0; i < ELEMENTSOF(ordered); i++)
                for (size_t k = 0; k < ELEMENTSOF(ordered); k++) {
                        assert_int_equal(pci_address_parse(ordered[i], &a), 0);
                        assert_int_equal(pci_address_parse(ordered[k], &b), 0);
                        assert_int_equal(pci_address_compare(&a, &b), i < k ? -1 : i > k);
                }

        assert_int_equal(pci_address_parse("0000:01:00.0", &a), 0);
        assert_int_equal(pci_address_parse("0000:01:00.7", &b), 0);
        assert_true(pci_address_same_slot(&a, &b));
        b.slot = 1;
        assert_false(pci_address_same_slot(&a, &b));
}

static void test_files(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *a = NULL, *b = NULL, *c = NULL;
        uint64_t value;

        tree_write(t, "d/line", "(null)\n");
        tree_write(t, "d/two", "one\ntwo\n");
        tree_write(t, "d/hex", "0x8086\n");
        tree_write(t, "d/decimal", "42\n");
        tree_write(t, "d/negative", "-1\n");
        tree_write(t, "d/empty", "%s", "");
        tree_symlink(t, "d/link", "../../somewhere/nvme");

        assert_int_equal(read_line_at(t->fd, "d/line", &a), 0);
        assert_string_equal(a, "(null)");
        assert_int_equal(read_file_at(t->fd, "d/two", 64, &b), 0);
        assert_string_equal(b, "one\ntwo\n");
        assert_int_equal(read_link_name_at(t->fd, "d/link", &c), 0);
        assert_string_equal(c, "nvme");

        assert_int_equal(read_uint_at(t->fd, "d/hex", &value), 0);
        assert_int_equal(value, 0x8086);
        assert_int_equal(read_uint_at(t->fd, "d/decimal", &value), 0);
        assert_int_equal(value, 42);
        assert_int_equal(read_uint_at(t->fd, "d/negative", &value), -EINVAL);
        assert_int_equal(read_uint_at(t->fd, "d/empty", &value), -EINVAL);
        assert_int_equal(read_uint_at(t->fd, "d/none", &value), -ENOENT);

        char *unset = NULL;
        assert_int_equal(read_file_at(t->fd, "d/two", 4, &unset), -EFBIG);
        assert_int_equal(read_line_at(t->fd, "d", &unset), -EISDIR);
        assert_int_equal(read_link_at(t->fd, "d/line", &unset), -EINVAL);
        assert_null(unset);
}

static void test_lists(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_strv_ char **names = NULL, **none = NULL;
        _cleanup_free_ char *joined = NULL;

        tree_write(t, "d/b", "x");
        tree_write(t, "d/a", "x");
        tree_write(t, "d/.hidden", "x");
        tree_mkdir(t, "d/c");
        tree_mkdir(t, "e");

        assert_int_equal(list_dir_at(t->fd, "d", &names), 0);
        joined = strv_join(names, " ");
        assert_string_equal(joined, "a b c");
        assert_int_equal(list_dir_at(t->fd, "e", &none), 0);
        assert_null(none);
        assert_int_equal(list_dir_at(t->fd, "none", &none), -ENOENT);
}

static void test_writing(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *content = NULL;

        assert_int_equal(write_attribute_at(t->fd, "none", "x"), -ENOENT);
        assert_false(tree_exists(t, "none"));

        assert_int_equal(write_file_atomic_at(t->fd, "record", "one\n", 0600), 0);
        assert_int_equal(write_file_atomic_at(t->fd, "record", "two\n", 0600), 0);
        content = tree_read(t, "record");
        assert_string_equal(content, "two\n");
        assert_false(tree_exists(t, ".record.new"));

        assert_int_equal(remove_file_at(t->fd, "record"), 0);
        assert_int_equal(remove_file_at(t->fd, "record"), 0);
        assert_false(tree_exists(t, "record"));
}

static void test_strv(void **state) {
        _cleanup_strv_ char **l = NULL, **copy = NULL;
        _cleanup_free_ char *joined = NULL, *empty = strv_join(NULL, ",");

        assert_int_equal(strv_split("  flr,pm  bus ", " ,", &l), 0);
        assert_int_equal(strv_length(l), 3);
        assert_true(strv_contains(l, "pm"));
        assert_false(strv_contains(l, "p"));
        assert_false(strv_contains(NULL, "p"));
        assert_int_equal(strv_copy(l, &copy), 0);
        joined = strv_join(copy, ",");
        assert_string_equal(joined, "flr,pm,bus");
        assert_string_equal(empty, "");
}

static void assert_printable(const char *text, size_t max, const char *expected) {
        char buffer[64];

        strcpy(buffer, text);
        make_printable(buffer, max);
        assert_string_equal(buffer, expected);
}

static void test_printable(void **state) {
        assert_printable("plain", SIZE_MAX, "plain");
        assert_printable("Gr\u00fc\u00dfe, \u20ac, \U0001f600", SIZE_MAX, "Gr\u00fc\u00dfe, \u20ac, \U0001f600");

        assert_printable("a\nb\x1b[2J\x7f", SIZE_MAX, "a?b?[2J?");
        assert_printable("\xc2\x9b", SIZE_MAX, "??");             /* a control character of two bytes */
        assert_printable("a\u202eb\u2066c\u2069", SIZE_MAX, "a???b???c???"); /* the other way round */
        assert_printable("\u2029\u202f\u2065\u206a\u00a0", SIZE_MAX, "\u2029\u202f\u2065\u206a\u00a0");
        assert_printable("\xff \x80", SIZE_MAX, "? ?");
        assert_printable("\xc0\xaf", SIZE_MAX, "??");             /* overlong */
        assert_printable("\xed\xa0\x80", SIZE_MAX, "???");        /* a surrogate */
        assert_printable("\xf4\x90\x80\x80", SIZE_MAX, "????");   /* beyond the last plane */
        assert_printable("cut \xe2\x82", SIZE_MAX, "cut ??");

        assert_printable("abcdef", 3, "abc");
        assert_printable("abc", 3, "abc");
        assert_printable("ab\u20ac", 4, "ab");                     /* not within a character */
        assert_printable("ab\u20ac", 5, "ab\u20ac");
}

static void test_known_texts(void **state) {
        static const char *const nothing[] = { NULL, "", "(null)", "(efault)", "(einval)" };

        for (size_t i = 0; i < ELEMENTSOF(nothing); i++) {
                assert_false(text_is_known(nothing[i]));
                assert_false(serials_differ(nothing[i], "S1"));
                assert_false(serials_differ("S1", nothing[i]));
                assert_false(serials_differ(nothing[i], nothing[0]));
        }
        assert_true(text_is_known("S1"));
        assert_true(text_is_known("(efault) "));
        assert_false(serials_differ("S1", "S1"));
        assert_true(serials_differ("S1", "S2"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_uint),    cmocka_unit_test(test_size),
                cmocka_unit_test(test_format_size), cmocka_unit_test(test_names),
                cmocka_unit_test(test_uuid),    cmocka_unit_test(test_address),
                cmocka_unit_test(test_address_order), cmocka_unit_test(test_files),
                cmocka_unit_test(test_lists),   cmocka_unit_test(test_writing),
                cmocka_unit_test(test_strv),     cmocka_unit_test(test_printable),
                cmocka_unit_test(test_known_texts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
