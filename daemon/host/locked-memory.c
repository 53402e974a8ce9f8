/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <linux/capability.h>

#include "base/parse.h"
#include "base/strv.h"
#include "locked-memory.h"
#include "sysfs.h"

/* The UUID is one of the first arguments. */
#define COMMAND_LINE_MAX 16384
#define STATUS_MAX (64 * KIB)

/* The arguments have their ends between them. */
static bool has_argument(const char *line, size_t size, const char *argument) {
        for (const char *p = line; p < line + size; p += strlen(p) + 1)
                if (streq(p, argument))
                        return true;
        return false;
}

static bool is_qemu(int root_fd, const char *pid) {
        _cleanup_free_ char *command = NULL;

        return read_line_at(root_fd, PATH_TEXT("proc/%s/comm", pid), &command) >= 0 && str_after(command, "qemu");
}

static bool is_qemu_of(int root_fd, const char *pid, const char *uuid) {
        char line[COMMAND_LINE_MAX + 1] = {};

        if (!is_qemu(root_fd, pid))
                return false;

        _cleanup_close_ int fd = openat(root_fd, PATH_TEXT("proc/%s/cmdline", pid), O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
        return size > 0 && has_argument(line, (size_t) size, uuid);
}

static int find_qemu(int root_fd, const char *uuid, pid_t *ret) {
        _cleanup_strv_ char **names = NULL;
        uint64_t pid;
        int r = list_dir_at(root_fd, "proc", &names);

        if (r < 0)
                return r;
        STRV_FOREACH(name, names)
                if (parse_uint(*name, 10, INT32_MAX, &pid) >= 0 && is_qemu_of(root_fd, *name, uuid)) {
                        *ret = (pid_t) pid;
                        return 0;
                }
        return -ESRCH;
}

/* "VmLck:	  1048576 kB" */
static uint64_t amount_in(const char *status, const char *key) {
        const char *line = strstr(status, key);

        return line ? strtoull(line + strlen(key), NULL, 10) * KIB : 0;
}

/* Which of the two counts it is depends on how the kernel does it: containers of VFIO, or iommufd. */
int locked_memory_of(int root_fd, const char *uuid, pid_t *pid, uint64_t *ret) {
        _cleanup_free_ char *status = NULL;
        int r = *pid > 0 ? 0 : find_qemu(root_fd, uuid, pid);

        if (r >= 0)
                r = read_file_at(root_fd, PATH_TEXT("proc/%d/status", (int) *pid), STATUS_MAX, &status);
        if (r < 0) {
                *pid = 0;
                return r == -ENOENT ? -ESRCH : r;
        }
        *ret = MAX(amount_in(status, "\nVmLck:"), amount_in(status, "\nVmPin:"));
        return 0;
}

/* --- the limit ---------------------------------------------------------------------------------------------- */

static bool is_libvirt(int root_fd, const char *pid) {
        _cleanup_free_ char *command = NULL;

        return read_line_at(root_fd, PATH_TEXT("proc/%s/comm", pid), &command) >= 0 &&
               (streq(command, "libvirtd") || streq(command, "virtqemud"));
}

/* Users may have daemons of their own. */
static bool is_of_root(const char *status) {
        const char *line = strstr(status, "\nUid:");

        return line && strtoul(line + strlen("\nUid:"), NULL, 10) == 0;
}

static bool may_raise(const char *status) {
        const char *line = strstr(status, "\nCapEff:");

        return line && strtoull(line + strlen("\nCapEff:"), NULL, 16) >> CAP_SYS_RESOURCE & 1;
}

/* "Max locked memory         8388608              8388608              bytes": the second is the hard limit. */
static uint64_t hard_limit(int root_fd, const char *pid) {
        _cleanup_free_ char *limits = NULL;
        unsigned long long hard;
        const char *line;

        if (read_file_at(root_fd, PATH_TEXT("proc/%s/limits", pid), STATUS_MAX, &limits) < 0)
                return UINT64_MAX;
        line = strstr(limits, "\nMax locked memory");
        return line && sscanf(line, "\nMax locked memory %*s %llu", &hard) == 1 ? hard : UINT64_MAX;
}

int locked_memory_limit(int root_fd, uint64_t *ret) {
        _cleanup_strv_ char **names = NULL;
        uint64_t pid;
        int r = list_dir_at(root_fd, "proc", &names);

        if (r < 0)
                return r;
        STRV_FOREACH(name, names) {
                _cleanup_free_ char *status = NULL;

                if (parse_uint(*name, 10, INT32_MAX, &pid) < 0 || !is_libvirt(root_fd, *name) ||
                    read_file_at(root_fd, PATH_TEXT("proc/%s/status", *name), STATUS_MAX, &status) < 0 ||
                    !is_of_root(status))
                        continue;
                *ret = may_raise(status) ? UINT64_MAX : hard_limit(root_fd, *name);
                return 0;
        }
        return -ESRCH;
}
