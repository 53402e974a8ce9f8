/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The line is erased and written anew at each change; nothing ticks by itself. */

#include "base/util.h"
#include "progress.h"
#include "terminal.h"

#define PHASE_WIDTH 34
#define BAR_WIDTH_MAX 30
#define PERCENT_WIDTH 9 /* "[", "] 100%" and a gap of 2 */

Progress progress_new(bool quiet) {
        return (Progress) { .enabled = !quiet && isatty(STDERR_FILENO) };
}

static void print_bar(double fraction, int width) {
        int full = (int) (fraction * width + 0.5);

        fputc('[', stderr);
        for (int i = 0; i < width; i++)
                fputs(i < full ? (terminal_utf8() ? "━" : "#") : " ", stderr);
        fprintf(stderr, "] %3d%%", (int) (fraction * 100 + 0.5));
}

void progress_show(Progress *progress, const char *phase, double fraction) {
        int columns = terminal_columns(stderr) - 1; /* the last one may wrap */
        int phase_width = MIN(PHASE_WIDTH, columns);

        if (!progress->enabled || phase_width <= 0)
                return;

        progress_clear(progress);
        size_t n = text_fit(phase, phase_width);
        fprintf(stderr, "%.*s", (int) n, phase);

        int bar = MIN(BAR_WIDTH_MAX, columns - phase_width - PERCENT_WIDTH);
        if (fraction >= 0 && bar > 4) {
                fprintf(stderr, "%*s", MAX(0, phase_width - text_columns(phase)) + 2, "");
                print_bar(MIN(fraction, 1.0), bar);
        }

        fflush(stderr);
        progress->shown = true;
}

void progress_clear(Progress *progress) {
        if (!progress->shown)
                return;

        fputs("\r\033[K", stderr);
        fflush(stderr);
        progress->shown = false;
}
