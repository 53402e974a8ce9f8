/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One line on standard error that says how far a job is, when that is a terminal. */

#include <stdbool.h>

typedef struct Progress {
        bool enabled;
        bool shown;
} Progress;

Progress progress_new(bool quiet);

/* fraction is negative while it is not known. */
void progress_show(Progress *progress, const char *phase, double fraction);

/* Erases the line, so that anything else can be printed. */
void progress_clear(Progress *progress);
