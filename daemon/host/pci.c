/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The inventory. A large host has ten thousand functions and reads this often, so each function
 * costs few system calls: "modalias" has all its numbers in one file, links are read and not
 * followed, and what only some kinds have is only looked for there.
 *
 * Some tempting files are left alone: "uevent", "driver_override" and "sriov_numvfs" wait for the
 * device lock in some kernels, and reading "config" wakes a sleeping device. */

#include <fcntl.h>

#include "base/io.h"
#include "base/parse.h"
#include "base/strv.h"
#include "names.h"
#include "pci.h"
#include "sysfs.h"

static const char *const kind_names[_KIND_MAX] = {
        [KIND_GPU] = "gpu",         [KIND_NVME] = "nvme",       [KIND_AUDIO] = "audio",
        [KIND_USB] = "usb",         [KIND_NETWORK] = "network", [KIND_STORAGE] = "storage",
        [KIND_BRIDGE] = "bridge",   [KIND_OTHER] = "other",
};

const char *device_kind_to_string(DeviceKind kind) {
        return (unsigned) kind < _KIND_MAX ? kind_names[kind] : NULL;
}

int device_kind_from_string(const char *s) {
        for (int kind = 0; s && kind < _KIND_MAX; kind++)
                if (streq(kind_names[kind], s))
                        return kind;
        return -EINVAL;
}

static DeviceKind kind_of(uint32_t class, bool endpoint) {
        if (!endpoint)
                return KIND_BRIDGE;

        switch (class >> 8) {
        case 0x0108:
                return KIND_NVME;
        case 0x0401:
        case 0x0403:
                return KIND_AUDIO;
        case 0x0c03:
                return KIND_USB;
        }

        switch (class >> 16) {
        case 0x01:
                return KIND_STORAGE;
        case 0x02:
                return KIND_NETWORK;
        case 0x03:
                return KIND_GPU;
        case 0x06:
                return KIND_BRIDGE;
        }
        return KIND_OTHER;
}

/* --- attributes ------------------------------------------------------------------------------- */

#define ATTRIBUTE_MAX 256

/* A short attribute in one read, without its newline. */
static int read_attribute(int dir_fd, const char *name, char buffer[ATTRIBUTE_MAX]) {
        _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;

        ssize_t n = read(fd, buffer, ATTRIBUTE_MAX - 1);
        if (n < 0)
                return -errno;

        buffer[n] = '\0';
        buffer[strcspn(buffer, "\n")] = '\0';
        return 0;
}

static int read_hex(int dir_fd, const char *name, uint64_t max, uint64_t *ret) {
        char text[ATTRIBUTE_MAX];
        int r;

        r = read_attribute(dir_fd, name, text);
        if (r < 0)
                return r;

        const char *digits = str_after(text, "0x");
        return parse_uint(digits ? digits : text, 16, max, ret);
}

static int read_numbers_singly(int dir_fd, PciDevice *d) {
        uint64_t vendor, device, class, subsystem_vendor = 0, subsystem_device = 0;
        int r;

        if ((r = read_hex(dir_fd, "vendor", UINT16_MAX, &vendor)) < 0 ||
            (r = read_hex(dir_fd, "device", UINT16_MAX, &device)) < 0 ||
            (r = read_hex(dir_fd, "class", 0xffffff, &class)) < 0)
                return r;

        (void) read_hex(dir_fd, "subsystem_vendor", UINT16_MAX, &subsystem_vendor);
        (void) read_hex(dir_fd, "subsystem_device", UINT16_MAX, &subsystem_device);

        d->vendor_id = (uint16_t) vendor;
        d->device_id = (uint16_t) device;
        d->class = (uint32_t) class;
        d->subsystem_vendor_id = (uint16_t) subsystem_vendor;
        d->subsystem_device_id = (uint16_t) subsystem_device;
        return 0;
}

