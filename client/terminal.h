/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the terminal can show: colours, width, UTF-8. Everything is decided per stream, so that a
 * pipe gets plain text while the messages beside it stay coloured. */

#include <stdbool.h>
#include <stdio.h>

typedef enum Color {
        COLOR_OFF,
        COLOR_BOLD,
        COLOR_DIM,
        COLOR_RED,
        COLOR_GREEN,
        COLOR_YELLOW,
        _COLOR_MAX,
} Color;

typedef enum Mark {
        MARK_OK,
        MARK_WARN,
        MARK_FAIL,
        MARK_UNKNOWN,
        MARK_DOT,
        _MARK_MAX,
} Mark;

/* The escape sequence, or "" where colour is not wanted (no terminal, NO_COLOR, TERM=dumb). */
const char *color_of(FILE *stream, Color color);

/* A one-column sign, in UTF-8 or ASCII. */
const char *mark_text(Mark mark);

/* The sign and colour of a status: ok, warn, fail, info; anything else is unknown. */
void print_mark(FILE *stream, const char *status);
Color status_color(const char *status);

/* "…" or "." */
const char *ellipsis(void);

bool terminal_utf8(void);

/* Columns of the terminal behind stream; 0 when it is none. */
int terminal_columns(FILE *stream);

/* Whether a question can be put to somebody: a password by pkttyagent, a confirmation by us. */
bool terminal_can_ask(void);

/* Columns that a string takes on screen. */
int text_columns(const char *s);

/* The number of bytes of s that fit into columns. */
size_t text_fit(const char *s, int columns);

/* Text that follows others on a line, wrapped at words to the width of the terminal, its later
 * lines indented to the same column. Newlines in the text stay. Into a pipe nothing is wrapped. */
void print_wrapped(FILE *stream, int indent, const char *text);
