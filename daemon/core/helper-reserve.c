/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "helper-reserve.h"
#include "host/early.h"

bool device_is_held_for_good(int root_fd, const PciDevice *device) {
        _cleanup_reservations_ Reservations all = {};

        return reservations_read(root_fd, &all, NULL) >= 0 && reservations_find(&all, device, NULL);
}

static int reserved_driver(int root_fd, const PciDevice *device, char **ret) {
        _cleanup_reservations_ Reservations all = {};
        const ReservedFunction *f;
        int r;

        r = reservations_read(root_fd, &all, NULL);
        if (r < 0)
                return r;

        f = reservations_find(&all, device, NULL);
        if (!f)
                return early_record_find(root_fd, &device->address, ret);
        *ret = f->driver ? strdup(f->driver) : NULL;
        return f->driver && !*ret ? -ENOMEM : 0;
}

int reserved_original(int root_fd, const PciDevice *device, DeviceState *original) {
        _cleanup_free_ char *driver = NULL;
        int r;

        if (!streq_ptr(original->driver, VFIO_DRIVER))
                return 0;

        r = reserved_driver(root_fd, device, &driver);
        if (r == -ENOENT)
                return 0; /* somebody else put it there */
        if (r < 0)
                return r;

        free(original->driver);
        free(original->driver_override);
        original->driver = TAKE_PTR(driver);
        original->driver_override = NULL;
        return 0;
}
