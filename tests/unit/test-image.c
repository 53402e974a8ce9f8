/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Hostile and broken images, one thing wrong with each. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "image/image.h"
#include "qcow2-image.h"

#define MAX_VIRTUAL (16 * TIB)

static uint8_t image[QCOW2_IMAGE_SIZE];

static int judge_size(size_t size, uint64_t max, ImageInfo *info, Error *error) {
        _cleanup_close_ int fd = memory_file(image, size);

        assert_true(fd >= 0);
        return image_judge(fd, max, info, error);
}

static int setup(_unused_ void **state) {
        qcow2_image_make(image);
        return 0;
}

static void expect_accepted_size(size_t size, const char *format, uint64_t virtual_size) {
        _cleanup_image_info_ ImageInfo info = {};
        _cleanup_error_ Error error = ERROR_INIT;

        if (judge_size(size, MAX_VIRTUAL, &info, &error) < 0)
                fail_msg("refused: %s", error.message);
        assert_string_equal(info.format, format);
        assert_int_equal(info.virtual_size, virtual_size);
        assert_false(error_is_set(&error));
}

static void expect_accepted(void) {
        expect_accepted_size(sizeof(image), "qcow2", QCOW2_VIRTUAL_SIZE);
}

static void expect_rejected_size(size_t size, const char *text) {
        _cleanup_image_info_ ImageInfo info = {};
        _cleanup_error_ Error error = ERROR_INIT;

        assert_int_equal(judge_size(size, MAX_VIRTUAL, &info, &error),
                         -error_code_errno(ERROR_IMAGE_REJECTED));
        assert_int_equal(error.code, ERROR_IMAGE_REJECTED);
        assert_null(info.format);
        if (!strstr(error.message, text))
                fail_msg("\"%s\" does not say \"%s\"", error.message, text);
        assert_true(strlen(error_remedy(&error)) > 0);
        qcow2_image_make(image);
}

static void expect_rejected(const char *text) {
        expect_rejected_size(sizeof(image), text);
}

static void test_good(_unused_ void **state) {
        expect_accepted();

        put32(image, 4, 2); /* version 2: the rest of the header is something else */
        put64(image, 72, 0);
        expect_accepted();

        qcow2_image_make(image);
        put64(image, 72, 1 << 3); /* compression type zstd */
        image[104] = 1;
        expect_accepted();

        qcow2_image_make(image);
        put64(image, 72, 1 << 4); /* extended L2 entries */
        put32(image, 36, 4);
        expect_accepted();

        qcow2_image_make(image);
        put64(image, 80, UINT64_MAX); /* compatible features are what they are called */
        put64(image, 88, UINT64_MAX);
        expect_accepted();

        qcow2_image_make(image);
        put64(image, QCOW2_L2,
              (UINT64_C(1) << 62) | (QCOW2_DATA + 1234)); /* compressed, in the middle */
        put64(image, QCOW2_L2 + 8, 1);                                      /* zeros */
        expect_accepted();
}

static void test_header(_unused_ void **state) {
        for (size_t size = 4; size < 112; size++)
                expect_rejected_size(size, "truncated");

        put32(image, 4, 4);
        expect_rejected("version 4");
        put32(image, 4, UINT32_MAX);
        expect_rejected("version");
        put32(image, 4, 0);
        expect_rejected("version 0");
        put32(image, 4, 1);
        expect_rejected("qcow image of version 1");

        static const uint32_t header_sizes[] = { 0, 72, 103, 105, 65544, UINT32_MAX };
        for (size_t i = 0; i < ELEMENTSOF(header_sizes); i++) {
                put32(image, 100, header_sizes[i]);
                expect_rejected("length");
        }

        static const uint32_t cluster_bits[] = { 0, 8, 22, 31, 32, 63, 64, UINT32_MAX };
        for (size_t i = 0; i < ELEMENTSOF(cluster_bits); i++) {
                put32(image, 20, cluster_bits[i]);
                expect_rejected("cluster size");
        }
}

