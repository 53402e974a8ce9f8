/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What libvirt says that it can do, on hosts that lack one thing each. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "virt/capabilities.h"

#define DOMAIN(os, devices) "<domainCapabilities><os supported='yes'>" os "</os><devices>" devices \
        "</devices></domainCapabilities>"

#define EFI "<enum name='firmware'><value>bios</value><value>efi</value></enum>"
#define SECURE "<loader supported='yes'><enum name='secure'><value>yes</value><value>no</value></enum></loader>"
#define INSECURE "<loader supported='yes'><enum name='secure'><value>no</value></enum></loader>"
#define TPM(version) "<tpm supported='yes'><enum name='model'><value>tpm-crb</value></enum><enum name='backendModel'>" \
        "<value>emulator</value></enum><enum name='backendVersion'><value>" version "</value></enum></tpm>"
#define INTERFACE(backend) "<interface supported='yes'><enum name='backendType'><value>default</value>" backend \
        "</enum></interface>"

static VirtCapabilities parse(const char *text) {
        VirtCapabilities c = {};

        capabilities_parse(text, &c);
        return c;
}

static void test_firmware(void **state) {
        assert_true(parse(DOMAIN(EFI SECURE, "")).uefi);
        assert_true(parse(DOMAIN(EFI SECURE, "")).secure_boot);
        assert_true(parse(DOMAIN(EFI INSECURE, "")).uefi);
        assert_false(parse(DOMAIN(EFI INSECURE, "")).secure_boot);
        assert_false(parse(DOMAIN("<enum name='firmware'/>" SECURE, "")).uefi);
        assert_false(parse(DOMAIN("<enum name='firmware'/>" SECURE, "")).secure_boot);
}

static void test_tpm(void **state) {
        assert_true(parse(DOMAIN("", TPM("2.0"))).tpm);
        assert_false(parse(DOMAIN("", TPM("1.2"))).tpm);
        assert_false(parse(DOMAIN("", "<tpm supported='no'/>")).tpm);
}

/* libvirt before 9.2 does not say; what it does not say is not there: Debian 12 has it switched off. */
static void test_passt(void **state) {
        assert_true(parse(DOMAIN("", INTERFACE("<value>passt</value>"))).passt);
        assert_false(parse(DOMAIN("", INTERFACE(""))).passt);
        assert_false(parse(DOMAIN("", "<interface supported='no'/>")).passt);
        assert_false(parse(DOMAIN("", "")).passt);
}

static void test_nonsense(void **state) {
        const VirtCapabilities c = parse("<domainCapabilities><os>");

        assert_false(c.uefi || c.secure_boot || c.tpm || c.passt || c.vnc || c.spice);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_firmware),
                cmocka_unit_test(test_tpm),
                cmocka_unit_test(test_passt),
                cmocka_unit_test(test_nonsense),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
