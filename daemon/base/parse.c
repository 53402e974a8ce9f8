/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>
#include <inttypes.h>

#include "parse.h"

int parse_uint(const char *s, unsigned base, uint64_t max, uint64_t *ret) {
        char *end;

        /* strtoull() accepts signs, spaces and "0x", none of which belongs here. */
        if (!s || !(base == 16 ? isxdigit((unsigned char) *s) : isdigit((unsigned char) *s)))
                return -EINVAL;
        if (base == 16 && (s[1] == 'x' || s[1] == 'X'))
                return -EINVAL;

        errno = 0;
        unsigned long long value = strtoull(s, &end, (int) base);
        if (*end)
                return -EINVAL;
        if (errno == ERANGE || value > max)
                return -ERANGE;

        *ret = value;
        return 0;
}

static int size_shift(const char *suffix) {
        static const char suffixes[] = "KMGT";

        if (!*suffix)
                return 0;
        if (suffix[1])
                return -EINVAL;

        const char *found = strchr(suffixes, *suffix);
        return found ? 10 * (int) (found - suffixes + 1) : -EINVAL;
}

int parse_size(const char *s, uint64_t *ret) {
        _cleanup_free_ char *digits = NULL;
        uint64_t value;
        int r;

        if (!s)
                return -EINVAL;

        size_t n = strspn(s, "0123456789");
        int shift = size_shift(s + n);
        if (shift < 0)
                return shift;

        digits = strndup(s, n);
        if (!digits)
                return -ENOMEM;

        r = parse_uint(digits, 10, UINT64_MAX, &value);
        if (r < 0)
                return r;
        if (value > UINT64_MAX >> shift)
                return -ERANGE;

        *ret = value << shift;
        return 0;
}

char *format_size(uint64_t bytes, char buffer[SIZE_TEXT_MAX]) {
        static const char units[] = "BKMGTPE";
        unsigned unit = 0;
        double value = (double) bytes;

        while (value >= 1024 && units[unit + 1]) {
                value /= 1024;
                unit++;
        }

        bool whole = value >= 100 || value == (double) (uint64_t) value;
        if (unit == 0)
                snprintf(buffer, SIZE_TEXT_MAX, "%" PRIu64 "B", bytes);
        else
                snprintf(buffer, SIZE_TEXT_MAX, whole ? "%.0f%c" : "%.1f%c", value, units[unit]);
        return buffer;
}

bool name_is_valid(const char *s) {
        if (!s || !isalnum((unsigned char) *s) || (unsigned char) *s > 127)
                return false;

        size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
        return n <= NAME_LENGTH_MAX && !s[n];
}

bool uuid_is_valid(const char *s) {
        if (!s || strlen(s) != UUID_TEXT_MAX - 1)
                return false;

        for (size_t i = 0; s[i]; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;
                if (dash ? s[i] != '-' : !strchr("0123456789abcdef", s[i]))
                        return false;
        }
        return true;
}

/* lib/vsprintf.c of the kernel has these for pointers that lead nowhere. */
bool text_is_known(const char *s) {
        return !str_empty(s) && !streq(s, "(null)") && !streq(s, "(efault)") && !streq(s, "(einval)");
}

bool serials_differ(const char *a, const char *b) {
        return text_is_known(a) && text_is_known(b) && !streq(a, b);
}
