/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A file that nothing here recognises is a raw disk, which is right for every boot sector and every
 * file system. The signatures below cannot begin one, or begin one that no guest could boot. */

#include <stdint.h>

#include "format.h"

#define CONVERT "Convert it first: qemu-img convert -O qcow2 FILE NEW.qcow2."

typedef struct Format {
        const char *what;
        const char *remedy;
        int64_t offset; /* below 0: from the end */
        size_t size;
        const char *magic;
        const char *driver; /* qemu-img's name, where it converts such an image from one file alone */
} Format;

#define MAGIC(offset, magic) (offset), sizeof(magic) - 1, magic

static const Format formats[] = {
        { "a qcow image of version 1", CONVERT, MAGIC(0, "QFI\xfb\0\0\0\1") },
        { "a QED image", CONVERT, MAGIC(0, "QED\0"), "qed" },
        { "a VMware disk (VMDK)", CONVERT, MAGIC(0, "KDMV"), "vmdk" },
        { "a VMware disk (VMDK)", CONVERT, MAGIC(0, "COWD") },
        { "the description of a VMware disk (VMDK)", CONVERT, MAGIC(0, "# Disk DescriptorFile") },
        { "a VirtualBox disk (VDI)", CONVERT, MAGIC(64, "\x7f\x10\xda\xbe"), "vdi" },
        { "a Hyper-V disk (VHDX)", CONVERT, MAGIC(0, "vhdxfile"), "vhdx" },
        { "a Virtual PC disk (VHD)", CONVERT, MAGIC(0, "conectix"), "vpc" },
        { "a Virtual PC disk (VHD)", CONVERT, MAGIC(-512, "conectix"), "vpc" },
        { "a Parallels disk", CONVERT, MAGIC(0, "WithoutFreeSpace") },
        { "a Parallels disk", CONVERT, MAGIC(0, "WithouFreSpacExt") },
        { "a Bochs disk", CONVERT, MAGIC(0, "Bochs Virtual HD Image") },
        { "an Apple disk image (DMG)", CONVERT, MAGIC(-512, "koly\0\0\0\4") },
        { "encrypted with LUKS as a whole",
          "Decrypt it first: qemu-img convert can, given the key.", MAGIC(0, "LUKS\xba\xbe") },
        { "a CD or DVD image (ISO)", "Give an installer as CD-ROM (--cdrom FILE), beside a disk.",
          MAGIC(0x8001, "CD001") },
        { "compressed with gzip", "Decompress it first: gunzip FILE.", MAGIC(0, "\x1f\x8b\x08") },
        { "compressed with xz", "Decompress it first: unxz FILE.",
          MAGIC(0, "\xfd"
                   "7zXZ\0") },
        { "compressed with zstd", "Decompress it first: unzstd FILE.",
          MAGIC(0, "\x28\xb5\x2f\xfd") },
        { "compressed with bzip2", "Decompress it first: bunzip2 FILE.", MAGIC(4, "1AY&SY") },
        { "a ZIP archive", "Unpack it first, and give the disk image inside.", MAGIC(0, "PK\3\4") },
        { "a 7-Zip archive", "Unpack it first, and give the disk image inside.",
          MAGIC(0, "7z\xbc\xaf\x27\x1c") },
        { "a tar archive", "Unpack it first (tar -xf FILE), and give the disk image inside.",
          MAGIC(257, "ustar") },
};

#define MAGIC_SIZE_MAX 24

int image_read_at(int fd, uint64_t offset, void *buffer, size_t size) {
        uint8_t *p = buffer;

        if (offset > INT64_MAX - size)
                return -EFBIG;

        while (size > 0) {
                ssize_t n = pread(fd, p, size, (off_t) offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;

                p += n;
                offset += (uint64_t) n;
                size -= (size_t) n;
        }

        memset(p, 0, size);
        return 0;
}

void image_next_data(int fd, uint64_t offset, uint64_t size, uint64_t *ret_begin, uint64_t *ret_end) {
        off_t begin = lseek(fd, (off_t) offset, SEEK_DATA), end;

        if (begin < 0 && errno == ENXIO) {
                *ret_begin = *ret_end = size;
                return;
        }

        /* Where the file system cannot tell, or tells nonsense, all is data. */
        end = begin < (off_t) offset ? -1 : lseek(fd, begin, SEEK_HOLE);
        if (end <= begin) {
                *ret_begin = offset;
                *ret_end = size;
                return;
        }

        *ret_begin = MIN((uint64_t) begin, size);
        *ret_end = MIN((uint64_t) end, size);
}

/* 1 if it is. */
static int format_matches(const Format *f, int fd, uint64_t file_size) {
        uint64_t offset = f->offset < 0 ? file_size - (uint64_t) -f->offset : (uint64_t) f->offset;
        char buffer[MAGIC_SIZE_MAX];
        int r;

        if (f->offset < 0 && file_size < (uint64_t) -f->offset)
                return false;

        r = image_read_at(fd, offset, buffer, f->size);
        if (r < 0)
                return r;
        return memcmp(buffer, f->magic, f->size) == 0;
}

static int find_format(int fd, uint64_t size, const Format **ret) {
        for (size_t i = 0; i < ELEMENTSOF(formats); i++) {
                int r = format_matches(&formats[i], fd, size);

                if (r > 0)
                        *ret = &formats[i];
                if (r != 0)
                        return r;
        }
        return 0;
}

int image_refuse_foreign(int fd, uint64_t size, Error *error) {
        const Format *format = NULL;
        int r;

        r = find_format(fd, size, &format);
        if (r < 0)
                return error_set_errno(error, r, "Could not read the image");
        if (r == 0)
                return 0;

        r = error_set(error, ERROR_IMAGE_REJECTED, "The image is %s, neither raw nor qcow2", format->what);
        error_set_remedy(error, "%s", format->remedy);
        return r;
}

const char *image_convertible(int fd, uint64_t size, const char **ret_what) {
        const Format *format = NULL;

        if (find_format(fd, size, &format) <= 0)
                return NULL;
        *ret_what = format->what;
        return format->driver;
}
