/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "state.h"

const char *domain_state_to_string(DomainState state) {
        static const char *const names[_DOMAIN_STATE_MAX] = {
                [DOMAIN_STOPPED] = "stopped",     [DOMAIN_RUNNING] = "running",
                [DOMAIN_PAUSED] = "paused",       [DOMAIN_SUSPENDED] = "suspended",
                [DOMAIN_STOPPING] = "stopping",   [DOMAIN_CRASHED] = "crashed",
                [DOMAIN_UNKNOWN] = "unknown",
        };

        return state < _DOMAIN_STATE_MAX ? names[state] : "unknown";
}

DomainState domain_state_from_libvirt(int state, int reason) {
        switch (state) {
        case VIR_DOMAIN_RUNNING:
        case VIR_DOMAIN_BLOCKED:
                return DOMAIN_RUNNING;
        case VIR_DOMAIN_PAUSED:
                return reason == VIR_DOMAIN_PAUSED_SHUTTING_DOWN ? DOMAIN_STOPPING : DOMAIN_PAUSED;
        case VIR_DOMAIN_SHUTDOWN:
                return DOMAIN_STOPPING;
        case VIR_DOMAIN_SHUTOFF:
                return DOMAIN_STOPPED;
        case VIR_DOMAIN_CRASHED:
                return DOMAIN_CRASHED;
        case VIR_DOMAIN_PMSUSPENDED:
                return DOMAIN_SUSPENDED;
        default:
                return DOMAIN_UNKNOWN;
        }
}

const char *stopped_for_from_reason(int state, int reason) {
        if (state != VIR_DOMAIN_SHUTOFF)
                return NULL;

        switch (reason) {
        case VIR_DOMAIN_SHUTOFF_SHUTDOWN:
                return "shutdown";
        case VIR_DOMAIN_SHUTOFF_DESTROYED:
                return "destroyed";
        case VIR_DOMAIN_SHUTOFF_CRASHED:
                return "crashed";
        case VIR_DOMAIN_SHUTOFF_MIGRATED:
                return "migrated";
        case VIR_DOMAIN_SHUTOFF_SAVED:
                return "saved";
        case VIR_DOMAIN_SHUTOFF_FAILED:
                return "failed";
        default:
                return NULL;
        }
}

bool domain_state_from_event(int event, DomainState *ret) {
        switch (event) {
        case VIR_DOMAIN_EVENT_STARTED:
        case VIR_DOMAIN_EVENT_RESUMED:
                *ret = DOMAIN_RUNNING;
                return true;
        case VIR_DOMAIN_EVENT_SUSPENDED:
                *ret = DOMAIN_PAUSED;
                return true;
        case VIR_DOMAIN_EVENT_STOPPED:
                *ret = DOMAIN_STOPPED;
                return true;
        case VIR_DOMAIN_EVENT_SHUTDOWN:
                *ret = DOMAIN_STOPPING;
                return true;
        case VIR_DOMAIN_EVENT_PMSUSPENDED:
                *ret = DOMAIN_SUSPENDED;
                return true;
        case VIR_DOMAIN_EVENT_CRASHED:
                *ret = DOMAIN_CRASHED;
                return true;
        default:
                return false;
        }
}

const char *stopped_for_from_event(int event, int detail) {
        if (event != VIR_DOMAIN_EVENT_STOPPED)
                return NULL;

        switch (detail) {
        case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
                return "shutdown";
        case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
                return "crashed";
        case VIR_DOMAIN_EVENT_STOPPED_MIGRATED:
                return "migrated";
        case VIR_DOMAIN_EVENT_STOPPED_SAVED:
                return "saved";
        case VIR_DOMAIN_EVENT_STOPPED_FAILED:
                return "failed";
        default:
                return "destroyed";
        }
}
