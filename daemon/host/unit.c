/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* IOMMU groups and units. A unit is what moves together: it starts with one function and takes in
 * what each member drags along, until nothing is added. Bridges are members of groups but never
 * move. */

#include "base/strv.h"
#include "pci.h"

#define SLOT_FUNCTIONS 8

void device_list_clear(DeviceList *l) {
        free(l->items);
        *l = (DeviceList) {};
}

bool device_list_contains(const DeviceList *l, const PciAddress *address) {
        for (size_t i = 0; i < l->n; i++)
                if (pci_address_equal(&l->items[i]->address, address))
                        return true;
        return false;
}

static int device_list_add(DeviceList *l, PciDevice *device) {
        PciDevice **grown = reallocarray(l->items, l->n + 1, sizeof(PciDevice *));
        if (!grown)
                return -ENOMEM;

        l->items = grown;
        l->items[l->n++] = device;
        return 0;
}

static int compare_addresses(const void *a, const void *b) {
        PciDevice *const *x = a, *const *y = b;
        return pci_address_compare(&(*x)->address, &(*y)->address);
}

/* Its place in the list ordered by address. */
static bool find_position(const Inventory *inventory, const PciAddress *address, size_t *ret) {
        PciDevice wanted = { .address = *address }, *key = &wanted;
        PciDevice **found = inventory->n_devices == 0
                                    ? NULL
                                    : bsearch(&key, inventory->devices, inventory->n_devices,
                                              sizeof(PciDevice *), compare_addresses);

        if (found)
                *ret = (size_t) (found - inventory->devices);
        return found;
}

