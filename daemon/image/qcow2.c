/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2 as docs/interop/qcow2.txt of QEMU describes it. Guest clusters are found through two
 * levels: the L1 table points at L2 tables, those at clusters. What an image could do to the host
 * is in its header (other files that it names); that a download was cut off shows only in the
 * tables, which are therefore followed to the end. The limits are those of QEMU's own driver, and
 * nothing is read twice: the work is bounded by the blocks of the file. */

#include <endian.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/parse.h"
#include "format.h"
#include "qcow2.h"

#define QCOW2_MAGIC "QFI\xfb"
#define HEADER_SIZE_V2 72
#define HEADER_SIZE_V3 104
#define CLUSTER_BITS_MIN 9
#define CLUSTER_BITS_MIN_EXTENDED 14
#define CLUSTER_BITS_MAX 21
#define REFCOUNT_ORDER_MAX 6
#define L1_SIZE_MAX (32 * MIB)
#define REFCOUNT_TABLE_SIZE_MAX (8 * MIB)
#define SNAPSHOTS_MAX 65536
#define SNAPSHOT_SIZE_MIN UINT64_C(40)

#define INCOMPATIBLE_DIRTY (UINT64_C(1) << 0)
#define INCOMPATIBLE_CORRUPT (UINT64_C(1) << 1)
#define INCOMPATIBLE_DATA_FILE (UINT64_C(1) << 2)
#define INCOMPATIBLE_COMPRESSION (UINT64_C(1) << 3)
#define INCOMPATIBLE_EXTENDED_L2 (UINT64_C(1) << 4)
#define INCOMPATIBLE_KNOWN UINT64_C(0x1f)

#define EXTENSION_HEAD_SIZE 8
#define EXTENSION_END 0
#define EXTENSION_DATA_FILE 0x44415441
#define EXTENSION_ENCRYPTION 0x0537be77

#define ENTRY_OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define ENTRY_COMPRESSED (UINT64_C(1) << 62)
#define ENTRY_ZERO UINT64_C(1)

#define READ_UNIT UINT64_C(512) /* of which each cluster is a multiple */

typedef struct Header {
        uint32_t version;
        uint64_t backing_file_offset;
        uint32_t cluster_bits;
        uint64_t virtual_size;
        uint32_t crypt_method;
        uint32_t l1_entries;
        uint64_t l1_offset;
        uint64_t refcount_table_offset;
        uint32_t refcount_table_clusters;
        uint32_t n_snapshots;
        uint64_t snapshots_offset;
        uint64_t incompatible;
        uint32_t refcount_order;
        uint32_t size;
        uint8_t compression;

        uint64_t file_size;
        uint64_t cluster_size;
        uint32_t l2_entry_size;
} Header;

static uint32_t get32(const uint8_t *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return be32toh(v);
}

static uint64_t get64(const uint8_t *p) {
        uint64_t v;

        memcpy(&v, p, sizeof(v));
        return be64toh(v);
}

int qcow2_is(int fd) {
        uint8_t p[8];
        int r;

        r = image_read_at(fd, 0, p, sizeof(p));
        if (r < 0)
                return r;
        return memcmp(p, QCOW2_MAGIC, 4) == 0 && get32(p + 4) != 1;
}

int qcow2_virtual_size(int fd, uint64_t *ret) {
        uint8_t p[8];
        int r;

        r = image_read_at(fd, 24, p, sizeof(p));
        if (r < 0)
                return r;
        *ret = get64(p);
        return 0;
}

_printf_(2, 3) static int rejected(Error *error, const char *format, ...) {
        _cleanup_free_ char *what = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&what, format, ap) < 0)
                what = NULL;
        va_end(ap);
        return error_set(error, ERROR_IMAGE_REJECTED, "The qcow2 image %s",
                         what ? what : "is not acceptable");
}

_printf_(3, 4) static int rejected_with(Error *error, const char *remedy, const char *format, ...) {
        _cleanup_free_ char *what = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        if (vasprintf(&what, format, ap) < 0)
                what = NULL;
        va_end(ap);

        r = rejected(error, "%s", what ? what : "is not acceptable");
        error_set_remedy(error, "%s", remedy);
        return r;
}

static int truncated(Error *error, const char *what) {
        return rejected_with(error, "Download or copy it again, and compare its checksum.",
                             "is truncated: %s", what);
}

