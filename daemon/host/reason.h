/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Why a device cannot be given away: a code of the contract and a sentence that names the thing. */

#include "base/error.h"
#include "base/pci-address.h"

typedef enum ReasonCode {
        REASON_MOUNTED,
        REASON_SWAP,
        REASON_ROOT_DISK,
        REASON_ESP,
        REASON_RESUME_DEVICE,
        REASON_DEVICE_MAPPER,
        REASON_MD_RAID,
        REASON_LVM,
        REASON_ZFS,
        REASON_BCACHE,
        REASON_MULTIPATH,
        REASON_NVMET,
        REASON_OPEN_BY_PROCESS,
        REASON_OTHER_DOMAIN,
        REASON_SHARED_NAMESPACE,
        REASON_NETWORK_UP,
        REASON_DEFAULT_ROUTE,
        REASON_BRIDGE_MEMBER,
        REASON_DRM_IN_USE,
        REASON_ONLY_KEYBOARD,
        REASON_CLAIMED,
        REASON_HAS_VFS,
        REASON_SHARED_RESET,
        REASON_NOT_ENDPOINT,
        REASON_NO_IOMMU,
        REASON_GROUP_NOT_VIABLE,
        REASON_QUARANTINED,
        REASON_WEDGED,
        REASON_NOT_INSPECTED,
        /* From here on the caller may take the responsibility. */
        REASON_HAS_DATA,
        REASON_FSTAB,
        REASON_BOOT_DISPLAY,
        REASON_FRAMEBUFFER_CONSOLE,
        REASON_ACTIVE_CONNECTOR,
        REASON_NO_RESET,
        _REASON_MAX,
} ReasonCode;

typedef struct Reason {
        ReasonCode code;
        char *detail; /* only what any local user could find out */
} Reason;

typedef struct Reasons {
        Reason *items;
        size_t n;
} Reasons;

const char *reason_code_to_string(ReasonCode code);
int reason_code_from_string(const char *s); /* -EINVAL */
bool reason_code_is_overridable(ReasonCode code);

/* What to do about it, where that is more than the error says: allocated. NULL: nothing, or no memory. */
char *reason_code_remedy(ReasonCode code);

/* The domain error that refuses a device for this reason: DeviceInUse, DeviceClaimed, GroupNotViable, … */
ErrorCode reason_code_to_error(ReasonCode code);

/* Adds a reason unless the same one (code and detail) is there already. 0 or -ENOMEM. */
int reasons_add(Reasons *reasons, ReasonCode code, const char *format, ...) _printf_(3, 4);

/* Whether there is one of this code, whatever it says. */
bool reasons_contain(const Reasons *reasons, ReasonCode code);

/* Leaves those of a code out of account. */
void reasons_remove(Reasons *reasons, ReasonCode code);

/* The first reason that nothing overrides; or else the first that is not in allow (a list of code names);
 * NULL: none. */
const Reason *reasons_blocking(const Reasons *reasons, char *const *allow);

/* Sets the error that refuses the device for this reason, with what can be done about it, and returns it. */
int reason_refuse(const Reason *reason, const PciAddress *address, Error *error);

void reasons_clear(Reasons *reasons);
#define _cleanup_reasons_ _cleanup_(reasons_clear)
