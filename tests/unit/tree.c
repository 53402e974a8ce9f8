/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <err.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/strv.h"
#include "tree.h"

#define MOUNTINFO_LINE "%d 1 %s / %s rw,relatime shared:1 - %s %s rw\n"

/* Lives until many calls later: enough to put paths together in arguments. */
_printf_(1, 2) static const char *text(const char *format, ...) {
        static char buffers[64][1024];
        static unsigned next;
        char *buffer = buffers[next++ % ELEMENTSOF(buffers)];
        va_list ap;

        va_start(ap, format);
        vsnprintf(buffer, sizeof(buffers[0]), format, ap);
        va_end(ap);
        return buffer;
}

/* --- files ------------------------------------------------------------------------------------ */

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
        return remove(path);
}

Tree *tree_free(Tree *t) {
        if (!t)
                return NULL;

        close_fd(t->fd);
        (void) nftw(t->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        free(t->path);
        free(t);
        return NULL;
}

void tree_mkdir(Tree *t, const char *path) {
        char copy[1024];

        snprintf(copy, sizeof(copy), "%s", path);
        for (char *slash = copy; (slash = strchr(slash, '/')); *slash++ = '/') {
                *slash = '\0';
                if (mkdirat(t->fd, copy, 0755) < 0 && errno != EEXIST)
                        err(1, "mkdir %s", copy);
        }
        if (mkdirat(t->fd, copy, 0755) < 0 && errno != EEXIST)
                err(1, "mkdir %s", copy);
}

static void make_parent(Tree *t, const char *path) {
        const char *slash = strrchr(path, '/');

        if (slash)
                tree_mkdir(t, text("%.*s", (int) (slash - path), path));
}

static void write_mode(Tree *t, const char *path, int flags, const void *data, size_t size) {
        make_parent(t, path);

        _cleanup_close_ int fd = openat(t->fd, path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
        if (fd < 0 || write_all(fd, data, size) < 0)
                err(1, "write %s", path);
}

void tree_write_bytes(Tree *t, const char *path, const void *data, size_t size) {
        write_mode(t, path, O_TRUNC, data, size);
}

void tree_write(Tree *t, const char *path, const char *format, ...) {
        _cleanup_free_ char *content = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&content, format, ap) < 0)
                err(1, "vasprintf");
        va_end(ap);
        write_mode(t, path, O_TRUNC, content, strlen(content));
}

void tree_symlink(Tree *t, const char *path, const char *target) {
        make_parent(t, path);
        (void) unlinkat(t->fd, path, 0);
        if (symlinkat(target, t->fd, path) < 0)
                err(1, "symlink %s", path);
}

void tree_link(Tree *t, const char *path, const char *to) {
        const char *rest = path;
        char target[2048] = "";

        /* What both have in common at the beginning is left out, as in sysfs. */
        for (size_t n; n = strcspn(rest, "/"), rest[n] && strncmp(rest, to, n + 1) == 0;) {
                rest += n + 1;
                to += n + 1;
        }

        for (const char *slash = rest; (slash = strchr(slash, '/')); slash++)
                strcat(target, "../");
        tree_symlink(t, path, strncat(target, to, sizeof(target) - strlen(target) - 1));
}

void tree_remove(Tree *t, const char *path) {
        if (unlinkat(t->fd, path, 0) < 0 && unlinkat(t->fd, path, AT_REMOVEDIR) < 0)
                err(1, "remove %s", path);
}

char *tree_read(Tree *t, const char *path) {
        char *content;
        return read_file_at(t->fd, path, 1 * MIB, &content) >= 0 ? content : NULL;
}

bool tree_exists(Tree *t, const char *path) {
        return faccessat(t->fd, path, F_OK, AT_SYMLINK_NOFOLLOW) >= 0;
}