/* What follows the first 72 bytes has these values in version 2. */
static void parse_header(const uint8_t *p, Header *h) {
        *h = (Header) {
                .version = get32(p + 4),
                .backing_file_offset = get64(p + 8),
                .cluster_bits = get32(p + 20),
                .virtual_size = get64(p + 24),
                .crypt_method = get32(p + 32),
                .l1_entries = get32(p + 36),
                .l1_offset = get64(p + 40),
                .refcount_table_offset = get64(p + 48),
                .refcount_table_clusters = get32(p + 56),
                .n_snapshots = get32(p + 60),
                .snapshots_offset = get64(p + 64),
                .refcount_order = 4,
                .size = HEADER_SIZE_V2,
        };

        if (h->version < 3)
                return;

        h->incompatible = get64(p + 72);
        h->refcount_order = get32(p + 96);
        h->size = get32(p + 100);
        if (h->size > HEADER_SIZE_V3)
                h->compression = p[104];
}

static int read_header(int fd, uint64_t file_size, Header *ret, Error *error) {
        uint8_t p[HEADER_SIZE_V3 + 8];
        Header h;
        int r;

        r = image_read_at(fd, 0, p, sizeof(p));
        if (r < 0)
                return error_set_errno(error, r, "Could not read the image");
        if (file_size < HEADER_SIZE_V2)
                return truncated(error, "the header is not complete");

        parse_header(p, &h);
        if (h.version < 2 || h.version > 3)
                return rejected(error, "is of version %u, which is not known", h.version);
        if (h.version == 3 && file_size < HEADER_SIZE_V3)
                return truncated(error, "the header is not complete");
        if (h.cluster_bits < CLUSTER_BITS_MIN || h.cluster_bits > CLUSTER_BITS_MAX)
                return rejected(error, "has an invalid cluster size");

        h.file_size = file_size;
        h.cluster_size = UINT64_C(1) << h.cluster_bits;
        h.l2_entry_size = h.incompatible & INCOMPATIBLE_EXTENDED_L2 ? 16 : 8;

        if (h.version == 3 &&
            (h.size < HEADER_SIZE_V3 || h.size > h.cluster_size || h.size % 8 != 0))
                return rejected(error, "has a header of invalid length");
        if (file_size < h.size)
                return truncated(error, "the header is not complete");

        *ret = h;
        return 0;
}

static int judge_incompatible(const Header *h, Error *error) {
        if (h->incompatible & INCOMPATIBLE_DATA_FILE)
                return rejected_with(
                        error,
                        "Convert it into one file: qemu-img convert -O qcow2 FILE NEW.qcow2.",
                        "keeps its data in another file (external data file)");
        if (h->incompatible & ~INCOMPATIBLE_KNOWN)
                return rejected(error, "uses features that are not known (0x%llx)",
                                (unsigned long long) (h->incompatible & ~INCOMPATIBLE_KNOWN));
        if (h->incompatible & INCOMPATIBLE_CORRUPT)
                return rejected_with(error, "Repair it first: qemu-img check -r all FILE.",
                                     "is marked as corrupt");
        if (h->incompatible & INCOMPATIBLE_DIRTY)
                return rejected_with(
                        error, "Stop what uses it, then repair it: qemu-img check -r all FILE.",
                        "was not closed cleanly");
        if ((h->incompatible & INCOMPATIBLE_EXTENDED_L2) &&
            h->cluster_bits < CLUSTER_BITS_MIN_EXTENDED)
                return rejected(error, "has an invalid cluster size");

        bool other = h->incompatible & INCOMPATIBLE_COMPRESSION;
        if (h->compression > 1 || other != (h->compression != 0))
                return rejected(error, "is compressed in a way that is not known");
        return 0;
}

/* References to anything outside of the file, which QEMU would open as itself. */
static int judge_references(const Header *h, Error *error) {
        if (h->backing_file_offset != 0)
                return rejected_with(
                        error,
                        "Merge it with its base first: qemu-img convert -O qcow2 FILE NEW.qcow2.",
                        "has a backing file");
        if (h->crypt_method != 0)
                return rejected_with(error,
                                     "Decrypt it first: qemu-img convert can, given the key.",
                                     "is encrypted");
        return judge_incompatible(h, error);
}

static int judge_extension(uint32_t type, Error *error) {
        switch (type) {
        case EXTENSION_DATA_FILE:
                return rejected(error, "names an external data file");
        case EXTENSION_ENCRYPTION:
                return rejected(error, "is encrypted");
        default:
                return 0;
        }
}

