/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A large host has thousands of functions with interfaces and hundreds of disks. To read the routing tables for
 * each interface, or to ask each disk for each drive, takes the square of that. */

#include "base/strv.h"
#include "host-view.h"
#include "sysfs.h"

#define ROUTES_MAX (16 * MIB)

/* --- disks ------------------------------------------------------------------------------------ */

static void disk_clear(HostDisk *d) {
        free(d->name);
        free(d->path);
        free(d->nqn);
        *d = (HostDisk) {};
}

static void controller_clear(HostController *c) {
        free(c->name);
        free(c->address);
        free(c->nqn);
        *c = (HostController) {};
}

/* The link of a class, as the path of its device. */
static int read_device_path(int root_fd, const char *link, char **ret) {
        _cleanup_free_ char *target = NULL;
        int r;

        r = read_link_at(root_fd, link, &target);
        if (r < 0)
                return r == -ENOMEM ? r : 0;

        const char *path = sysfs_device_path(target);
        *ret = path ? strdup(path) : NULL;
        return path && !*ret ? -ENOMEM : 0;
}

static int read_optional_line(int root_fd, const char *path, char **ret) {
        int r = read_line_at(root_fd, path, ret);

        if (r < 0)
                *ret = NULL;
        return r == -ENOMEM ? r : 0;
}

static int read_disk(int root_fd, const char *name, HostDisk *d) {
        int r;

        d->name = strdup(name);
        if (!d->name)
                return -ENOMEM;

        r = read_device_path(root_fd, PATH_TEXT("sys/block/%s", name), &d->path);
        if (r >= 0 && str_after(name, "nvme"))
                r = read_optional_line(root_fd, PATH_TEXT("sys/block/%s/device/subsysnqn", name), &d->nqn);
        return r;
}

