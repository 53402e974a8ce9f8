/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A node is recognised by its number, whatever it is called in the process's root. Descriptors and
 * mappings, whose descriptor may be closed, are looked at with statx() and AT_STATX_DONT_SYNC,
 * which opens nothing and does not ask a server that is gone. Their names prove nothing: a file can
 * be called /dev/nvme0n1 by anybody who has a mount namespace of his own.
 *
 * Nor does a descriptor that only means a path (O_PATH): nobody needs a right to the node for that.
 * It is no open to the driver, and does not keep it. */

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/clock.h"
#include "base/parse.h"
#include "base/strv.h"
#include "processes.h"
#include "sysfs.h"

#define FDINFO_MAX (64 * KIB)
#define RACES_MAX 5
#define SETTLE_STEP_USEC (100 * USEC_PER_MSEC)
#define SETTLE_STEPS 20

int device_nodes_add_number(DeviceNodes *nodes, const char *path, dev_t number, bool block) {
        DeviceNode *grown = reallocarray(nodes->items, nodes->n + 1, sizeof(DeviceNode));
        if (!grown)
                return -ENOMEM;
        nodes->items = grown;

        char *copy = strdup(path);
        if (!copy)
                return -ENOMEM;

        nodes->items[nodes->n++] = (DeviceNode) { .path = copy, .number = number, .block = block };
        return 0;
}

int device_nodes_add(DeviceNodes *nodes, int root_fd, const char *sysfs, const char *path,
                     bool block) {
        dev_t number;

        if (read_device_number_at(root_fd, PATH_TEXT("%s/dev", sysfs), &number) < 0)
                return 0;
        return device_nodes_add_number(nodes, path, number, block);
}

void device_nodes_clear(DeviceNodes *nodes) {
        for (size_t i = 0; i < nodes->n; i++)
                free(nodes->items[i].path);
        free(nodes->items);
        *nodes = (DeviceNodes) {};
}

static void holder_clear(Holder *h) {
        free(h->command);
        free(h->unit);
        free(h->path);
        *h = (Holder) {};
}

void holders_clear(Holders *holders) {
        for (size_t i = 0; i < holders->n; i++)
                holder_clear(&holders->items[i]);
        free(holders->items);
        *holders = (Holders) {};
}

/* --- one process ------------------------------------------------------------------------------ */

/* Whether a look at a process failed because it ended, or closed what it had, in the meantime. Any
 * other failure is one to see what it holds. */
static bool is_gone(int r) {
        return r == -ENOENT || r == -ESRCH || r == -ENOTDIR;
}

/* The node that a magic link of procfs leads to, or that dir_fd itself is, with an empty name;
 * NULL: none of these. */
static int find_node_at(int dir_fd, const char *name, const DeviceNodes *nodes,
                        const DeviceNode **ret) {
        struct statx st;

        *ret = NULL;
        if (statx(dir_fd, name, AT_STATX_DONT_SYNC | AT_EMPTY_PATH, STATX_TYPE, &st) < 0)
                return errno == EPERM ? -EPERM : 0;
        if (!S_ISCHR(st.stx_mode) && !S_ISBLK(st.stx_mode))
                return 0;

        for (size_t i = 0; i < nodes->n && !*ret; i++)
                if (nodes->items[i].block == S_ISBLK(st.stx_mode) &&
                    nodes->items[i].number == makedev(st.stx_rdev_major, st.stx_rdev_minor))
                        *ret = &nodes->items[i];
        return 0;
}

/* How a descriptor was opened, and of what. Kernels before 5.14 do not tell the inode. */
typedef struct DescriptorInfo {
        unsigned flags;
        int mount;              /* -1: unknown */
        uint64_t inode;         /* 0: unknown */
} DescriptorInfo;

static int read_descriptor(int dir_fd, const char *path, DescriptorInfo *ret) {
        DescriptorInfo info = { .mount = -1 };
        _cleanup_free_ char *text = NULL;
        const char *line;
        int r;

        r = read_file_at(dir_fd, path, FDINFO_MAX, &text);
        if (r < 0)
                return r;

        if (!(line = strstr(text, "flags:")) || sscanf(line, "flags: %o", &info.flags) != 1)
                return -EBADMSG;
        if ((line = strstr(text, "\nmnt_id:")))
                (void) sscanf(line, " mnt_id: %d", &info.mount);
        if ((line = strstr(text, "\nino:")))
                (void) sscanf(line, " ino: %" SCNu64, &info.inode);

        *ret = info;
        return 0;
}

