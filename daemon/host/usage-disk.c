/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which disks are behind a function, and what of the host lies on them.
 *
 * Most disks are found below the function in /sys/devices. An NVMe drive with native multipath is
 * not: its visible node belongs to the subsystem and only a hidden one to the controller, so its
 * disks are those of the subsystem. */

#include "base/strv.h"
#include "sysfs.h"
#include "usage-kinds.h"

/* --- finding them ----------------------------------------------------------------------------- */

bool usage_may_have_disks(const PciDevice *device) {
        switch (device->kind) {
        case KIND_NVME:
        case KIND_STORAGE:
        case KIND_USB:
        case KIND_OTHER:
                return true;
        default:
                return false;
        }
}

/* As it is at this moment: the inventory may be older. */
static int read_subsystem(int root_fd, const PciDevice *device, NvmeController *ret_controller,
                          char **ret_nqn) {
        _cleanup_close_ int dir_fd = open_dir_at(root_fd, SYSFS_PCI_PATH(&device->address));
        _cleanup_nvme_controller_ NvmeController controller = {};
        int r;

        if (dir_fd >= 0) {
                r = nvme_controller_read(dir_fd, &controller);
                if (r >= 0)
                        r = nvme_read_text(dir_fd, &controller, "subsysnqn", ret_nqn);
                if (r < 0)
                        return r;
        }

        *ret_controller = controller;
        controller = (NvmeController) {};
        return 0;
}

static bool disk_is_of(const HostDisk *disk, const PciDevice *device, const char *nqn) {
        if (nqn && streq_ptr(disk->nqn, nqn))
                return true;
        return disk->path && sysfs_path_is_below(disk->path, device);
}

static int find_disks(HostView *view, const PciDevice *device, const char *nqn, char ***ret) {
        _cleanup_strv_ char **disks = NULL;
        int r;

        r = host_view_disks(view);
        for (size_t i = 0; r >= 0 && i < view->n_disks; i++)
                if (disk_is_of(&view->disks[i], device, nqn))
                        r = strv_push(&disks, view->disks[i].name);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(disks);
        return 0;
}

int usage_disks(int root_fd, const PciDevice *device, char ***ret) {
        _cleanup_host_view_ HostView view = HOST_VIEW(root_fd);
        _cleanup_nvme_controller_ NvmeController controller = {};
        _cleanup_free_ char *nqn = NULL;
        int r = 0;

        if (!usage_may_have_disks(device)) {
                *ret = NULL;
                return 0;
        }

        if (device->kind == KIND_NVME)
                r = read_subsystem(root_fd, device, &controller, &nqn);
        return r < 0 ? r : find_disks(&view, device, nqn, ret);
}

/* --- naming their users ----------------------------------------------------------------------- */

/* "/dev/sda1", or "/dev/mapper/vg-data (on /dev/sda1)" for what is stacked on a disk. */
static char *describe(const BlockTree *tree, const BlockNode *node) {
        const BlockNode *own = node;
        char *text;

        while (!block_node_is_own(own))
                own = &tree->nodes[own->below];

        if (own == node)
                return strdup(node->path);
        return asprintf(&text, "%s (on %s)", node->path, own->path) < 0 ? NULL : text;
}

/* By the name of the kernel or the one that people know. */
static bool names_node(const char *device, const BlockNode *node) {
        const char *name = str_after(device, "/dev/");

        return streq(device, node->path) || (name && streq(name, node->name));
}

static const BlockUse *block_uses_find(const BlockUses *uses, const BlockNode *node) {
        for (size_t i = 0; i < uses->n; i++) {
                const BlockUse *use = &uses->items[i];

                if ((use->number != 0 && use->number == node->number) ||
                    names_node(use->device, node))
                        return use;
        }
        return NULL;
}

/* Whether the mount is of the file system that sysfs says the node is a member of. */
static bool mount_is_of_pool(const Mount *m, const char *type, const BlockUses *members,
                             const BlockNode *node) {
        const BlockUse *own = streq(m->type, type) ? block_uses_find(members, node) : NULL;

        if (!own)
                return false;

        STRV_FOREACH(device, m->devices) {
                if (names_node(*device, node))
                        return true;
                for (size_t i = 0; i < members->n; i++)
                        if (streq(members->items[i].user, own->user) &&
                            streq(members->items[i].device, *device))
                                return true;
        }
        return false;
}

