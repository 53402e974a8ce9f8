/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The journal of claims: what is written is what is read, and nothing that is half there is believed. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "core/claim.h"
#include "tree.h"

static Claim *make_claim(const char *address) {
        Claim *claim = calloc(1, sizeof(Claim));

        assert_non_null(claim);
        assert_int_equal(pci_address_parse(address, &claim->address), 0);
        claim->vendor_id = 0x1234;
        claim->device_id = 0x1111;
        claim->subsystem_vendor_id = 0x1af4;
        claim->subsystem_device_id = 0x1100;
        claim->serial = strdup("S1");
        claim->vm = strdup("41e1d301-60ba-482f-95ac-c60ad74578a5");
        claim->boot_id = strdup("b");
        claim->state = CLAIM_BOUND;
        claim->original.driver = strdup("nvme");
        claim->original.power_control = strdup("auto");
        claim->original.reset_method = strdup("flr bus");
        claim->original.console = strdup("vtcon0");
        claim->original.firmware_framebuffer = strdup("efi-framebuffer.0");
        claim->used = claim->needs_reboot = true;
        return claim;
}

static void test_round_trip(void **state) {
        _cleanup_tree_ Tree *tree = tree_new();
        _cleanup_(claim_freep) Claim *written = make_claim("0000:01:00.0"), *read = NULL;

        assert_int_equal(claim_write(tree->fd, written), 0);
        assert_int_equal(claim_read(tree->fd, &written->address, &read), 0);

        assert_true(pci_address_equal(&read->address, &written->address));
        assert_int_equal(read->vendor_id, 0x1234);
        assert_int_equal(read->device_id, 0x1111);
        assert_int_equal(read->subsystem_vendor_id, 0x1af4);
        assert_int_equal(read->subsystem_device_id, 0x1100);
        assert_string_equal(read->serial, "S1");
        assert_string_equal(read->vm, written->vm);
        assert_string_equal(read->boot_id, "b");
        assert_int_equal(read->state, CLAIM_BOUND);
        assert_string_equal(read->original.driver, "nvme");
        assert_null(read->original.driver_override);
        assert_string_equal(read->original.power_control, "auto");
        assert_null(read->original.d3cold_allowed);
        assert_string_equal(read->original.reset_method, "flr bus");
        assert_true(read->used);
        assert_string_equal(read->original.console, "vtcon0");
        assert_string_equal(read->original.firmware_framebuffer, "efi-framebuffer.0");
        assert_true(read->needs_reboot);

        written->used = written->needs_reboot = false;
        assert_int_equal(claim_write(tree->fd, written), 0);
        claim_free(read);
        assert_int_equal(claim_read(tree->fd, &written->address, &read), 0);
        assert_false(read->used);
        assert_false(read->needs_reboot);
}

static void test_no_record(void **state) {
        _cleanup_tree_ Tree *tree = tree_new();
        const PciAddress address = { .bus = 1 };
        Claim *claim = NULL;

        assert_int_equal(claim_read(tree->fd, &address, &claim), -ENOENT);
        assert_null(claim);
        assert_int_equal(claim_remove(tree->fd, &address), 0);
}

static void test_damaged_record(void **state) {
        static const char *const contents[] = {
                "", "{", "[]", "null", "{}", "{\"version\": 2}",
                "{\"version\": 1, \"address\": \"0000:01:00.0\", \"state\": \"lost\"}",
                "{\"version\": 1, \"address\": \"nowhere\", \"state\": \"bound\"}",
                "{\"version\": 1, \"address\": 7, \"state\": \"bound\"}",
        };
        const PciAddress address = { .bus = 1 };

        for (size_t i = 0; i < ELEMENTSOF(contents); i++) {
                _cleanup_tree_ Tree *tree = tree_new();
                Claim *claim = NULL;

                tree_write(tree, "0000:01:00.0", "%s", contents[i]);
                assert_int_equal(claim_read(tree->fd, &address, &claim), -EBADMSG);
                assert_null(claim);
        }
}

/* One that cannot be understood must not hide the others, and must not be lost either. */
static void test_all_records(void **state) {
        _cleanup_tree_ Tree *tree = tree_new();
        _cleanup_(claim_freep) Claim *first = make_claim("0000:01:00.0"), *second = make_claim("0000:03:00.1");
        _cleanup_claims_ Claims claims = {};

        tree_mkdir(tree, "claims");
        _cleanup_close_ int fd = open_dir_at(tree->fd, "claims");
        assert_int_equal(claim_write(fd, second), 0);
        assert_int_equal(claim_write(fd, first), 0);
        tree_write(tree, "claims/0000:02:00.0", "not JSON");

        assert_int_equal(claims_read_all(fd, &claims), 0);
        assert_int_equal(claims.n, 2);
        assert_int_equal(claims.items[0]->address.bus, 1);
        assert_int_equal(claims.items[1]->address.bus, 3);
        assert_true(tree_exists(tree, "claims/0000:02:00.0"));
}

/* A crash between writing and renaming leaves a file that begins with a dot, and the old record. */
static void test_interrupted_write(void **state) {
        _cleanup_tree_ Tree *tree = tree_new();
        _cleanup_(claim_freep) Claim *claim = make_claim("0000:01:00.0"), *read = NULL;

        assert_int_equal(claim_write(tree->fd, claim), 0);
        tree_write(tree, ".0000:01:00.0.new", "{\"vers");

        assert_int_equal(claim_read(tree->fd, &claim->address, &read), 0);
        claim->state = CLAIM_RELEASING;
        assert_int_equal(claim_write(tree->fd, claim), 0);
        assert_false(tree_exists(tree, ".0000:01:00.0.new"));
}

static void test_helper(void **state) {
        _cleanup_(claim_freep) Claim *claim = make_claim("0000:01:00.0");

        assert_false(claim_helper_is_alive(claim));

        claim->helper = getpid();
        assert_int_equal(process_start_time(getpid(), &claim->helper_start), 0);
        assert_true(claim_helper_is_alive(claim));

        /* The PID has been used again since. */
        claim->helper_start++;
        assert_false(claim_helper_is_alive(claim));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_no_record),
                cmocka_unit_test(test_damaged_record),  cmocka_unit_test(test_all_records),
                cmocka_unit_test(test_interrupted_write), cmocka_unit_test(test_helper),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