Tree *tree_new(void) {
        /* Many small files for a moment: a disk that is busy takes long over them. */
        const char *parent = getenv("TMPDIR") ?: access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        Tree *t = calloc(1, sizeof(Tree));

        if (!t || asprintf(&t->path, "%s/vmkit-tree-XXXXXX", parent) < 0 ||
            !mkdtemp(t->path) || (t->fd = open_dir_at(AT_FDCWD, t->path)) < 0)
                err(1, "temporary directory");

        tree_mkdir(t, "sys/bus/pci/devices");
        tree_mkdir(t, "sys/bus/pci/drivers");
        tree_write(t, "sys/bus/pci/drivers_probe", "%s", "");
        tree_mkdir(t, "sys/block");
        tree_mkdir(t, "sys/class/iommu");
        tree_write(t, "proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
        tree_write(t, "proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet\n");
        tree_add_process(t, 1, "systemd", "/init.scope", "mnt:[4026531841]");
        return t;
}

/* --- PCI -------------------------------------------------------------------------------------- */

void tree_add_driver(Tree *t, const char *name) {
        tree_write(t, text("sys/bus/pci/drivers/%s/bind", name), "%s", "");
        tree_write(t, text("sys/bus/pci/drivers/%s/unbind", name), "%s", "");
}

void tree_set_driver(Tree *t, const char *address, const char *driver) {
        const char *link = text("sys/bus/pci/devices/%s/driver", address);

        if (!driver) {
                tree_remove(t, link);
                return;
        }

        if (!tree_exists(t, text("sys/bus/pci/drivers/%s", driver)))
                tree_add_driver(t, driver);

        /* Through the real directory, from where the relative target counts. */
        _cleanup_free_ char *device = NULL;
        if (read_link_at(t->fd, text("sys/bus/pci/devices/%s", address), &device) < 0)
                errx(1, "no function %s", address);
        tree_link(t, text("sys/devices/%s/driver", strstr(device, "devices/") + strlen("devices/")),
                  text("sys/bus/pci/drivers/%s", driver));
}

void tree_add_iommu(Tree *t, const char *name) {
        tree_mkdir(t, text("sys/devices/virtual/iommu/%s/devices", name));
        tree_link(t, text("sys/class/iommu/%s", name), text("sys/devices/virtual/iommu/%s", name));
}

static void add_attributes(Tree *t, const char *directory, const TreeFunction *f) {
        tree_write(t, text("%s/vendor", directory), "0x%04x\n", f->vendor);
        tree_write(t, text("%s/device", directory), "0x%04x\n", f->device);
        tree_write(t, text("%s/class", directory), "0x%06x\n", f->class);
        tree_write(t, text("%s/subsystem_vendor", directory), "0x%04x\n", f->subsystem_vendor);
        tree_write(t, text("%s/subsystem_device", directory), "0x%04x\n", f->subsystem_device);
        tree_write(t, text("%s/modalias", directory),
                   "pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X\n", f->vendor, f->device,
                   f->subsystem_vendor, f->subsystem_device, f->class >> 16, f->class >> 8 & 0xff,
                   f->class & 0xff);
        tree_write(t, text("%s/driver_override", directory), "(null)\n");
        tree_write(t, text("%s/numa_node", directory), "-1\n");
        tree_write(t, text("%s/power/control", directory), "auto\n");
        tree_write(t, text("%s/d3cold_allowed", directory), "1\n");
}

static void add_config(Tree *t, const char *directory, const TreeFunction *f) {
        unsigned char config[256] = {
                [0] = f->vendor & 0xff, [1] = f->vendor >> 8 & 0xff,
                [2] = f->device & 0xff, [3] = f->device >> 8 & 0xff,
                [14] = f->bridge,
        };
        tree_write_bytes(t, text("%s/config", directory), config, sizeof(config));
}

static void add_optional(Tree *t, const char *directory, const TreeFunction *f) {
        if (f->bridge)
                tree_write(t, text("%s/secondary_bus_number", directory), "1\n");
        if (f->boot_vga)
                tree_write(t, text("%s/boot_vga", directory), "%s\n", f->boot_vga);
        if (f->reset_method)
                tree_write(t, text("%s/reset_method", directory), "%s\n", f->reset_method);
        if (f->reset_method)
                tree_write(t, text("%s/reset", directory), "%s", "");
        if (f->physfn)
                tree_symlink(t, text("%s/physfn", directory), text("../%s", f->physfn));
}

char *tree_add_function(Tree *t, const TreeFunction *f) {
        char *path;

        if (asprintf(&path, "%s/%s", f->below ? f->below : "pci0000:00", f->address) < 0)
                err(1, "asprintf");

        _cleanup_free_ char *directory = strdup(text("sys/devices/%s", path));
        add_attributes(t, directory, f);
        add_config(t, directory, f);
        add_optional(t, directory, f);
        tree_link(t, text("sys/bus/pci/devices/%s", f->address), directory);

        if (f->group > 0) {
                tree_mkdir(t, text("sys/kernel/iommu_groups/%d/devices", f->group));
                tree_link(t, text("%s/iommu_group", directory),
                          text("sys/kernel/iommu_groups/%d", f->group));
                tree_link(t, text("sys/kernel/iommu_groups/%d/devices/%s", f->group, f->address),
                          directory);
        }
        if (f->driver)
                tree_set_driver(t, f->address, f->driver);
        return path;
}

/* --- block devices ---------------------------------------------------------------------------- */

static void add_block(Tree *t, const char *directory, const char *name, const char *number) {
        tree_write(t, text("%s/dev", directory), "%s\n", number);
        tree_write(t, text("%s/uevent", directory), "DEVNAME=%s\n", name);
        tree_write(t, text("%s/size", directory), "2097152\n");
        tree_mkdir(t, text("%s/holders", directory));
        tree_link(t, text("sys/class/block/%s", name), directory);
}

static void add_whole_disk(Tree *t, const char *directory, const char *disk, const char *number,
                           bool hidden) {
        add_block(t, directory, disk, number);
        tree_write(t, text("%s/hidden", directory), "%d\n", hidden);
        tree_link(t, text("sys/block/%s", disk), directory);
}

void tree_add_disk(Tree *t, const char *device, const char *disk, const char *number) {
        add_whole_disk(t, text("sys/devices/%s/block/%s", device, disk), disk, number, false);
}

static char *real_directory(Tree *t, const char *disk) {
        _cleanup_free_ char *target = NULL;

        if (read_link_at(t->fd, text("sys/class/block/%s", disk), &target) < 0)
                errx(1, "no block device %s", disk);
        return strdup(text("sys/devices/%s", strstr(target, "devices/") + strlen("devices/")));
}

void tree_add_partition(Tree *t, const char *disk, const char *partition, const char *number) {
        _cleanup_free_ char *directory = real_directory(t, disk);

        tree_write(t, text("%s/%s/partition", directory, partition), "1\n");
        add_block(t, text("%s/%s", directory, partition), partition, number);
}

void tree_add_holder(Tree *t, const char *of, const char *holder, const char *number) {
        _cleanup_free_ char *below = real_directory(t, of);
        const char *directory = text("sys/devices/virtual/block/%s", holder);

        if (!tree_exists(t, text("sys/block/%s", holder)))
                add_whole_disk(t, directory, holder, number, false);
        tree_link(t, text("%s/holders/%s", below, holder),
                  text("sys/devices/virtual/block/%s", holder));
}

void tree_add_controller(Tree *t, const char *function, const char *controller, const char *nqn) {
        _cleanup_free_ char *directory = strdup(
                text("sys/devices/%s/nvme/%s", function, controller));
        const char *slash = strrchr(function, '/');

        tree_write(t, text("%s/subsysnqn", directory), "%s\n", nqn);
        tree_write(t, text("%s/address", directory), "%s\n", slash ? slash + 1 : function);
        tree_write(t, text("%s/serial", directory), "%-20s\n", "S1234");
        tree_write(t, text("%s/dev", directory), "241:%s\n", controller + strlen("nvme"));
        tree_write(t, text("%s/uevent", directory), "MAJOR=241\nDEVNAME=%s\n", controller);
        tree_link(t, text("sys/class/nvme/%s", controller), directory);
        tree_link(t, text("sys/dev/char/241:%s", controller + strlen("nvme")), directory);
}

void tree_set_controller(Tree *t, const char *function, const char *controller, const char *state,
                         const char *serial) {
        const char *file = text("sys/devices/%s/nvme/%s/state", function, controller);

        if (state)
                tree_write(t, file, "%s\n", state);
        else if (tree_exists(t, file))
                tree_remove(t, file);
        tree_write(t, text("sys/devices/%s/nvme/%s/serial", function, controller), "%-20s\n", serial);
}

void tree_add_namespace(Tree *t, const char *function, const char *controller, const char *disk,
                        const char *number) {
        _cleanup_free_ char *directory = strdup(
                text("sys/devices/%s/nvme/%s", function, controller));

        add_whole_disk(t, text("%s/%s", directory, disk), disk, number, false);
        tree_symlink(t, text("%s/%s/device", directory, disk), text("../../%s", controller));
}

void tree_add_multipath_namespace(Tree *t, const char *function, const char *controller,
                                  const char *nqn, const char *hidden, const char *disk,
                                  const char *number) {
        const char *path = text("sys/devices/%s/nvme/%s/%s", function, controller, hidden);
        const char *subsystem = "sys/devices/virtual/nvme-subsystem/nvme-subsys0";

        add_whole_disk(t, path, hidden, "0:0", true);
        tree_symlink(t, text("sys/devices/%s/nvme/%s/%s/device", function, controller, hidden),
                     text("../../%s", controller));

        tree_write(t, text("%s/subsysnqn", subsystem), "%s\n", nqn);
        if (!tree_exists(t, text("sys/block/%s", disk)))
                add_whole_disk(t, text("%s/%s", subsystem, disk), disk, number, false);
        tree_symlink(t, text("%s/%s/device", subsystem, disk), "../../nvme-subsys0");
}

/* --- processes -------------------------------------------------------------------------------- */

void tree_add_process(Tree *t, int pid, const char *comm, const char *cgroup,
                      const char *mount_namespace) {
        tree_write(t, text("proc/%d/comm", pid), "%s\n", comm);
        tree_write(t, text("proc/%d/cgroup", pid), "0::%s\n", cgroup);
        tree_symlink(t, text("proc/%d/ns/mnt", pid), mount_namespace);
        tree_write(t, text("proc/%d/mountinfo", pid), MOUNTINFO_LINE, 22, "0:21", "/proc", "proc",
                   "proc");
        tree_mkdir(t, text("proc/%d/fd", pid));
}

void tree_open(Tree *t, int pid, int fd, const char *target, int flags) {
        tree_symlink(t, text("proc/%d/fd/%d", pid, fd), target);
        tree_write(t, text("proc/%d/fdinfo/%d", pid, fd), "pos:\t0\nflags:\t0%o\n",
                   (unsigned) flags);
}

void tree_close(Tree *t, int pid, int fd) {
        tree_remove(t, text("proc/%d/fd/%d", pid, fd));
        tree_remove(t, text("proc/%d/fdinfo/%d", pid, fd));
}

void tree_map(Tree *t, int pid, const char *range, const char *target) {
        tree_symlink(t, text("proc/%d/map_files/%s", pid, range), target);
}

void tree_mount(Tree *t, int pid, const char *number, const char *point, const char *type,
                const char *source) {
        _cleanup_free_ char *line = NULL;

        if (asprintf(&line, MOUNTINFO_LINE, 30, number, point, type, source) < 0)
                err(1, "asprintf");
        write_mode(t, text("proc/%d/mountinfo", pid), O_APPEND, line, strlen(line));
}
