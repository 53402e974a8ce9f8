/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The environment's word on presentation: isatty(), window size, NO_COLOR, TERM and the locale. */

#include <langinfo.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <wchar.h>

#include "base/printable.h"
#include "base/util.h"
#include "terminal.h"

static bool stream_colored(FILE *stream) {
        const char *term = getenv("TERM");

        return isatty(fileno(stream)) && str_empty(getenv("NO_COLOR")) && !str_empty(term) &&
               !streq(term, "dumb");
}

void print_color(FILE *stream, Color color) {
        static const char *const sequences[_COLOR_MAX] = {
                [COLOR_OFF] = "\033[0m",  [COLOR_BOLD] = "\033[1m",   [COLOR_DIM] = "\033[2m",
                [COLOR_RED] = "\033[31m", [COLOR_GREEN] = "\033[32m", [COLOR_YELLOW] = "\033[33m",
        };

        if (stream_colored(stream))
                fputs(sequences[color], stream);
}

bool terminal_utf8(void) {
        return streq(nl_langinfo(CODESET), "UTF-8");
}

const char *mark_text(Mark mark) {
        static const char *const unicode[_MARK_MAX] = {
                [MARK_OK] = "✔",      [MARK_WARN] = "!", [MARK_FAIL] = "✘",
                [MARK_UNKNOWN] = "?", [MARK_DOT] = "●",
        };
        static const char *const ascii[_MARK_MAX] = {
                [MARK_OK] = "+",      [MARK_WARN] = "!", [MARK_FAIL] = "x",
                [MARK_UNKNOWN] = "?", [MARK_DOT] = "*",
        };

        return terminal_utf8() ? unicode[mark] : ascii[mark];
}

typedef struct Style {
        const char *status;
        Mark mark;
        Color color;
} Style;

static const Style *style_of(const char *status) {
        static const Style styles[] = {
                { "ok", MARK_OK, COLOR_GREEN },
                { "warn", MARK_WARN, COLOR_YELLOW },
                { "fail", MARK_FAIL, COLOR_RED },
                { "info", MARK_DOT, COLOR_DIM },
                { NULL, MARK_UNKNOWN, COLOR_DIM },
        };
        const Style *style = styles;

        while (style->status && !streq_ptr(style->status, status))
                style++;

        return style;
}

Color status_color(const char *status) {
        return style_of(status)->color;
}

void print_mark(FILE *stream, const char *status) {
        const Style *style = style_of(status);

        print_colored(stream, style->color, "%s", mark_text(style->mark));
}

const char *ellipsis(void) {
        return terminal_utf8() ? "…" : ".";
}

static int columns_from_environment(void) {
        const char *value = getenv("COLUMNS");
        int n = value ? atoi(value) : 0;

        return n > 0 ? n : 80;
}

int terminal_columns(FILE *stream) {
        struct winsize size = { 0 };
        int fd = fileno(stream);

        if (!isatty(fd))
                return 0;
        if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
                return columns_from_environment();

        return size.ws_col;
}

bool terminal_can_ask(void) {
        return isatty(STDIN_FILENO) || isatty(STDERR_FILENO);
}

/* Reads one character of s; returns its bytes and stores its columns. A broken one counts as one
 * column. */
static size_t next_character(const char *s, mbstate_t *state, int *ret_columns) {
        wchar_t wide;
        size_t n = mbrtowc(&wide, s, MB_CUR_MAX, state);

        if (n == 0 || n == (size_t) -1 || n == (size_t) -2) {
                memset(state, 0, sizeof *state);
                *ret_columns = 1;
                return 1;
        }

        int columns = wcwidth(wide);
        *ret_columns = columns < 0 ? 1 : columns;
        return n;
}

size_t text_fit(const char *s, int columns) {
        mbstate_t state = { 0 };
        size_t used = 0;

        for (int width; s[used]; columns -= width) {
                size_t n = next_character(s + used, &state, &width);

                if (width > columns)
                        break;
                used += n;
        }

        return used;
}

int text_columns(const char *s) {
        mbstate_t state = { 0 };
        int sum = 0, width;

        for (size_t n; *s; s += n, sum += width)
                n = next_character(s, &state, &width);

        return sum;
}

/* The bytes of the next line of text: up to a newline, or as many words as fit. */
static size_t line_length(const char *text, int columns) {
        size_t line = strcspn(text, "\n"), fit = text_fit(text, columns);

        if (fit >= line)
                return line;
        for (size_t n = fit; n > 0; n--)
                if (text[n] == ' ')
                        return n;

        return strcspn(text, " \n"); /* one word longer than the line */
}

static void print_lines(FILE *stream, int indent, const char *text) {
        int width = terminal_columns(stream) ?: INT_MAX;
        bool first = true;

        do {
                size_t n = line_length(text, MAX(width - indent, 20));

                fprintf(stream, "%*s%.*s\n", first ? 0 : indent, "", (int) n, text);
                text += n;
                text += *text != '\0'; /* the space or newline it was broken at */
                first = false;
        } while (*text);
}

void print_wrapped(FILE *stream, int indent, const char *text) {
        _cleanup_free_ char *lines = strdup(text);

        if (!lines)
                return;
        for (char *line = lines, *end; *line; line = end) {
                end = strchrnul(line, '\n');

                char separator = *end;
                *end = '\0';
                make_printable(line, SIZE_MAX);
                *end = separator;
                end += separator != '\0';
        }

        print_lines(stream, indent, lines);
}

/* Text */

static size_t newlines_at_end(const char *s) {
        size_t n = strlen(s), count = 0;

        while (count < n && s[n - count - 1] == '\n')
                count++;
        return count;
}

_printf_(2, 0) static void print_valist(FILE *stream, const char *format, va_list ap) {
        _cleanup_free_ char *text = NULL;

        if (vasprintf(&text, format, ap) < 0) {
                text = NULL;
                return;
        }

        size_t before = strspn(format, "\n"), after = format[before] ? newlines_at_end(format) : 0;
        char *end = text + strlen(text) - after;

        *end = '\0';
        make_printable(text + before, SIZE_MAX);
        if (after > 0)
                *end = '\n';
        fputs(text, stream);
}

void print_text(FILE *stream, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        print_valist(stream, format, ap);
        va_end(ap);
}

void print_colored(FILE *stream, Color color, const char *format, ...) {
        va_list ap;

        print_color(stream, color);
        va_start(ap, format);
        print_valist(stream, format, ap);
        va_end(ap);
        print_color(stream, COLOR_OFF);
}
