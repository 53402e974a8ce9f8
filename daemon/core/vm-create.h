/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "plan.h"

/* Carries out a plan that is ready. Takes both. The VM is there, in the state "creating", when it returns. */
int vm_create(Manager *m, VmRequest *request, Plan *plan, Vm **ret_vm, Job **ret_job, Error *error);