/* Extensions follow the header up to the end of the first cluster. That is read at once: there may
 * be one for every eight bytes of it. */
static int judge_extensions(int fd, const Header *h, Error *error) {
        uint64_t end = MIN(h->cluster_size, h->file_size);
        _cleanup_free_ uint8_t *cluster = malloc(end);
        int r;

        if (!cluster)
                return error_set_errno(error, -ENOMEM, "Could not check the image");
        r = image_read_at(fd, 0, cluster, end);
        if (r < 0)
                return error_set_errno(error, r, "Could not read the image");

        for (uint64_t offset = h->size; offset + EXTENSION_HEAD_SIZE <= end;) {
                uint32_t type = get32(cluster + offset), size = get32(cluster + offset + 4);
                if (type == EXTENSION_END)
                        break;

                r = judge_extension(type, error);
                if (r < 0)
                        return r;

                offset += EXTENSION_HEAD_SIZE;
                if (size > end - offset)
                        return rejected(error, "has an invalid header extension");
                offset += (size + UINT64_C(7)) & ~UINT64_C(7);
        }
        return 0;
}

static int judge_table(const Header *h, const char *what, uint64_t offset, uint64_t size,
                       uint64_t max, Error *error) {
        if (size > max)
                return rejected(error, "has a %s that is too large", what);
        if (offset == 0 || offset % h->cluster_size != 0)
                return rejected(error, "has a %s at an invalid place", what);
        if (offset > h->file_size || size > h->file_size - offset)
                return truncated(error, what);
        return 0;
}

static uint64_t l1_entries_needed(const Header *h) {
        uint64_t covered = h->cluster_size * (h->cluster_size / h->l2_entry_size);

        return h->virtual_size / covered + (h->virtual_size % covered != 0);
}

static int judge_layout(const Header *h, Error *error) {
        int r;

        if (h->refcount_order > REFCOUNT_ORDER_MAX)
                return rejected(error, "has reference counts of invalid width");
        if (h->l1_entries < l1_entries_needed(h))
                return rejected(error, "has an L1 table that is too small for its size");
        if (h->n_snapshots > SNAPSHOTS_MAX)
                return rejected(error, "has too many snapshots");
        if (h->refcount_table_clusters == 0)
                return rejected(error, "has no reference counts");

        r = judge_table(h, "L1 table", h->l1_offset, h->l1_entries * UINT64_C(8), L1_SIZE_MAX,
                        error);
        if (r < 0)
                return r;

        r = judge_table(h, "refcount table", h->refcount_table_offset,
                        h->refcount_table_clusters * h->cluster_size, REFCOUNT_TABLE_SIZE_MAX,
                        error);
        if (r < 0 || h->n_snapshots == 0)
                return r;

        /* At least: each entry has a tail of its own length. */
        return judge_table(h, "snapshot table", h->snapshots_offset,
                           h->n_snapshots * SNAPSHOT_SIZE_MIN, UINT64_MAX, error);
}

static int judge_size(const Header *h, uint64_t max_virtual, Error *error) {
        char is[SIZE_TEXT_MAX], max[SIZE_TEXT_MAX];

        if (h->virtual_size == 0)
                return rejected(error, "has no size");
        if (h->virtual_size > max_virtual)
                return rejected(error, "has a virtual size of %s, more than the limit of %s",
                                format_size(h->virtual_size, is), format_size(max_virtual, max));
        return 0;
}

static int judge_cluster(const Header *h, uint64_t entry, Error *error) {
        if (entry & ENTRY_COMPRESSED) {
                uint64_t mask = (UINT64_C(1) << (62 - (h->cluster_bits - 8))) - 1;
                return (entry & mask) < h->file_size ? 0 : truncated(error, "a compressed cluster");
        }

        uint64_t offset = entry & ENTRY_OFFSET_MASK;
        bool zero = h->l2_entry_size == 8 &&
                    (entry & ENTRY_ZERO); /* where it lies does not matter then */
        if (offset == 0 || zero)
                return 0;
        if (offset % h->cluster_size != 0)
                return rejected(error, "is corrupt: a cluster at an invalid place");
        return offset < h->file_size ? 0 : truncated(error, "a cluster");
}

