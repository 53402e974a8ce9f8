/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <libvirt/libvirt.h>

#include "virt.h"

/* Asks libvirt; what it does not answer counts as not there. */
int capabilities_read(virConnectPtr connection, VirtCapabilities *ret);
/* Adds what libvirt's description of a domain type says. */
void capabilities_parse(const char *text, VirtCapabilities *c);
void capabilities_clear(VirtCapabilities *c);
