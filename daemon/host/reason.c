/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The reason codes of the contract: one table of names and of the error each one refuses with. A
 * detail ends up in D-Bus strings and on terminals, and may quote a mount point or a process's
 * name, which can be any bytes: what is not printable UTF-8 is replaced here, once for all. */

#include <stdarg.h>

#include "reason.h"
#include "base/printable.h"
#include "base/strv.h"

#define DETAIL_MAX 512

typedef struct ReasonEntry {
        const char *name;
        ErrorCode error;
} ReasonEntry;

static const ReasonEntry entries[_REASON_MAX] = {
        [REASON_MOUNTED] = { "mounted", ERROR_DEVICE_IN_USE },
        [REASON_SWAP] = { "swap", ERROR_DEVICE_IN_USE },
        [REASON_ROOT_DISK] = { "root-disk", ERROR_DEVICE_IN_USE },
        [REASON_ESP] = { "esp", ERROR_DEVICE_IN_USE },
        [REASON_RESUME_DEVICE] = { "resume-device", ERROR_DEVICE_IN_USE },
        [REASON_DEVICE_MAPPER] = { "device-mapper", ERROR_DEVICE_IN_USE },
        [REASON_MD_RAID] = { "md-raid", ERROR_DEVICE_IN_USE },
        [REASON_LVM] = { "lvm", ERROR_DEVICE_IN_USE },
        [REASON_ZFS] = { "zfs", ERROR_DEVICE_IN_USE },
        [REASON_BCACHE] = { "bcache", ERROR_DEVICE_IN_USE },
        [REASON_MULTIPATH] = { "multipath", ERROR_DEVICE_IN_USE },
        [REASON_NVMET] = { "nvmet", ERROR_DEVICE_IN_USE },
        [REASON_OPEN_BY_PROCESS] = { "open-by-process", ERROR_DEVICE_IN_USE },
        [REASON_OTHER_DOMAIN] = { "other-domain", ERROR_DEVICE_CLAIMED },
        [REASON_SHARED_NAMESPACE] = { "shared-namespace", ERROR_DEVICE_IN_USE },
        [REASON_NETWORK_UP] = { "network-up", ERROR_DEVICE_IN_USE },
        [REASON_DEFAULT_ROUTE] = { "default-route", ERROR_DEVICE_IN_USE },
        [REASON_BRIDGE_MEMBER] = { "bridge-member", ERROR_DEVICE_IN_USE },
        [REASON_DRM_IN_USE] = { "drm-in-use", ERROR_DEVICE_IN_USE },
        [REASON_ONLY_KEYBOARD] = { "only-keyboard", ERROR_DEVICE_IN_USE },
        [REASON_CLAIMED] = { "claimed", ERROR_DEVICE_CLAIMED },
        [REASON_HAS_VFS] = { "has-vfs", ERROR_DEVICE_IN_USE },
        [REASON_SHARED_RESET] = { "shared-reset", ERROR_DEVICE_IN_USE },
        [REASON_NOT_ENDPOINT] = { "not-endpoint", ERROR_NOT_SUPPORTED },
        [REASON_NO_IOMMU] = { "no-iommu", ERROR_NO_IOMMU },
        [REASON_GROUP_NOT_VIABLE] = { "group-not-viable", ERROR_GROUP_NOT_VIABLE },
        [REASON_QUARANTINED] = { "quarantined", ERROR_QUARANTINED },
        [REASON_WEDGED] = { "wedged", ERROR_WEDGED },
        [REASON_NOT_INSPECTED] = { "not-inspected", ERROR_BUSY },
        [REASON_HAS_DATA] = { "has-data", ERROR_DEVICE_IN_USE },
        [REASON_FSTAB] = { "fstab", ERROR_DEVICE_IN_USE },
        [REASON_BOOT_DISPLAY] = { "boot-display", ERROR_DEVICE_IN_USE },
        [REASON_FRAMEBUFFER_CONSOLE] = { "framebuffer-console", ERROR_DEVICE_IN_USE },
        [REASON_ACTIVE_CONNECTOR] = { "active-connector", ERROR_DEVICE_IN_USE },
        [REASON_NO_RESET] = { "no-reset", ERROR_NOT_SUPPORTED },
};

