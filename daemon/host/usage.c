/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What all kinds have in common, and the unit as a whole: a function can go only if all that moves
 * with it can, and if what stays behind in its IOMMU group lets VFIO have the group. */

#include "base/strv.h"
#include "sysfs.h"
#include "usage-kinds.h"

/* Below a bridge there is always the reset of the bus. Kernels that do not list the methods still
 * have the file that triggers one. */
static bool has_no_reset(int root_fd, const PciDevice *device) {
        return device->kind != KIND_BRIDGE && !device->reset_methods &&
               pci_device_is_integrated(device) &&
               !path_exists_at(root_fd, PATH_TEXT("%s/reset", SYSFS_PCI_PATH(&device->address)));
}

static int add_structure(int root_fd, const Inventory *inventory, const PciDevice *device,
                         Reasons *reasons) {
        int r = 0;

        if (device->kind == KIND_BRIDGE)
                r = reasons_add(reasons, REASON_NOT_ENDPOINT,
                                "It is a bridge or part of the chipset (class %04x)",
                                device->class >> 8);
        if (r >= 0 && device->iommu_group < 0)
                r = reasons_add(reasons, REASON_NO_IOMMU, "%s",
                                inventory->has_iommu
                                        ? "The IOMMU does not cover it"
                                        : "The host has no IOMMU, or it is switched off");
        if (r >= 0 && device->n_vfs > 0)
                r = reasons_add(reasons, REASON_HAS_VFS, "It has %u virtual function%s",
                                device->n_vfs, device->n_vfs == 1 ? "" : "s");
        if (r >= 0 && has_no_reset(root_fd, device))
                r = reasons_add(reasons, REASON_NO_RESET, "It has no way to be reset");
        return r;
}

static int add_kind(HostView *view, const PciDevice *device, Reasons *reasons) {
        int r = 0;

        if (device->kind == KIND_GPU)
                r = usage_add_gpu(view->root_fd, device, reasons);
        if (r >= 0 && (device->kind == KIND_NETWORK || device->kind == KIND_USB))
                r = usage_add_network(view, device, reasons);
        if (r >= 0 && device->kind == KIND_USB)
                r = usage_add_usb(view->root_fd, device, reasons);
        if (r >= 0 && usage_may_have_disks(device))
                r = usage_add_disks(view, device, reasons);
        return r;
}

int usage_inspect_in(HostView *view, const Inventory *inventory, const PciDevice *device,
                     Reasons *reasons) {
        int r;

        r = add_structure(view->root_fd, inventory, device, reasons);
        return r < 0 ? r : add_kind(view, device, reasons);
}

int usage_inspect(int root_fd, const Inventory *inventory, const PciDevice *device,
                  Reasons *reasons) {
        _cleanup_host_view_ HostView view = HOST_VIEW(root_fd);

        return usage_inspect_in(&view, inventory, device, reasons);
}

/* --- units ------------------------------------------------------------------------------------ */

static const Reason *first_hard_reason(const Reasons *reasons) {
        for (size_t i = 0; i < reasons->n; i++)
                if (!reason_code_is_overridable(reasons->items[i].code))
                        return &reasons->items[i];
        return NULL;
}

/* That the group is not viable comes first: it is what the caller has to know, and the rest is
 * why. */
static int add_sibling(const PciDevice *device, const PciDevice *sibling, const Reasons *found,
                       Reasons *reasons) {
        const Reason *hard = first_hard_reason(found);
        char address[PCI_ADDRESS_TEXT_MAX];
        int r = 0;

        pci_address_format(&sibling->address, address);

        if (hard && sibling->iommu_group >= 0 && sibling->iommu_group == device->iommu_group)
                r = reasons_add(reasons, REASON_GROUP_NOT_VIABLE,
                                "%s in the same IOMMU group %d is in use: %s", address,
                                device->iommu_group, hard->detail);
        else if (hard && !pci_address_same_slot(&sibling->address, &device->address))
                r = reasons_add(reasons, REASON_SHARED_RESET,
                                "%s, which is reset together with it, is in use: %s", address,
                                hard->detail);

        for (size_t i = 0; r >= 0 && i < found->n; i++)
                r = reasons_add(reasons, found->items[i].code, "%s: %s", address,
                                found->items[i].detail);
        return r;
}

/* The kernel lets a group go to VFIO if every function in it is on a driver that leaves DMA alone,
 * or on none. */
static bool driver_is_harmless(const char *driver) {
        return !driver || streq(driver, "pcieport") || streq(driver, "pci-stub") ||
               strstr(driver, "vfio");
}

/* Both lists are ordered by address. */
static int add_group(const Inventory *inventory, const PciDevice *device, const DeviceList *unit,
                     Reasons *reasons) {
        _cleanup_device_list_ DeviceList group = {};
        size_t k = 0;
        int r;

        r = inventory_group(inventory, device, &group);
        for (size_t i = 0; r >= 0 && i < group.n; i++) {
                const PciDevice *member = group.items[i];

                while (k < unit->n &&
                       pci_address_compare(&unit->items[k]->address, &member->address) < 0)
                        k++;
                if ((k < unit->n && unit->items[k] == member) || driver_is_harmless(member->driver))
                        continue;
                r = reasons_add(reasons, REASON_GROUP_NOT_VIABLE,
                                "%s in the same IOMMU group %d stays on its driver %s",
                                PCI_ADDRESS_TEXT(&member->address), device->iommu_group,
                                member->driver);
        }
        return r;
}

int usage_inspect_unit_in(HostView *view, const Inventory *inventory, const PciDevice *device,
                          Reasons *reasons) {
        _cleanup_device_list_ DeviceList unit = {};
        int r;

        r = inventory_unit(inventory, device, &unit);
        if (r >= 0)
                r = usage_inspect_in(view, inventory, device, reasons);
        if (r >= 0 && device->kind != KIND_BRIDGE)
                r = add_group(inventory, device, &unit, reasons);

        for (size_t i = 0; r >= 0 && i < unit.n; i++) {
                _cleanup_reasons_ Reasons found = {};
                const PciDevice *sibling = unit.items[i];

                if (pci_address_equal(&sibling->address, &device->address))
                        continue;

                r = usage_inspect_in(view, inventory, sibling, &found);
                if (r >= 0)
                        r = add_sibling(device, sibling, &found, reasons);
        }
        return r;
}

int usage_inspect_unit(int root_fd, const Inventory *inventory, const PciDevice *device,
                       Reasons *reasons) {
        _cleanup_host_view_ HostView view = HOST_VIEW(root_fd);

        return usage_inspect_unit_in(&view, inventory, device, reasons);
}
