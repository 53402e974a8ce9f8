/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The life of a VmSpec. */

#include "base/strv.h"
#include "base/util.h"
#include "vmspec.h"

static void device_clear(VmDevice *d) {
        free(d->kind);
        free(d->serial);
        free(d->slot_path);
        strv_free(d->allow);
        free(d->rom_path);
}

VmSpec *vm_spec_new(void) {
        return calloc(1, sizeof(VmSpec));
}

VmSpec *vm_spec_free(VmSpec *spec) {
        if (!spec)
                return NULL;

        for (size_t i = 0; i < spec->n_devices; i++)
                device_clear(&spec->devices[i]);
        free(spec->devices);

        free(spec->name);
        free(spec->disk_path);
        free(spec->disk_format);
        free(spec->seed_path);
        free(spec->cdrom_path);
        free(spec->image);
        free(spec->on_stop);
        free(spec->graphics);
        free(spec->firmware);
        free(spec->network);
        free(spec->pin);
        free(spec->hugepages);
        free(spec->numa);
        free(spec->guest_os);
        free(spec->domain_type);
        free(spec);
        return NULL;
}

VmDevice *vm_spec_add_device(VmSpec *spec) {
        VmDevice *devices = reallocarray(spec->devices, spec->n_devices + 1, sizeof(*devices));

        if (!devices)
                return NULL;
        spec->devices = devices;
        devices[spec->n_devices] = (VmDevice) {};
        return &devices[spec->n_devices++];
}
