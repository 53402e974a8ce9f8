/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text that quotes what a caller, a process or a device said, cut off anywhere. It goes to the bus, which ends
 * the connection of whoever sends other than UTF-8, and to terminals and logs, which should not be made to do
 * anything by it. */

#include <stdint.h>

#include "util.h"

/* In place: control characters and what is no UTF-8 become '?', and what is beyond max bytes goes. */
void make_printable(char *s, size_t max);
