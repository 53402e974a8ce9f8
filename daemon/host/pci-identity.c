/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The serial number is the PCI Express capability of that name, in the configuration space beyond the
 * first 256 bytes. Many drives and network cards have one, most graphics cards do not. */

#include <fcntl.h>

#include "base/strv.h"
#include "pci-identity.h"
#include "sysfs.h"

#define EXTENDED_CAPABILITIES 0x100
#define CAPABILITY_SERIAL_NUMBER 0x0003
#define CAPABILITIES_MAX 64 /* a list that never ends is a device that does not answer */

static int read_number(int dir_fd, const char *name, uint64_t max, uint64_t *ret) {
        uint64_t value;
        int r;

        r = read_uint_at(dir_fd, name, &value);
        if (r < 0)
                return r;
        if (value > max)
                return -ERANGE;
        *ret = value;
        return 0;
}

/* -ENODATA: the configuration space ends before that. -EIO: nothing answers, which reads as ones. */
static int read_config(int fd, unsigned offset, uint32_t *ret) {
        uint8_t b[4];

        ssize_t n = pread(fd, b, sizeof(b), offset);
        if (n < 0)
                return -errno;
        if (n != sizeof(b))
                return n == 0 ? -ENODATA : -EIO;
        *ret = (uint32_t) b[0] | (uint32_t) b[1] << 8 | (uint32_t) b[2] << 16 | (uint32_t) b[3] << 24;
        return 0;
}

static int read_serial_at(int fd, unsigned offset, uint64_t *ret) {
        uint32_t low = 0, high = 0;
        int r;

        r = read_config(fd, offset, &low);
        if (r >= 0)
                r = read_config(fd, offset + 4, &high);
        if (r < 0)
                return r;
        if (low == UINT32_MAX && high == UINT32_MAX)
                return -EIO;
        *ret = (uint64_t) high << 32 | low;
        return 0;
}

/* *ret is 0 where it has none. A function that sleeps too deeply to be woken, or has fallen off the bus, has not
 * said that it has none. */
static int read_serial_number(int dir_fd, uint64_t *ret) {
        _cleanup_close_ int fd = openat(dir_fd, "config", O_RDONLY | O_CLOEXEC);
        unsigned offset = EXTENDED_CAPABILITIES;
        uint32_t header = 0;
        int r;

        *ret = 0;
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;

        for (unsigned n = 0; n < CAPABILITIES_MAX && offset >= EXTENDED_CAPABILITIES; n++) {
                r = read_config(fd, offset, &header);
                if (r < 0)
                        return r == -ENODATA ? 0 : r;
                if (header == UINT32_MAX)
                        return -EIO;
                if (header == 0)
                        return 0;
                if ((header & 0xffff) == CAPABILITY_SERIAL_NUMBER)
                        return read_serial_at(fd, offset + 4, ret);
                offset = header >> 20 & 0xffc;
        }
        return 0;
}

static int read_slot_path(int root_fd, const PciAddress *address, char **ret) {
        _cleanup_free_ char *target = NULL;
        int r;

        r = read_link_at(root_fd, SYSFS_PCI_PATH(address), &target);
        if (r < 0)
                return r;

        const char *path = sysfs_device_path(target);
        *ret = strdup(path ? path : target);
        return *ret ? 0 : -ENOMEM;
}

static int read_model(int dir_fd, PciIdentity *id) {
        uint64_t vendor, device, class, subsystem_vendor = 0, subsystem_device = 0, revision = 0;
        int r;

        if ((r = read_number(dir_fd, "vendor", UINT16_MAX, &vendor)) < 0 ||
            (r = read_number(dir_fd, "device", UINT16_MAX, &device)) < 0 ||
            (r = read_number(dir_fd, "class", 0xffffff, &class)) < 0)
                return r;
        (void) read_number(dir_fd, "subsystem_vendor", UINT16_MAX, &subsystem_vendor);
        (void) read_number(dir_fd, "subsystem_device", UINT16_MAX, &subsystem_device);
        (void) read_number(dir_fd, "revision", UINT8_MAX, &revision);

        id->vendor_id = (uint16_t) vendor;
        id->device_id = (uint16_t) device;
        id->class = (uint32_t) class;
        id->subsystem_vendor_id = (uint16_t) subsystem_vendor;
        id->subsystem_device_id = (uint16_t) subsystem_device;
        id->revision = (uint8_t) revision;
        return 0;
}

int pci_identity_read(int root_fd, const PciAddress *address, PciIdentity *ret) {
        _cleanup_pci_identity_ PciIdentity id = { .address = *address };
        _cleanup_close_ int dir_fd = open_dir_at(root_fd, SYSFS_PCI_PATH(address));
        int r;

        if (dir_fd < 0)
                return dir_fd;

        r = read_slot_path(root_fd, address, &id.slot_path);
        if (r >= 0)
                r = read_model(dir_fd, &id);
        if (r < 0)
                return r;

        id.boot_vga = attribute_is(dir_fd, "boot_vga", "1");
        id.serial_is_unknown = read_serial_number(dir_fd, &id.serial_number) < 0;
        *ret = id;
        id = (PciIdentity) {};
        return 0;
}

void pci_identity_clear(PciIdentity *id) {
        free(id->slot_path);
        *id = (PciIdentity) {};
}

bool pci_identity_same_model(const PciIdentity *a, const PciIdentity *b) {
        return a->vendor_id == b->vendor_id && a->device_id == b->device_id &&
               a->subsystem_vendor_id == b->subsystem_vendor_id &&
               a->subsystem_device_id == b->subsystem_device_id && a->class == b->class &&
               a->revision == b->revision;
}

/* Only what tells models apart is read of each: a host may have thousands of functions, asleep. */
int pci_identity_count_twins(int root_fd, const PciIdentity *id) {
        _cleanup_strv_ char **names = NULL;
        int r, n = 0;

        r = list_dir_at(root_fd, "sys/bus/pci/devices", &names);
        if (r < 0)
                return r;

        STRV_FOREACH(name, names) {
                PciIdentity other = {};

                if (pci_address_parse(*name, &other.address) < 0 ||
                    pci_address_equal(&other.address, &id->address))
                        continue;

                _cleanup_close_ int dir_fd = open_dir_at(root_fd, SYSFS_PCI_PATH(&other.address));
                if (dir_fd >= 0 && read_model(dir_fd, &other) >= 0 && pci_identity_same_model(&other, id))
                        n++;
        }
        return n;
}
