/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "cpu-set.h"
#include "parse.h"
#include "strv.h"

unsigned cpu_set_count(const CpuSet *set) {
        unsigned n = 0;

        for (size_t i = 0; i < ELEMENTSOF(set->words); i++)
                n += (unsigned) __builtin_popcountll(set->words[i]);
        return n;
}

bool cpu_set_is_empty(const CpuSet *set) {
        return cpu_set_next(set, 0) == CPU_SET_MAX;
}

bool cpu_set_intersects(const CpuSet *a, const CpuSet *b) {
        for (size_t i = 0; i < ELEMENTSOF(a->words); i++)
                if (a->words[i] & b->words[i])
                        return true;
        return false;
}

void cpu_set_add_all(CpuSet *set, const CpuSet *of) {
        for (size_t i = 0; i < ELEMENTSOF(set->words); i++)
                set->words[i] |= of->words[i];
}

void cpu_set_remove_all(CpuSet *set, const CpuSet *of) {
        for (size_t i = 0; i < ELEMENTSOF(set->words); i++)
                set->words[i] &= ~of->words[i];
}

unsigned cpu_set_next(const CpuSet *set, unsigned from) {
        while (from < CPU_SET_MAX) {
                uint64_t rest = set->words[from / 64] >> (from % 64);

                if (rest)
                        return from + (unsigned) __builtin_ctzll(rest);
                from = (from / 64 + 1) * 64;
        }
        return CPU_SET_MAX;
}

static int parse_range(char *text, CpuSet *set) {
        uint64_t first, last;
        char *dash = strchr(text, '-');
        int r;

        if (dash)
                *dash = '\0';
        r = parse_uint(text, 10, CPU_SET_MAX - 1, &first);
        if (r < 0)
                return r;

        last = first;
        r = dash ? parse_uint(dash + 1, 10, CPU_SET_MAX - 1, &last) : 0;
        if (r < 0)
                return r;
        if (last < first)
                return -EINVAL;

        for (uint64_t cpu = first; cpu <= last; cpu++)
                cpu_set_add(set, (unsigned) cpu);
        return 0;
}

int cpu_set_parse(const char *s, CpuSet *ret) {
        _cleanup_free_ char *copy = strdup(s);
        CpuSet set = {};
        char *rest = copy;

        if (!copy)
                return -ENOMEM;

        while (*copy && rest) {
                char *part = strsep(&rest, ",");
                int r = parse_range(part, &set);

                if (r < 0)
                        return r;
        }

        *ret = set;
        return 0;
}

static unsigned last_in_row(const CpuSet *set, unsigned first) {
        while (cpu_set_has(set, first + 1))
                first++;
        return first;
}

char *cpu_set_format(const CpuSet *set) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return NULL;

        for (unsigned first = cpu_set_next(set, 0), last; first < CPU_SET_MAX; first = cpu_set_next(set, last + 1)) {
                last = last_in_row(set, first);
                if (first != cpu_set_next(set, 0))
                        fputc(',', f);
                fprintf(f, last > first ? "%u-%u" : "%u", first, last);
        }
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}