static bool is_same_file(const DescriptorInfo *a, const DescriptorInfo *b) {
        return (a->mount < 0 || b->mount < 0 || a->mount == b->mount) &&
               (a->inode == 0 || b->inode == 0 || a->inode == b->inode);
}

/* Whether a descriptor that led to a node a moment ago is an open of it. Its owner may put another
 * file in its place between two looks at it: so the node is pinned, and what is read of the
 * descriptor must be about the same file. 1 or 0; -EAGAIN: it was replaced. */
static int is_open_of(int root_fd, const char *process, int dir_fd, const char *fd,
                      const DeviceNodes *nodes, const DeviceNode **ret) {
        _cleanup_close_ int pin = openat(dir_fd, fd, O_PATH | O_CLOEXEC);
        DescriptorInfo own, info;
        int r;

        *ret = NULL;
        r = pin < 0 ? 0 : find_node_at(pin, "", nodes, ret);
        if (r < 0 || !*ret)
                return r; /* closed meanwhile */

        r = read_descriptor(AT_FDCWD, PATH_TEXT("/proc/self/fdinfo/%d", pin), &own);
        if (r >= 0)
                r = read_descriptor(root_fd, PATH_TEXT("%s/fdinfo/%s", process, fd), &info);
        if (r < 0)
                return is_gone(r) ? 0 : r;
        if (!is_same_file(&own, &info))
                return -EAGAIN;
        return !(info.flags & O_PATH);
}

static int list_links(int root_fd, const char *path, int *ret_dir_fd, char ***ret) {
        _cleanup_close_ int dir_fd = open_dir_at(root_fd, path);
        int r;

        *ret = NULL;
        r = dir_fd < 0 ? dir_fd : list_dir_at(dir_fd, ".", ret);
        if (r < 0)
                return is_gone(r) ? 0 : r;

        *ret_dir_fd = TAKE_FD(dir_fd);
        return 0;
}

static int find_open_node(int root_fd, const char *process, const DeviceNodes *nodes,
                          bool *ret_has_descriptors, const DeviceNode **ret) {
        _cleanup_close_ int dir_fd = -EBADF;
        _cleanup_strv_ char **fds = NULL;
        int r;

        r = list_links(root_fd, PATH_TEXT("%s/fd", process), &dir_fd, &fds);
        *ret_has_descriptors = fds;

        STRV_FOREACH(fd, fds) {
                const DeviceNode *node;

                r = find_node_at(dir_fd, *fd, nodes, &node);
                if (r < 0)
                        return r;
                if (!node)
                        continue;

                r = -EAGAIN;
                for (unsigned i = 0; r == -EAGAIN && i < RACES_MAX; i++)
                        r = is_open_of(root_fd, process, dir_fd, *fd, nodes, ret);
                if (r != 0 && r != -EAGAIN)
                        return r;
                *ret = NULL;
        }
        return r == -EAGAIN ? 0 : r;
}

/* When the first thread of a process has ended, /proc/PID/fd is empty, and those of the others are
 * not. */
static int find_node_of_threads(int root_fd, const char *pid, const DeviceNodes *nodes,
                                const DeviceNode **ret) {
        _cleanup_strv_ char **threads = NULL;
        bool has_descriptors = false;
        int r;

        r = list_dir_if_exists_at(root_fd, PATH_TEXT("proc/%s/task", pid), &threads);
        if (r < 0)
                return is_gone(r) ? 0 : r;

        STRV_FOREACH(thread, threads)
                if (r >= 0 && !has_descriptors && !streq(*thread, pid))
                        r = find_open_node(root_fd, PATH_TEXT("proc/%s/task/%s", pid, *thread),
                                           nodes, &has_descriptors, ret);
        return r;
}

/* /proc/PID/maps has but the names of what is mapped, and the numbers of the file systems on which
 * those are. map_files has a link to each file. */
static int find_mapped_node(int root_fd, const char *pid, const DeviceNodes *nodes,
                            const DeviceNode **ret) {
        _cleanup_close_ int dir_fd = -EBADF;
        _cleanup_strv_ char **ranges = NULL;
        int r;

        r = list_links(root_fd, PATH_TEXT("proc/%s/map_files", pid), &dir_fd, &ranges);
        STRV_FOREACH(range, ranges)
                if (r >= 0 && !*ret)
                        r = find_node_at(dir_fd, *range, nodes, ret);
        return r;
}

