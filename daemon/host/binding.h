/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Moves one function between drivers. Each step is read back. Everything here may hang in the kernel: only
 * for the device helper, a process of its own. */

#include "pci.h"

#define VFIO_DRIVER "vfio-pci"

/* What must be known to undo a binding. */
typedef struct DeviceState {
        char *driver;          /* NULL: none */
        char *driver_override; /* NULL: unset */
        char *power_control;   /* "auto" or "on"; NULL: no such attribute */
        char *d3cold_allowed;  /* NULL: no such attribute */
        char *reset_method;    /* NULL: none, or no such attribute; never changed, so not restored */
        char *console;         /* the virtual console that was on it ("vtcon0"); NULL: not */
        char *firmware_framebuffer; /* that was in its memory ("efi-framebuffer.0"), and cannot come back */
} DeviceState;

int device_state_read(int root_fd, const PciAddress *address, DeviceState *ret);
void device_state_clear(DeviceState *state);
#define _cleanup_device_state_ _cleanup_(device_state_clear)

/* What is asked immediately before the unbind, when all that takes time is done: a negative errno, with the
 * error set, and the device stays where it is. */
typedef int (*BindingCheck)(void *userdata, Error *error);

/* Power pinned to on; driver override set; unbound from what it is on, if check (may be NULL) agrees; probed;
 * found on vfio-pci; power still on. BindFailed names the step and what sysfs says. On failure the caller
 * restores. Done already is success. */
int binding_to_vfio(int root_fd, const PciAddress *address, BindingCheck check, void *userdata, Error *error);

/* Off vfio-pci, override as it was, on the driver it had (by name, or none if it had none), power as it
 * was. BindFailed if it does not end there. */
int binding_restore(int root_fd, const PciAddress *address, const DeviceState *original, Error *error);

/* Waits until the VFIO group of the device can be opened exclusively (QEMU has let go), at most usec.
 * -ETIMEDOUT otherwise. 0 at once where there is no group node. */
int binding_wait_idle(int root_fd, int iommu_group, uint64_t usec);