/* The first place in by_group with this group or a later one. */
static size_t group_start(const Inventory *inventory, int group) {
        size_t low = 0, high = inventory->n_devices;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (inventory->by_group[middle]->iommu_group < group)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* The inventory's own object for a device, which may be const or a copy. */
static int add_itself(const Inventory *inventory, const PciDevice *device, DeviceList *l) {
        PciDevice *own = inventory_find(inventory, &device->address);
        return own ? device_list_add(l, own) : -ENODEV;
}

int inventory_group(const Inventory *inventory, const PciDevice *device, DeviceList *ret) {
        _cleanup_device_list_ DeviceList members = {};
        int r = 0;

        if (device->iommu_group < 0)
                r = add_itself(inventory, device, &members);
        else
                for (size_t i = group_start(inventory, device->iommu_group);
                     r >= 0 && i < inventory->n_devices &&
                     inventory->by_group[i]->iommu_group == device->iommu_group;
                     i++)
                        r = device_list_add(&members, inventory->by_group[i]);
        if (r < 0)
                return r;

        *ret = members;
        members = (DeviceList) {};
        return 0;
}

/* --- units ------------------------------------------------------------------------------------ */

/* What is known of each place in the inventory's lists while a unit is made. The units of all functions of a
 * large host are asked for in one go, so nothing is cleared between them: a mark counts only with the number of
 * the unit that made it. */
struct UnitMarks {
        uint64_t unit;
        struct {
                uint64_t member;     /* of devices: is in the unit */
                uint64_t group;      /* of by_group: the group that begins here was looked at */
                uint64_t below;      /* of by_path: what begins here was, as far as … */
                size_t below_length; /* … the shortest path of this length */
        } at[];
};

int unit_marks_new(size_t n_devices, UnitMarks **ret) {
        UnitMarks *marks = calloc(1, sizeof(UnitMarks) + n_devices * sizeof(marks->at[0]));

        if (!marks)
                return -ENOMEM;
        *ret = marks;
        return 0;
}

/* A unit in the making. */
typedef struct Unit {
        const Inventory *inventory;
        DeviceList members;
        UnitMarks *marks;
} Unit;

static void unit_clear(Unit *u) {
        device_list_clear(&u->members);
}

static void unit_init(Unit *u, const Inventory *inventory) {
        u->inventory = inventory;
        u->marks = inventory->marks;
        u->marks->unit++;
}

static bool has_member_at(const Unit *u, const PciAddress *address) {
        size_t i;
        return find_position(u->inventory, address, &i) && u->marks->at[i].member == u->marks->unit;
}

static int unit_add(Unit *u, PciDevice *device) {
        size_t i;
        int r;

        if (!find_position(u->inventory, &device->address, &i))
                return -ENODEV;

        r = device_list_add(&u->members, device);
        if (r >= 0)
                u->marks->at[i].member = u->marks->unit;
        return r;
}

/* A physical function never moves together with its virtual ones: the one that came first stays. */
static bool is_other_half(const Unit *u, const PciDevice *candidate) {
        if (candidate->is_vf && has_member_at(u, &candidate->physical_function))
                return true;

        for (size_t i = 0; candidate->n_vfs > 0 && i < u->members.n; i++)
                if (u->members.items[i]->is_vf &&
                    pci_address_equal(&u->members.items[i]->physical_function, &candidate->address))
                        return true;
        return false;
}

static int join(Unit *u, PciDevice *candidate) {
        if (!candidate->endpoint || candidate->kind == KIND_BRIDGE ||
            has_member_at(u, &candidate->address) || is_other_half(u, candidate))
                return 0;
        return unit_add(u, candidate);
}

static int join_group(Unit *u, const PciDevice *member) {
        const Inventory *inventory = u->inventory;
        int group = member->iommu_group, r = 0;
        size_t start = group_start(inventory, group);

        if (group < 0 || u->marks->at[start].group == u->marks->unit)
                return 0;
        u->marks->at[start].group = u->marks->unit;

        for (size_t i = start; r >= 0 && i < inventory->n_devices; i++) {
                if (inventory->by_group[i]->iommu_group != group)
                        break;
                r = join(u, inventory->by_group[i]);
        }
        return r;
}

/* How the USB-C port of a graphics card shows itself: a serial bus controller of no certain kind. */
#define CLASS_USB_C 0x0c80

static bool can_be_of_card(const PciDevice *device) {
        return !device->is_vf && (device->kind == KIND_GPU || device->kind == KIND_AUDIO ||
                                  device->kind == KIND_USB || device->class >> 8 == CLASS_USB_C);
}

/* A graphics card is a display function with its sound and its USB-C port beside it. */
static bool is_of_card(const Inventory *inventory, const PciDevice *device) {
        PciAddress address = device->address;

        if (!can_be_of_card(device))
                return false;

        for (uint8_t i = 0; i < SLOT_FUNCTIONS; i++) {
                const PciDevice *sibling;

                address.function = i;
                sibling = inventory_find(inventory, &address);
                if (sibling && sibling->kind == KIND_GPU && !sibling->is_vf)
                        return true;
        }
        return false;
}

DeviceKind inventory_card_kind(const Inventory *inventory, const PciDevice *device) {
        return is_of_card(inventory, device) ? KIND_GPU : device->kind;
}

static int join_slot(Unit *u, const PciDevice *member) {
        PciAddress address = member->address;
        int r = 0;

        if (!is_of_card(u->inventory, member))
                return 0;

        for (uint8_t i = 0; r >= 0 && i < SLOT_FUNCTIONS; i++) {
                PciDevice *sibling;

                address.function = i;
                sibling = inventory_find(u->inventory, &address);
                if (sibling && can_be_of_card(sibling))
                        r = join(u, sibling);
        }
        return r;
}

/* Virtual functions always have a function level reset. */
static bool has_own_reset(const PciDevice *device) {
        STRV_FOREACH(method, device->reset_methods)
                if (!streq(*method, "bus") && !streq(*method, "cxl_bus"))
                        return true;
        return device->is_vf;
}

/* The first place in by_path of something below the bridge whose path, with a '/' behind it, has
 * this length in path. */
static size_t below_start(const Inventory *inventory, const char *path, size_t length) {
        size_t low = 0, high = inventory->n_devices;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (strncmp(inventory->by_path[middle]->slot_path, path, length) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* Resetting the bus below its bridge is what is left, and that touches all that is there. */
static int join_reset(Unit *u, const PciDevice *member) {
        const Inventory *inventory = u->inventory;
        const char *path = member->slot_path, *slash = strrchr(path, '/');
        int r = 0;

        if (has_own_reset(member) || pci_device_is_integrated(member) || !slash)
                return 0;

        size_t length = (size_t) (slash - path) + 1, start = below_start(inventory, path, length);
        if (u->marks->at[start].below == u->marks->unit && u->marks->at[start].below_length <= length)
                return 0;
        u->marks->at[start].below = u->marks->unit;
        u->marks->at[start].below_length = length;

        for (size_t i = start; r >= 0 && i < inventory->n_devices; i++) {
                if (strncmp(inventory->by_path[i]->slot_path, path, length) != 0)
                        break;
                r = join(u, inventory->by_path[i]);
        }
        return r;
}

int inventory_unit(const Inventory *inventory, const PciDevice *device, DeviceList *ret) {
        _cleanup_(unit_clear) Unit u = {};
        PciDevice *own = inventory_find(inventory, &device->address);
        int r;

        if (!own)
                return -ENODEV;

        unit_init(&u, inventory);
        r = unit_add(&u, own);
        if (r < 0)
                return r;

        /* The list grows while it is walked. */
        for (size_t i = 0; i < u.members.n && own->kind != KIND_BRIDGE; i++) {
                const PciDevice *member = u.members.items[i];

                if ((r = join_group(&u, member)) < 0 ||
                    (r = join_slot(&u, member)) < 0 ||
                    (r = join_reset(&u, member)) < 0)
                        return r;
        }

        qsort(u.members.items, u.members.n, sizeof(PciDevice *), compare_addresses);
        *ret = u.members;
        u.members = (DeviceList) {};
        return 0;
}
