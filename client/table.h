/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Rows of text in aligned columns. On a terminal the columns that may shrink do so until a row
 * fits; into a pipe nothing is cut. */

#include <stdbool.h>
#include <stdio.h>

#include "base/util.h"
#include "terminal.h"

#define TABLE_COLUMNS_MAX 16

typedef struct Column {
        const char *title;
        int min_width; /* 0: never cut; otherwise what remains at least of a column that is */
        bool right;
} Column;

typedef struct Cell {
        char *text;
        Color color;
} Cell;

typedef struct Table {
        const Column *columns;
        size_t n_columns;
        Cell *cells; /* row after row */
        size_t n_cells;
        bool failed; /* memory was short for a cell */
} Table;

/* Adds the next cell of the current row; text may be NULL (shown as "-"), and what is not printable
 * in it becomes '?'. Whether all could be added is what table_print() says. */
void table_add(Table *table, const char *text);
void table_add_colored(Table *table, Color color, const char *text);

/* The widths that columns get: what their cells need, less what is taken to fit into `width`
 * columns (0: unlimited), from the last column that may shrink to the first. */
void table_layout(const Table *table, int width, int *ret_widths);

/* 0 or -ENOMEM. */
int table_print(const Table *table, FILE *stream);
void table_done(Table *table);

#define _cleanup_table_ _cleanup_(table_done)
