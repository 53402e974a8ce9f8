/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>

#include "bar.h"
#include "sysfs.h"

#define N_BARS 6               /* further lines are the expansion ROM and windows of bridges */
#define RESOURCE_MEMORY 0x200
#define RESOURCE_MEMORY_64 0x100000

static void add_bar(const char *line, BarRoom *room) {
        uint64_t start, end, flags;

        if (sscanf(line, "%" SCNx64 " %" SCNx64 " %" SCNx64, &start, &end, &flags) != 3)
                return;
        if (!(flags & RESOURCE_MEMORY) || !(flags & RESOURCE_MEMORY_64) || end <= start)
                return;

        uint64_t size = end - start + 1;
        room->total += size;
        room->largest = MAX(room->largest, size);
}

int pci_bar_room(int root_fd, const PciAddress *address, BarRoom *ret) {
        _cleanup_free_ char *text = NULL;
        BarRoom room = {};
        char *rest;
        int r;

        r = read_file_at(root_fd, PATH_TEXT("%s/resource", SYSFS_PCI_PATH(address)), 64 * KIB, &text);
        if (r < 0)
                return r;

        rest = text;
        for (unsigned i = 0; rest && i < N_BARS; i++)
                add_bar(strsep(&rest, "\n"), &room);
        *ret = room;
        return 0;
}
