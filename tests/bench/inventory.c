/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* inventory DIR: the time that a cold inventory of DIR/sys takes, beside the same system calls with nothing
 * around them: what reading that much costs at all. Best of several. */

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "base/io.h"
#include "base/strv.h"
#include "host/pci.h"

#define ROUNDS 5

static double now(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static void read_file(int dir_fd, const char *name) {
        char buffer[4096];
        int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);

        if (fd >= 0 && read(fd, buffer, sizeof(buffer)) < 0)
                perror(name);
        close_fd(fd);
}

static void read_link(int dir_fd, const char *name) {
        char buffer[4096];

        if (readlinkat(dir_fd, name, buffer, sizeof(buffer)) < 0 && errno != ENOENT)
                perror(name);
}

static void walk_one(int bus_fd, const char *address) {
        static const char *const files[] = { "modalias", "reset_method", "numa_node" };
        static const char *const links[] = { "driver", "iommu_group", "physfn" };
        int dir_fd;

        read_link(bus_fd, address);
        dir_fd = openat(bus_fd, address, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return;

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                read_file(dir_fd, files[i]);
        for (size_t i = 0; i < ELEMENTSOF(links); i++)
                read_link(dir_fd, links[i]);
        if (faccessat(dir_fd, "secondary_bus_number", F_OK, 0) < 0 && errno != ENOENT)
                perror(address);
        close_fd(dir_fd);
}

static int walk(int root_fd) {
        _cleanup_close_ int bus_fd = open_dir_at(root_fd, "sys/bus/pci/devices");
        _cleanup_strv_ char **addresses = NULL;
        int r = bus_fd < 0 ? bus_fd : list_dir_at(bus_fd, ".", &addresses);

        STRV_FOREACH(address, addresses)
                walk_one(bus_fd, *address);
        return r;
}

static int take_inventory(int root_fd) {
        _cleanup_(inventory_freep) Inventory *inventory = NULL;

        return inventory_read(root_fd, &inventory);
}

static int take_units(int root_fd) {
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        int r = inventory_read(root_fd, &inventory);

        for (size_t i = 0; r >= 0 && i < inventory->n_devices; i++) {
                _cleanup_device_list_ DeviceList unit = {};

                r = inventory_unit(inventory, inventory->devices[i], &unit);
        }
        return r;
}

/* Seconds, or below 0. */
static double best_of(int (*what)(int root_fd), int root_fd) {
        double best = -1;

        for (unsigned i = 0; i < ROUNDS; i++) {
                double began = now();

                if (what(root_fd) < 0)
                        return -1;
                double took = now() - began;
                best = best < 0 || took < best ? took : best;
        }
        return best;
}

int main(int argc, char *argv[]) {
        _cleanup_close_ int root_fd = argc == 2 ? open_dir_at(AT_FDCWD, argv[1]) : -EBADF;

        if (root_fd < 0) {
                fputs("usage: inventory DIR\n", stderr);
                return 2;
        }
        printf("{\"walk\": %.6f, \"inventory\": %.6f, \"with_units\": %.6f}\n", best_of(walk, root_fd),
               best_of(take_inventory, root_fd), best_of(take_units, root_fd));
        return 0;
}