static int judge_entries(const Header *h, const uint8_t *entries, uint64_t size, Error *error) {
        int r;

        for (uint64_t i = 0; i < size; i += h->l2_entry_size) {
                uint64_t entry = get64(entries + i);
                if (entry == 0)
                        continue;

                r = judge_cluster(h, entry, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A stretch of the file that has blocks. */
typedef struct Stretch {
        uint64_t begin;
        uint64_t end;
} Stretch;

/* A hole has no entries, and is passed over: the work is that of the blocks that the file has, not
 * of the length that it shows. data is the stretch that was found last. Whatever a file system says
 * of stretches, whole units are read. */
static int judge_l2_table(int fd, const Header *h, uint64_t offset, uint8_t *buffer, Stretch *data,
                          Error *error) {
        uint64_t end = offset + h->cluster_size, next;
        int r;

        for (uint64_t at = offset; at < end; at = next) {
                if (at >= data->end)
                        image_next_data(fd, at, h->file_size, &data->begin, &data->end);
                if (data->begin >= end)
                        return 0;

                uint64_t begin = MAX(at, data->begin / READ_UNIT * READ_UNIT);
                next = MIN(end, (data->end + READ_UNIT - 1) / READ_UNIT * READ_UNIT);

                r = image_read_at(fd, begin, buffer, next - begin);
                if (r < 0)
                        return error_set_errno(error, r, "Could not read the image");
                r = judge_entries(h, buffer, next - begin, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int compare_offsets(const void *a, const void *b) {
        const uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return (x > y) - (x < y);
}

/* The places of the L2 tables, in the order of the file. The L1 table may be longer than the disk
 * needs: behind is the memory of VMs that snapshots kept, which no guest can reach. */
static int read_l1_table(int fd, const Header *h, uint64_t **ret, size_t *ret_n, Error *error) {
        size_t n_entries = l1_entries_needed(h), n = 0;
        _cleanup_free_ uint64_t *tables = malloc(n_entries * sizeof(uint64_t));
        int r;

        if (!tables)
                return error_set_errno(error, -ENOMEM, "Could not check the image");
        r = image_read_at(fd, h->l1_offset, tables, n_entries * sizeof(uint64_t));
        if (r < 0)
                return error_set_errno(error, r, "Could not read the image");

        for (size_t i = 0; i < n_entries; i++) {
                uint64_t offset = be64toh(tables[i]) & ENTRY_OFFSET_MASK;
                if (offset != 0)
                        tables[n++] = offset;
        }
        qsort(tables, n, sizeof(uint64_t), compare_offsets);

        *ret = TAKE_PTR(tables);
        *ret_n = n;
        return 0;
}

/* Each table has a place of its own and is read once; otherwise a short file could have us read
 * the same one for every entry of a long L1 table. */
static int judge_tables(int fd, const Header *h, Error *error) {
        _cleanup_free_ uint64_t *tables = NULL;
        _cleanup_free_ uint8_t *buffer = malloc(h->cluster_size);
        Stretch data = {};
        size_t n = 0;
        int r;

        if (!buffer)
                return error_set_errno(error, -ENOMEM, "Could not check the image");
        r = read_l1_table(fd, h, &tables, &n, error);
        if (r < 0)
                return r;

        for (size_t i = 0; i < n; i++) {
                if (i > 0 && tables[i] == tables[i - 1])
                        return rejected_with(
                                error, "Repair it first: qemu-img check -r all FILE.",
                                "is corrupt: one L2 table serves two parts of the disk");

                r = judge_table(h, "L2 table", tables[i], h->cluster_size, UINT64_MAX, error);
                if (r >= 0)
                        r = judge_l2_table(fd, h, tables[i], buffer, &data, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

int qcow2_judge(int fd, uint64_t file_size, uint64_t max_virtual, uint64_t *ret_virtual_size,
                Error *error) {
        Header h = {};
        int r;

        r = read_header(fd, file_size, &h, error);
        if (r < 0)
                return r;

        r = judge_references(&h, error);
        if (r < 0)
                return r;

        r = judge_extensions(fd, &h, error);
        if (r < 0)
                return r;

        r = judge_size(&h, max_virtual, error);
        if (r < 0)
                return r;

        r = judge_layout(&h, error);
        if (r < 0)
                return r;

        r = judge_tables(fd, &h, error);
        if (r < 0)
                return r;

        *ret_virtual_size = h.virtual_size;
        return 0;
}
