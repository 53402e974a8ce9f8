/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "printable.h"

/* As the first byte has it; 0: it is none that a character begins with. */
static size_t length_by_first(unsigned char first) {
        if (first < 0x80)
                return 1;
        if (first < 0xc2)
                return 0;
        return first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

/* Overlong forms, surrogates, and what lies beyond the last plane. */
static bool is_forbidden(const unsigned char *s) {
        return (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
               (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90);
}

static bool is_control(const unsigned char *s) {
        return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

/* Of the character at s; 0 if it is none, or none to be shown. The NUL at the end of s continues no character,
 * so nothing beyond it is read. */
static size_t printable_length(const unsigned char *s) {
        size_t n = length_by_first(s[0]);

        for (size_t i = 1; i < n; i++)
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        return n == 0 || is_forbidden(s) || is_control(s) ? 0 : n;
}

void make_printable(char *s, size_t max) {
        unsigned char *p = (unsigned char *) s, *end = p + MIN(strlen(s), max);

        while (p < end) {
                size_t n = printable_length(p);

                if (n > (size_t) (end - p))
                        break;
                if (n == 0)
                        *p = '?';
                p += MAX(n, (size_t) 1);
        }
        *p = '\0';
}
