/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The host's own picture on a display function: the virtual console, and the firmware's framebuffer. */

#include "binding.h"

/* Whether the virtual console is on a framebuffer of this function. */
bool console_is_on(int root_fd, const PciDevice *device);

/* Whether what the firmware left as a framebuffer lies in the memory of this function. */
bool console_has_firmware_framebuffer(int root_fd, const PciAddress *address);

/* Adds to the state to restore what of the host's picture is on the function. */
int console_find(int root_fd, const PciDevice *device, DeviceState *state);

/* Lets go what was found, before the unbind. BindFailed says what does not. Only for the device helper. */
int console_let_go(int root_fd, const DeviceState *state, Error *error);

/* Puts the console back on framebuffers; the kernel often has by then. */
int console_take_back(int root_fd, const DeviceState *state);
