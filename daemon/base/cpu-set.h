/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sets of small numbers, CPUs or memory nodes, as the kernel and libvirt write them: "0-3,8". */

#include <stdint.h>

#include "util.h"

#define CPU_SET_MAX 8192 /* the most CPUs that a kernel for x86 is built for */

typedef struct CpuSet {
        uint64_t words[CPU_SET_MAX / 64];
} CpuSet;

static inline bool cpu_set_has(const CpuSet *set, unsigned cpu) {
        return cpu < CPU_SET_MAX && (set->words[cpu / 64] >> (cpu % 64) & 1);
}

static inline void cpu_set_add(CpuSet *set, unsigned cpu) {
        if (cpu < CPU_SET_MAX)
                set->words[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

static inline void cpu_set_remove(CpuSet *set, unsigned cpu) {
        if (cpu < CPU_SET_MAX)
                set->words[cpu / 64] &= ~(UINT64_C(1) << (cpu % 64));
}

unsigned cpu_set_count(const CpuSet *set);
bool cpu_set_is_empty(const CpuSet *set);
bool cpu_set_intersects(const CpuSet *a, const CpuSet *b);
void cpu_set_add_all(CpuSet *set, const CpuSet *of);
void cpu_set_remove_all(CpuSet *set, const CpuSet *of);

/* The first member from `from` on; CPU_SET_MAX: none. */
unsigned cpu_set_next(const CpuSet *set, unsigned from);
#define CPU_SET_FOREACH(cpu, set) \
        for (unsigned cpu = cpu_set_next((set), 0); cpu < CPU_SET_MAX; cpu = cpu_set_next((set), cpu + 1))

/* Numbers and ascending ranges, separated by commas. An empty text is the empty set. -EINVAL, -ERANGE. */
int cpu_set_parse(const char *s, CpuSet *ret);
/* The same way back; NULL: out of memory. */
char *cpu_set_format(const CpuSet *set);