static void test_references(_unused_ void **state) {
        put64(image, 8, 512);
        expect_rejected("backing file");
        put64(image, 8, UINT64_MAX);
        expect_rejected("backing file");
        put32(image, 4, 2);
        put64(image, 8, 512);
        expect_rejected("backing file");

        put32(image, 32, 1);
        expect_rejected("encrypted");
        put32(image, 32, 2);
        expect_rejected("encrypted");

        put64(image, 72, 1 << 2);
        expect_rejected("external data file");
        put32(image, 112, 0x44415441);
        put32(image, 116, 8);
        expect_rejected("external data file");
        put32(image, 112, 0x0537be77);
        put32(image, 116, 16);
        expect_rejected("encrypted");
}

static void test_features(_unused_ void **state) {
        put64(image, 72, 1 << 0);
        expect_rejected("not closed cleanly");
        put64(image, 72, 1 << 1);
        expect_rejected("corrupt");
        for (unsigned i = 5; i < 64; i++) {
                put64(image, 72, UINT64_C(1) << i);
                expect_rejected("not known");
        }

        image[104] = 1;
        expect_rejected("compressed");
        put64(image, 72, 1 << 3);
        expect_rejected("compressed");
        put64(image, 72, 1 << 3);
        image[104] = 2;
        expect_rejected("compressed");
        put64(image, 72, 1 << 3);
        put32(image, 100, 104); /* says zstd where the header has ended */
        image[104] = 1;
        expect_rejected("compressed");
        put64(image, 72, 1 << 4);
        put32(image, 20, 13);
        expect_rejected("cluster size");
}

static void test_extensions(_unused_ void **state) {
        put32(image, 112, 0xe2792aca); /* the format of a backing file that is not there any more */
        put32(image, 116, 5);
        memcpy(image + 120, "qcow2", 5);
        expect_accepted();
        put32(image, 128, 0x44415441); /* the next one, rounded up to 8 */
        put32(image, 132, 1);
        expect_rejected("external data file");

        put32(image, 112, 1);
        put32(image, 116, UINT32_MAX);
        expect_rejected("extension");
        put32(image, 112, 1);
        put32(image, 116, (uint32_t) QCOW2_CLUSTER - 112 - 7);
        expect_rejected("extension");
        put32(image, 112, 1);
        put32(image, 116, (uint32_t) QCOW2_CLUSTER - 112 - 8);
        expect_accepted();
}

static void test_sizes(_unused_ void **state) {
        put64(image, 24, 0);
        expect_rejected("no size");
        put64(image, 24, MAX_VIRTUAL + 1);
        expect_rejected("limit");
        put64(image, 24, UINT64_MAX);
        expect_rejected("limit");
        put64(image, 24, MAX_VIRTUAL);
        expect_rejected("L1 table that is too small");
        put32(image, 36, 0);
        expect_rejected("L1 table that is too small");
        put32(image, 36, 1);
        expect_rejected("L1 table that is too small");

        put32(image, 96, 7);
        expect_rejected("reference counts");
        put32(image, 96, UINT32_MAX);
        expect_rejected("reference counts");
        put32(image, 56, 0);
        expect_rejected("reference counts");
        put32(image, 60, 65537);
        expect_rejected("snapshots");
}

