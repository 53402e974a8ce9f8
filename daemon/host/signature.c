/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is on a disk that nobody uses, read from its content with libblkid, and who of the host's
 * configuration counts on it: fstab, crypttab, the kernel's command line.
 *
 * Partitions are probed at their offsets through the descriptor of the whole disk, so no node of
 * theirs is needed. */

#include <blkid/blkid.h>
#include <ctype.h>
#include <fcntl.h>
#include <libmount/libmount.h>
#include <sys/stat.h>

#include "base/strv.h"
#include "sysfs.h"
#include "usage-kinds.h"

#define CONFIG_MAX (1 * MIB)

/* The names one place on a disk has. NULL: not known or none. */
typedef struct Place {
        char *path;                    /* "/dev/nvme0n1p1" */
        char *type, *usage;            /* libblkid's: "ext4", "filesystem" */
        char *label, *uuid;
        char *part_label, *part_uuid;
        bool ambivalent;               /* more than one signature */
        int n_partitions;              /* of a disk with a partition table; -1: no table */
} Place;

typedef struct Places {
        Place *items;
        size_t n;
} Places;

static void places_clear(Places *places) {
        for (size_t i = 0; i < places->n; i++) {
                Place *p = &places->items[i];

                free(p->path);
                free(p->type);
                free(p->usage);
                free(p->label);
                free(p->uuid);
                free(p->part_label);
                free(p->part_uuid);
        }
        free(places->items);
        *places = (Places) {};
}

static blkid_probe free_probe(blkid_probe probe) {
        blkid_free_probe(probe);
        return NULL;
}

DEFINE_CLEANUP(blkid_probe, free_probe);
#define _cleanup_probe_ _cleanup_(free_probep)

/* --- probing ---------------------------------------------------------------------------------- */

static int open_disk(int root_fd, const char *disk) {
        int fd = openat(root_fd, PATH_TEXT("dev/%s", disk),
                        O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        return fd < 0 ? -errno : fd;
}

static Place *places_add(Places *places, char *path) {
        Place *grown = path ? reallocarray(places->items, places->n + 1, sizeof(Place)) : NULL;
        if (!grown) {
                free(path);
                return NULL;
        }

        places->items = grown;
        places->items[places->n] = (Place) { .path = path, .n_partitions = -1 };
        return &places->items[places->n++];
}

static char *probed_value(blkid_probe probe, const char *name) {
        const char *value;
        return blkid_probe_lookup_value(probe, name, &value, NULL) == 0 && *value ? strdup(value)
                                                                                  : NULL;
}

static void read_superblock(int fd, blkid_loff_t offset, blkid_loff_t size, Place *place) {
        _cleanup_probe_ blkid_probe probe = blkid_new_probe();
        int r;

        if (!probe || blkid_probe_set_device(probe, fd, offset, size) < 0)
                return;

        blkid_probe_enable_superblocks(probe, true);
        blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
                                                         BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID);
        r = blkid_do_safeprobe(probe);
        place->ambivalent = r == -2;
        if (r != 0)
                return;

        place->type = probed_value(probe, "TYPE");
        place->usage = probed_value(probe, "USAGE");
        place->label = probed_value(probe, "LABEL");
        place->uuid = probed_value(probe, "UUID");
}

static int add_partition(int fd, const char *disk, blkid_partition partition, Places *places) {
        size_t n = strlen(disk);
        char *path;

        /* A number after a digit needs a separator: nvme0n1p1, but sda1. */
        if (asprintf(&path, "/dev/%s%s%d", disk,
                     n > 0 && isdigit((unsigned char) disk[n - 1]) ? "p" : "",
                     blkid_partition_get_partno(partition)) < 0)
                return -ENOMEM;

        Place *place = places_add(places, path);
        if (!place)
                return -ENOMEM;

        const char *name = blkid_partition_get_name(partition),
                   *uuid = blkid_partition_get_uuid(partition);
        place->part_label = str_empty(name) ? NULL : strdup(name);
        place->part_uuid = str_empty(uuid) ? NULL : strdup(uuid);

        if (!blkid_partition_is_extended(partition))
                read_superblock(fd, blkid_partition_get_start(partition) * 512,
                                blkid_partition_get_size(partition) * 512, place);
        return 0;
}

