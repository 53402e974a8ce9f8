/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Plans, findings, reasons and candidates as D-Bus values. */

#include <systemd/sd-bus.h>

#include "core/plan.h"
#include "core/select.h"

int append_findings(sd_bus_message *m, const Plan *plan);                          /* aa{sv} */
int append_plan(sd_bus_message *m, const Plan *plan, const VmRequest *request);    /* a{sv} */
int append_reasons(sd_bus_message *m, const Reasons *reasons);                     /* a(ss) */
int append_candidates(sd_bus_message *m, const Candidates *candidates);            /* aa{sv} */
