/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A failure that a caller of the bus should understand: a code of the contract and one sentence that
 * names what was wrong. The remedy belongs to the code, unless this case has a better one. */

#include "dbus/errors.h"
#include "util.h"

typedef struct Error {
        ErrorCode code;
        char *message;
        char *remedy; /* NULL: that of the code */
} Error;

#define ERROR_INIT ((Error) {})

/* Sets the error, unless one is set already (the first cause is the one to tell), and returns the negative
 * errno of the code. error may be NULL. */
int error_set(Error *error, ErrorCode code, const char *format, ...) _printf_(3, 4);

/* Like error_set(), for an errno that has no meaning of its own to the caller: becomes Internal, NoSpace,
 * or what the errno says by itself. r is a negative errno, which is also appended in words. */
int error_set_errno(Error *error, int r, const char *format, ...) _printf_(3, 4);

/* Replaces the remedy of the code by one for this case. */
void error_set_remedy(Error *error, const char *format, ...) _printf_(2, 3);

bool error_is_set(const Error *error);
const char *error_remedy(const Error *error);

/* Moves the contents; from is empty afterwards. */
void error_move(Error *to, Error *from);
void error_copy(Error *to, const Error *from);
void error_clear(Error *error);

#define _cleanup_error_ _cleanup_(error_clear)
