/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is on a drive that is assigned to a VM was written by a guest. While such a drive is with the host, on
 * its way to the VM or back from it, the host must not activate the guest's volume groups, arrays and file
 * systems. So each function that is assigned has a marker, an empty file that bears its address in
 * STATE/quiet, and a udev rule (63-vmkit-assigned.rules) that keeps everyone's hands off the disks behind
 * it. They are on disk, and not in /run, so that they hold at the next boot before vmkitd does.
 *
 * The markers follow from the VMs' definitions alone, so that nothing has to be remembered or undone. */

#include "base/io.h"
#include "base/log.h"
#include "base/strv.h"
#include "host/block.h"
#include "host/usage.h"
#include "quiet.h"

static int list_assigned(const Manager *m, char ***ret) {
        _cleanup_strv_ char **assigned = NULL;

        for (size_t i = 0; i < m->n_vms; i++)
                for (size_t k = 0; k < m->vms[i]->spec->n_devices; k++) {
                        const char *text = PCI_ADDRESS_TEXT(&m->vms[i]->spec->devices[k].address);
                        int r = strv_contains(assigned, text) ? 0 : strv_push(&assigned, text);

                        if (r < 0)
                                return r;
                }

        *ret = TAKE_PTR(assigned);
        return 0;
}

/* As if they had just appeared: most rules pay no attention to a mere change. */
static int announce_disk(const Manager *m, const char *disk) {
        _cleanup_block_tree_ BlockTree tree = {};
        int r;

        r = block_tree_read(m->root_fd, disk, &tree);
        for (size_t i = 0; r >= 0 && i < tree.n; i++) {
                _cleanup_free_ char *path = NULL;

                if (!block_node_is_own(&tree.nodes[i]))
                        continue;
                if (asprintf(&path, "%s/uevent", tree.nodes[i].sysfs) < 0)
                        return -ENOMEM;
                r = write_attribute_at(m->root_fd, path, "add");
        }
        return r;
}

static void announce(const Manager *m, const char *text) {
        _cleanup_strv_ char **disks = NULL;
        PciAddress address;
        const Device *d;
        int r;

        if (pci_address_parse(text, &address) < 0 || !(d = devices_find(m, &address)))
                return;

        r = usage_disks(m->root_fd, d->pci, &disks);
        STRV_FOREACH(disk, disks)
                if (r >= 0)
                        r = announce_disk(m, *disk);
        if (r < 0)
                log_errno(r, "The host may not have seen that the disks of %s are its own again", text);
}

static int add_markers(int dir_fd, char *const *assigned, char *const *marked) {
        STRV_FOREACH(address, assigned) {
                int r = strv_contains(marked, *address)
                                ? 0
                                : write_file_atomic_at(dir_fd, *address, "", 0600);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int remove_markers(const Manager *m, int dir_fd, char *const *assigned, char *const *marked) {
        STRV_FOREACH(address, marked) {
                if (strv_contains(assigned, *address))
                        continue;

                int r = remove_file_at(dir_fd, *address);
                if (r < 0)
                        return r;
                announce(m, *address);
        }
        return 0;
}

static int update(const Manager *m) {
        _cleanup_strv_ char **assigned = NULL, **marked = NULL;
        _cleanup_close_ int dir_fd = open_dir_at(m->state_fd, "quiet");
        int r;

        if (dir_fd < 0)
                return dir_fd;

        r = list_dir_at(dir_fd, ".", &marked);
        if (r >= 0)
                r = list_assigned(m, &assigned);
        if (r >= 0)
                r = add_markers(dir_fd, assigned, marked);
        /* Before libvirt was heard nobody knows what is assigned. */
        return r < 0 || !m->reconciled ? r : remove_markers(m, dir_fd, assigned, marked);
}

void quiet_update(Manager *m) {
        int r = update(m);

        if (r < 0)
                log_errno(r, "Could not mark the devices that are assigned to VMs");
}
