/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "plan.h"

/* Completes a plan whose devices are chosen: pins, nodes, huge pages, the room that devices need, ROMs. */
int plan_tuning(Manager *m, Plan *plan, const VmRequest *request);
