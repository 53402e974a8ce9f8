/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What libFuzzer calls. A target aborts when something is wrong. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Seed number i of the target, for driver.c. Returns its size, 0 behind the last. */
size_t fuzz_seed(unsigned i, uint8_t *buffer, size_t max);

#define FUZZ_CHECK(condition)                                                          \
        do {                                                                           \
                if (!(condition)) {                                                    \
                        fprintf(stderr, "%s:%d: %s is not true\n", __FILE__, __LINE__, \
                                #condition);                                           \
                        abort();                                                       \
                }                                                                      \
        } while (0)
