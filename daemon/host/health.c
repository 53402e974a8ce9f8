/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>

#include "health.h"
#include "sysfs.h"

#define HEADER_SIZE 64
#define HEADER_TYPE 0x0e
#define HEADER_TYPE_MASK 0x7f /* the bit above says that the slot has several functions */

static int read_header(int root_fd, const PciDevice *device, unsigned char header[HEADER_SIZE]) {
        _cleanup_close_ int fd = openat(root_fd,
                                        PATH_TEXT("%s/config", SYSFS_PCI_PATH(&device->address)),
                                        O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        ssize_t n = read(fd, header, HEADER_SIZE);
        if (n < 0)
                return -errno;
        return n == HEADER_SIZE ? 0 : -EIO;
}

static bool is_all_ones(const unsigned char header[HEADER_SIZE]) {
        for (size_t i = 0; i < HEADER_SIZE; i++)
                if (header[i] != 0xff)
                        return false;
        return true;
}

static unsigned word(const unsigned char *p) {
        return p[0] | p[1] << 8;
}

/* A virtual function has no IDs in its own config space: the standard says that they read as ones. */
static int check_header(const PciDevice *device, const unsigned char header[HEADER_SIZE], Error *error) {
        unsigned vendor = word(header), id = word(header + 2), type = header[HEADER_TYPE] & HEADER_TYPE_MASK;
        char address[PCI_ADDRESS_TEXT_MAX];

        pci_address_format(&device->address, address);
        if (is_all_ones(header))
                return error_set(error, ERROR_RESET_FAILED,
                                 "%s does not answer on the bus any more (its config space reads as ones)",
                                 address);
        if (!device->is_vf && (vendor != device->vendor_id || id != device->device_id))
                return error_set(error, ERROR_RESET_FAILED,
                                 "%s answers as %04x:%04x now, but it is %04x:%04x", address, vendor, id,
                                 device->vendor_id, device->device_id);
        if (type != 0)
                return error_set(error, ERROR_RESET_FAILED,
                                 "%s answers with a config space header of type %02x, which is no "
                                 "endpoint's", address, type);
        return 0;
}

int health_check(int root_fd, const PciDevice *device, Error *error) {
        unsigned char header[HEADER_SIZE];
        int r;

        r = read_header(root_fd, device, header);
        if (r < 0)
                return error_set(error, ERROR_RESET_FAILED, "The config space of %s cannot be read: %s",
                                 PCI_ADDRESS_TEXT(&device->address), strerror(-r));
        return check_header(device, header, error);
}

/* "unknown" is what functions without power management show; kernels before 5.12 show nothing. */
static int check_power(int root_fd, const PciDevice *device, Error *error) {
        _cleanup_free_ char *state = NULL;
        int r;

        r = read_line_at(root_fd, PATH_TEXT("%s/power_state", SYSFS_PCI_PATH(&device->address)), &state);
        if (r < 0 || streq(state, "D0") || streq(state, "unknown"))
                return 0;
        return error_set(error, ERROR_RESET_FAILED, "%s does not wake up: it is in the power state %s",
                         PCI_ADDRESS_TEXT(&device->address), state);
}

int health_check_powered(int root_fd, const PciDevice *device, Error *error) {
        int r;

        r = health_check(root_fd, device, error);
        return r < 0 ? r : check_power(root_fd, device, error);
}
