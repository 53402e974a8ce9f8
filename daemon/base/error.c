/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "error.h"
#include "printable.h"

_printf_(3, 0) static void error_setv(Error *error, ErrorCode code, const char *format, va_list ap) {
        if (!error || error->code != ERROR_NONE)
                return;

        error->code = code;
        if (vasprintf(&error->message, format, ap) < 0)
                error->message = NULL;
        else
                make_printable(error->message, SIZE_MAX);
}

int error_set(Error *error, ErrorCode code, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        error_setv(error, code, format, ap);
        va_end(ap);
        return -error_code_errno(code);
}

static ErrorCode code_from_errno(int r) {
        switch (-r) {
        case ENOSPC:
        case EDQUOT:
                return ERROR_NO_SPACE;
        case ENOMEM:
                return ERROR_INSUFFICIENT_MEMORY;
        case ETIMEDOUT:
                return ERROR_TIMEOUT;
        case ECANCELED:
                return ERROR_CANCELLED;
        case EOPNOTSUPP:
                return ERROR_NOT_SUPPORTED;
        default:
                return ERROR_INTERNAL;
        }
}

int error_set_errno(Error *error, int r, const char *format, ...) {
        _cleanup_free_ char *what = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&what, format, ap) < 0)
                what = NULL;
        va_end(ap);

        (void) error_set(error, code_from_errno(r), "%s: %s", what ? what : "out of memory", strerror(-r));
        return r;
}

void error_set_remedy(Error *error, const char *format, ...) {
        va_list ap;

        if (!error)
                return;

        free(error->remedy);
        va_start(ap, format);
        if (vasprintf(&error->remedy, format, ap) < 0)
                error->remedy = NULL;
        va_end(ap);
}

bool error_is_set(const Error *error) {
        return error && error->code != ERROR_NONE;
}

const char *error_remedy(const Error *error) {
        if (!error_is_set(error))
                return "";
        return error->remedy ? error->remedy : error_code_remedy(error->code);
}

void error_move(Error *to, Error *from) {
        if (to && !error_is_set(to)) {
                *to = *from;
                *from = ERROR_INIT;
        } else
                error_clear(from);
}

void error_copy(Error *to, const Error *from) {
        if (!to || error_is_set(to) || !error_is_set(from))
                return;

        to->code = from->code;
        to->message = from->message ? strdup(from->message) : NULL;
        to->remedy = from->remedy ? strdup(from->remedy) : NULL;
}

void error_clear(Error *error) {
        if (!error)
                return;
        free(error->message);
        free(error->remedy);
        *error = ERROR_INIT;
}
