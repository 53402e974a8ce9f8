/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Stands in for libFuzzer where there is none: the seeds of the target, and mutations of them by a
 * simple generator, always the same ones. A run of another length or beginning: fuzz-X [N [SEED]].
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define INPUT_SIZE_MAX (64 * 1024)
#define MUTATIONS_DEFAULT 20000

static uint64_t state;

static uint64_t next_random(uint64_t below) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return below > 0 ? state % below : 0;
}

static uint8_t interesting_byte(void) {
        static const uint8_t bytes[] = {
                0, 1, 7, 8, 0x20, 0x2e, 0x30, 0x3a, 0x7f, 0x80, 0xfe, 0xff
        };

        return next_random(3) == 0 ? (uint8_t) next_random(256) : bytes[next_random(sizeof(bytes))];
}

/* Most of what decides is at the beginning. */
static size_t place(size_t size) {
        return next_random(2) == 0 && size > 128 ? next_random(128) : next_random(size);
}

static size_t mutate(uint8_t *data, size_t size) {
        size_t at = place(size), n = next_random(9);

        switch (next_random(6)) {
        case 0: /* one bit */
                data[at] ^= (uint8_t) (1 << next_random(8));
                break;
        case 1: /* one byte */
                data[at] = interesting_byte();
                break;
        case 2: /* a number of up to 64 bits */
                memset(data + at, interesting_byte(), n < size - at ? n : size - at);
                break;
        case 3: /* cut off */
                size = 1 + next_random(size);
                break;
        case 4: /* one more */
                if (size < INPUT_SIZE_MAX) {
                        memmove(data + at + 1, data + at, size - at);
                        data[at] = interesting_byte();
                        size++;
                }
                break;
        default: /* from elsewhere in it */
                data[at] = data[place(size)];
                break;
        }
        return size;
}

static void run_mutations(const uint8_t *seed, size_t seed_size, unsigned long n) {
        static uint8_t data[INPUT_SIZE_MAX];

        for (unsigned long i = 0; i < n; i++) {
                size_t size = seed_size;

                memcpy(data, seed, seed_size);
                for (uint64_t rounds = 1 + next_random(6); rounds > 0 && size > 0; rounds--)
                        size = mutate(data, size);
                (void) LLVMFuzzerTestOneInput(data, size);
        }
}

int main(int argc, char *argv[]) {
        unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 10) : MUTATIONS_DEFAULT;
        static uint8_t seed[INPUT_SIZE_MAX];
        unsigned n_seeds = 0;
        size_t size;

        state = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 88172645463325252;
        while (fuzz_seed(n_seeds, seed, sizeof(seed)) > 0)
                n_seeds++;

        for (unsigned i = 0; i < n_seeds; i++) {
                size = fuzz_seed(i, seed, sizeof(seed));
                (void) LLVMFuzzerTestOneInput(seed, size);
                run_mutations(seed, size, n / n_seeds);
        }
        printf("%u seeds, %lu mutations\n", n_seeds, n);
        return 0;
}
