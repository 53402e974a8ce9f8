/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a VM remembers of a device beyond its address, which changes when a card is added or a firmware is
 * updated: IDs, serial number where there is one, and the way to it through the bridges. */

#include "devices.h"
#include "virt/vmspec.h"

/* Takes down what the device is. ret's strings are empty before; its address and allow are the caller's. */
int identity_describe(VmDevice *ret, const PciDevice *pci);

/* Whether the function is of the remembered kind, and no serial number says that it is another one. */
bool identity_matches(const VmDevice *wanted, const PciDevice *found);

/* The way to a function without the bus numbers, which the firmware deals out anew at each boot: the slot and
 * function at each bridge, "pci0000:00/1d.0/00.0" for "pci0000:00/0000:00:1d.0/0000:03:00.0". */
int identity_slot_path(const char *sysfs_path, char **ret);

/* Looks for the devices of the VM that are not where they were. 1: some have moved, and *ret is its spec with
 * their new addresses, *ret_note what has happened, in words; 0: all are in place. IdentityChanged,
 * NoSuchDevice: one is not to be found, or cannot be told from others. */
int identity_follow(const Vm *vm, VmSpec **ret, char **ret_note, Error *error);