const char *reason_code_to_string(ReasonCode code) {
        return (unsigned) code < _REASON_MAX ? entries[code].name : NULL;
}

int reason_code_from_string(const char *s) {
        for (int code = 0; s && code < _REASON_MAX; code++)
                if (streq(entries[code].name, s))
                        return code;
        return -EINVAL;
}

bool reason_code_is_overridable(ReasonCode code) {
        return code >= REASON_HAS_DATA && code < _REASON_MAX;
}

ErrorCode reason_code_to_error(ReasonCode code) {
        return (unsigned) code < _REASON_MAX ? entries[code].error : ERROR_INTERNAL;
}

/* Nobody can take the responsibility for what nobody has seen. */
char *reason_code_remedy(ReasonCode code) {
        char *remedy;

        if (code == REASON_NOT_INSPECTED)
                return strdup("Try again in a minute; 'journalctl -u vmkitd' says why nobody could "
                              "tell who uses it.");
        if (!reason_code_is_overridable(code) ||
            asprintf(&remedy,
                     "Make sure that nothing on the host needs it, then allow it expressly: "
                     "--allow %s", reason_code_to_string(code)) < 0)
                return NULL;
        return remedy;
}

static bool reasons_have_said(const Reasons *reasons, ReasonCode code, const char *detail) {
        for (size_t i = 0; i < reasons->n; i++)
                if (reasons->items[i].code == code && streq(reasons->items[i].detail, detail))
                        return true;
        return false;
}

bool reasons_contain(const Reasons *reasons, ReasonCode code) {
        for (size_t i = 0; i < reasons->n; i++)
                if (reasons->items[i].code == code)
                        return true;
        return false;
}

void reasons_remove(Reasons *reasons, ReasonCode code) {
        size_t kept = 0;

        for (size_t i = 0; i < reasons->n; i++) {
                if (reasons->items[i].code == code)
                        free(reasons->items[i].detail);
                else
                        reasons->items[kept++] = reasons->items[i];
        }
        reasons->n = kept;
}

int reasons_add(Reasons *reasons, ReasonCode code, const char *format, ...) {
        _cleanup_free_ char *detail = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&detail, format, ap);
        va_end(ap);
        if (n < 0) {
                detail = NULL;
                return -ENOMEM;
        }

        make_printable(detail, DETAIL_MAX);
        if (reasons_have_said(reasons, code, detail))
                return 0;

        Reason *grown = reallocarray(reasons->items, reasons->n + 1, sizeof(Reason));
        if (!grown)
                return -ENOMEM;

        reasons->items = grown;
        reasons->items[reasons->n++] = (Reason) { .code = code, .detail = TAKE_PTR(detail) };
        return 0;
}

const Reason *reasons_blocking(const Reasons *reasons, char *const *allow) {
        const Reason *unallowed = NULL;

        for (size_t i = 0; i < reasons->n; i++) {
                const Reason *reason = &reasons->items[i];

                if (!reason_code_is_overridable(reason->code))
                        return reason;
                if (!unallowed && !strv_contains(allow, reason_code_to_string(reason->code)))
                        unallowed = reason;
        }
        return unallowed;
}

int reason_refuse(const Reason *reason, const PciAddress *address, Error *error) {
        const char *code = reason_code_to_string(reason->code);
        _cleanup_free_ char *remedy = reason_code_remedy(reason->code);
        int r = error_set(error, reason_code_to_error(reason->code), "%s cannot be taken: %s (%s)",
                          PCI_ADDRESS_TEXT(address), reason->detail, code);

        if (remedy)
                error_set_remedy(error, "%s", remedy);
        return r;
}

void reasons_clear(Reasons *reasons) {
        for (size_t i = 0; i < reasons->n; i++)
                free(reasons->items[i].detail);
        free(reasons->items);
        *reasons = (Reasons) {};
}
