/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Everything that is a word in a request: addresses, numbers, sizes, names, keys. What was accepted
 * has one canonical form, and none of the characters that mean something to a shell, a path, XML or
 * YAML. */

#include "base/parse.h"
#include "base/pci-address.h"
#include "fuzz.h"
#include "image/image.h"

static void check_address(const char *s) {
        char text[PCI_ADDRESS_TEXT_MAX], again_text[PCI_ADDRESS_TEXT_MAX];
        PciAddress a, again;

        if (pci_address_parse(s, &a) >= 0) {
                PciAddress other;
                FUZZ_CHECK(pci_address_parse_short(s, &other) >= 0 &&
                           pci_address_equal(&a, &other));
        }
        if (pci_address_parse_short(s, &a) < 0)
                return;

        FUZZ_CHECK(a.slot <= 31 && a.function <= 7);
        (void) pci_address_format(&a, text);
        FUZZ_CHECK(pci_address_parse(text, &again) >= 0);
        FUZZ_CHECK(pci_address_equal(&a, &again));
        FUZZ_CHECK(streq(text, pci_address_format(&again, again_text)));
        FUZZ_CHECK(strspn(text, "0123456789abcdef:.") == strlen(text));
}

static void check_numbers(const char *s) {
        char text[SIZE_TEXT_MAX];
        uint64_t value = 0;

        if (parse_uint(s, 10, 1000, &value) >= 0)
                FUZZ_CHECK(value <= 1000 && strspn(s, "0123456789") == strlen(s));
        if (parse_uint(s, 16, UINT32_MAX, &value) >= 0)
                FUZZ_CHECK(value <= UINT32_MAX && strspn(s, "0123456789abcdefABCDEF") == strlen(s));
        if (parse_size(s, &value) >= 0)
                FUZZ_CHECK(strlen(format_size(value, text)) < SIZE_TEXT_MAX);
}

static void check_names(const char *s) {
        if (name_is_valid(s)) {
                FUZZ_CHECK(strlen(s) > 0 && strlen(s) <= 63 && *s != '.' && *s != '-');
                FUZZ_CHECK(strpbrk(s, "/ \n\t\"'<>&;$`\\*?|() {}[]:#%") == NULL);
        }
        if (uuid_is_valid(s))
                FUZZ_CHECK(strlen(s) == UUID_TEXT_MAX - 1);
        if (ssh_key_check(s, NULL) >= 0)
                for (const char *p = s; *p; p++)
                        FUZZ_CHECK(*p >= 0x20 && *p < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *s = strndup((const char *) data, size);

        FUZZ_CHECK(s);
        check_address(s);
        check_numbers(s);
        check_names(s);
        return 0;
}

size_t fuzz_seed(unsigned i, uint8_t *buffer, size_t max) {
        static const char *const seeds[] = {
                "0000:01:00.0",
                "01:00.1",
                "ffffffff:ff:1f.7",
                "10000:e1:00.0",
                "0000:01:20.0",
                "12345",
                "0x1f",
                "18446744073709551615",
                "16G",
                "1.5T",
                "512K",
                "gaming-vm",
                "a.b_c-d9",
                "6f1e5e3c-2b1a-4a53-9b52-0d6c4f3f9d11",
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0d a@b",
                "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=",
        };

        if (i >= ELEMENTSOF(seeds))
                return 0;

        size_t size = MIN(max, strlen(seeds[i]));
        memcpy(buffer, seeds[i], size);
        return size;
}
