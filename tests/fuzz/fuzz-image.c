/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Image headers. What was accepted stands by itself: these are the promises that QEMU is started
 * on. */

#define QCOW2_CLUSTER_BITS 9
#define QCOW2_VIRTUAL_SIZE (UINT64_C(64) << 10)

#include "../unit/qcow2-image.h"
#include "fuzz.h"
#include "image/image.h"

#define MAX_VIRTUAL TIB

static uint64_t get64(const uint8_t *p) {
        uint64_t v;

        memcpy(&v, p, sizeof(v));
        return be64toh(v);
}

static void check_accepted(const uint8_t *data, size_t size, const ImageInfo *info) {
        FUZZ_CHECK(info->virtual_size > 0 && info->virtual_size <= MAX_VIRTUAL);

        if (streq(info->format, "raw")) {
                FUZZ_CHECK(size < 4 || memcmp(data, "QFI\xfb", 4) != 0);
                FUZZ_CHECK(info->virtual_size >= size && info->virtual_size - size < 512);
                return;
        }

        FUZZ_CHECK(streq(info->format, "qcow2"));
        FUZZ_CHECK(size > 72);
        FUZZ_CHECK(get64(data + 8) == 0);                         /* no backing file */
        FUZZ_CHECK(memcmp(data + 32, "\0\0\0\0", 4) == 0);        /* no encryption */
        FUZZ_CHECK(data[7] != 3 ||
                   (get64(data + 72) & ~UINT64_C(0x18)) == 0); /* and nothing unknown */
        FUZZ_CHECK(get64(data + 24) == info->virtual_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_close_ int fd = memory_file(data, size);
        _cleanup_image_info_ ImageInfo info = {}, other = {};
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        FUZZ_CHECK(fd >= 0);
        r = image_judge(fd, MAX_VIRTUAL, &info, &error);
        FUZZ_CHECK((r == 0) == !error_is_set(&error));
        if (r == 0)
                check_accepted(data, size, &info);
        else
                FUZZ_CHECK(error.code == ERROR_IMAGE_REJECTED && error.message);

        (void) image_judge_readonly(fd, IMAGE_CDROM, MAX_VIRTUAL, &other, NULL);
        return 0;
}

size_t fuzz_seed(unsigned i, uint8_t *buffer, size_t max) {
        static uint8_t image[QCOW2_IMAGE_SIZE];

        qcow2_image_make(image);
        switch (i) {
        case 0: /* as it is */
                break;
        case 1: /* version 2 */
                put32(image, 4, 2);
                break;
        case 2: /* compressed */
                put64(image, 72, 1 << 3);
                image[104] = 1;
                put64(image, QCOW2_L2, (UINT64_C(1) << 62) | QCOW2_DATA);
                break;
        case 3: /* with an extension */
                put32(image, 112, 0x6803f857);
                put32(image, 116, 48);
                break;
        case 4: /* with snapshots */
                put32(image, 60, 1);
                put64(image, 64, QCOW2_DATA);
                break;
        case 5: /* raw */
                memset(image, 0, sizeof(image));
                break;
        case 6: /* another format */
                memcpy(image, "KDMV", 4);
                break;
        case 7: /* an L2 table in two places, and what only snapshots have behind */
                put32(image, 36, 64);
                put64(image, QCOW2_L1 + 8, QCOW2_L2);
                put64(image, QCOW2_L1 + 16, QCOW2_L2);
                break;
        case 8: /* extensions to the end of the cluster */
                for (size_t at = 112; at < QCOW2_CLUSTER; at += 8)
                        put32(image, at, 1);
                break;
        default:
                return 0;
        }

        size_t size = MIN(max, sizeof(image));
        memcpy(buffer, image, size);
        return size;
}
