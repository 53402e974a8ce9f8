/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the terminal can show: colours, width, UTF-8. Everything is decided per stream, so that a
 * pipe gets plain text while the messages beside it stay coloured.
 *
 * Names, messages and what devices call themselves are chosen by others, who shall not steer the
 * terminal with them: text goes out by the functions here, which make it printable. */

#include <stdbool.h>
#include <stdio.h>

#include "base/util.h"

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

/* From here on, where colour is wanted (a terminal, without NO_COLOR and TERM=dumb). */
void print_color(FILE *stream, Color color);

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

/* Newlines at the beginning and the end of the format are printed; all others, which come from the
 * arguments then, and control characters become '?'. */
void print_text(FILE *stream, const char *format, ...) _printf_(2, 3);

/* The same in a colour. */
void print_colored(FILE *stream, Color color, const char *format, ...) _printf_(3, 4);

/* Text that follows others on a line, wrapped at words to the width of the terminal, its later
 * lines indented to the same column. Newlines in the text stay, other control characters become
 * '?'. Into a pipe nothing is wrapped. */
void print_wrapped(FILE *stream, int indent, const char *text);
