/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The arguments of CreateVM and PlanVM. */

#include <systemd/sd-bus.h>

#include "core/request.h"

int request_read(sd_bus_message *m, uid_t caller, VmRequest **ret, Error *error);
