/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mounts are the large part. A file system that is mounted in some container only is as much in use
 * as one on /, so the mountinfo of one process of each mount namespace is read. It is parsed here
 * and not by libmount, which for some lines goes looking through /dev: this runs on the loop. */

#include <ctype.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/strv.h"
#include "host-use.h"
#include "sysfs.h"

#define MOUNTINFO_MAX (16 * MIB)
#define MOUNTS_PER_DEVICE_MAX 8

static int block_uses_add(BlockUses *uses, const char *device, dev_t number, const char *user) {
        BlockUse *grown = reallocarray(uses->items, uses->n + 1, sizeof(BlockUse));
        if (!grown)
                return -ENOMEM;
        uses->items = grown;

        BlockUse use = { .device = strdup(device), .number = number, .user = strdup(user) };
        if (!use.device || !use.user) {
                free(use.device);
                free(use.user);
                return -ENOMEM;
        }

        uses->items[uses->n++] = use;
        return 0;
}

static void block_uses_clear(BlockUses *uses) {
        for (size_t i = 0; i < uses->n; i++) {
                free(uses->items[i].device);
                free(uses->items[i].user);
        }
        free(uses->items);
        *uses = (BlockUses) {};
}

/* --- mounts ----------------------------------------------------------------------------------- */

/* The kernel writes space, tab, newline and backslash as \ooo. In place. */
static void unescape_octal(char *s) {
        char *to = s;

        for (const char *from = s; *from; to++) {
                if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
                    from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
                        *to = (char) ((from[1] - '0') << 6 | (from[2] - '0') << 3 |
                                      (from[3] - '0'));
                        from += 4;
                } else
                        *to = *from++;
        }
        *to = '\0';
}

static void mount_clear(Mount *m) {
        free(m->point);
        free(m->type);
        strv_free(m->devices);
        *m = (Mount) {};
}

/* "logdev=/dev/sdb1" and "rtdev=/dev/sdc1" of "rw,attr2,logdev=…". */
static int add_xfs_devices(const char *options, char ***devices) {
        _cleanup_strv_ char **all = NULL;
        int r;

        r = strv_split(options, ",", &all);
        STRV_FOREACH(option, all) {
                const char *device = str_after(*option, "logdev=") ?: str_after(*option, "rtdev=");

                if (r < 0)
                        return r;
                if (!device)
                        continue;
                r = strv_push(devices, device);
                if (r >= 0)
                        unescape_octal((*devices)[strv_length(*devices) - 1]);
        }
        return r;
}

/* Most file systems show as their source what they were told, by anybody: it is not looked at.
 * These are mounted by root alone, and have devices that the number of the mount does not tell.
 * btrfs and bcachefs write the source themselves, from the devices they have. */
static int read_devices(const char *type, const char *source, const char *options, char ***ret) {
        if (streq(type, "btrfs") || streq(type, "bcachefs"))
                return strv_split(source, ":", ret);
        return streq(type, "xfs") ? add_xfs_devices(options, ret) : 0;
}

/* 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue */
static int parse_mount(const char *line, Mount *ret) {
        char number[32], point[4096], type[64], source[4096], options[4096] = "";
        dev_t device;
        int r;

        if (sscanf(line, "%*d %*d %31s %*s %4095s", number, point) != 2)
                return -EBADMSG;

        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(rest, " - %63s %4095s %4095s", type, source, options) < 2)
                return -EBADMSG;
        if (parse_device_number(number, &device) < 0)
                return -EBADMSG;

        unescape_octal(point);
        unescape_octal(source);

        Mount m = { .number = device, .point = strdup(point), .type = strdup(type) };
        r = m.point && m.type ? read_devices(type, source, options, &m.devices) : -ENOMEM;
        if (r < 0) {
                mount_clear(&m);
                return r;
        }

        *ret = m;
        return 0;
}

/* Only what sits on a block device; pseudo file systems are many and say nothing. */
static bool mount_matters(const Mount *m) {
        return major(m->number) != 0 || m->devices;
}

/* Hundreds of containers see the same file systems. What PID 1 sees names them best; of others some
 * places are enough. */
static bool mount_is_superfluous(const HostUse *use, const Mount *m) {
        unsigned n_same_device = 0;

        for (size_t i = 0; i < use->n_mounts; i++) {
                const Mount *known = &use->mounts[i];

                if (known->number != m->number)
                        continue;
                if (streq(known->point, m->point) || (known->initial && !m->initial))
                        return true;
                n_same_device++;
        }
        return !m->initial && n_same_device >= MOUNTS_PER_DEVICE_MAX;
}

static int add_mount(HostUse *use, Mount *m) {
        if (!mount_matters(m) || mount_is_superfluous(use, m)) {
                mount_clear(m);
                return 0;
        }

        Mount *grown = reallocarray(use->mounts, use->n_mounts + 1, sizeof(Mount));
        if (!grown) {
                mount_clear(m);
                return -ENOMEM;
        }

        use->mounts = grown;
        use->mounts[use->n_mounts++] = *m;
        return 0;
}

