/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a caller needs to be allowed, and is asked about, where devices move: one question for each function that does,
 * with its own address, kind and vendor. So a rule by device or kind holds for a function whichever of its company is
 * asked for. And the words for what moves, in any prompt. */

#include "core/plan.h"
#include "auth.h"

/* The action for each of the functions. vm: NULL for none. requested: the function that was named or chosen. */
int auth_add_functions(Auth *auth, Action action, const char *vm, const Manager *m, const DeviceList *functions,
                       const PciAddress *requested);

/* The right to each device of the plan, and to override what stands against it. */
int auth_add_devices(Auth *auth, const Plan *plan, char *const *allow);

/* "0000:01:00.0 (gpu), 0000:01:00.1 (audio)"; "" for no devices. */
int describe_functions(const DeviceList *functions, char **ret);

/* The same of all that moves. */
int plan_describe_devices(const Plan *plan, char **ret);
