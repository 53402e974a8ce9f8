/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "manager.h"

/* Makes the markers those of the devices that are assigned now, and lets the host see the disks of those
 * that are not any more. After every change of what VMs are assigned. */
void quiet_update(Manager *m);