int host_use_add_mounts(HostUse *use, const char *mountinfo, bool initial) {
        _cleanup_strv_ char **lines = NULL;
        int r;

        r = strv_split(mountinfo, "\n", &lines);
        if (r < 0)
                return r;

        STRV_FOREACH(line, lines) {
                Mount m;

                r = parse_mount(*line, &m);
                if (r == -EBADMSG)
                        continue;
                if (r >= 0) {
                        m.initial = initial;
                        r = add_mount(use, &m);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_mountinfo(int root_fd, const char *pid, bool initial, HostUse *use) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = read_file_at(root_fd, PATH_TEXT("proc/%s/mountinfo", pid), MOUNTINFO_MAX, &text);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return 0; /* ended meanwhile, or not ours to see */
        return host_use_add_mounts(use, text, initial);
}

static int read_mounts(int root_fd, HostUse *use) {
        _cleanup_strv_ char **entries = NULL, **seen = NULL;
        int r;

        r = read_mountinfo(root_fd, "1", true, use);
        if (r >= 0)
                r = list_dir_if_exists_at(root_fd, "proc", &entries);
        if (r < 0)
                return r;

        _cleanup_free_ char *initial = NULL;
        (void) read_link_at(root_fd, "proc/1/ns/mnt", &initial);

        STRV_FOREACH(pid, entries) {
                _cleanup_free_ char *namespace = NULL;

                if (!isdigit((unsigned char) **pid) ||
                    read_link_at(root_fd, PATH_TEXT("proc/%s/ns/mnt", *pid), &namespace) < 0)
                        continue;
                if (streq_ptr(namespace, initial) || strv_contains(seen, namespace))
                        continue;

                r = read_mountinfo(root_fd, *pid, false, use);
                if (r >= 0)
                        r = strv_consume(&seen, TAKE_PTR(namespace));
                if (r < 0)
                        return r;
        }
        return 0;
}

bool host_use_is_mount_point(const HostUse *use, const char *point) {
        for (size_t i = 0; i < use->n_mounts; i++)
                if (use->mounts[i].initial && streq(use->mounts[i].point, point))
                        return true;
        return false;
}

/* --- the rest --------------------------------------------------------------------------------- */

/* The block device that a path of root's in /dev leads to, also by a symbolic link of udev's; 0:
 * none. */
static dev_t number_of_path(int root_fd, const char *path) {
        struct stat st;

        if (!str_after(path, "/dev/") || fstatat(root_fd, path + 1, &st, 0) < 0)
                return 0;
        return S_ISBLK(st.st_mode) ? st.st_rdev : 0;
}

/* A swap file is not listed: the file system it lies on is mounted. */
static int read_swaps(int root_fd, HostUse *use) {
        _cleanup_free_ char *text = NULL;
        _cleanup_strv_ char **lines = NULL;
        int r;

        if (read_file_at(root_fd, "proc/swaps", MOUNTINFO_MAX, &text) < 0)
                return 0;

        r = strv_split(text, "\n", &lines);
        if (r < 0)
                return r;

        STRV_FOREACH(line, lines) {
                char path[4096], type[32];

                if (sscanf(*line, "%4095s %31s", path, type) != 2 || !streq(type, "partition"))
                        continue;

                unescape_octal(path);
                r = block_uses_add(&use->swaps, path, number_of_path(root_fd, path), "");
                if (r < 0)
                        return r;
        }
        return 0;
}

/* sysfs calls a block device by its kernel's name; 0: it is not there any more. */
static dev_t number_of_name(int root_fd, const char *name) {
        dev_t number;

        if (read_device_number_at(root_fd, PATH_TEXT("sys/class/block/%s/dev", name), &number) < 0)
                return 0;
        return number;
}

/* btrfs mounts have numbers of their own; sysfs has a directory for each mounted one with its
 * devices. */
static int read_btrfs(int root_fd, HostUse *use) {
        _cleanup_strv_ char **uuids = NULL;
        int r;

        r = list_dir_if_exists_at(root_fd, "sys/fs/btrfs", &uuids);
        if (r < 0)
                return r;

        STRV_FOREACH(uuid, uuids) {
                _cleanup_strv_ char **devices = NULL;

                r = list_dir_if_exists_at(root_fd, PATH_TEXT("sys/fs/btrfs/%s/devices", *uuid),
                                          &devices);
                if (r < 0)
                        return r;
                STRV_FOREACH(device, devices) {
                        r = block_uses_add(&use->btrfs, PATH_TEXT("/dev/%s", *device),
                                           number_of_name(root_fd, *device), *uuid);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int add_bcachefs_member(int root_fd, const char *uuid, const char *member, HostUse *use) {
        _cleanup_free_ char *device = NULL;
        int r;

        if (!str_after(member, "dev-"))
                return 0;
        r = read_link_name_at(root_fd, PATH_TEXT("sys/fs/bcachefs/%s/%s/block", uuid, member),
                              &device);
        if (r < 0)
                return r == -ENOMEM ? r : 0; /* a member that is missing */
        return block_uses_add(&use->bcachefs, PATH_TEXT("/dev/%s", device),
                              number_of_name(root_fd, device), uuid);
}

/* So have those of bcachefs, which has the members as "dev-0", "dev-1", … */
static int read_bcachefs(int root_fd, HostUse *use) {
        _cleanup_strv_ char **uuids = NULL;
        int r;

        r = list_dir_if_exists_at(root_fd, "sys/fs/bcachefs", &uuids);
        if (r < 0)
                return r;

        STRV_FOREACH(uuid, uuids) {
                _cleanup_strv_ char **members = NULL;

                r = list_dir_if_exists_at(root_fd, PATH_TEXT("sys/fs/bcachefs/%s", *uuid),
                                          &members);
                STRV_FOREACH(member, members)
                        if (r >= 0)
                                r = add_bcachefs_member(root_fd, *uuid, *member, use);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* jbd2 has a directory for each journal, called "sda1-8" where the journal is a file of the file
 * system, and by the device alone where it has one to itself. Which it is, the names of devices
 * tell. */
static int read_journals(int root_fd, HostUse *use) {
        _cleanup_strv_ char **names = NULL;
        int r;

        r = list_dir_if_exists_at(root_fd, "proc/fs/jbd2", &names);
        if (r < 0)
                return r;

        STRV_FOREACH(name, names) {
                r = block_uses_add(&use->journals, PATH_TEXT("/dev/%s", *name),
                                   number_of_name(root_fd, *name), "");
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_nvmet_subsystem(int root_fd, const char *nqn, HostUse *use) {
        _cleanup_strv_ char **namespaces = NULL;
        const char *directory = PATH_TEXT("sys/kernel/config/nvmet/subsystems/%s/namespaces", nqn);
        int r;

        r = list_dir_if_exists_at(root_fd, directory, &namespaces);
        if (r < 0)
                return r;

        STRV_FOREACH(namespace, namespaces) {
                _cleanup_free_ char *path = NULL;

                if (!attribute_is(root_fd, PATH_TEXT("%s/%s/enable", directory, *namespace), "1") ||
                    read_line_at(root_fd, PATH_TEXT("%s/%s/device_path", directory, *namespace),
                                 &path) < 0)
                        continue;

                r = block_uses_add(&use->nvmet, path, number_of_path(root_fd, path), nqn);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_nvmet(int root_fd, HostUse *use) {
        _cleanup_strv_ char **subsystems = NULL;
        int r;

        r = list_dir_if_exists_at(root_fd, "sys/kernel/config/nvmet/subsystems", &subsystems);
        if (r < 0)
                return r;

        STRV_FOREACH(nqn, subsystems) {
                r = read_nvmet_subsystem(root_fd, *nqn, use);
                if (r < 0)
                        return r;
        }
        return 0;
}

int kernel_parameter_read(int root_fd, const char *name, char **ret) {
        _cleanup_free_ char *line = NULL;
        _cleanup_strv_ char **parameters = NULL;
        char *value = NULL;
        int r;

        r = read_line_at(root_fd, "proc/cmdline", &line);
        if (r == -ENOENT) {
                *ret = NULL;
                return 0;
        }
        if (r >= 0)
                r = strv_split(line, " ", &parameters);
        if (r < 0)
                return r;

        /* The last one counts. */
        STRV_FOREACH(parameter, parameters) {
                const char *rest = str_after(*parameter, name);
                if (rest && *rest == '=') {
                        free(value);
                        value = strdup(rest + 1);
                        if (!value)
                                return -ENOMEM;
                }
        }

        *ret = value;
        return 0;
}

static int read_resume(int root_fd, HostUse *use) {
        if (read_device_number_at(root_fd, "sys/power/resume", &use->resume) < 0)
                use->resume = 0;
        return kernel_parameter_read(root_fd, "resume", &use->resume_path);
}

int host_use_read(int root_fd, HostUse *ret) {
        _cleanup_host_use_ HostUse use = {};
        int r;

        if ((r = read_mounts(root_fd, &use)) < 0 ||
            (r = read_swaps(root_fd, &use)) < 0 ||
            (r = read_btrfs(root_fd, &use)) < 0 ||
            (r = read_bcachefs(root_fd, &use)) < 0 ||
            (r = read_journals(root_fd, &use)) < 0 ||
            (r = read_nvmet(root_fd, &use)) < 0 ||
            (r = read_resume(root_fd, &use)) < 0)
                return r;

        *ret = use;
        use = (HostUse) {};
        return 0;
}

void host_use_clear(HostUse *use) {
        for (size_t i = 0; i < use->n_mounts; i++)
                mount_clear(&use->mounts[i]);
        free(use->mounts);
        block_uses_clear(&use->swaps);
        block_uses_clear(&use->btrfs);
        block_uses_clear(&use->bcachefs);
        block_uses_clear(&use->journals);
        block_uses_clear(&use->nvmet);
        free(use->resume_path);
        *use = (HostUse) {};
}
