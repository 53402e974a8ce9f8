/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The close look: who has a node of the device open, and what is on its disks.
 *
 * Every character device of the kernel is listed in /sys/dev/char with a link to its place in the
 * device tree, so the nodes of a function are found without knowing its driver: DRM and
 * framebuffer, sound, NVMe and SCSI generic, I2C (which makes an unbind wait for ever), InfiniBand.
 * A few drivers have nodes that the tree does not show; those are known by name. */

#include <sys/sysmacros.h>

#include "base/parse.h"
#include "base/strv.h"
#include "loop-device.h"
#include "processes.h"
#include "sysfs.h"
#include "usage-kinds.h"

#define NVIDIA_MAJOR 195
#define HOLDERS_TOLD_MAX 8

/* --- nodes ------------------------------------------------------------------------------------ */

/* "/dev/" and DEVNAME of the uevent file, or what the directory is called. */
static char *read_node_path(int root_fd, const char *sysfs, const char *device_path) {
        _cleanup_free_ char *uevent = NULL;
        _cleanup_strv_ char **lines = NULL;
        const char *slash = strrchr(device_path, '/'), *name = slash ? slash + 1 : device_path;
        char *path;

        if (read_file_at(root_fd, PATH_TEXT("%s/uevent", sysfs), 64 * KIB, &uevent) >= 0 &&
            strv_split(uevent, "\n", &lines) >= 0)
                STRV_FOREACH(line, lines)
                        if (str_after(*line, "DEVNAME="))
                                name = str_after(*line, "DEVNAME=");

        return asprintf(&path, "/dev/%s", name) < 0 ? NULL : path;
}

/* A desktop has every keyboard and mouse open: that is what only-keyboard is for. */
static bool is_input(const char *device_path) {
        return strstr(device_path, "/input/") || strstr(device_path, "/hidraw/");
}

static int add_character_nodes(int root_fd, const PciDevice *device, DeviceNodes *nodes) {
        _cleanup_strv_ char **numbers = NULL;
        int r;

        r = list_dir_if_exists_at(root_fd, "sys/dev/char", &numbers);
        STRV_FOREACH(number, numbers) {
                const char *sysfs = PATH_TEXT("sys/dev/char/%s", *number);
                _cleanup_free_ char *target = NULL, *path = NULL;
                dev_t node;

                if (r < 0)
                        return r;
                if (parse_device_number(*number, &node) < 0 ||
                    read_link_at(root_fd, sysfs, &target) < 0)
                        continue;

                const char *device_path = sysfs_device_path(target);
                if (!device_path || !sysfs_path_is_below(device_path, device) ||
                    is_input(device_path))
                        continue;

                path = read_node_path(root_fd, sysfs, device_path);
                r = path ? device_nodes_add_number(nodes, path, node, false) : -ENOMEM;
        }
        return r;
}

/* NVIDIA's driver registers nothing; it tells the number of the node in a text of its own. */
static int add_nvidia_node(int root_fd, const PciDevice *device, DeviceNodes *nodes) {
        _cleanup_free_ char *text = NULL;
        unsigned minor_number;

        if (!streq_ptr(device->driver, "nvidia") ||
            read_file_at(root_fd,
                         PATH_TEXT("proc/driver/nvidia/gpus/%s/information",
                                   PCI_ADDRESS_TEXT(&device->address)),
                         64 * KIB, &text) < 0)
                return 0;

        const char *line = strstr(text, "Device Minor:");
        if (!line || sscanf(line, "Device Minor: %u", &minor_number) != 1)
                return 0;
        return device_nodes_add_number(nodes, PATH_TEXT("/dev/nvidia%u", minor_number),
                                       makedev(NVIDIA_MAJOR, minor_number), false);
}

static int add_gpu_nodes(int root_fd, const PciDevice *device, DeviceNodes *nodes) {
        int r;

        r = add_nvidia_node(root_fd, device, nodes);
        /* One node for all cards of the driver; which one a process uses cannot be told from it. */
        if (r >= 0 && streq_ptr(device->driver, "amdgpu"))
                r = device_nodes_add(nodes, root_fd, "sys/class/kfd/kfd", "/dev/kfd", false);
        return r;
}

static int add_disk_nodes(int root_fd, const char *disk, DeviceNodes *nodes) {
        _cleanup_block_tree_ BlockTree tree = {};
        int r;

        r = block_tree_read(root_fd, disk, &tree);
        for (size_t i = 0; r >= 0 && i < tree.n; i++) {
                const BlockNode *node = &tree.nodes[i];
                if (block_node_is_own(node) && node->number != 0)
                        r = device_nodes_add_number(nodes, node->path, node->number, true);
        }

        /* The generic node of a multipath namespace is not below the controller either. */
        const char *rest = str_after(disk, "nvme");
        if (r >= 0 && rest)
                r = device_nodes_add(nodes, root_fd, PATH_TEXT("sys/class/nvme-generic/ng%s", rest),
                                     PATH_TEXT("/dev/ng%s", rest), false);
        return r;
}

static int collect_nodes(int root_fd, const PciDevice *device, DeviceNodes *nodes) {
        _cleanup_strv_ char **disks = NULL;
        int r;

        r = add_character_nodes(root_fd, device, nodes);
        if (r >= 0 && device->kind == KIND_GPU)
                r = add_gpu_nodes(root_fd, device, nodes);
        if (r >= 0)
                r = usage_disks(root_fd, device, &disks);

        STRV_FOREACH(disk, disks) {
                if (r < 0)
                        return r;
                r = add_disk_nodes(root_fd, *disk, nodes);
        }
        return r;
}

