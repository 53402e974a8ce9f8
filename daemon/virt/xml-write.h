/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the writer and the reader of domain XML agree on. */

#define DISK_TARGET "vda"
#define SEED_DISK_TARGET "vdb"  /* for Linux guests */
#define SEED_CDROM_TARGET "sda" /* for others */
#define CDROM_TARGET "sdb"
