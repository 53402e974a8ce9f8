/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A display that the host itself shows something on is let go before its driver is: the virtual console
 * goes to the kernel's dummy, and what the firmware left as a framebuffer loses its driver, so that nothing
 * draws into memory that is about to be a guest's. On the way back the driver of the card brings a
 * framebuffer, and the console is put on it. The firmware's cannot be made again by a running kernel. */

#include "base/strv.h"
#include "console.h"
#include "sysfs.h"

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

bool console_has_firmware_framebuffer(int root_fd, const PciAddress *address) {
        _cleanup_free_ char *iomem = NULL;

        return read_file_at(root_fd, "proc/iomem", IOMEM_MAX, &iomem) >= 0 &&
               iomem_has_framebuffer_in(iomem, address);
}

/* --- the console ------------------------------------------------------------------------------ */

/* The virtual console's end that draws on framebuffers: "vtcon0". -ENOENT: there is none. */
static int find_framebuffer_console(int root_fd, char **ret) {
        _cleanup_strv_ char **consoles = NULL;
        int r;

        r = list_dir_at(root_fd, "sys/class/vtconsole", &consoles);
        if (r < 0)
                return r;

        STRV_FOREACH(console, consoles) {
                _cleanup_free_ char *name = NULL;

                if (read_line_at(root_fd, PATH_TEXT("sys/class/vtconsole/%s/name", *console),
                                 &name) < 0 ||
                    !strstr(name, "frame buffer device"))
                        continue;
                *ret = strdup(*console);
                return *ret ? 0 : -ENOMEM;
        }
        return -ENOENT;
}

static bool console_is_bound(int root_fd, const char *console) {
        return attribute_is(root_fd, PATH_TEXT("sys/class/vtconsole/%s/bind", console), "1");
}

static bool console_is_on_framebuffer(int root_fd) {
        _cleanup_free_ char *console = NULL;

        return find_framebuffer_console(root_fd, &console) >= 0 && console_is_bound(root_fd, console);
}

/* The console sits on the first framebuffer, which belongs to a display function, or to the
 * firmware's framebuffer as a platform device of its own. */
bool console_is_on(int root_fd, const PciDevice *device) {
        if (!console_is_on_framebuffer(root_fd))
                return false;
        if (sysfs_link_is_below(root_fd, "sys/class/graphics/fb0", device))
                return true;

        _cleanup_free_ char *target = NULL;
        if (read_link_at(root_fd, "sys/class/graphics/fb0", &target) < 0)
                return false;

        const char *path = sysfs_device_path(target);
        return path && str_after(path, "platform/") &&
               console_has_firmware_framebuffer(root_fd, &device->address);
}

/* --- letting go ------------------------------------------------------------------------------- */

/* "efi-framebuffer.0", if a driver has it. -ENOENT: there is none. */
static int find_firmware_device(int root_fd, char **ret) {
        static const char *const names[] = { "efi-framebuffer.", "vesa-framebuffer.",
                                             "simple-framebuffer." };
        _cleanup_strv_ char **devices = NULL;
        int r;

        r = list_dir_if_exists_at(root_fd, "sys/bus/platform/devices", &devices);
        if (r < 0)
                return r;

        STRV_FOREACH(device, devices)
                for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                        if (!str_after(*device, names[i]) ||
                            !path_exists_at(root_fd,
                                            PATH_TEXT("sys/bus/platform/devices/%s/driver", *device)))
                                continue;
                        *ret = strdup(*device);
                        return *ret ? 0 : -ENOMEM;
                }
        return -ENOENT;
}

int console_find(int root_fd, const PciDevice *device, DeviceState *state) {
        int r = 0;

        if (device->kind != KIND_GPU)
                return 0;

        if (console_is_on(root_fd, device))
                r = find_framebuffer_console(root_fd, &state->console);
        if (r >= 0 && console_has_firmware_framebuffer(root_fd, &device->address))
                r = find_firmware_device(root_fd, &state->firmware_framebuffer);
        return r == -ENOENT ? 0 : r;
}

static int let_console_go(int root_fd, const char *console, Error *error) {
        const char *path = PATH_TEXT("sys/class/vtconsole/%s/bind", console);
        int r;

        r = write_attribute_at(root_fd, path, "0");
        if (r >= 0 && !console_is_bound(root_fd, console))
                return 0;
        return error_set(error, ERROR_BIND_FAILED,
                         "The virtual console (%s) does not let go of the framebuffer%s%s", console,
                         r < 0 ? ": " : "", r < 0 ? strerror(-r) : "");
}

static int let_firmware_go(int root_fd, const char *name, Error *error) {
        const char *driver = PATH_TEXT("sys/bus/platform/devices/%s/driver", name);
        int r;

        if (!path_exists_at(root_fd, driver))
                return 0;
        r = write_attribute_at(root_fd, PATH_TEXT("%s/unbind", driver), name);
        if (r >= 0 && !path_exists_at(root_fd, driver))
                return 0;
        return error_set(error, ERROR_BIND_FAILED, "The firmware's framebuffer (%s) cannot be let go%s%s",
                         name, r < 0 ? ": " : "", r < 0 ? strerror(-r) : "");
}

int console_let_go(int root_fd, const DeviceState *state, Error *error) {
        int r = 0;

        if (state->console)
                r = let_console_go(root_fd, state->console, error);
        if (r >= 0 && state->firmware_framebuffer)
                r = let_firmware_go(root_fd, state->firmware_framebuffer, error);
        return r;
}

int console_take_back(int root_fd, const DeviceState *state) {
        int r;

        if (!state->console || console_is_bound(root_fd, state->console))
                return 0;

        r = write_attribute_at(root_fd, PATH_TEXT("sys/class/vtconsole/%s/bind", state->console), "1");
        if (r >= 0 && !console_is_bound(root_fd, state->console))
                return -EIO;
        return r;
}
