/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A network function the host talks through: an interface that is up, has routes, or belongs to a
 * bridge or bond. */

#include <net/if.h>

#include "base/parse.h"
#include "base/strv.h"
#include "sysfs.h"
#include "usage-kinds.h"

/* "…/net", or "…/virtio2/net" for a virtio function; NULL if there is none. */
static int find_interfaces_directory(int root_fd, const PciDevice *device, char **ret) {
        const char *pci = SYSFS_PCI_PATH(&device->address);
        _cleanup_strv_ char **entries = NULL;
        _cleanup_free_ char *path = NULL;
        int r = 0;

        if (asprintf(&path, "%s/net", pci) < 0)
                return -ENOMEM;

        bool found = path_exists_at(root_fd, path);
        if (!found && streq_ptr(device->driver, "virtio-pci"))
                r = list_dir_if_exists_at(root_fd, pci, &entries);
        if (r < 0)
                return r;

        STRV_FOREACH(entry, entries) {
                if (found || !str_after(*entry, "virtio"))
                        continue;

                free(path);
                if (asprintf(&path, "%s/%s/net", pci, *entry) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                found = path_exists_at(root_fd, path);
        }

        *ret = found ? TAKE_PTR(path) : NULL;
        return 0;
}

static int list_usb_interfaces(int root_fd, const PciDevice *device, char ***ret) {
        _cleanup_strv_ char **all = NULL, **interfaces = NULL;
        int r;

        r = list_dir_if_exists_at(root_fd, "sys/class/net", &all);
        STRV_FOREACH(interface, all) {
                if (r < 0)
                        return r;
                if (sysfs_link_is_below(root_fd, PATH_TEXT("sys/class/net/%s", *interface), device))
                        r = strv_push(&interfaces, *interface);
        }
        if (r < 0)
                return r;

        *ret = TAKE_PTR(interfaces);
        return 0;
}

/* --- one interface ---------------------------------------------------------------------------- */

static bool interface_is_up(int root_fd, const char *interface) {
        _cleanup_free_ char *state = NULL;
        uint64_t flags;

        if (read_uint_at(root_fd, PATH_TEXT("sys/class/net/%s/flags", interface), &flags) < 0 ||
            !(flags & IFF_UP))
                return false;

        if (read_line_at(root_fd, PATH_TEXT("sys/class/net/%s/operstate", interface), &state) < 0)
                return true;

        /* "unknown" is what drivers say that do not track it. */
        return !streq(state, "down") && !streq(state, "lowerlayerdown") &&
               !streq(state, "notpresent");
}

static const char *master_kind(int root_fd, const char *master) {
        if (path_exists_at(root_fd, PATH_TEXT("sys/class/net/%s/bridge", master)))
                return "bridge";
        if (path_exists_at(root_fd, PATH_TEXT("sys/class/net/%s/bonding", master)))
                return "bond";
        return "interface";
}

static int add_master(int root_fd, const char *interface, Reasons *reasons) {
        _cleanup_free_ char *master = NULL;
        const char *link = PATH_TEXT("sys/class/net/%s/master", interface);

        if (read_link_name_at(root_fd, link, &master) < 0)
                return 0;
        return reasons_add(reasons, REASON_BRIDGE_MEMBER, "%s belongs to the %s %s", interface,
                           master_kind(root_fd, master), master);
}

static int add_interface(HostView *view, const char *interface, Reasons *reasons) {
        const HostRoute *route;
        int root_fd = view->root_fd, r;

        r = host_view_routes(view);
        if (r < 0)
                return r;

        route = host_view_route(view, interface);
        if (route && route->is_default)
                r = reasons_add(reasons, REASON_DEFAULT_ROUTE,
                                "The host's default route goes through %s", interface);
        if (r >= 0)
                r = add_master(root_fd, interface, reasons);
        if (r >= 0 && interface_is_up(root_fd, interface))
                r = reasons_add(reasons, REASON_NETWORK_UP, "The network interface %s is up",
                                interface);
        else if (r >= 0 && route && route->is_ipv4)
                r = reasons_add(reasons, REASON_NETWORK_UP,
                                "The network interface %s has an address", interface);
        return r;
}

static int add_interfaces(HostView *view, char *const *interfaces, Reasons *reasons) {
        STRV_FOREACH(interface, interfaces) {
                int r = add_interface(view, *interface, reasons);
                if (r < 0)
                        return r;
        }
        return 0;
}

int usage_add_network(HostView *view, const PciDevice *device, Reasons *reasons) {
        _cleanup_strv_ char **interfaces = NULL;
        _cleanup_free_ char *directory = NULL;
        int root_fd = view->root_fd, r;

        if (device->kind == KIND_USB) {
                r = list_usb_interfaces(root_fd, device, &interfaces);
                return r < 0 ? r : add_interfaces(view, interfaces, reasons);
        }

        r = find_interfaces_directory(root_fd, device, &directory);
        if (r < 0 || !directory)
                return r;

        r = list_dir_if_exists_at(root_fd, directory, &interfaces);
        if (r < 0)
                return r;

        /* sysfs shows an interface only to the network namespace it is in; the directory stays. */
        if (!interfaces)
                return reasons_add(reasons, REASON_NETWORK_UP,
                                   "Its network interface is in another network namespace");
        return add_interfaces(view, interfaces, reasons);
}
