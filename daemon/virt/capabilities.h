/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <libvirt/libvirt.h>

#include "virt.h"

/* Asks libvirt; what it does not answer counts as not there. */
int capabilities_read(virConnectPtr connection, VirtCapabilities *ret);
void capabilities_clear(VirtCapabilities *c);