static void test_tables(_unused_ void **state) {
        static const uint64_t invalid[] = { 0, 1, 512, QCOW2_L1 + 8, UINT64_MAX };
        static const uint64_t outside[] = { QCOW2_IMAGE_SIZE, UINT64_C(1) << 40, UINT64_C(1) << 63,
                                            UINT64_MAX - QCOW2_CLUSTER + 1 };
        static const size_t fields[] = { 40, 48 };

        for (size_t f = 0; f < ELEMENTSOF(fields); f++) {
                for (size_t i = 0; i < ELEMENTSOF(invalid); i++) {
                        put64(image, fields[f], invalid[i]);
                        expect_rejected("invalid place");
                }
                for (size_t i = 0; i < ELEMENTSOF(outside); i++) {
                        put64(image, fields[f], outside[i]);
                        expect_rejected("truncated");
                }
        }

        put32(image, 36, 5 * 1024 * 1024); /* 40 MiB of L1 */
        expect_rejected("too large");
        put32(image, 36, UINT32_MAX);
        expect_rejected("too large");
        put32(image, 36, 1024 * 1024);
        expect_rejected("truncated");
        put32(image, 56, UINT32_MAX);
        expect_rejected("too large");
        put32(image, 56, 100);
        expect_rejected("truncated");

        put32(image, 60, 1); /* a snapshot table nowhere, then outside, then inside */
        expect_rejected("snapshot table");
        put32(image, 60, 1);
        put64(image, 64, QCOW2_IMAGE_SIZE);
        expect_rejected("snapshot table");
        put32(image, 60, 60000);
        put64(image, 64, QCOW2_DATA);
        expect_rejected("snapshot table");
        put32(image, 60, 1);
        put64(image, 64, QCOW2_DATA);
        expect_accepted();
}

static void test_clusters(_unused_ void **state) {
        put64(image, QCOW2_L1 + 8, QCOW2_IMAGE_SIZE);
        expect_rejected("truncated");
        put64(image, QCOW2_L1 + 8, QCOW2_L2 + 512);
        expect_rejected("invalid place");

        put64(image, QCOW2_L2 + 8, QCOW2_IMAGE_SIZE);
        expect_rejected("truncated");
        put64(image, QCOW2_L2 + 8, QCOW2_DATA + 512);
        expect_rejected("corrupt");
        put64(image, QCOW2_L2 + QCOW2_CLUSTER - 8, QCOW2_IMAGE_SIZE);
        expect_rejected("truncated");
        put64(image, QCOW2_L2 + 8, (UINT64_C(1) << 62) | QCOW2_IMAGE_SIZE);
        expect_rejected("truncated");

        put64(image, QCOW2_L1 + 8, QCOW2_L2);
        expect_rejected("one L2 table serves two parts");

        /* Behind the two entries that the disk needs: where snapshots kept a VM's memory. */
        put32(image, 36, 8192);
        for (size_t i = 2; i < 8192; i++)
                put64(image, QCOW2_L1 + 8 * i, QCOW2_L2);
        expect_accepted();
}

/* --- the work that an image makes ------------------------------------------------------------------- */

typedef struct Work {
        uint64_t reads;
        uint64_t bytes;
} Work;

static Work work;

/* Far above what is allowed, so that a test which fails does not take half an hour to. */
#define READS_STOP 20000

ssize_t __real_pread64(int fd, void *buffer, size_t size, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t size, off_t offset);

ssize_t __wrap_pread64(int fd, void *buffer, size_t size, off_t offset) {
        if (++work.reads > READS_STOP) {
                errno = EIO;
                return -1;
        }
        ssize_t n = __real_pread64(fd, buffer, size, offset);
        work.bytes += (uint64_t) MAX(n, 0);
        return n;
}

/* Judges it and looks at the work: a read for each block at most, and each byte twice (the header's
 * cluster and the L1 table may be holes, and are read all the same). */
static int judge_with_bounded_work(int fd, uint64_t max, Error *error) {
        _cleanup_image_info_ ImageInfo info = {};
        struct stat st;
        int r;

        assert_return_code(fstat(fd, &st), errno);
        work = (Work) {};
        r = image_judge(fd, max, &info, error);

        const uint64_t allocated = (uint64_t) st.st_blocks * 512;
        if (work.reads > 32 + allocated / 4096 || work.bytes > 2 * allocated + 4 * MIB)
                fail_msg("%llu bytes that are there were read by %llu calls, %llu bytes in all",
                         (unsigned long long) allocated, (unsigned long long) work.reads,
                         (unsigned long long) work.bytes);
        return r;
}

/* Header, refcount table and L1 table; the L2 tables follow at table, in holes as far as the test
 * writes nothing there. */
typedef struct Hostile {
        unsigned cluster_bits;
        uint64_t virtual_size;
        uint32_t l1_entries;
        uint64_t stride;   /* between one L2 table and the next */
        size_t data_size;  /* written into each */
} Hostile;

