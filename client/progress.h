/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One line on standard error that says how far a job is, when that is a terminal. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_PHASE_MAX 64
#define PROGRESS_LINE_MAX 1024

typedef struct Progress {
        bool enabled;
        bool shown;
        char phase[PROGRESS_PHASE_MAX];
        double fraction;  /* negative: not known */
        uint64_t bytes;   /* of the whole; 0: none are moved */
        double rate;      /* bytes a second, smoothed; 0: not known yet */
        uint64_t began;   /* when the phase was first seen, in µs */
        uint64_t measured;
        double measured_fraction;
} Progress;

Progress progress_new(bool quiet);

/* What is so at this time (µs of a clock that only runs forward). */
void progress_set(Progress *progress, const char *phase, double fraction, uint64_t bytes, uint64_t now);

/* The line for so many columns: the phase, then as much of the rest as fits. Returns buffer. */
char *progress_line(const Progress *progress, uint64_t now, int columns, char buffer[PROGRESS_LINE_MAX]);

/* Writes the line anew. */
void progress_draw(Progress *progress, uint64_t now);

/* Erases the line, so that anything else can be printed. */
void progress_clear(Progress *progress);
