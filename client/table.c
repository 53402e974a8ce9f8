/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Cells are kept row after row in one array; widths are settled when everything is there. */

#include "base/printable.h"
#include "table.h"

#define GAP 2

void table_add_colored(Table *table, Color color, const char *text) {
        Cell *cells = reallocarray(table->cells, table->n_cells + 1, sizeof *cells);
        char *copy = cells ? strdup(str_empty(text) ? "-" : text) : NULL;

        if (cells)
                table->cells = cells;
        if (!copy) {
                table->failed = true;
                return;
        }

        make_printable(copy, SIZE_MAX);
        table->cells[table->n_cells++] = (Cell) { copy, color };
}

void table_add(Table *table, const char *text) {
        table_add_colored(table, COLOR_OFF, text);
}

void table_done(Table *table) {
        for (size_t i = 0; i < table->n_cells; i++)
                free(table->cells[i].text);
        free(table->cells);
        table->cells = NULL;
        table->n_cells = 0;
}

static void natural_widths(const Table *table, int *widths) {
        for (size_t i = 0; i < table->n_columns; i++)
                widths[i] = text_columns(table->columns[i].title);

        for (size_t i = 0; i < table->n_cells; i++) {
                size_t column = i % table->n_columns;
                widths[column] = MAX(widths[column], text_columns(table->cells[i].text));
        }
}

static int spare_width(const Column *column, int width) {
        return column->min_width > 0 && width > column->min_width ? width - column->min_width : 0;
}

void table_layout(const Table *table, int width, int *ret_widths) {
        int total = GAP * ((int) table->n_columns - 1);

        natural_widths(table, ret_widths);
        for (size_t i = 0; i < table->n_columns; i++)
                total += ret_widths[i];

        for (size_t i = table->n_columns; width > 0 && i-- > 0 && total > width;) {
                int spare = spare_width(&table->columns[i], ret_widths[i]);
                int cut = MIN(total - width, spare);

                ret_widths[i] -= cut;
                total -= cut;
        }
}

static void pad(FILE *stream, int columns) {
        if (columns > 0)
                print_text(stream, "%*s", columns, "");
}

/* Returns the columns printed. */
static int print_cut(FILE *stream, const char *text, int width) {
        if (text_columns(text) <= width) {
                print_text(stream, "%s", text);
                return text_columns(text);
        }

        size_t n = text_fit(text, width - 1);
        print_text(stream, "%.*s%s", (int) n, text, ellipsis());
        return width;
}

static void print_cell(FILE *stream, const Column *column, const char *text, Color color, int width,
                       bool last) {
        if (column->right)
                pad(stream, width - text_columns(text));

        if (color != COLOR_OFF)
                print_color(stream, color);
        int printed = print_cut(stream, text, width);
        if (color != COLOR_OFF)
                print_color(stream, COLOR_OFF);

        if (!last)
                pad(stream, (column->right ? 0 : width - printed) + GAP);
}

static void print_row(const Table *table, FILE *stream, const Cell *cells, const int *widths) {
        for (size_t i = 0; i < table->n_columns; i++)
                print_cell(stream, &table->columns[i], cells[i].text, cells[i].color, widths[i],
                           i + 1 == table->n_columns);

        print_text(stream, "\n");
}

static void print_titles(const Table *table, FILE *stream, const int *widths) {
        for (size_t i = 0; i < table->n_columns; i++)
                print_cell(stream, &table->columns[i], table->columns[i].title, COLOR_BOLD,
                           widths[i], i + 1 == table->n_columns);

        print_text(stream, "\n");
}

int table_print(const Table *table, FILE *stream) {
        int widths[TABLE_COLUMNS_MAX];

        if (table->failed)
                return -ENOMEM;

        table_layout(table, terminal_columns(stream), widths);
        print_titles(table, stream, widths);

        for (size_t i = 0; i + table->n_columns <= table->n_cells; i += table->n_columns)
                print_row(table, stream, table->cells + i, widths);

        return 0;
}
