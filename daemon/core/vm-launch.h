/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The start of QEMU: the last step of a VM's start. */

#include "vm.h"

#define LAUNCH_PHASE "starting QEMU"
#define LAUNCH_PHASE_PINNING "pinning the guest's memory"

int vm_run_launch(Job *job, Error *error);
int vm_undo_launch(Job *job, Error *error);
void vm_cancel_launch(Job *job);

Launch *launch_free(Launch *launch);

/* µs that a VM of that much memory has. */
uint64_t launch_time(uint64_t memory);
