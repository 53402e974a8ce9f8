/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The domain errors of org.vmkit: one table of codes, D-Bus names, errno values and remedies,
 * shared by the daemon (which sends the names) and the client (which prints the remedies). */

#define VMKIT_ERROR_PREFIX "org.vmkit.Error."

typedef enum ErrorCode {
        ERROR_NONE,
        ERROR_INVALID_NAME,
        ERROR_INVALID_OPTION,
        ERROR_INVALID_ADDRESS,
        ERROR_NO_SUCH_VM,
        ERROR_VM_EXISTS,
        ERROR_NO_SUCH_DEVICE,
        ERROR_NO_SUCH_IMAGE,
        ERROR_IMAGE_EXISTS,
        ERROR_NO_SUCH_JOB,
        ERROR_DEVICE_IN_USE,
        ERROR_DEVICE_CLAIMED,
        ERROR_GROUP_NOT_VIABLE,
        ERROR_NO_IOMMU,
        ERROR_NO_CANDIDATE,
        ERROR_IDENTITY_CHANGED,
        ERROR_BIND_FAILED,
        ERROR_RESET_FAILED,
        ERROR_QUARANTINED,
        ERROR_WEDGED,
        ERROR_IMAGE_REJECTED,
        ERROR_NOT_READY,
        ERROR_NOT_SUPPORTED,
        ERROR_WRONG_STATE,
        ERROR_BUSY,
        ERROR_LIMIT_EXCEEDED,
        ERROR_NO_SPACE,
        ERROR_INSUFFICIENT_MEMORY,
        ERROR_LIBVIRT_UNAVAILABLE,
        ERROR_START_FAILED,
        ERROR_TIMEOUT,
        ERROR_CANCELLED,
        ERROR_INTERRUPTED,
        ERROR_INTERNAL,
        _ERROR_CODE_MAX,
} ErrorCode;

/* The full D-Bus name ("org.vmkit.Error.DeviceInUse"); NULL for ERROR_NONE. */
const char *error_code_name(ErrorCode code);

/* What the caller can do about it, one or two sentences. Never NULL for a code above ERROR_NONE. */
const char *error_code_remedy(ErrorCode code);

/* The positive errno that stands for the code inside the daemon. */
int error_code_errno(ErrorCode code);

/* The code of a D-Bus error name; ERROR_NONE if it is none of ours. */
ErrorCode error_code_from_name(const char *name);
