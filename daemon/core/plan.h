/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What creating a VM would do, and every reason it would not. PlanVM shows it, CreateVM carries it out. */

#include "finding.h"
#include "request.h"
#include "select.h"
#include "vm.h"

/* A device that was asked for, and all that moves with it. */
typedef struct PlanDevice {
        Device *device;
        DeviceList unit;
        bool automatic;     /* chosen by us */
} PlanDevice;

typedef struct Plan {
        VmSpec *spec;       /* complete but for the paths of its files */
        Findings findings;
        PlanDevice *devices;
        size_t n_devices;
        uint64_t image_size; /* of a stored image: virtual; 0: not known before the copy */
} Plan;

Plan *plan_free(Plan *plan);
DEFINE_CLEANUP(Plan *, plan_free);

/* The request has been checked. */
int plan_make(Manager *m, const VmRequest *request, Plan **ret);

bool plan_is_ready(const Plan *plan);

/* 0, or the first finding that fails, as an error. */
int plan_refuse(const Plan *plan, Error *error);

/* The device addresses of the plan in place of `auto`, so that what was shown (and consented to) is what a
 * second plan takes, or nothing. */
int plan_pin_request(const Plan *plan, VmRequest *request);

/* The same for a device that a VM is to get in addition: request names it under `passthrough`. The plan's
 * spec is the VM's with the device. pins_memory: its memory is yet to be found. */
int plan_make_attachment(Manager *m, const VmSpec *spec, const VmRequest *request, bool pins_memory,
                         Plan **ret);