/* NULL: the process holds none of them. */
static int find_held_node(int root_fd, const char *pid, const DeviceNodes *nodes,
                          const DeviceNode **ret) {
        bool has_descriptors;
        int r;

        *ret = NULL;
        r = find_open_node(root_fd, PATH_TEXT("proc/%s", pid), nodes, &has_descriptors, ret);
        if (r >= 0 && !has_descriptors)
                r = find_node_of_threads(root_fd, pid, nodes, ret);
        if (r >= 0 && !*ret)
                r = find_mapped_node(root_fd, pid, nodes, ret);
        return r;
}

/* The last component of the cgroup that is named like a unit with processes in it. */
static int read_unit(int root_fd, const char *pid, char **ret) {
        _cleanup_free_ char *text = NULL;
        _cleanup_strv_ char **parts = NULL;
        const char *unit = NULL;
        int r;

        r = read_file_at(root_fd, PATH_TEXT("proc/%s/cgroup", pid), 64 * KIB, &text);
        if (r >= 0)
                r = strv_split(text, "/\n", &parts);
        if (r == -ENOMEM)
                return r;

        STRV_FOREACH(part, parts) {
                const char *dot = strrchr(*part, '.');
                if (dot && (streq(dot, ".service") || streq(dot, ".scope")))
                        unit = *part;
        }

        *ret = unit ? strdup(unit) : NULL;
        return unit && !*ret ? -ENOMEM : 0;
}

static int holder_add(int root_fd, const char *pid, const DeviceNode *node, Holders *holders) {
        Holder h = { .pid = (pid_t) atoi(pid), .path = strdup(node->path) };
        int r = h.path ? 0 : -ENOMEM;

        if (r >= 0 && read_line_at(root_fd, PATH_TEXT("proc/%s/comm", pid), &h.command) < 0)
                h.command = NULL;
        if (r >= 0)
                r = read_unit(root_fd, pid, &h.unit);

        Holder *grown = r < 0 ? NULL : reallocarray(holders->items, holders->n + 1, sizeof(Holder));
        if (!grown) {
                holder_clear(&h);
                return r < 0 ? r : -ENOMEM;
        }

        holders->items = grown;
        holders->items[holders->n++] = h;
        return 0;
}

/* --- all of them ------------------------------------------------------------------------------ */

static bool is_other_process(const char *entry) {
        uint64_t pid;

        return parse_uint(entry, 10, INT32_MAX, &pid) >= 0 && (pid_t) pid != getpid() &&
               (pid_t) pid != getppid();
}

int holders_find(int root_fd, const DeviceNodes *nodes, Holders *ret) {
        _cleanup_holders_ Holders holders = { .looked_at = now_usec() };
        _cleanup_strv_ char **entries = NULL;
        int r;

        r = nodes->n > 0 ? list_dir_if_exists_at(root_fd, "proc", &entries) : 0;
        if (r < 0)
                return r;

        STRV_FOREACH(pid, entries) {
                if (!is_other_process(*pid))
                        continue;

                const DeviceNode *node;

                r = find_held_node(root_fd, *pid, nodes, &node);
                if (r >= 0 && node)
                        r = holder_add(root_fd, *pid, node, &holders);
                if (r < 0)
                        return r;
        }

        *ret = holders;
        holders = (Holders) {};
        return 0;
}

/* udev's workers open every new device for a moment, as does what they start, and another look of vmkit's
 * own at the same device. A name proves nothing: one that stays is reported whatever it is called. */
static bool is_momentary(const Holder *h) {
        static const char *const commands[] = { "(udev-worker)", "systemd-udevd", "vmkit-device" };

        for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                if (streq_ptr(h->command, commands[i]))
                        return true;
        return h->unit && (streq(h->unit, "systemd-udevd.service") || str_after(h->unit, "lvm-activate-") ||
                           str_after(h->unit, "lvm2-pvscan@"));
}

static bool all_momentary(const Holders *holders) {
        for (size_t i = 0; i < holders->n; i++)
                if (!is_momentary(&holders->items[i]))
                        return false;
        return true;
}

int holders_find_settled(int root_fd, const DeviceNodes *nodes, Holders *ret) {
        for (unsigned i = 0;; i++) {
                _cleanup_holders_ Holders holders = {};
                int r;

                r = holders_find(root_fd, nodes, &holders);
                if (r < 0)
                        return r;

                if (holders.n == 0 || !all_momentary(&holders) || i >= SETTLE_STEPS) {
                        *ret = holders;
                        holders = (Holders) {};
                        return 0;
                }
                (void) usleep(SETTLE_STEP_USEC);
        }
}
