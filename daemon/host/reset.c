/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/log.h"
#include "base/strv.h"
#include "reset.h"
#include "sysfs.h"

typedef struct Resets {
        int root_fd;
        PciDevice *const *devices;
        bool *done;
        size_t n;
        VfioGroups *groups;
} Resets;

static void resets_clear(Resets *resets) {
        free(resets->done);
}

static int take_groups(Resets *resets, Error *error) {
        for (size_t i = 0; i < resets->n; i++) {
                const PciDevice *device = resets->devices[i];
                int r = vfio_groups_take(resets->root_fd, device, resets->groups);

                if (r == -EBUSY)
                        return error_set(error, ERROR_DEVICE_IN_USE,
                                         "%s was not reset: a user of VFIO has its IOMMU group open",
                                         PCI_ADDRESS_TEXT(&device->address));
                if (r < 0)
                        return error_set_errno(error, r, "Could not open the IOMMU group of %s",
                                               PCI_ADDRESS_TEXT(&device->address));
        }
        return 0;
}

static char *attribute_path(const PciAddress *address, const char *name, char buffer[PATH_TEXT_MAX]) {
        return path_format(buffer, "%s/%s", SYSFS_PCI_PATH(address), name);
}

#define ATTRIBUTE_PATH(address, name) attribute_path((address), (name), (char[PATH_TEXT_MAX]) {})

static bool has_own_reset(const Resets *resets, const PciDevice *device) {
        return path_exists_at(resets->root_fd, ATTRIBUTE_PATH(&device->address, "reset"));
}

static int fail(const PciDevice *device, const char *why, Error *error) {
        return error_set(error, ERROR_RESET_FAILED, "%s did not come through its reset: %s",
                         PCI_ADDRESS_TEXT(&device->address), why);
}

/* --- with others ------------------------------------------------------------------------------ */

static bool is_first_on_bus(int root_fd, const PciAddress *address) {
        PciAddress other = *address;

        for (other.slot = 0; other.slot <= address->slot; other.slot++)
                for (other.function = 0; other.function < 8; other.function++)
                        if (pci_address_compare(&other, address) < 0 &&
                            path_exists_at(root_fd, SYSFS_PCI_PATH(&other)))
                                return false;
        return true;
}

/* Where there is no such file the function has no method of its own, and no wish either. Nor has one that has
 * company: the kernel lists the reset of the bus only for what was alone there when it was found. */
static bool forbids_bus_reset(int root_fd, const PciAddress *address) {
        _cleanup_free_ char *line = NULL;
        _cleanup_strv_ char **methods = NULL;

        return is_first_on_bus(root_fd, address) &&
               read_line_at(root_fd, ATTRIBUTE_PATH(address, "reset_method"), &line) >= 0 &&
               strv_split(line, " ,", &methods) >= 0 && !strv_contains(methods, "bus") &&
               !strv_contains(methods, "cxl_bus");
}

static void mark_done(const Resets *resets, const PciAddress *address) {
        for (size_t i = 0; i < resets->n; i++)
                if (pci_address_equal(&resets->devices[i]->address, address))
                        resets->done[i] = true;
}

static int hot_reset(const Resets *resets, const PciDevice *device, const VfioDevice *opened) {
        _cleanup_vfio_reset_set_ VfioResetSet touched = {};
        int r;

        r = vfio_device_read_reset_set(opened, &touched);
        if (r < 0)
                return r;
        for (size_t i = 0; i < touched.n; i++)
                if (forbids_bus_reset(resets->root_fd, &touched.items[i].address))
                        return -EOPNOTSUPP;

        r = vfio_device_hot_reset(opened, resets->groups, &touched);
        if (r < 0)
                return r;

        for (size_t i = 0; i < touched.n; i++)
                mark_done(resets, &touched.items[i].address);
        log_info("%s was reset with its bus (%zu functions)", PCI_ADDRESS_TEXT(&device->address), touched.n);
        return 0;
}

static int reset_with_bus(const Resets *resets, const PciDevice *device) {
        _cleanup_vfio_device_ VfioDevice opened = VFIO_DEVICE_INIT;
        int r;

        if (forbids_bus_reset(resets->root_fd, &device->address))
                return -EOPNOTSUPP; /* before it is opened, since closing it resets the bus as well */

        r = vfio_device_open(resets->root_fd, resets->groups, device, &opened);
        return r < 0 ? r : hot_reset(resets, device, &opened);
}

/* One that cannot be reset by itself may still be by way of a sibling; one that cannot be reset at all was
 * given by somebody who took the responsibility for that (no-reset). */
static void reset_dependent(const Resets *resets, const PciDevice *device) {
        int r = reset_with_bus(resets, device);

        if (r < 0)
                log_debug("%s has no reset of its own, and none with its bus: %s",
                          PCI_ADDRESS_TEXT(&device->address), strerror(-r));
}

/* --- by itself -------------------------------------------------------------------------------- */

static const char *words_for(int r) {
        switch (-r) {
        case ENOTTY:
        case ENODEV:
                return "none of the ways that the kernel has to reset it worked";
        case EOPNOTSUPP:
                return "none of its own ways to be reset worked, and 'reset_method' forbids to reset its bus";
        case EINVAL:
                return "its bus cannot be reset, as not all functions on it are with vfio-pci";
        default:
                return strerror(-r);
        }
}

/* ENOTTY: none of the methods could be used, or none brought it back; the kernel does not tell which. */
static int reset_alone(const Resets *resets, const PciDevice *device, Error *error) {
        _cleanup_free_ char *methods = NULL;
        int r;

        r = write_attribute_at(resets->root_fd, ATTRIBUTE_PATH(&device->address, "reset"), "1");
        if (r == -ENOTTY) {
                r = reset_with_bus(resets, device);
                return r < 0 ? fail(device, words_for(r), error) : 0;
        }
        if (r < 0)
                return fail(device, strerror(-r), error);

        (void) read_line_at(resets->root_fd, ATTRIBUTE_PATH(&device->address, "reset_method"), &methods);
        log_info("%s was reset (%s)", PCI_ADDRESS_TEXT(&device->address), methods ? methods : "by itself");
        return 0;
}

/* ---------------------------------------------------------------------------------------------- */

/* Those that depend on others come first: what a reset of their bus has touched is done as well. */
static int run_resets(const Resets *resets, Error *error) {
        for (size_t i = 0; i < resets->n; i++)
                if (!resets->done[i] && !has_own_reset(resets, resets->devices[i]))
                        reset_dependent(resets, resets->devices[i]);

        for (size_t i = 0; i < resets->n; i++) {
                int r = 0;

                if (!resets->done[i] && has_own_reset(resets, resets->devices[i]))
                        r = reset_alone(resets, resets->devices[i], error);
                if (r < 0)
                        return r;
        }
        return 0;
}

int reset_functions(int root_fd, PciDevice *const *devices, size_t n, VfioGroups *groups, Error *error) {
        _cleanup_(resets_clear) Resets resets = {
                .root_fd = root_fd, .devices = devices, .n = n, .groups = groups,
        };
        int r;

        resets.done = calloc(n + 1, sizeof(bool));
        if (!resets.done)
                return -ENOMEM;

        r = take_groups(&resets, error);
        return r < 0 ? r : run_resets(&resets, error);
}
