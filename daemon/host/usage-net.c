/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A network function the host talks through: an interface that is up, has routes, or belongs to a
 * bridge or bond. */

#include <net/if.h>

#include "base/parse.h"
#include "base/strv.h"
#include "sysfs.h"
#include "usage-kinds.h"

#define ROUTES_MAX (16 * MIB)

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

typedef struct Routes {
        bool any, is_default;
} Routes;

/* "eth0 00000000 0102A8C0 0003 0 0 0 00000000 0 0 0": interface, destination, gateway, …, mask */
static void find_ipv4_routes(const char *table, const char *interface, Routes *routes) {
        for (const char *line = table; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                char name[IFNAMSIZ];
                unsigned destination, mask;
                int n = sscanf(line, "%15s %x %*x %*x %*d %*d %*d %x", name, &destination, &mask);

                if (n != 3 || !streq(name, interface))
                        continue;
                routes->any = true;
                if (destination == 0 && mask == 0)
                        routes->is_default = true;
        }
}

/* Destination, prefix length, source, its length, next hop, metric, counts, flags, interface.
 * Link-local routes come with every interface that is up, so only the default route tells
 * something. */
static void find_ipv6_routes(const char *table, const char *interface, Routes *routes) {
        for (const char *line = table; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                char destination[33], name[IFNAMSIZ];
                unsigned length;

                if (sscanf(line, "%32s %x %*s %*s %*s %*s %*s %*s %*s %15s", destination, &length,
                           name) == 3 &&
                    streq(name, interface) && length == 0 && strspn(destination, "0") == 32)
                        routes->is_default = true;
        }
}

static void read_routes(int root_fd, const char *interface, Routes *ret) {
        _cleanup_free_ char *ipv4 = NULL, *ipv6 = NULL;
        Routes routes = {};

        if (read_file_at(root_fd, "proc/1/net/route", ROUTES_MAX, &ipv4) >= 0)
                find_ipv4_routes(ipv4, interface, &routes);
        if (read_file_at(root_fd, "proc/1/net/ipv6_route", ROUTES_MAX, &ipv6) >= 0)
                find_ipv6_routes(ipv6, interface, &routes);
        *ret = routes;
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

static int add_interface(int root_fd, const char *interface, Reasons *reasons) {
        Routes routes;
        int r = 0;

        read_routes(root_fd, interface, &routes);

        if (routes.is_default)
                r = reasons_add(reasons, REASON_DEFAULT_ROUTE,
                                "The host's default route goes through %s", interface);
        if (r >= 0)
                r = add_master(root_fd, interface, reasons);
        if (r >= 0 && interface_is_up(root_fd, interface))
                r = reasons_add(reasons, REASON_NETWORK_UP, "The network interface %s is up",
                                interface);
        else if (r >= 0 && routes.any)
                r = reasons_add(reasons, REASON_NETWORK_UP,
                                "The network interface %s has an address", interface);
        return r;
}

static int add_interfaces(int root_fd, char *const *interfaces, Reasons *reasons) {
        STRV_FOREACH(interface, interfaces) {
                int r = add_interface(root_fd, *interface, reasons);
                if (r < 0)
                        return r;
        }
        return 0;
}

int usage_add_network(int root_fd, const PciDevice *device, Reasons *reasons) {
        _cleanup_strv_ char **interfaces = NULL;
        _cleanup_free_ char *directory = NULL;
        int r;

        if (device->kind == KIND_USB) {
                r = list_usb_interfaces(root_fd, device, &interfaces);
                return r < 0 ? r : add_interfaces(root_fd, interfaces, reasons);
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
        return add_interfaces(root_fd, interfaces, reasons);
}