/* --- processes -------------------------------------------------------------------------------- */

static int add_holder(const PciDevice *device, const Holder *h, Reasons *reasons) {
        ReasonCode code = device->kind == KIND_GPU ? REASON_DRM_IN_USE : REASON_OPEN_BY_PROCESS;

        return reasons_add(reasons, code, "%s is open in %s (PID %d%s%s)", h->path,
                           h->command ? h->command : "a process", (int) h->pid, h->unit ? ", " : "",
                           h->unit ? h->unit : "");
}

static int add_processes(int root_fd, const PciDevice *device, Reasons *reasons,
                         uint64_t *ret_looked_at) {
        _cleanup_device_nodes_ DeviceNodes nodes = {};
        _cleanup_holders_ Holders holders = {};
        int r;

        r = collect_nodes(root_fd, device, &nodes);
        if (r >= 0)
                r = holders_find_settled(root_fd, &nodes, &holders);
        for (size_t i = 0; r >= 0 && i < MIN(holders.n, (size_t) HOLDERS_TOLD_MAX); i++)
                r = add_holder(device, &holders.items[i], reasons);
        if (r >= 0)
                *ret_looked_at = holders.looked_at;
        return r;
}

int usage_add_processes(int root_fd, const PciDevice *device, Reasons *reasons) {
        uint64_t looked_at;

        return add_processes(root_fd, device, reasons, &looked_at);
}

/* --- disks ------------------------------------------------------------------------------------ */

/* Some users, ZFS above all, show nowhere but in that the disk cannot be had exclusively. */
static bool has_unknown_holder(int root_fd, const char *disk) {
        if (usage_disk_is_open_here(root_fd, disk))
                return false; /* locked already, so nobody else has it */

        int fd = usage_open_exclusive(root_fd, disk);
        (void) close_fd(fd);
        return fd == -EBUSY;
}

static int add_loops_of(int root_fd, const LoopDevices *loops, const char *disk, Reasons *reasons) {
        _cleanup_block_tree_ BlockTree tree = {};
        int r;

        r = block_tree_read(root_fd, disk, &tree);
        for (size_t i = 0; i < tree.n; i++) {
                const BlockNode *node = &tree.nodes[i];

                for (size_t k = 0; r >= 0 && k < loops->n; k++)
                        if (node->number != 0 && node->number == loops->items[k].backing)
                                r = reasons_add(reasons, REASON_DEVICE_MAPPER,
                                                "%s backs the loop device /dev/%s", node->path,
                                                loops->items[k].name);
        }
        return r;
}

/* Data is only data where nobody uses the disk: otherwise it is the users that count. */
static int add_disk(int root_fd, const HostUse *use, const LoopDevices *loops, const char *disk,
                    Reasons *reasons) {
        _cleanup_reasons_ Reasons known = {};
        size_t n_before = reasons->n;
        int r;

        r = add_loops_of(root_fd, loops, disk, reasons);
        if (r >= 0)
                r = usage_add_disk(root_fd, use, disk, &known);
        if (r < 0 || known.n > 0 || reasons->n > n_before)
                return r;

        return has_unknown_holder(root_fd, disk) ? usage_add_unknown_holder(root_fd, disk, reasons)
                                                 : usage_add_data(root_fd, use, disk, reasons);
}

static int add_disks(int root_fd, const PciDevice *device, Reasons *reasons) {
        _cleanup_strv_ char **disks = NULL;
        _cleanup_loop_devices_ LoopDevices loops = {};
        _cleanup_host_use_ HostUse use = {};
        int r;

        r = usage_disks(root_fd, device, &disks);
        if (r >= 0 && disks)
                r = host_use_read(root_fd, &use);
        if (r >= 0 && disks)
                r = loop_devices_find(root_fd, &loops);

        STRV_FOREACH(disk, disks) {
                if (r < 0)
                        return r;
                r = add_disk(root_fd, &use, &loops, *disk, reasons);
        }
        return r;
}

/* No lock excludes a loop device. */
static int add_loops(int root_fd, const PciDevice *device, Reasons *reasons) {
        _cleanup_strv_ char **disks = NULL;
        _cleanup_loop_devices_ LoopDevices loops = {};
        int r;

        r = usage_disks(root_fd, device, &disks);
        if (r >= 0 && disks)
                r = loop_devices_find(root_fd, &loops);

        STRV_FOREACH(disk, disks) {
                if (r < 0)
                        return r;
                r = add_loops_of(root_fd, &loops, *disk, reasons);
        }
        return r;
}

int usage_inspect_last(int root_fd, const Inventory *inventory, const PciDevice *device,
                       Reasons *reasons, uint64_t *ret_looked_at) {
        int r;

        r = usage_inspect(root_fd, inventory, device, reasons);
        /* The inventory is older than this look. */
        if (r >= 0 && device->n_vfs == 0 &&
            path_exists_at(root_fd, PATH_TEXT("%s/virtfn0", SYSFS_PCI_PATH(&device->address))))
                r = reasons_add(reasons, REASON_HAS_VFS, "It has virtual functions by now");
        if (r >= 0)
                r = add_loops(root_fd, device, reasons);
        return r < 0 ? r : add_processes(root_fd, device, reasons, ret_looked_at);
}

int usage_inspect_deep(int root_fd, const Inventory *inventory _unused_, const PciDevice *device,
                       Reasons *reasons) {
        int r;

        r = usage_add_processes(root_fd, device, reasons);
        return r < 0 ? r : add_disks(root_fd, device, reasons);
}