static void write_all_at(int fd, const void *data, size_t size, uint64_t offset) {
        assert_int_equal(pwrite(fd, data, size, (off_t) offset), size);
}

static int make_hostile(const Hostile *h) {
        const uint64_t cluster = UINT64_C(1) << h->cluster_bits, l1_size = h->l1_entries * UINT64_C(8),
                       table = 2 * cluster + (l1_size + cluster - 1) / cluster * cluster;
        _cleanup_free_ uint8_t *l1 = calloc(1, l1_size), *data = calloc(1, h->data_size + 1);
        uint8_t header[112] = {};
        int fd = memfd_create("hostile", MFD_CLOEXEC);

        assert_true(fd >= 0 && l1 && data);
        memcpy(header, image, sizeof(header));
        put32(header, 20, h->cluster_bits);
        put64(header, 24, h->virtual_size);
        put32(header, 36, h->l1_entries);
        put64(header, 40, 2 * cluster);
        put64(header, 48, cluster);
        write_all_at(fd, header, sizeof(header), 0);

        for (size_t i = 0; i + 8 <= h->data_size; i += 8)
                put64(data, i, cluster);
        for (size_t i = 0; i < h->l1_entries; i++) {
                put64(l1, 8 * i, table + i * h->stride);
                if (h->data_size > 0)
                        write_all_at(fd, data, h->data_size, table + i * h->stride);
        }
        write_all_at(fd, l1, l1_size, 2 * cluster);
        assert_return_code(ftruncate(fd, (off_t) (table + h->l1_entries * h->stride + cluster)), errno);
        return fd;
}

static void expect_bounded(const Hostile *h, const char *text) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_close_ int fd = make_hostile(h);
        int r = judge_with_bounded_work(fd, MAX_VIRTUAL, &error);

        if (!text && r < 0)
                fail_msg("refused: %s", error.message);
        if (text && (r >= 0 || !strstr(error.message, text)))
                fail_msg("\"%s\" does not say \"%s\"", r < 0 ? error.message : "accepted", text);
}

static void test_bounded_holes(_unused_ void **state) {
        /* 32 MiB of L1 entries, each with an L2 table of its own of 2 MiB: 8 TiB, but for a hole. */
        expect_bounded(&(Hostile) { 21, GIB, 4 * 1024 * 1024, 2 * MIB, 0 }, NULL);
        /* Those that the disk needs: 2 GiB. */
        expect_bounded(&(Hostile) { 16, 16 * TIB, 32768, 64 * KIB, 0 }, NULL);
        /* A block in each. */
        expect_bounded(&(Hostile) { 21, 8 * TIB, 16, 2 * MIB, 4096 }, NULL);
        expect_bounded(&(Hostile) { 16, 4 * TIB, 8192, 64 * KIB, 4096 }, NULL);
}

static void test_bounded_repetition(_unused_ void **state) {
        expect_bounded(&(Hostile) { 16, 16 * TIB, 32768, 0, 65536 }, "serves two parts");
        expect_bounded(&(Hostile) { 9, GIB, 32768, 0, 512 }, "serves two parts");
}

/* One for every eight bytes of the first cluster. */
static void test_bounded_extensions(_unused_ void **state) {
        const size_t cluster = 2 * MIB;
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_free_ uint8_t *head = calloc(1, cluster);
        _cleanup_close_ int fd = make_hostile(&(Hostile) { 21, GIB, 1, 2 * MIB, 8 });

        assert_non_null(head);
        memcpy(head, image, 112);
        put32(head, 20, 21);
        put32(head, 36, 1);
        put64(head, 40, 2 * cluster);
        put64(head, 48, cluster);
        for (size_t i = 112; i < cluster; i += 8)
                put32(head, i, 1);
        write_all_at(fd, head, cluster, 0);
        if (judge_with_bounded_work(fd, MAX_VIRTUAL, &error) < 0)
                fail_msg("refused: %s", error.message);
}

/* --- what qemu-img makes ------------------------------------------------------------------------------ */

