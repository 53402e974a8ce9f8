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

/* The NUL at the end of s continues no character, so nothing beyond it is read. */
size_t utf8_character(const char *s, uint32_t *ret) {
        const unsigned char *p = (const unsigned char *) s;
        size_t n = length_by_first(p[0]);

        for (size_t i = 1; i < n; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        if (n == 0 || is_forbidden(p))
                return 0;

        *ret = n == 1 ? p[0] : p[0] & (0x7fu >> n);
        for (size_t i = 1; i < n; i++)
                *ret = *ret << 6 | (p[i] & 0x3f);
        return n;
}

static bool is_control(uint32_t c) {
        return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/* Embeddings, overrides and isolates, which show the characters of a line in another order than they stand in. */
static bool is_bidi_control(uint32_t c) {
        return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

bool is_printable(uint32_t c) {
        return !is_control(c) && !is_bidi_control(c);
}

/* Of the character at s; 0 if it is none, or none to be shown. */
static size_t printable_length(const char *s) {
        uint32_t c;
        size_t n = utf8_character(s, &c);

        return n > 0 && is_printable(c) ? n : 0;
}

void make_printable(char *s, size_t max) {
        char *p = s, *end = p + MIN(strlen(s), max);

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