/* The number is the proof, or what sysfs says of the members of file systems with several devices,
 * whose mounts have a number of their own; the names in such a mount only say where it is. */
static bool mount_is_of(const HostUse *use, const Mount *m, const BlockNode *node) {
        return (node->number != 0 && m->number == node->number) ||
               mount_is_of_pool(m, "btrfs", &use->btrfs, node) ||
               mount_is_of_pool(m, "bcachefs", &use->bcachefs, node);
}

/* The log of XFS has no other trace than its name in the options of the mount. Root alone mounts
 * XFS, and the kernel opened what root called so. */
static bool mount_has_log_on(const Mount *m, const BlockNode *node) {
        if (!streq(m->type, "xfs"))
                return false;

        STRV_FOREACH(device, m->devices)
                if (names_node(*device, node))
                        return true;
        return false;
}

static bool is_esp_mount(const Mount *m) {
        return m->initial && (streq(m->point, "/boot/efi") || streq(m->point, "/efi"));
}

static int add_mount(const Mount *m, const char *what, Reasons *reasons) {
        int r = 0;

        if (m->initial && streq(m->point, "/"))
                r = reasons_add(reasons, REASON_ROOT_DISK, "%s holds the host's root file system",
                                what);
        else if (is_esp_mount(m))
                r = reasons_add(reasons, REASON_ESP, "%s is the EFI system partition", what);
        if (r < 0)
                return r;

        return reasons_add(reasons, REASON_MOUNTED, "%s is mounted at %s%s", what, m->point,
                           m->initial ? "" : " in another mount namespace");
}

static int add_mounts(const HostUse *use, const BlockNode *node, const char *what,
                      Reasons *reasons) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < use->n_mounts; i++) {
                const Mount *m = &use->mounts[i];

                if (mount_is_of(use, m, node))
                        r = add_mount(m, what, reasons);
                else if (mount_has_log_on(m, node))
                        r = reasons_add(reasons, REASON_MOUNTED,
                                        "%s is the log or realtime part of the XFS at %s%s", what,
                                        m->point,
                                        m->initial ? "" : " in another mount namespace");
        }
        return r;
}

static int add_users(const HostUse *use, const BlockNode *node, const char *what,
                     Reasons *reasons) {
        const BlockUse *user;
        int r = 0;

        if (block_uses_find(&use->swaps, node))
                r = reasons_add(reasons, REASON_SWAP, "%s is used as swap space", what);
        if (r >= 0 && (user = block_uses_find(&use->btrfs, node)))
                r = reasons_add(reasons, REASON_MOUNTED,
                                "%s is part of the mounted btrfs file system %s", what, user->user);
        if (r >= 0 && (user = block_uses_find(&use->bcachefs, node)))
                r = reasons_add(reasons, REASON_MOUNTED,
                                "%s is part of the mounted bcachefs file system %s", what,
                                user->user);
        if (r >= 0 && block_uses_find(&use->journals, node))
                r = reasons_add(reasons, REASON_MOUNTED,
                                "%s holds the journal of a mounted file system", what);
        if (r >= 0 && (user = block_uses_find(&use->nvmet, node)))
                r = reasons_add(reasons, REASON_NVMET, "%s is exported over NVMe as %s", what,
                                user->user);
        return r;
}

static bool is_resume_device(const HostUse *use, const BlockNode *node) {
        return (use->resume != 0 && use->resume == node->number) ||
               (use->resume_path && streq(use->resume_path, node->path));
}