static void expect_made_accepted(const char *directory, const char *commands) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_free_ char *script = NULL, *path = NULL;

        assert_true(asprintf(&script, "cd %s && rm -f i.qcow2 && exec >log 2>&1 && %s", directory, commands) > 0);
        assert_true(asprintf(&path, "%s/i.qcow2", directory) > 0);
        if (system(script) != 0)
                fail_msg("could not be made: %s", commands);

        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        if (judge_with_bounded_work(fd, 64 * TIB, &error) < 0)
                fail_msg("refused: %s: %s", commands, error.message);
        assert_true(work.reads > 3);
}

static void test_made_by_qemu(_unused_ void **state) {
        static const char *const commands[] = {
#define WRITE "qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 31M 3M' i.qcow2"
                "qemu-img create -f qcow2 i.qcow2 1G && " WRITE,
                "qemu-img create -f qcow2 -o compat=0.10 i.qcow2 1G && " WRITE,
                "qemu-img create -f qcow2 -o cluster_size=512 i.qcow2 1G && " WRITE,
                "qemu-img create -f qcow2 -o cluster_size=2M i.qcow2 1T && " WRITE,
                "qemu-img create -f qcow2 -o extended_l2=on,cluster_size=128k i.qcow2 1T && " WRITE,
                "qemu-img create -f qcow2 -o preallocation=metadata i.qcow2 4G",
                "qemu-img create -f qcow2 -o preallocation=metadata,cluster_size=4k i.qcow2 256M",
                "qemu-img create -f qcow2 i.qcow2 64T && "
                "qemu-io -f qcow2 -c 'write 0 64k' -c 'write 63T 64k' i.qcow2",
                "qemu-img create -f qcow2 i.qcow2 1G && " WRITE " && qemu-img snapshot -c a i.qcow2 && "
                "qemu-io -f qcow2 -c 'write 16M 1M' i.qcow2 && qemu-img snapshot -c b i.qcow2",
                "qemu-img create -f qcow2 i.qcow2 1G && " WRITE " && qemu-img bitmap --add i.qcow2 changes",
                "head -c 3M /dev/urandom >r && truncate -s 64M r && qemu-img convert -c -O qcow2 r i.qcow2",
                "qemu-img convert -c -o compression_type=zstd -O qcow2 r i.qcow2",
                "qemu-img convert -c -o cluster_size=2M -O qcow2 r i.qcow2",
        };
        char directory[] = "/var/tmp/vmkit-test-XXXXXX";
        _cleanup_free_ char *remove = NULL;

        if (system("qemu-io --version >/dev/null 2>&1") != 0)
                skip();
        assert_non_null(mkdtemp(directory));
        for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                expect_made_accepted(directory, commands[i]);

        assert_true(asprintf(&remove, "rm -r %s", directory) > 0);
        assert_int_equal(system(remove), 0);
}

static void test_truncated(_unused_ void **state) {
        expect_rejected_size(QCOW2_DATA, "truncated");
        expect_rejected_size(QCOW2_DATA - 1, "truncated");
        expect_rejected_size(QCOW2_L2, "truncated");
        expect_rejected_size(QCOW2_L1 + 8, "truncated");
        expect_rejected_size(QCOW2_L1, "truncated");
        expect_rejected_size(QCOW2_CLUSTER, "truncated");
        expect_rejected_size(4096, "truncated");
        expect_accepted_size(QCOW2_DATA + 1, "qcow2",
                             QCOW2_VIRTUAL_SIZE); /* as QEMU itself leaves it */
}

