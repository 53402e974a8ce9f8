/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A small but complete qcow2 image in memory, to be spoiled by tests: header, refcount table,
 * refcount block, L1 table, L2 table and data, a cluster each. */

#include <endian.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef QCOW2_CLUSTER_BITS
#define QCOW2_CLUSTER_BITS 16
#define QCOW2_VIRTUAL_SIZE (UINT64_C(1) << 30)
#endif

#define QCOW2_CLUSTER (UINT64_C(1) << QCOW2_CLUSTER_BITS)
#define QCOW2_IMAGE_SIZE (6 * QCOW2_CLUSTER)
#define QCOW2_L1 (3 * QCOW2_CLUSTER)
#define QCOW2_L2 (4 * QCOW2_CLUSTER)
#define QCOW2_DATA (5 * QCOW2_CLUSTER)
#define QCOW2_COPIED (UINT64_C(1) << 63)

static inline void put32(uint8_t *image, size_t offset, uint32_t value) {
        value = htobe32(value);
        memcpy(image + offset, &value, sizeof(value));
}

static inline void put64(uint8_t *image, size_t offset, uint64_t value) {
        value = htobe64(value);
        memcpy(image + offset, &value, sizeof(value));
}

static inline void qcow2_image_make(uint8_t image[static QCOW2_IMAGE_SIZE]) {
        memset(image, 0, QCOW2_IMAGE_SIZE);
        memcpy(image, "QFI\xfb", 4);
        put32(image, 4, 3);
        put32(image, 20, QCOW2_CLUSTER_BITS);
        put64(image, 24, QCOW2_VIRTUAL_SIZE);
        put32(image, 36, 2);
        put64(image, 40, QCOW2_L1);
        put64(image, 48, QCOW2_CLUSTER);
        put32(image, 56, 1);
        put32(image, 96, 4);
        put32(image, 100, 112);

        put64(image, QCOW2_CLUSTER, 2 * QCOW2_CLUSTER);
        for (size_t i = 0; i < 6; i++)
                image[2 * QCOW2_CLUSTER + 2 * i + 1] = 1;
        put64(image, QCOW2_L1, QCOW2_L2 | QCOW2_COPIED);
        put64(image, QCOW2_L2, QCOW2_DATA | QCOW2_COPIED);
        memset(image + QCOW2_DATA, 0xda, QCOW2_CLUSTER);
}

/* A file in memory with that content. */
static inline int memory_file(const void *data, size_t size) {
        int fd = memfd_create("image", MFD_CLOEXEC);

        for (size_t done = 0; fd >= 0 && done < size;) {
                ssize_t n = pwrite(fd, (const uint8_t *) data + done, size - done, (off_t) done);
                if (n <= 0) {
                        (void) close(fd);
                        return -1;
                }
                done += (size_t) n;
        }
        return fd;
}
