/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The PCI functions of the host as sysfs shows them. All reading is relative to a root directory
 * descriptor (that of "/" or of a test's tree). Nothing here reads an attribute whose show function takes
 * the device lock (driver_override, …), so that a wedged device never blocks the reader. */

#include <stdint.h>

#include "base/error.h"
#include "base/pci-address.h"
#include "nvme.h"

typedef enum DeviceKind {
        KIND_GPU,     /* class 03xx */
        KIND_NVME,    /* class 0108 */
        KIND_AUDIO,   /* class 0401, 0403 */
        KIND_USB,     /* class 0c03 */
        KIND_NETWORK, /* class 02xx */
        KIND_STORAGE, /* class 01xx but for 0108 */
        KIND_BRIDGE,  /* class 06xx, and any function whose header is not an endpoint's */
        KIND_OTHER,
        _KIND_MAX,
} DeviceKind;

const char *device_kind_to_string(DeviceKind kind);
int device_kind_from_string(const char *s); /* -EINVAL */

typedef struct PciDevice {
        PciAddress address;
        DeviceKind kind;
        uint32_t class;             /* 24 bits, as in sysfs */
        uint16_t vendor_id, device_id;
        uint16_t subsystem_vendor_id, subsystem_device_id;
        bool endpoint;              /* PCI header type 0 */
        char *vendor, *product;     /* names from the hardware database; NULL if unknown */
        char *driver;               /* NULL: none bound */
        int iommu_group;            /* -1: none */
        int numa_node;              /* -1: none */
        bool boot_vga;              /* the firmware's display, as boot_vga says */
        char *slot_path;            /* place in the tree: "pci0000:00/0000:00:02.0/0000:01:00.0" */
        NvmePhase nvme;             /* what the nvme driver has made of it, when this was read */
        char *serial;               /* of an NVMe controller that is live; NULL: unknown */
        char **reset_methods;       /* in the kernel's order; NULL: none or unknown */
        bool is_vf;                 /* physical_function is valid */
        PciAddress physical_function;
        unsigned n_vfs;             /* virtual functions that exist below this one */
} PciDevice;

typedef struct UnitMarks UnitMarks; /* of unit.c */

typedef struct Inventory {
        PciDevice **devices;  /* ordered by address */
        PciDevice **by_group; /* the same ones, ordered by IOMMU group, then address */
        PciDevice **by_path;  /* the same ones, ordered by slot path: a bridge, then all below it */
        size_t n_devices;
        UnitMarks *marks;
        bool has_iommu;       /* /sys/class/iommu is populated, or a function has a group */
} Inventory;

int inventory_read(int root_fd, Inventory **ret);
Inventory *inventory_free(Inventory *inventory);
DEFINE_CLEANUP(Inventory *, inventory_free);
PciDevice *inventory_find(const Inventory *inventory, const PciAddress *address);

/* A borrowed list of functions of one inventory. */
typedef struct DeviceList {
        PciDevice **items;
        size_t n;
} DeviceList;

void device_list_clear(DeviceList *l);
bool device_list_contains(const DeviceList *l, const PciAddress *address);
#define _cleanup_device_list_ _cleanup_(device_list_clear)

/* All members of its IOMMU group, bridges included, itself included. Just itself without a group. */
int inventory_group(const Inventory *inventory, const PciDevice *device, DeviceList *ret);

/* The functions that move with it: the endpoints of its IOMMU group, its display, audio and USB siblings
 * in the slot, and, where it has no reset of its own, everything that its bus reset would touch. Never a
 * physical function together with its virtual ones. Ordered by address, itself included. */
int inventory_unit(const Inventory *inventory, const PciDevice *device, DeviceList *ret);

int unit_marks_new(size_t n_devices, UnitMarks **ret);

/* For certain not the same device at two times: another card in the slot. IDs and class are what the kernel read
 * when it found the function; they do not change with its power state, nor does it answer them with ones. */
bool pci_device_is_other(const PciDevice *a, const PciDevice *b);

/* Whether the function is integrated (on the root bus) rather than in a slot. */
bool pci_device_is_integrated(const PciDevice *device);

/* The kind of device that a function is part of, as rules see it: an audio, USB or USB-C function beside a graphics
 * function in its slot is part of that card, and every other function is what it is. */
DeviceKind inventory_card_kind(const Inventory *inventory, const PciDevice *device);