static int add_partitions(int fd, const char *disk, Places *places) {
        _cleanup_probe_ blkid_probe probe = blkid_new_probe();

        if (!probe)
                return -ENOMEM;
        if (blkid_probe_set_device(probe, fd, 0, 0) < 0)
                return 0;

        blkid_probe_enable_superblocks(probe, false);
        blkid_probe_enable_partitions(probe, true);

        blkid_partlist list = blkid_probe_get_partitions(probe);
        if (!list || !blkid_partlist_get_table(list))
                return 0;

        int n = blkid_partlist_numof_partitions(list);
        places->items[0].n_partitions = n;

        for (int i = 0; i < n; i++) {
                blkid_partition partition = blkid_partlist_get_partition(list, i);
                int r = partition ? add_partition(fd, disk, partition, places) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_places(int root_fd, const char *disk, Places *places) {
        _cleanup_close_ int fd = open_disk(root_fd, disk);
        char *path;

        /* No node or no medium: nothing to read. Who locks the disk afterwards says what is
         * missing. */
        if (fd < 0)
                return fd == -ENOMEM ? fd : 0;

        if (asprintf(&path, "/dev/%s", disk) < 0)
                return -ENOMEM;

        Place *whole = places_add(places, path);
        if (!whole)
                return -ENOMEM;

        read_superblock(fd, 0, 0, whole);
        return add_partitions(fd, disk, places);
}

/* --- data ------------------------------------------------------------------------------------- */

/* The signature as people call it. */
static const char *type_in_words(const Place *p) {
        static const struct {
                const char *type, *words;
        } known[] = {
                { "crypto_LUKS", "LUKS encrypted volume" },
                { "BitLocker", "BitLocker volume" },
                { "LVM2_member", "LVM physical volume" },
                { "linux_raid_member", "member of an md array" },
                { "zfs_member", "member of a ZFS pool" },
                { "swap", "swap space" },
                { "swsuspend", "hibernation image" },
        };

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (streq(known[i].type, p->type))
                        return known[i].words;
        return p->type;
}

static int add_data(const Place *p, Reasons *reasons) {
        if (p->ambivalent)
                return reasons_add(reasons, REASON_HAS_DATA,
                                   "signatures of several file systems on %s", p->path);
        if (p->type)
                return reasons_add(reasons, REASON_HAS_DATA, "%s%s%s%s%s on %s", type_in_words(p),
                                   streq_ptr(p->usage, "filesystem") ? " file system" : "",
                                   p->label ? " '" : "", p->label ? p->label : "",
                                   p->label ? "'" : "", p->path);
        if (p->n_partitions > 0)
                return reasons_add(reasons, REASON_HAS_DATA,
                                   "partition table with %d partition%s on %s", p->n_partitions,
                                   p->n_partitions == 1 ? "" : "s", p->path);
        return 0;
}

/* --- references ------------------------------------------------------------------------------- */

static bool same_device(int root_fd, const char *path, const char *other) {
        struct stat a, b;

        /* Without the leading '/', so that it stays below root_fd; symbolic links of udev are
         * followed. */
        return fstatat(root_fd, path + 1, &a, 0) >= 0 && fstatat(root_fd, other + 1, &b, 0) >= 0 &&
               S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode) && a.st_rdev == b.st_rdev;
}

static bool equal_tag(const char *a, const char *b) {
        return a && b && strcasecmp(a, b) == 0;
}

/* Whether a name as in fstab ("UUID=…", "/dev/…") means this place. */
static bool names_place(int root_fd, const char *name, const Place *p) {
        const char *value;

        if ((value = str_after(name, "UUID=")))
                return equal_tag(value, p->uuid);
        if ((value = str_after(name, "PARTUUID=")))
                return equal_tag(value, p->part_uuid);
        if ((value = str_after(name, "LABEL=")))
                return streq_ptr(value, p->label) && p->label;
        if ((value = str_after(name, "PARTLABEL=")))
                return streq_ptr(value, p->part_label) && p->part_label;
        return str_after(name, "/dev/") &&
               (streq(name, p->path) || same_device(root_fd, name, p->path));
}

static const Place *places_find(int root_fd, const char *name, const Places *places) {
        _cleanup_free_ char *unquoted = name ? strdup(name) : NULL;

        if (!unquoted)
                return NULL;

        /* UUID="…" is allowed. */
        char *quote = strchr(unquoted, '"');
        if (quote && unquoted[strlen(unquoted) - 1] == '"') {
                unquoted[strlen(unquoted) - 1] = '\0';
                memmove(quote, quote + 1, strlen(quote));
        }

        for (size_t i = 0; i < places->n; i++)
                if (names_place(root_fd, unquoted, &places->items[i]))
                        return &places->items[i];
        return NULL;
}

static struct libmnt_table *unref_table(struct libmnt_table *table) {
        mnt_unref_table(table);
        return NULL;
}

static struct libmnt_iter *free_iterator(struct libmnt_iter *iterator) {
        mnt_free_iter(iterator);
        return NULL;
}

DEFINE_CLEANUP(struct libmnt_table *, unref_table);
DEFINE_CLEANUP(struct libmnt_iter *, free_iterator);

static int ignore_bad_line(struct libmnt_table *table _unused_, const char *filename _unused_,
                           int line _unused_) {
        return 1; /* skip it, keep the rest */
}

static bool is_esp_target(const char *target) {
        return streq_ptr(target, "/boot/efi") || streq_ptr(target, "/efi");
}

/* A label or UUID is part of what is on the disk, and a guest that had the disk may have written
 * it. */
static int add_fstab_entry(int root_fd, const HostUse *use, struct libmnt_fs *fs,
                           const Places *places, Reasons *reasons) {
        const char *source = mnt_fs_get_source(fs), *target = mnt_fs_get_target(fs);
        const Place *place = places_find(root_fd, source, places);

        if (!place)
                return 0;
        if (mnt_fs_is_swaparea(fs))
                return reasons_add(reasons, REASON_FSTAB, "/etc/fstab names %s as swap space",
                                   place->path);
        if (is_esp_target(target) && !host_use_is_mount_point(use, target))
                return reasons_add(reasons, REASON_ESP,
                                   "/etc/fstab names %s as the EFI system partition", place->path);
        return reasons_add(reasons, REASON_FSTAB, "/etc/fstab mounts %s at %s", place->path,
                           str_na(target));
}

static int add_fstab(int root_fd, const HostUse *use, const Places *places, Reasons *reasons) {
        _cleanup_(unref_tablep) struct libmnt_table *table = mnt_new_table();
        _cleanup_(free_iteratorp) struct libmnt_iter *iterator = mnt_new_iter(MNT_ITER_FORWARD);
        _cleanup_close_ int fd = openat(root_fd, "etc/fstab", O_RDONLY | O_CLOEXEC | O_NOCTTY);
        _cleanup_fclose_ FILE *file = fd < 0 ? NULL : fdopen(fd, "re");
        struct libmnt_fs *fs;
        int r = 0;

        if (!table || !iterator)
                return -ENOMEM;
        if (!file)
                return 0;
        (void) TAKE_FD(fd);

        (void) mnt_table_set_parser_errcb(table, ignore_bad_line);
        if (mnt_table_parse_stream(table, file, "/etc/fstab") != 0)
                return 0;

        while (r >= 0 && mnt_table_next_fs(table, iterator, &fs) == 0)
                r = add_fstab_entry(root_fd, use, fs, places, reasons);
        return r;
}

/* "name device password options" */
static int add_crypttab(int root_fd, const Places *places, Reasons *reasons) {
        _cleanup_free_ char *text = NULL;
        _cleanup_strv_ char **lines = NULL;
        int r;

        if (read_file_at(root_fd, "etc/crypttab", CONFIG_MAX, &text) < 0)
                return 0;

        r = strv_split(text, "\n", &lines);
        STRV_FOREACH(line, lines) {
                _cleanup_strv_ char **fields = NULL;

                if (r < 0)
                        return r;
                r = strv_split(*line, " \t", &fields);
                if (r < 0 || strv_length(fields) < 2 || fields[0][0] == '#')
                        continue;

                const Place *place = places_find(root_fd, fields[1], places);
                if (place)
                        r = reasons_add(reasons, REASON_FSTAB, "/etc/crypttab unlocks %s as %s",
                                        place->path, fields[0]);
        }
        return r;
}

/* Where the kernel knows its device by number, a signature does not make another one of it. */
static int add_resume(int root_fd, const HostUse *use, const Places *places, Reasons *reasons) {
        _cleanup_free_ char *name = NULL;
        int r;

        if (use->resume != 0)
                return 0;

        r = kernel_parameter_read(root_fd, "resume", &name);
        if (r < 0)
                return r;

        const Place *place = places_find(root_fd, name, places);
        if (!place)
                return 0;
        return reasons_add(reasons, REASON_RESUME_DEVICE,
                           "The kernel's command line resumes from %s", place->path);
}

int usage_add_data(int root_fd, const HostUse *use, const char *disk, Reasons *reasons) {
        _cleanup_(places_clear) Places places = {};
        int r;

        r = read_places(root_fd, disk, &places);
        if (r >= 0)
                r = add_fstab(root_fd, use, &places, reasons);
        if (r >= 0)
                r = add_crypttab(root_fd, &places, reasons);
        if (r >= 0)
                r = add_resume(root_fd, use, &places, reasons);
        for (size_t i = 0; r >= 0 && i < places.n; i++)
                r = add_data(&places.items[i], reasons);
        return r;
}

int usage_add_unknown_holder(int root_fd, const char *disk, Reasons *reasons) {
        static const struct {
                const char *type;
                ReasonCode code;
                const char *what;
        } users[] = {
                { "zfs_member", REASON_ZFS, "an imported ZFS pool" },
                { "LVM2_member", REASON_LVM, "an active LVM volume group" },
                { "linux_raid_member", REASON_MD_RAID, "an active md array" },
                { "bcache", REASON_BCACHE, "bcache" },
                { "mpath_member", REASON_MULTIPATH, "a multipath device" },
        };
        _cleanup_(places_clear) Places places = {};
        int r;

        r = read_places(root_fd, disk, &places);
        for (size_t i = 0; r >= 0 && i < places.n; i++)
                for (size_t k = 0; k < ELEMENTSOF(users); k++)
                        if (streq_ptr(places.items[i].type, users[k].type))
                                return reasons_add(reasons, users[k].code, "%s belongs to %s",
                                                   places.items[i].path, users[k].what);
        if (r < 0)
                return r;

        return reasons_add(
                reasons, REASON_MOUNTED,
                "/dev/%s is held by the kernel, as by a file system that was unmounted lazily or "
                "is mounted in a namespace without processes",
                disk);
}
