/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A display function the host shows something on: the display that the firmware began with, the
 * virtual console, a connector that drives a monitor. */

#include <ctype.h>

#include "base/strv.h"
#include "console.h"
#include "sysfs.h"
#include "usage-kinds.h"

/* --- connectors ------------------------------------------------------------------------------- */

/* "HDMI-A-1" of "card0-HDMI-A-1"; NULL for what is no connector. */
static const char *connector_name(const char *entry) {
        const char *s = str_after(entry, "card");

        if (!s || !isdigit((unsigned char) *s))
                return NULL;
        s += strspn(s, "0123456789");
        return *s == '-' ? s + 1 : NULL;
}

static int add_connectors(int root_fd, const PciDevice *device, Reasons *reasons) {
        _cleanup_strv_ char **entries = NULL;
        int r;

        r = list_dir_if_exists_at(root_fd, "sys/class/drm", &entries);
        STRV_FOREACH(entry, entries) {
                const char *name = connector_name(*entry);
                const char *path = PATH_TEXT("sys/class/drm/%s", *entry);

                if (r < 0)
                        return r;
                if (!name || !sysfs_link_is_below(root_fd, path, device) ||
                    !attribute_is(root_fd, PATH_TEXT("%s/status", path), "connected") ||
                    !attribute_is(root_fd, PATH_TEXT("%s/enabled", path), "enabled"))
                        continue;

                r = reasons_add(reasons, REASON_ACTIVE_CONNECTOR,
                                "The connector %s shows a picture", name);
        }
        return r;
}

/* What cannot come back is said before it is taken. */
static int add_boot_display(const PciDevice *device, bool firmware, Reasons *reasons) {
        return reasons_add(reasons, REASON_BOOT_DISPLAY, "%s%s",
                           device->boot_vga ? "The firmware began with this display"
                                            : "The host's console began on this display",
                           firmware ? ", and its framebuffer does not come back before a reboot" : "");
}

int usage_add_gpu(int root_fd, const PciDevice *device, Reasons *reasons) {
        bool firmware = console_has_firmware_framebuffer(root_fd, &device->address);
        bool console = console_is_on(root_fd, device);
        /* Only class 0300 has boot_vga. */
        bool told = path_exists_at(root_fd, PATH_TEXT("%s/boot_vga", SYSFS_PCI_PATH(&device->address)));
        int r = 0;

        if (device->boot_vga || (!told && (console || firmware)))
                r = add_boot_display(device, firmware, reasons);
        if (r >= 0 && console)
                r = reasons_add(reasons, REASON_FRAMEBUFFER_CONSOLE,
                                "The host's virtual console is on its framebuffer, and has no picture %s",
                                firmware ? "without it" : "until it is back");
        if (r >= 0)
                r = add_connectors(root_fd, device, reasons);
        return r;
}