static int read_numbers(int dir_fd, PciDevice *d) {
        unsigned vendor, device, subsystem_vendor, subsystem_device, base, sub, interface;
        char text[ATTRIBUTE_MAX];

        if (read_attribute(dir_fd, "modalias", text) < 0 ||
            sscanf(text, "pci:v%8xd%8xsv%8xsd%8xbc%2xsc%2xi%2x", &vendor, &device,
                   &subsystem_vendor, &subsystem_device, &base, &sub, &interface) != 7)
                return read_numbers_singly(dir_fd, d);

        d->vendor_id = (uint16_t) vendor;
        d->device_id = (uint16_t) device;
        d->class = base << 16 | sub << 8 | interface;
        d->subsystem_vendor_id = (uint16_t) subsystem_vendor;
        d->subsystem_device_id = (uint16_t) subsystem_device;
        return 0;
}

/* The last component of a link; NULL where there is no such link. */
static int read_optional_link_name(int dir_fd, const char *name, char **ret) {
        int r;

        r = read_link_name_at(dir_fd, name, ret);
        if (r == -ENOENT) {
                *ret = NULL;
                return 0;
        }
        return r;
}

static int read_iommu_group(int dir_fd, PciDevice *d) {
        _cleanup_free_ char *name = NULL;
        uint64_t group;
        int r;

        r = read_optional_link_name(dir_fd, "iommu_group", &name);
        if (r < 0)
                return r;

        d->iommu_group = name && parse_uint(name, 10, INT32_MAX, &group) >= 0 ? (int) group : -1;
        return 0;
}

static int read_physical_function(int dir_fd, PciDevice *d) {
        _cleanup_free_ char *name = NULL;
        int r;

        r = read_optional_link_name(dir_fd, "physfn", &name);
        if (r < 0)
                return r;

        d->is_vf = name && pci_address_parse(name, &d->physical_function) >= 0;
        return 0;
}

static void read_numa_node(int dir_fd, PciDevice *d) {
        char text[ATTRIBUTE_MAX];
        uint64_t node;

        if (read_attribute(dir_fd, "numa_node", text) >= 0 &&
            parse_uint(text, 10, INT32_MAX, &node) >= 0)
                d->numa_node = (int) node;
}

static int read_reset_methods(int dir_fd, PciDevice *d) {
        char text[ATTRIBUTE_MAX];

        /* Not there where the function has no method, and in kernels that do not tell. */
        if (read_attribute(dir_fd, "reset_method", text) < 0)
                return 0;
        return strv_split(text, " ,", &d->reset_methods);
}

static int read_nvme(int dir_fd, PciDevice *d) {
        _cleanup_nvme_controller_ NvmeController controller = {};
        int r;

        if (!streq_ptr(d->driver, NVME_DRIVER))
                return 0;

        r = nvme_controller_read(dir_fd, &controller);
        if (r < 0)
                return r;
        d->nvme = controller.phase;
        return nvme_read_serial(dir_fd, &controller, &d->serial);
}

/* --- one function ----------------------------------------------------------------------------- */

static PciDevice *pci_device_free(PciDevice *d) {
        if (!d)
                return NULL;

        free(d->vendor);
        free(d->product);
        free(d->driver);
        free(d->slot_path);
        free(d->serial);
        strv_free(d->reset_methods);
        free(d);
        return NULL;
}

DEFINE_CLEANUP(PciDevice *, pci_device_free);

static int read_names(PciNames *names, PciDevice *d) {
        const char *vendor, *product;
        int r;

        r = pci_names_find(names, d->vendor_id, d->device_id, &vendor, &product);
        if (r < 0)
                return r;

        d->vendor = vendor ? strdup(vendor) : NULL;
        d->product = product ? strdup(product) : NULL;
        return (vendor && !d->vendor) || (product && !d->product) ? -ENOMEM : 0;
}

