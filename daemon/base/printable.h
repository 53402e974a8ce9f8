/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text that quotes what a caller, a process or a device said, cut off anywhere. It goes to the bus, which ends
 * the connection of whoever sends other than UTF-8, and to terminals and logs, which should not be made to do
 * anything by it. */

#include <stdbool.h>
#include <stdint.h>

#include "util.h"

/* The bytes of the character at s, which is stored; 0 if there is none of UTF-8. */
size_t utf8_character(const char *s, uint32_t *ret);

/* Whether it only stands for itself: no control character, and none that turns the direction of what is around it. */
bool is_printable(uint32_t c);

/* In place: what is not printable and what is no UTF-8 become '?', byte by byte, and what is beyond max bytes goes. */
void make_printable(char *s, size_t max);
