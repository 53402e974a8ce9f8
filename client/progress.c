/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The line is put together from parts of which the last are the first to go where the terminal is narrow; the bar
 * takes what room is left. */

#include "base/parse.h"
#include "base/printable.h"
#include "progress.h"
#include "terminal.h"

#define GAP 2
#define BAR_WIDTH_MAX 30
#define BAR_WIDTH_MIN 8
#define RATE_WEIGHT 0.3              /* of what was measured last */
#define MEASURE_USEC (USEC_PER_SEC / 4)
#define PATIENCE_USEC (3 * USEC_PER_SEC) /* from then on it is said how long it has taken */

Progress progress_new(bool quiet) {
        return (Progress) { .enabled = !quiet && isatty(STDERR_FILENO), .fraction = -1 };
}

static void begin(Progress *p, const char phase[PROGRESS_PHASE_MAX], double fraction, uint64_t now) {
        strcpy(p->phase, phase);
        p->began = p->measured = now;
        p->measured_fraction = MAX(fraction, 0.0);
        p->rate = 0;
}

static void measure(Progress *p, uint64_t now) {
        double seconds = (double) (now - p->measured) / USEC_PER_SEC;

        if (now - p->measured < MEASURE_USEC || p->fraction < p->measured_fraction)
                return;

        double rate = (p->fraction - p->measured_fraction) * (double) p->bytes / seconds;
        p->rate = p->rate > 0 ? (1 - RATE_WEIGHT) * p->rate + RATE_WEIGHT * rate : rate;
        p->measured = now;
        p->measured_fraction = p->fraction;
}

void progress_set(Progress *p, const char *phase, double fraction, uint64_t bytes, uint64_t now) {
        char shown[PROGRESS_PHASE_MAX];

        snprintf(shown, sizeof shown, "%s", phase);
        make_printable(shown, SIZE_MAX);
        if (!streq(p->phase, shown))
                begin(p, shown, fraction, now);

        p->fraction = MIN(fraction, 1.0);
        p->bytes = bytes;
        if (fraction >= 0 && bytes > 0)
                measure(p, now);
}

/* Parts */

#define PART_MAX 48

static void format_time(double seconds, char buffer[PART_MAX]) {
        uint64_t s = (uint64_t) (seconds + 0.5);

        if (s >= 3600)
                snprintf(buffer, PART_MAX, "%u:%02u:%02u", (unsigned) (s / 3600), (unsigned) (s / 60 % 60),
                         (unsigned) (s % 60));
        else
                snprintf(buffer, PART_MAX, "%u:%02u", (unsigned) (s / 60), (unsigned) (s % 60));
}

static void bytes_part(const Progress *p, char buffer[PART_MAX]) {
        char done[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX];

        snprintf(buffer, PART_MAX, "%s of %s", format_size((uint64_t) (p->fraction * (double) p->bytes), done),
                 format_size(p->bytes, all));
}

static void rate_part(const Progress *p, char buffer[PART_MAX]) {
        char text[SIZE_TEXT_MAX];

        snprintf(buffer, PART_MAX, "%s/s", format_size((uint64_t) p->rate, text));
}

static void remaining_part(const Progress *p, char buffer[PART_MAX]) {
        char text[PART_MAX];

        format_time((1 - p->fraction) * (double) p->bytes / p->rate, text);
        snprintf(buffer, PART_MAX, "%.32s left", text);
}

/* What is known, the most important first. */
static size_t list_parts(const Progress *p, uint64_t now, char parts[4][PART_MAX]) {
        bool measured = p->rate >= 1;
        size_t n = 0;

        if (p->fraction < 0) {
                if (now - p->began >= PATIENCE_USEC)
                        format_time((double) (now - p->began) / USEC_PER_SEC, parts[n++]);
                return n;
        }

        snprintf(parts[n++], PART_MAX, "%3d%%", (int) (p->fraction * 100 + 0.5));
        if (p->bytes > 0)
                bytes_part(p, parts[n++]);
        if (p->bytes > 0 && measured)
                rate_part(p, parts[n++]);
        if (p->bytes > 0 && measured && p->fraction < 1)
                remaining_part(p, parts[n++]);
        return n;
}

/* The line */

static void append_bar(FILE *f, double fraction, int width) {
        int full = (int) (fraction * width + 0.5);

        fputc('[', f);
        for (int i = 0; i < width; i++)
                fputs(i < full ? (terminal_utf8() ? "━" : "#") : " ", f);
        fputc(']', f);
}

char *progress_line(const Progress *p, uint64_t now, int columns, char buffer[PROGRESS_LINE_MAX]) {
        char parts[4][PART_MAX];
        size_t n = list_parts(p, now, parts), shown = 0, phase_size = text_fit(p->phase, columns);
        int used = text_columns(p->phase);
        FILE *f = fmemopen(buffer, PROGRESS_LINE_MAX, "w");

        buffer[0] = '\0';
        if (!f)
                return buffer;

        while (shown < n && used + GAP + text_columns(parts[shown]) <= columns)
                used += GAP + text_columns(parts[shown++]);

        fprintf(f, "%.*s", (int) phase_size, p->phase);
        int bar = MIN(BAR_WIDTH_MAX, columns - used - GAP - 2);
        if (p->fraction >= 0 && shown > 0 && bar >= BAR_WIDTH_MIN) {
                fprintf(f, "%*s", GAP, "");
                append_bar(f, p->fraction, bar);
        }
        for (size_t i = 0; i < shown; i++)
                fprintf(f, "%*s%s", GAP, "", parts[i]);
        fclose(f);
        return buffer;
}

void progress_draw(Progress *p, uint64_t now) {
        int columns = terminal_columns(stderr) - 1; /* the last one may wrap */

        if (!p->enabled || columns <= 0 || !p->phase[0])
                return;

        /* In one write, and what is left of a longer line erased behind it: nothing flickers. */
        fprintf(stderr, "\r%s\033[K", progress_line(p, now, columns, (char[PROGRESS_LINE_MAX]) {}));
        fflush(stderr);
        p->shown = true;
}

void progress_clear(Progress *p) {
        if (!p->shown)
                return;

        fputs("\r\033[K", stderr);
        fflush(stderr);
        p->shown = false;
}