static int add_stack(int root_fd, const BlockTree *tree, const BlockNode *node, Reasons *reasons) {
        static const struct {
                ReasonCode code;
                const char *what;
        } stacks[] = {
                [BLOCK_LVM] = { REASON_LVM, "belongs to the LVM volume" },
                [BLOCK_CRYPT] = { REASON_DEVICE_MAPPER, "is unlocked (dm-crypt) as" },
                [BLOCK_MULTIPATH] = { REASON_MULTIPATH, "is a path of the multipath device" },
                [BLOCK_MAPPER] = { REASON_DEVICE_MAPPER, "is mapped by" },
                [BLOCK_MD] = { REASON_MD_RAID, "is a member of the array" },
                [BLOCK_BCACHE] = { REASON_BCACHE, "is part of" },
                [BLOCK_HOLDER] = { REASON_DEVICE_MAPPER, "is held by" },
        };

        if (!block_node_is_own(node))
                return reasons_add(reasons, stacks[node->type].code, "%s %s %s",
                                   tree->nodes[node->below].path, stacks[node->type].what,
                                   node->path);

        /* A cache device has no holder, only this directory. */
        if (path_exists_at(root_fd, PATH_TEXT("%s/bcache", node->sysfs)))
                return reasons_add(reasons, REASON_BCACHE, "%s is registered with bcache",
                                   node->path);
        return 0;
}

static int add_node(int root_fd, const HostUse *use, const BlockTree *tree, const BlockNode *node,
                    Reasons *reasons) {
        _cleanup_free_ char *what = describe(tree, node);
        int r;

        if (!what)
                return -ENOMEM;

        r = add_mounts(use, node, what, reasons);
        if (r >= 0)
                r = add_users(use, node, what, reasons);
        if (r >= 0 && is_resume_device(use, node))
                r = reasons_add(reasons, REASON_RESUME_DEVICE, "%s is where the host resumes from",
                                what);
        if (r >= 0)
                r = add_stack(root_fd, tree, node, reasons);
        return r;
}

int usage_add_disk(int root_fd, const HostUse *use, const char *disk, Reasons *reasons) {
        _cleanup_block_tree_ BlockTree tree = {};
        int r;

        r = block_tree_read(root_fd, disk, &tree);
        for (size_t i = 0; r >= 0 && i < tree.n; i++)
                r = add_node(root_fd, use, &tree, &tree.nodes[i], reasons);
        return r;
}

/* Another controller of the same subsystem reaches the same namespaces, whoever has that one. */
static int add_shared_namespaces(const HostView *view, const char *name, const char *nqn,
                                 Reasons *reasons) {
        int r = 0;

        for (size_t i = 0; r >= 0 && nqn && i < view->n_controllers; i++) {
                const HostController *other = &view->controllers[i];

                if (!streq_ptr(other->name, name) && streq_ptr(other->nqn, nqn))
                        r = reasons_add(reasons, REASON_SHARED_NAMESPACE,
                                        "The controller %s (%s) shares the namespaces of %s",
                                        other->name, str_na(other->address), str_na(name));
        }
        return r;
}

/* Its namespaces may be there in a moment, with whatever the host does with them then. */
static int add_phase(const PciDevice *device, const NvmeController *controller, Reasons *reasons) {
        char text[PCI_ADDRESS_TEXT_MAX];
        const char *state = controller->state ? controller->state : "not to be asked yet";

        pci_address_format(&device->address, text);
        if (controller->phase == NVME_DEAD)
                return reasons_add(reasons, REASON_WEDGED, "The driver of %s has given it up: %s is %s", text,
                                   str_na(controller->name), state);
        if (controller->phase != NVME_AT_WORK)
                return 0;
        if (!controller->name)
                return reasons_add(reasons, REASON_CLAIMED, "The driver of %s is at work on it: it has no "
                                   "controller yet", text);
        return reasons_add(reasons, REASON_CLAIMED, "The driver of %s is at work on it: %s is %s", text,
                           controller->name, state);
}

int usage_add_disks(HostView *view, const PciDevice *device, Reasons *reasons) {
        _cleanup_nvme_controller_ NvmeController controller = {};
        _cleanup_free_ char *nqn = NULL;
        _cleanup_strv_ char **disks = NULL;
        const HostUse *use = NULL;
        int r = 0;

        if (device->kind == KIND_NVME)
                r = read_subsystem(view->root_fd, device, &controller, &nqn);
        if (r >= 0)
                r = add_phase(device, &controller, reasons);
        if (r >= 0)
                r = find_disks(view, device, nqn, &disks);
        if (r >= 0 && disks)
                r = host_view_use(view, &use);

        STRV_FOREACH(disk, disks) {
                if (r < 0)
                        return r;
                r = usage_add_disk(view->root_fd, use, *disk, reasons);
        }
        return r < 0 ? r : add_shared_namespaces(view, controller.name, nqn, reasons);
}