static void test_foreign(_unused_ void **state) {
        static const struct {
                const char *text;
                size_t offset;
                const char *magic;
                size_t size;
        } formats[] = {
#define FORMAT(text, offset, magic) { text, offset, magic, sizeof(magic) - 1 }
                FORMAT("VMDK", 0, "KDMV"),
                FORMAT("VMDK", 0, "COWD"),
                FORMAT("VMDK", 0, "# Disk DescriptorFile\n"),
                FORMAT("VDI", 64, "\x7f\x10\xda\xbe"),
                FORMAT("VHDX", 0, "vhdxfile"),
                FORMAT("VHD", 0, "conectix"),
                FORMAT("VHD", sizeof(image) - 512, "conectix"),
                FORMAT("QED", 0, "QED\0"),
                FORMAT("LUKS", 0, "LUKS\xba\xbe"),
                FORMAT("Parallels", 0, "WithoutFreeSpace"),
                FORMAT("Parallels", 0, "WithouFreSpacExt"),
                FORMAT("DMG", sizeof(image) - 512, "koly\0\0\0\4"),
                FORMAT("ISO", 0x8001, "CD001"),
                FORMAT("gzip", 0, "\x1f\x8b\x08"),
                FORMAT("xz", 0, "\xfd" "7zXZ\0"),
                FORMAT("zstd", 0, "\x28\xb5\x2f\xfd"),
                FORMAT("bzip2", 0, "BZh91AY&SY"),
                FORMAT("ZIP", 0, "PK\3\4"),
                FORMAT("7-Zip", 0, "7z\xbc\xaf\x27\x1c"),
                FORMAT("tar", 257, "ustar"),
                FORMAT("qcow image of version 1", 0, "QFI\xfb\0\0\0\1"),
#undef FORMAT
        };

        for (size_t i = 0; i < ELEMENTSOF(formats); i++) {
                memset(image, 0, sizeof(image));
                memcpy(image + formats[i].offset, formats[i].magic, formats[i].size);
                expect_rejected(formats[i].text);
        }
}

static void test_raw(_unused_ void **state) {
        memset(image, 0, sizeof(image));
        image[510] = 0x55;
        image[511] = 0xaa;
        expect_accepted_size(512, "raw", 512);
        expect_accepted_size(1024, "raw", 1024);
        expect_accepted_size(513, "raw", 1024);
        expect_accepted_size(1, "raw", 512);
        expect_accepted_size(3, "raw", 512);
        expect_accepted_size(sizeof(image), "raw", sizeof(image));
        expect_rejected_size(0, "empty");
}

static void test_raw_limit(_unused_ void **state) {
        _cleanup_close_ int fd = memory_file("", 1);
        _cleanup_image_info_ ImageInfo info = {};
        _cleanup_error_ Error error = ERROR_INIT;

        assert_return_code(ftruncate(fd, (off_t) (2 * TIB)), errno);
        assert_int_equal(image_judge(fd, 2 * TIB, &info, &error), 0);
        assert_int_equal(info.virtual_size, 2 * TIB);
        assert_true(info.used < MIB);
        image_info_clear(&info);
        assert_true(image_judge(fd, 2 * TIB - 1, &info, &error) < 0);
        assert_non_null(strstr(error.message, "limit"));
}

static void test_peek(_unused_ void **state) {
        _cleanup_close_ int qcow2 = memory_file(image, sizeof(image)), raw = memory_file("0123", 4);
        _cleanup_image_info_ ImageInfo info = {};

        assert_int_equal(image_peek(qcow2, &info, NULL), 0);
        assert_string_equal(info.format, "qcow2");
        assert_int_equal(info.virtual_size, QCOW2_VIRTUAL_SIZE);
        image_info_clear(&info);

        assert_int_equal(image_peek(raw, &info, NULL), 0);
        assert_string_equal(info.format, "raw");
        assert_int_equal(info.virtual_size, 4);
}

static void expect_readonly(ImageKind kind, size_t size, const char *text) {
        _cleanup_close_ int fd = memory_file(image, size);
        _cleanup_image_info_ ImageInfo info = {};
        _cleanup_error_ Error error = ERROR_INIT;
        int r = image_judge_readonly(fd, kind, GIB, &info, &error);

        if (!text) {
                assert_int_equal(r, 0);
                assert_string_equal(info.format, "raw");
                return;
        }
        assert_int_equal(error.code, ERROR_IMAGE_REJECTED);
        assert_non_null(strstr(error.message, text));
}

