/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the writers and the reader of domain XML agree on. */

#include "vmspec.h"
#include "xml.h"

#define DISK_TARGET "vda"
#define SEED_DISK_TARGET "vdb"  /* for Linux guests */
#define SEED_CDROM_TARGET "sda" /* for others */
#define CDROM_TARGET "sdb"

/* The guest's root ports below this one are of the machine's own devices. */
#define PORT_FIRST_PASSED 8
#define N_SPARE_PORTS 4 /* for hot-plug: libvirt cannot add a port to a running domain */
#define PORT_MAX 255

/* Where a passed function sits in the guest. */
typedef struct Place {
        unsigned port, function;
        bool multifunction;
        unsigned boot_order; /* 0: not booted from */
} Place;

typedef struct Layout {
        Place *places; /* one for each device */
        unsigned n_ports;
        unsigned disk_boot_order, cdrom_boot_order;
} Layout;

/* -E2BIG: more than a guest has ports for. */
int layout_init(Layout *l, const VmSpec *spec);
void layout_done(Layout *l);

void root_port_write(XmlWriter *w, unsigned port);
void hostdev_write(XmlWriter *w, const VmDevice *device, const Place *place);
