/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "log.h"

static int max_level = LOG_INFO;

void log_set_max_level(int level) {
        max_level = level;
}

int log_level_from_string(const char *s) {
        static const struct {
                const char *name;
                int level;
        } levels[] = {
                { "error", LOG_ERR },   { "warning", LOG_WARNING }, { "notice", LOG_NOTICE },
                { "info", LOG_INFO },   { "debug", LOG_DEBUG },
        };

        for (size_t i = 0; i < ELEMENTSOF(levels); i++)
                if (streq(s, levels[i].name))
                        return levels[i].level;
        return -EINVAL;
}

_printf_(2, 0) static void log_messagev(int level, const char *format, va_list ap) {
        _cleanup_free_ char *message = NULL;

        if (level > max_level || vasprintf(&message, format, ap) < 0)
                return;

        /* One write per line, so that lines of parent and children never mix. */
        if (getenv("JOURNAL_STREAM"))
                dprintf(STDERR_FILENO, "<%d>%s\n", level, message);
        else
                dprintf(STDERR_FILENO, "%s\n", message);
}

void log_message(int level, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        log_messagev(level, format, ap);
        va_end(ap);
}

int log_errno(int r, const char *format, ...) {
        _cleanup_free_ char *what = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&what, format, ap) < 0)
                what = NULL;
        va_end(ap);

        log_message(LOG_ERR, "%s: %s", what ? what : "out of memory", strerror(-r));
        return r;
}