static void test_readonly(_unused_ void **state) {
        memset(image, 0, sizeof(image));
        expect_readonly(IMAGE_CDROM, sizeof(image), "CD or DVD");
        expect_readonly(IMAGE_ROM, sizeof(image), "ROM");
        expect_readonly(IMAGE_ROM, 0, "empty");
        memcpy(image + 0x8001, "CD001", 5);
        expect_readonly(IMAGE_CDROM, sizeof(image), NULL);
        image[0] = 0x55;
        image[1] = 0xaa;
        expect_readonly(IMAGE_ROM, sizeof(image), NULL);

        _cleanup_close_ int fd = memory_file(image, sizeof(image));
        _cleanup_image_info_ ImageInfo info = {};
        _cleanup_error_ Error error = ERROR_INIT;
        assert_return_code(ftruncate(fd, (off_t) (16 * MIB + 1)), errno);
        assert_true(image_judge_readonly(fd, IMAGE_ROM, GIB, &info, &error) < 0);
        assert_non_null(strstr(error.message, "limit"));
}

/* Whatever is in it: no crash, no reading for ever, and an answer of one kind or the other. */
static void test_mutations(_unused_ void **state) {
        uint64_t seed = 20240607;

        for (unsigned i = 0; i < 4000; i++) {
                _cleanup_image_info_ ImageInfo info = {};
                _cleanup_error_ Error error = ERROR_INIT;

                qcow2_image_make(image);
                for (unsigned n = 1 + i % 5; n > 0; n--) {
                        seed = seed * 6364136223846793005 + 1442695040888963407;
                        size_t area = seed >> 61; /* mostly the header */
                        size_t base = area == 0 ? QCOW2_L1 : area == 1 ? QCOW2_L2 : 0;
                        image[base + (seed >> 33) % (base ? 32 : 136)] = (uint8_t) (seed >> 25);
                }

                int r = judge_size(sizeof(image), MAX_VIRTUAL, &info, &error);
                assert_true((r == 0) == !error_is_set(&error));
                assert_true((r == 0) == !!info.format);
        }
}

static void test_descriptor(_unused_ void **state) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_close_ int good = open("/etc/passwd", O_RDONLY | O_CLOEXEC),
                            path = open("/etc/passwd", O_PATH | O_CLOEXEC),
                            writer = open("/dev/null", O_WRONLY | O_CLOEXEC),
                            both = memfd_create("both", MFD_CLOEXEC);

        assert_int_equal(image_descriptor_check(good, "image", &error), 0);
        assert_int_equal(image_descriptor_check(both, "image", &error), 0);
        assert_false(error_is_set(&error));

        const int bad[] = { path, writer, -1, 9999 };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_true(image_descriptor_check(bad[i], "user-data", &error) < 0);
                assert_int_equal(error.code, ERROR_INVALID_OPTION);
                assert_non_null(strstr(error.message, "user-data"));
                error_clear(&error);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_good, setup),
                cmocka_unit_test_setup(test_header, setup),
                cmocka_unit_test_setup(test_references, setup),
                cmocka_unit_test_setup(test_features, setup),
                cmocka_unit_test_setup(test_extensions, setup),
                cmocka_unit_test_setup(test_sizes, setup),
                cmocka_unit_test_setup(test_tables, setup),
                cmocka_unit_test_setup(test_clusters, setup),
                cmocka_unit_test_setup(test_bounded_holes, setup),
                cmocka_unit_test_setup(test_bounded_repetition, setup),
                cmocka_unit_test_setup(test_bounded_extensions, setup),
                cmocka_unit_test_setup(test_made_by_qemu, setup),
                cmocka_unit_test_setup(test_truncated, setup),
                cmocka_unit_test_setup(test_foreign, setup),
                cmocka_unit_test_setup(test_raw, setup),
                cmocka_unit_test_setup(test_raw_limit, setup),
                cmocka_unit_test_setup(test_peek, setup),
                cmocka_unit_test_setup(test_readonly, setup),
                cmocka_unit_test_setup(test_mutations, setup),
                cmocka_unit_test_setup(test_descriptor, setup),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