static int read_disks(HostView *view) {
        _cleanup_strv_ char **names = NULL;
        int r;

        r = list_dir_if_exists_at(view->root_fd, "sys/block", &names);
        if (r < 0)
                return r;

        view->disks = calloc(strv_length(names) + 1, sizeof(HostDisk));
        if (!view->disks)
                return -ENOMEM;

        STRV_FOREACH(name, names) {
                if (attribute_is(view->root_fd, PATH_TEXT("sys/block/%s/hidden", *name), "1"))
                        continue;
                r = read_disk(view->root_fd, *name, &view->disks[view->n_disks++]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_controllers(HostView *view) {
        _cleanup_strv_ char **names = NULL;
        int r;

        r = list_dir_if_exists_at(view->root_fd, "sys/class/nvme", &names);
        if (r < 0)
                return r;

        view->controllers = calloc(strv_length(names) + 1, sizeof(HostController));
        if (!view->controllers)
                return -ENOMEM;

        STRV_FOREACH(name, names) {
                HostController *c = &view->controllers[view->n_controllers++];

                c->name = strdup(*name);
                if (!c->name)
                        return -ENOMEM;
                r = read_optional_line(view->root_fd, PATH_TEXT("sys/class/nvme/%s/address", *name),
                                       &c->address);
                if (r >= 0)
                        r = read_optional_line(view->root_fd,
                                               PATH_TEXT("sys/class/nvme/%s/subsysnqn", *name), &c->nqn);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void forget_disks(HostView *view) {
        for (size_t i = 0; i < view->n_disks; i++)
                disk_clear(&view->disks[i]);
        for (size_t i = 0; i < view->n_controllers; i++)
                controller_clear(&view->controllers[i]);
        free(view->disks);
        free(view->controllers);
        view->disks = NULL;
        view->controllers = NULL;
        view->n_disks = view->n_controllers = 0;
        view->has_disks = false;
}

int host_view_disks(HostView *view) {
        int r;

        if (view->has_disks)
                return 0;

        r = read_disks(view);
        if (r >= 0)
                r = read_controllers(view);
        if (r < 0)
                forget_disks(view);
        else
                view->has_disks = true;
        return r;
}

/* --- routes ----------------------------------------------------------------------------------- */

static int compare_routes(const void *a, const void *b) {
        const HostRoute *x = a, *y = b;

        return strcmp(x->interface, y->interface);
}

static int add_route(HostView *view, const HostRoute *route) {
        HostRoute *grown;

        /* The tables come by interface more often than not. */
        if (view->n_routes > 0 && compare_routes(&view->routes[view->n_routes - 1], route) == 0) {
                view->routes[view->n_routes - 1].is_ipv4 |= route->is_ipv4;
                view->routes[view->n_routes - 1].is_default |= route->is_default;
                return 0;
        }

        /* In steps of powers of two. */
        if ((view->n_routes & (view->n_routes - 1)) == 0) {
                grown = reallocarray(view->routes, view->n_routes ? 2 * view->n_routes : 1, sizeof(HostRoute));
                if (!grown)
                        return -ENOMEM;
                view->routes = grown;
        }
        view->routes[view->n_routes++] = *route;
        return 0;
}

#define FOREACH_LINE(line, text) \
        for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')

/* "eth0 00000000 0102A8C0 0003 0 0 0 00000000 0 0 0": interface, destination, gateway, …, mask */
static int add_ipv4_routes(HostView *view, const char *table) {
        int r = 0;

        FOREACH_LINE(line, table) {
                HostRoute route = { .is_ipv4 = true };
                unsigned destination, mask;

                if (sscanf(line, "%15s %x %*x %*x %*d %*d %*d %x", route.interface, &destination, &mask) != 3)
                        continue;
                route.is_default = destination == 0 && mask == 0;
                r = add_route(view, &route);
                if (r < 0)
                        break;
        }
        return r;
}

/* Destination, prefix length, source, its length, next hop, metric, counts, flags, interface.
 * Link-local routes come with every interface that is up, so only the default route tells
 * something. */
static int add_ipv6_routes(HostView *view, const char *table) {
        int r = 0;

        FOREACH_LINE(line, table) {
                HostRoute route = { .is_default = true };
                char destination[33];
                unsigned length;

                if (sscanf(line, "%32s %x %*s %*s %*s %*s %*s %*s %*s %15s", destination, &length,
                           route.interface) != 3 ||
                    length != 0 || strspn(destination, "0") != 32)
                        continue;
                r = add_route(view, &route);
                if (r < 0)
                        break;
        }
        return r;
}

/* One for each interface is left. */
static void merge_routes(HostView *view) {
        size_t kept = 0;

        if (view->n_routes > 0)
                qsort(view->routes, view->n_routes, sizeof(HostRoute), compare_routes);
        for (size_t i = 0; i < view->n_routes; i++) {
                HostRoute *last = kept > 0 ? &view->routes[kept - 1] : NULL;

                if (!last || compare_routes(last, &view->routes[i]) != 0) {
                        view->routes[kept++] = view->routes[i];
                        continue;
                }
                last->is_ipv4 |= view->routes[i].is_ipv4;
                last->is_default |= view->routes[i].is_default;
        }
        view->n_routes = kept;
}

static void forget_routes(HostView *view) {
        free(view->routes);
        view->routes = NULL;
        view->n_routes = 0;
        view->has_routes = false;
}

int host_view_routes(HostView *view) {
        _cleanup_free_ char *ipv4 = NULL, *ipv6 = NULL;
        int r = 0;

        if (view->has_routes)
                return 0;

        if (read_file_at(view->root_fd, "proc/1/net/route", ROUTES_MAX, &ipv4) >= 0)
                r = add_ipv4_routes(view, ipv4);
        if (r >= 0 && read_file_at(view->root_fd, "proc/1/net/ipv6_route", ROUTES_MAX, &ipv6) >= 0)
                r = add_ipv6_routes(view, ipv6);
        if (r < 0) {
                forget_routes(view);
                return r;
        }

        merge_routes(view);
        view->has_routes = true;
        return 0;
}

const HostRoute *host_view_route(const HostView *view, const char *interface) {
        HostRoute wanted = {};

        if (view->n_routes == 0 || strlen(interface) >= sizeof(wanted.interface))
                return NULL;
        strcpy(wanted.interface, interface);
        return bsearch(&wanted, view->routes, view->n_routes, sizeof(HostRoute), compare_routes);
}

/* --- the view --------------------------------------------------------------------------------- */

int host_view_use(HostView *view, const HostUse **ret) {
        int r = view->has_use ? 0 : host_use_read(view->root_fd, &view->use);

        if (r < 0)
                return r;
        view->has_use = true;
        *ret = &view->use;
        return 0;
}

void host_view_clear(HostView *view) {
        host_use_clear(&view->use);
        view->has_use = false;
        forget_disks(view);
        forget_routes(view);
}
