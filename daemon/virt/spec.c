/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The life of a VmSpec. */

#include "base/strv.h"
#include "base/util.h"
#include "vmspec.h"

void vm_device_clear(VmDevice *d) {
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
                vm_device_clear(&spec->devices[i]);
        free(spec->devices);

        free(spec->name);
        free(spec->disk_path);
        free(spec->disk_format);
        free(spec->base_path);
        free(spec->base_format);
        free(spec->seed_path);
        free(spec->cdrom_path);
        free(spec->image);
        free(spec->on_stop);
        free(spec->graphics);
        free(spec->firmware);
        free(spec->network);
        free(spec->user);
        free(spec->pin);
        free(spec->hugepages);
        free(spec->numa);
        free(spec->guest_os);
        strv_free(spec->cpu_pins);
        free(spec->emulator_pins);
        free(spec->nodes);
        free(spec->cells);
        free(spec->domain_type);
        free(spec);
        return NULL;
}

static int copy_text(const char *from, char **to) {
        *to = from ? strdup(from) : NULL;
        return from && !*to ? -ENOMEM : 0;
}

/* The strings of to may be copies of the pointers of from: each is replaced by one of its own. */
static int own_texts(char **const *texts, size_t n) {
        int r = 0;

        for (size_t i = 0; i < n; i++) {
                int k = copy_text(*texts[i], texts[i]);
                r = r < 0 ? r : k;
        }
        return r;
}

int vm_device_copy(const VmDevice *from, VmDevice *ret) {
        VmDevice copy = *from;
        char **const texts[] = { &copy.kind, &copy.serial, &copy.slot_path, &copy.rom_path };
        int r = own_texts(texts, ELEMENTSOF(texts)), k;

        copy.allow = NULL;
        k = strv_copy(from->allow, &copy.allow);
        if (r < 0 || k < 0) {
                vm_device_clear(&copy);
                return r < 0 ? r : k;
        }

        *ret = copy;
        return 0;
}

int vm_spec_copy(const VmSpec *from, VmSpec **ret) {
        _cleanup_(vm_spec_freep) VmSpec *copy = vm_spec_new();
        int r;

        if (!copy)
                return -ENOMEM;

        *copy = *from;
        copy->devices = NULL;
        copy->n_devices = 0;
        copy->cpu_pins = NULL;
        copy->cells = NULL;
        copy->n_cells = 0;
        char **const texts[] = {
                &copy->name,     &copy->disk_path, &copy->disk_format, &copy->seed_path, &copy->cdrom_path,
                &copy->image,    &copy->on_stop,   &copy->graphics,    &copy->firmware,  &copy->network,
                &copy->pin,      &copy->hugepages, &copy->numa,        &copy->guest_os,  &copy->domain_type,
                &copy->nodes,    &copy->emulator_pins,
                &copy->user,     &copy->base_path, &copy->base_format,
        };
        r = own_texts(texts, ELEMENTSOF(texts));

        if (r >= 0)
                r = strv_copy(from->cpu_pins, &copy->cpu_pins);
        for (size_t i = 0; r >= 0 && i < from->n_cells; i++)
                r = vm_spec_add_cell(copy, &from->cells[i]);

        for (size_t i = 0; r >= 0 && i < from->n_devices; i++) {
                VmDevice *d = vm_spec_add_device(copy);

                r = d ? vm_device_copy(&from->devices[i], d) : -ENOMEM;
        }
        if (r < 0)
                return r;

        *ret = TAKE_PTR(copy);
        return 0;
}

int vm_spec_set_device(VmSpec *spec, size_t i, const VmDevice *device) {
        VmDevice copy, *place;
        int r;

        r = vm_device_copy(device, &copy);
        if (r < 0)
                return r;

        place = i < spec->n_devices ? &spec->devices[i] : vm_spec_add_device(spec);
        if (!place) {
                vm_device_clear(&copy);
                return -ENOMEM;
        }
        vm_device_clear(place);
        *place = copy;
        return 0;
}

void vm_spec_remove_device(VmSpec *spec, size_t i) {
        vm_device_clear(&spec->devices[i]);
        memmove(&spec->devices[i], &spec->devices[i + 1],
                (spec->n_devices - i - 1) * sizeof(*spec->devices));
        spec->n_devices--;
}

VmDevice *vm_spec_find_device(const VmSpec *spec, const PciAddress *address) {
        for (size_t i = 0; i < spec->n_devices; i++)
                if (pci_address_equal(&spec->devices[i].address, address))
                        return &spec->devices[i];
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

int vm_spec_add_cell(VmSpec *spec, const VmCell *cell) {
        VmCell *cells = reallocarray(spec->cells, spec->n_cells + 1, sizeof(*cells));

        if (!cells)
                return -ENOMEM;
        spec->cells = cells;
        cells[spec->n_cells++] = *cell;
        return 0;
}
