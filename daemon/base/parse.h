/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Strict parsing of what callers write: numbers, sizes, names. All return 0, or -EINVAL (not of the form)
 * or -ERANGE (of the form, but too large), and set nothing on failure. */

#include <stdint.h>

#include "util.h"

/* An unsigned decimal or hexadecimal number and nothing else: no sign, no space. */
int parse_uint(const char *s, unsigned base, uint64_t max, uint64_t *ret);

/* Bytes, with an optional suffix K M G T (powers of 1024). */
int parse_size(const char *s, uint64_t *ret);

/* Bytes in the largest unit that keeps it short: "1.5G". Returns buffer. */
#define SIZE_TEXT_MAX 24
char *format_size(uint64_t bytes, char buffer[SIZE_TEXT_MAX]);

/* Names of VMs and images: a letter or digit, then letters, digits, '.', '_', '-'; at most 63. */
#define NAME_LENGTH_MAX 63
bool name_is_valid(const char *s);

/* Whether an attribute in sysfs has said anything: not where it is empty, or where the kernel had no string and
 * wrote "(null)" or "(efault)" in its place. NULL says nothing either. */
bool text_is_known(const char *s);

/* Both serial numbers are known, and they are not the same. What is unknown is no difference. */
bool serials_differ(const char *a, const char *b);

/* A lower-case UUID with dashes. */
#define UUID_TEXT_MAX 37
bool uuid_is_valid(const char *s);
