/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table behind errors.h. A new error is one line here and one in the enum. */

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "errors.h"

typedef struct ErrorEntry {
        const char *name;
        int number;
        const char *remedy;
} ErrorEntry;

#define ENTRY(code, member, number, remedy) \
        [ERROR_##code] = { VMKIT_ERROR_PREFIX member, number, remedy }

static const ErrorEntry entries[_ERROR_CODE_MAX] = {
        ENTRY(INVALID_NAME, "InvalidName", EINVAL,
              "Use letters, digits, '.', '_' and '-', beginning with a letter or digit, at most "
              "63 characters."),
        ENTRY(INVALID_OPTION, "InvalidOption", EINVAL,
              "'vmkitctl COMMAND --help' and the documentation of org.vmkit.Manager list the "
              "options and their values."),
        ENTRY(INVALID_ADDRESS, "InvalidAddress", EINVAL,
              "Give a PCI address as domain:bus:slot.function, for example 0000:01:00.0; "
              "'vmkitctl devices' lists them."),
        ENTRY(NO_SUCH_VM, "NoSuchVM", ENOENT, "'vmkitctl list' shows the VMs there are."),
        ENTRY(VM_EXISTS, "VMExists", EEXIST,
              "Choose another name, or destroy the VM that has it."),
        ENTRY(NO_SUCH_DEVICE, "NoSuchDevice", ENODEV,
              "'vmkitctl devices --all' lists the PCI functions of this host."),
        ENTRY(NO_SUCH_IMAGE, "NoSuchImage", ENOENT,
              "'vmkitctl image list' shows the images; 'vmkitctl image import NAME FILE' adds "
              "one."),
        ENTRY(IMAGE_EXISTS, "ImageExists", EEXIST,
              "Choose another name, or remove the image that has it ('vmkitctl image remove "
              "NAME')."),
        ENTRY(NO_SUCH_JOB, "NoSuchJob", ESRCH,
              "'vmkitctl jobs' shows the jobs there are; a job that ended is forgotten after a "
              "while."),
        ENTRY(DEVICE_IN_USE, "DeviceInUse", EBUSY,
              "Stop what uses the device (unmount, swapoff, end the process), or choose "
              "another; 'vmkitctl devices' shows which are free."),
        ENTRY(DEVICE_CLAIMED, "DeviceClaimed", EBUSY,
              "Stop the VM that holds the device; where its driver is at work on it, try again in a moment; "
              "or choose another device."),
        ENTRY(GROUP_NOT_VIABLE, "GroupNotViable", EBUSY,
              "Every function of the IOMMU group moves together: free the one that is named, or "
              "put the device into another slot."),
        ENTRY(NO_IOMMU, "NoIOMMU", ENOTSUP,
              "Switch on VT-d (Intel) or AMD-Vi/IOMMU (AMD) in the firmware setup, add "
              "'intel_iommu=on iommu=pt' (Intel) or 'amd_iommu=on iommu=pt' (AMD) to the kernel "
              "command line, and reboot; 'vmkitctl check' shows what is missing."),
        ENTRY(NO_CANDIDATE, "NoCandidate", ENODEV,
              "'vmkitctl explain gpu' or 'vmkitctl explain nvme' says why each device is passed "
              "over."),
        ENTRY(IDENTITY_CHANGED, "IdentityChanged", ESTALE,
              "Another device sits at this address now: detach it from the VM and attach the "
              "right one."),
        ENTRY(BIND_FAILED, "BindFailed", EIO,
              "'journalctl -u vmkitd' has the kernel's answer; 'vmkitctl devices --all' shows "
              "the driver each device is on now."),
        ENTRY(RESET_FAILED, "ResetFailed", EIO,
              "Shut the host down and switch it off and on to bring the device back; a reboot "
              "is often not enough."),
        ENTRY(QUARANTINED, "Quarantined", EPERM,
              "Look at the device ('journalctl -u vmkitd' says what happened); an administrator "
              "can then 'vmkitctl clear-quarantine ADDRESS'."),
        ENTRY(WEDGED, "Wedged", EDEADLK,
              "The driver does not let go of the device: end what uses it; if that does not "
              "help, reboot."),
        ENTRY(IMAGE_REJECTED, "ImageRejected", EMEDIUMTYPE,
              "Use a raw or qcow2 image without a backing file; 'qemu-img convert -O qcow2' "
              "makes one."),
        ENTRY(NOT_READY, "NotReady", EAGAIN, "'vmkitctl check' shows what the host lacks."),
        ENTRY(NOT_SUPPORTED, "NotSupported", EOPNOTSUPP,
              "Leave out what is named; 'vmkitctl check' says what this host can do."),
        ENTRY(WRONG_STATE, "WrongState", EBADFD,
              "'vmkitctl info NAME' shows the state the VM is in."),
        ENTRY(BUSY, "Busy", EALREADY,
              "Wait for the job under way ('vmkitctl jobs'), then try again."),
        ENTRY(LIMIT_EXCEEDED, "LimitExceeded", EDQUOT,
              "Destroy what is no longer needed, or ask the administrator for a higher limit in "
              "vmkitd.conf."),
        ENTRY(NO_SPACE, "NoSpace", ENOSPC,
              "Free space in the file system of /var/lib/vmkit, or choose a smaller disk."),
        ENTRY(INSUFFICIENT_MEMORY, "InsufficientMemory", ENOMEM,
              "Give the VM less memory, or stop another: passed devices need all of it at the "
              "start."),
        ENTRY(LIBVIRT_UNAVAILABLE, "LibvirtUnavailable", ENOTCONN,
              "'systemctl start libvirtd' starts it; vmkitd reconnects by itself."),
        ENTRY(START_FAILED, "StartFailed", EIO,
              "'journalctl -u vmkitd' has the whole text of libvirt and QEMU."),
        ENTRY(TIMEOUT, "Timeout", ETIMEDOUT,
              "Allow more time, or cut the guest off ('vmkitctl stop --force NAME')."),
        ENTRY(CANCELLED, "Cancelled", ECANCELED,
              "Nothing is left behind; start it again when it is needed."),
        ENTRY(INTERRUPTED, "Interrupted", EINTR,
              "vmkitd was restarted during the operation; the message says what became of it. Try "
              "again."),
        ENTRY(INTERNAL, "Internal", EBADE,
              "This is a bug or a failing host: 'journalctl -u vmkitd' says more."),
};

const char *error_code_name(ErrorCode code) {
        return code > ERROR_NONE && code < _ERROR_CODE_MAX ? entries[code].name : NULL;
}

const char *error_code_remedy(ErrorCode code) {
        return code > ERROR_NONE && code < _ERROR_CODE_MAX ? entries[code].remedy : NULL;
}

int error_code_errno(ErrorCode code) {
        return code > ERROR_NONE && code < _ERROR_CODE_MAX ? entries[code].number : 0;
}

ErrorCode error_code_from_name(const char *name) {
        if (!name)
                return ERROR_NONE;

        for (ErrorCode code = ERROR_NONE + 1; code < _ERROR_CODE_MAX; code++)
                if (strcmp(entries[code].name, name) == 0)
                        return code;

        return ERROR_NONE;
}
