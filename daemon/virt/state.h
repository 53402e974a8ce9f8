/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libvirt's states and event details in our words. */

#include <libvirt/libvirt.h>

#include "virt.h"

DomainState domain_state_from_libvirt(int state, int reason);
const char *stopped_for_from_reason(int state, int reason);

/* False: the event changes no state. */
bool domain_state_from_event(int event, DomainState *ret);
const char *stopped_for_from_event(int event, int detail);