static int read_slot_path(int bus_fd, const char *name, PciDevice *d) {
        _cleanup_free_ char *target = NULL;
        int r;

        r = read_link_at(bus_fd, name, &target);
        if (r < 0 && r != -EINVAL) /* not a link: a tree of somebody's tests */
                return r;

        const char *path = target ? sysfs_device_path(target) : NULL;
        d->slot_path = strdup(path ? path : name);
        return d->slot_path ? 0 : -ENOMEM;
}

static int read_attributes(int dir_fd, PciDevice *d) {
        int r;

        r = read_numbers(dir_fd, d);
        if (r < 0)
                return r;

        /* Only a function with a bridge's header has a secondary bus. */
        d->endpoint = faccessat(dir_fd, "secondary_bus_number", F_OK, 0) < 0;
        d->kind = kind_of(d->class, d->endpoint);

        if ((r = read_optional_link_name(dir_fd, "driver", &d->driver)) < 0 ||
            (r = read_iommu_group(dir_fd, d)) < 0 ||
            (r = read_physical_function(dir_fd, d)) < 0 ||
            (r = read_reset_methods(dir_fd, d)) < 0)
                return r;

        read_numa_node(dir_fd, d);

        if (d->kind == KIND_GPU)
                d->boot_vga = attribute_is(dir_fd, "boot_vga", "1");
        if (d->kind == KIND_NVME)
                return read_nvme(dir_fd, d);
        return 0;
}

static int pci_device_read(int bus_fd, const char *name, PciNames *names, PciDevice **ret) {
        _cleanup_(pci_device_freep) PciDevice *d = NULL;
        _cleanup_close_ int dir_fd = -EBADF;
        int r;

        d = calloc(1, sizeof(PciDevice));
        if (!d)
                return -ENOMEM;
        d->iommu_group = d->numa_node = -1;

        r = pci_address_parse(name, &d->address);
        if (r < 0)
                return r;

        dir_fd = open_dir_at(bus_fd, name);
        if (dir_fd < 0)
                return dir_fd;

        if ((r = read_slot_path(bus_fd, name, d)) < 0 ||
            (r = read_attributes(dir_fd, d)) < 0 ||
            (r = read_names(names, d)) < 0)
                return r;

        *ret = TAKE_PTR(d);
        return 0;
}

bool pci_device_is_other(const PciDevice *a, const PciDevice *b) {
        return a->vendor_id != b->vendor_id || a->device_id != b->device_id || a->class != b->class ||
               a->subsystem_vendor_id != b->subsystem_vendor_id ||
               a->subsystem_device_id != b->subsystem_device_id || serials_differ(a->serial, b->serial);
}

bool pci_device_is_integrated(const PciDevice *device) {
        const char *path = device->slot_path ? device->slot_path : "";
        const char *last = strrchr(path, '/'), *parent = last;
        unsigned domain, bus;

        if (!last)
                return false;
        while (parent > path && parent[-1] != '/')
                parent--;

        /* Below a bridge the parent is a function; a root bus is "pci0000:00". Virtual functions
         * may have a bus number of their own there. */
        return sscanf(parent, "pci%x:%x/", &domain, &bus) == 2 &&
               (bus == device->address.bus || device->is_vf);
}

/* --- all of them ------------------------------------------------------------------------------ */

static int compare_devices(const void *a, const void *b) {
        PciDevice *const *x = a, *const *y = b;
        return pci_address_compare(&(*x)->address, &(*y)->address);
}

static int compare_groups(const void *a, const void *b) {
        PciDevice *const *x = a, *const *y = b;

        if ((*x)->iommu_group != (*y)->iommu_group)
                return (*x)->iommu_group < (*y)->iommu_group ? -1 : 1;
        return compare_devices(a, b);
}

static int read_devices(Inventory *inventory, int bus_fd, char *const *addresses) {
        _cleanup_(pci_names_freep) PciNames *names = NULL;
        int r;

        inventory->devices = calloc(strv_length(addresses) + 1, sizeof(PciDevice *));
        if (!inventory->devices)
                return -ENOMEM;

        r = pci_names_new(&names);
        if (r < 0)
                return r;

        STRV_FOREACH(name, addresses) {
                r = pci_device_read(bus_fd, *name, names,
                                    &inventory->devices[inventory->n_devices]);
                if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
                        return r;
                /* Anything else: it went away while it was read. */
                if (r >= 0)
                        inventory->n_devices++;
        }
        return 0;
}

