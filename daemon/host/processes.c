/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A node is recognised by its number, whatever it is called in the process's root. Descriptors
 * are looked at with statx() and AT_STATX_DONT_SYNC, which opens nothing and does not ask a
 * server that is gone; mappings, whose descriptor may be closed, are recognised by the name in
 * /proc/PID/maps. */

#include <ctype.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/clock.h"
#include "base/parse.h"
#include "base/strv.h"
#include "processes.h"
#include "sysfs.h"

#define MAPS_MAX (64 * MIB)
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

static const DeviceNode *find_open_node(int root_fd, const char *pid, const DeviceNodes *nodes) {
        _cleanup_close_ int dir_fd = open_dir_at(root_fd, PATH_TEXT("proc/%s/fd", pid));
        _cleanup_strv_ char **fds = NULL;

        if (dir_fd < 0 || list_dir_at(dir_fd, ".", &fds) < 0)
                return NULL;

        STRV_FOREACH(fd, fds) {
                struct statx st;

                if (statx(dir_fd, *fd, AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0 ||
                    !(S_ISCHR(st.stx_mode) || S_ISBLK(st.stx_mode)))
                        continue;

                for (size_t i = 0; i < nodes->n; i++)
                        if (nodes->items[i].block == S_ISBLK(st.stx_mode) &&
                            nodes->items[i].number == makedev(st.stx_rdev_major, st.stx_rdev_minor))
                                return &nodes->items[i];
        }
        return NULL;
}

static const DeviceNode *find_mapped_node(int root_fd, const char *pid, const DeviceNodes *nodes) {
        _cleanup_free_ char *maps = NULL;

        if (read_file_at(root_fd, PATH_TEXT("proc/%s/maps", pid), MAPS_MAX, &maps) < 0)
                return NULL;

        for (const char *p = maps; (p = strstr(p, " /dev/")); p++) {
                size_t length = strcspn(p + 1, "\n");

                for (size_t i = 0; i < nodes->n; i++)
                        if (strlen(nodes->items[i].path) == length &&
                            strncmp(p + 1, nodes->items[i].path, length) == 0)
                                return &nodes->items[i];
        }
        return NULL;
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

                const DeviceNode *node = find_open_node(root_fd, *pid, nodes);
                if (!node)
                        node = find_mapped_node(root_fd, *pid, nodes);
                r = node ? holder_add(root_fd, *pid, node, &holders) : 0;
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
