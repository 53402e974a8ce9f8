/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What an image is, decided once and then stated to QEMU, which so never probes. */

#include <sys/stat.h>

#include "format.h"
#include "image.h"
#include "qcow2.h"

#define SECTOR_SIZE UINT64_C(512)
#define ROM_SIZE_MAX (16 * MIB)

static int judge_raw(int fd, uint64_t file_size, uint64_t max_virtual, uint64_t *ret_virtual_size,
                     Error *error) {
        char is[SIZE_TEXT_MAX], max[SIZE_TEXT_MAX];
        int r;

        r = image_refuse_foreign(fd, file_size, error);
        if (r < 0)
                return r;
        if (file_size > max_virtual)
                return error_set(error, ERROR_IMAGE_REJECTED,
                                 "The image has %s, more than the limit of %s",
                                 format_size(file_size, is), format_size(max_virtual, max));

        *ret_virtual_size = (file_size + SECTOR_SIZE - 1) & ~(SECTOR_SIZE - 1);
        return 0;
}

static int get_size(int fd, uint64_t *ret_size, uint64_t *ret_used, Error *error) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return error_set_errno(error, -errno, "Could not look at the image");
        if (st.st_size <= 0)
                return error_set(error, ERROR_IMAGE_REJECTED, "The image is empty");

        *ret_size = (uint64_t) st.st_size;
        *ret_used = (uint64_t) st.st_blocks * 512;
        return 0;
}

static int make_info(const char *format, uint64_t virtual_size, uint64_t used, ImageInfo *ret,
                     Error *error) {
        char *copy = strdup(format);

        if (!copy)
                return error_set_errno(error, -ENOMEM, "Could not check the image");

        *ret = (ImageInfo) { .format = copy, .virtual_size = virtual_size, .used = used };
        return 0;
}

int image_judge(int fd, uint64_t max_virtual, ImageInfo *ret, Error *error) {
        uint64_t size = 0, used = 0, virtual_size = 0;
        int r, qcow2;

        r = get_size(fd, &size, &used, error);
        if (r < 0)
                return r;

        qcow2 = qcow2_is(fd);
        if (qcow2 < 0)
                return error_set_errno(error, qcow2, "Could not read the image");

        r = qcow2 ? qcow2_judge(fd, size, max_virtual, &virtual_size, error)
                  : judge_raw(fd, size, max_virtual, &virtual_size, error);
        if (r < 0)
                return r;

        return make_info(qcow2 ? "qcow2" : "raw", virtual_size, used, ret, error);
}

int image_peek(int fd, ImageInfo *ret, Error *error) {
        uint64_t size = 0, used = 0;
        int r, qcow2;

        r = get_size(fd, &size, &used, error);
        if (r < 0)
                return r;

        qcow2 = qcow2_is(fd);
        r = qcow2 > 0 ? qcow2_virtual_size(fd, &size) : qcow2;
        if (r < 0)
                return error_set_errno(error, r, "Could not read the image");
        return make_info(qcow2 ? "qcow2" : "raw", size, used, ret, error);
}

static int judge_cdrom(int fd, Error *error) {
        char magic[5];
        int r;

        r = image_read_at(fd, 0x8001, magic, sizeof(magic));
        if (r < 0)
                return error_set_errno(error, r, "Could not read the image");
        if (memcmp(magic, "CD001", 5) != 0 && memcmp(magic, "BEA01", 5) != 0)
                return error_set(error, ERROR_IMAGE_REJECTED,
                                 "cdrom is not a CD or DVD image (ISO 9660 or UDF)");
        return 0;
}

static int judge_rom(int fd, Error *error) {
        uint8_t magic[2];
        int r;

        r = image_read_at(fd, 0, magic, sizeof(magic));
        if (r < 0)
                return error_set_errno(error, r, "Could not read the image");
        if (magic[0] != 0x55 || magic[1] != 0xaa)
                return error_set(error, ERROR_IMAGE_REJECTED, "rom is not a PCI expansion ROM");
        return 0;
}

int image_judge_readonly(int fd, ImageKind kind, uint64_t max_size, ImageInfo *ret, Error *error) {
        char is[SIZE_TEXT_MAX], max[SIZE_TEXT_MAX];
        uint64_t size = 0, used = 0;
        int r;

        r = get_size(fd, &size, &used, error);
        if (r < 0)
                return r;

        if (kind == IMAGE_ROM)
                max_size = MIN(max_size, ROM_SIZE_MAX);
        if (size > max_size)
                return error_set(error, ERROR_IMAGE_REJECTED,
                                 "The image has %s, more than the limit of %s",
                                 format_size(size, is), format_size(max_size, max));

        r = kind == IMAGE_ROM ? judge_rom(fd, error) : judge_cdrom(fd, error);
        return r < 0 ? r : make_info("raw", size, used, ret, error);
}