static int compare_paths(const void *a, const void *b) {
        PciDevice *const *x = a, *const *y = b;
        return strcmp((*x)->slot_path, (*y)->slot_path);
}

static int sorted_copy(const Inventory *inventory, int (*compare)(const void *, const void *),
                       PciDevice ***ret) {
        PciDevice **copy = calloc(inventory->n_devices + 1, sizeof(PciDevice *));

        if (!copy)
                return -ENOMEM;

        memcpy(copy, inventory->devices, inventory->n_devices * sizeof(PciDevice *));
        qsort(copy, inventory->n_devices, sizeof(PciDevice *), compare);
        *ret = copy;
        return 0;
}

static int index_devices(Inventory *inventory) {
        int r;

        /* A host without PCI has an empty list, and no other is needed. */
        if (inventory->n_devices == 0)
                return 0;

        qsort(inventory->devices, inventory->n_devices, sizeof(PciDevice *), compare_devices);

        if ((r = sorted_copy(inventory, compare_groups, &inventory->by_group)) < 0 ||
            (r = sorted_copy(inventory, compare_paths, &inventory->by_path)) < 0)
                return r;
        return unit_marks_new(inventory->n_devices, &inventory->marks);
}

static void count_virtual_functions(Inventory *inventory) {
        for (size_t i = 0; i < inventory->n_devices; i++) {
                const PciDevice *d = inventory->devices[i];
                PciDevice *physical = d->is_vf ? inventory_find(inventory, &d->physical_function)
                                               : NULL;

                if (physical)
                        physical->n_vfs++;
        }
}

static bool iommu_is_populated(int root_fd) {
        _cleanup_strv_ char **units = NULL;
        return list_dir_at(root_fd, "sys/class/iommu", &units) >= 0 && units;
}

int inventory_read(int root_fd, Inventory **ret) {
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        _cleanup_strv_ char **addresses = NULL;
        _cleanup_close_ int bus_fd = -EBADF;
        int r;

        inventory = calloc(1, sizeof(Inventory));
        if (!inventory)
                return -ENOMEM;

        /* A host without PCI has an empty inventory. */
        bus_fd = open_dir_at(root_fd, "sys/bus/pci/devices");
        if (bus_fd < 0 && bus_fd != -ENOENT)
                return bus_fd;

        r = bus_fd < 0 ? 0 : list_dir_at(bus_fd, ".", &addresses);
        if (r >= 0)
                r = read_devices(inventory, bus_fd, addresses);
        if (r >= 0)
                r = index_devices(inventory);
        if (r < 0)
                return r;

        count_virtual_functions(inventory);
        inventory->has_iommu =
                iommu_is_populated(root_fd) ||
                (inventory->n_devices > 0 &&
                 inventory->by_group[inventory->n_devices - 1]->iommu_group >= 0);

        *ret = TAKE_PTR(inventory);
        return 0;
}

Inventory *inventory_free(Inventory *inventory) {
        if (!inventory)
                return NULL;

        for (size_t i = 0; i < inventory->n_devices; i++)
                pci_device_free(inventory->devices[i]);
        free(inventory->devices);
        free(inventory->by_group);
        free(inventory->by_path);
        free(inventory->marks);
        free(inventory);
        return NULL;
}

PciDevice *inventory_find(const Inventory *inventory, const PciAddress *address) {
        PciDevice wanted = { .address = *address }, *key = &wanted;
        PciDevice **found;

        if (inventory->n_devices == 0)
                return NULL;
        found = bsearch(&key, inventory->devices, inventory->n_devices, sizeof(PciDevice *),
                        compare_devices);
        return found ? *found : NULL;
}
