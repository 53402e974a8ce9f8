/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A display function the host shows something on: the display that the firmware began with, the
 * virtual console, a connector that drives a monitor. */

#include <ctype.h>

#include "base/strv.h"
#include "sysfs.h"
#include "usage-kinds.h"

#define IOMEM_MAX (1 * MIB)

/* --- the firmware's framebuffer --------------------------------------------------------------- */

static bool is_firmware_framebuffer(const char *resource) {
        static const char *const names[] = {
                "BOOTFB", "efifb",   "vesafb", "simplefb", "simpledrm", "simple-framebuffer",
                "efidrm", "vesadrm",
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(resource, names[i]))
                        return true;
        return false;
}

/* /proc/iomem is indented by nesting: "  c0000000-cfffffff : 0000:01:00.0" and, further in,
 * what the memory of that function is used for. Only the names are looked at, which need no
 * privilege. */
static bool iomem_has_framebuffer_in(const char *iomem, const PciAddress *address) {
        size_t depth_of_function = 0;
        bool inside = false;

        for (const char *line = iomem; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                size_t depth = strspn(line, " ");
                char name[64];
                PciAddress owner;

                if (sscanf(line, "%*s : %63[^\n]", name) != 1)
                        continue;
                if (inside && depth <= depth_of_function)
                        inside = false;

                if (pci_address_parse(name, &owner) >= 0) {
                        inside = pci_address_equal(&owner, address);
                        depth_of_function = depth;
                } else if (inside && is_firmware_framebuffer(name))
                        return true;
        }
        return false;
}

static bool has_firmware_framebuffer(int root_fd, const PciDevice *device) {
        _cleanup_free_ char *iomem = NULL;

        return read_file_at(root_fd, "proc/iomem", IOMEM_MAX, &iomem) >= 0 &&
               iomem_has_framebuffer_in(iomem, &device->address);
}

/* --- the console ------------------------------------------------------------------------------ */

static bool console_is_on_framebuffer(int root_fd) {
        _cleanup_strv_ char **consoles = NULL;

        if (list_dir_at(root_fd, "sys/class/vtconsole", &consoles) < 0)
                return false;

        STRV_FOREACH(console, consoles) {
                _cleanup_free_ char *name = NULL;

                if (read_line_at(root_fd, PATH_TEXT("sys/class/vtconsole/%s/name", *console),
                                 &name) >= 0 &&
                    strstr(name, "frame buffer device") &&
                    attribute_is(root_fd, PATH_TEXT("sys/class/vtconsole/%s/bind", *console), "1"))
                        return true;
        }
        return false;
}

/* The console sits on the first framebuffer, which belongs to a display function, or to the
 * firmware's framebuffer as a platform device of its own. */
static bool owns_framebuffer_console(int root_fd, const PciDevice *device) {
        if (!console_is_on_framebuffer(root_fd))
                return false;
        if (sysfs_link_is_below(root_fd, "sys/class/graphics/fb0", device))
                return true;

        _cleanup_free_ char *target = NULL;
        if (read_link_at(root_fd, "sys/class/graphics/fb0", &target) < 0)
                return false;

        const char *path = sysfs_device_path(target);
        return path && str_after(path, "platform/") && has_firmware_framebuffer(root_fd, device);
}

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

int usage_add_gpu(int root_fd, const PciDevice *device, Reasons *reasons) {
        bool console = owns_framebuffer_console(root_fd, device);
        int r = 0;

        if (device->boot_vga)
                r = reasons_add(reasons, REASON_BOOT_DISPLAY,
                                "The firmware began with this display");
        else if (!path_exists_at(root_fd,
                                 PATH_TEXT("%s/boot_vga", SYSFS_PCI_PATH(&device->address))) &&
                 (console || has_firmware_framebuffer(root_fd, device)))
                /* Only class 0300 has boot_vga. */
                r = reasons_add(reasons, REASON_BOOT_DISPLAY,
                                "The host's console began on this display");

        if (r >= 0 && console)
                r = reasons_add(reasons, REASON_FRAMEBUFFER_CONSOLE,
                                "The host's virtual console is on its framebuffer");
        if (r >= 0)
                r = add_connectors(root_fd, device, reasons);
        return r;
}
