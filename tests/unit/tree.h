/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A host made of files: a temporary directory with sys/, proc/ and etc/ as a kernel would show
 * them, for what reads relative to a root directory. Attributes end in a newline and say "0x8086",
 * "(null)" or "-1" as real ones do; devices are directories below sys/devices, everything else
 * leads there by relative links. A failure to build it ends the program. */

#include <stdbool.h>

#include "base/util.h"

typedef struct Tree {
        char *path;
        int fd;
} Tree;

/* An empty host: no PCI, PID 1 in the initial mount namespace with nothing mounted. */
Tree *tree_new(void);
Tree *tree_free(Tree *t);
DEFINE_CLEANUP(Tree *, tree_free);
#define _cleanup_tree_ _cleanup_(tree_freep)

/* Paths are relative to the host's root; missing directories are made. */
void tree_write(Tree *t, const char *path, const char *format, ...) _printf_(3, 4);
void tree_write_bytes(Tree *t, const char *path, const void *data, size_t size);
void tree_mkdir(Tree *t, const char *path);
void tree_symlink(Tree *t, const char *path, const char *target); /* target as it stands */
void tree_link(Tree *t, const char *path, const char *to); /* relative link to a path of the tree */
void tree_remove(Tree *t, const char *path);
char *tree_read(Tree *t, const char *path); /* allocated; NULL: none */
bool tree_exists(Tree *t, const char *path);

/* --- PCI -------------------------------------------------------------------------------------- */

typedef struct TreeFunction {
        const char *below; /* "pci0000:00" or the path of a bridge; NULL: the first root bus */
        const char *address;
        unsigned vendor, device, subsystem_vendor, subsystem_device, class;
        const char *driver;       /* NULL: none */
        int group;                /* 0: none; groups count from 1 here */
        bool bridge;              /* a bridge's header */
        const char *boot_vga;     /* NULL: no such file */
        const char *reset_method; /* NULL: no such file */
        const char *physfn;       /* address of the physical function */
} TreeFunction;

/* Returns the path below sys/devices ("pci0000:00/0000:00:02.0/0000:01:00.0"), allocated. */
char *tree_add_function(Tree *t, const TreeFunction *f);
void tree_add_driver(Tree *t, const char *name);
void tree_set_driver(Tree *t, const char *address, const char *driver); /* NULL: unbinds */
void tree_add_iommu(Tree *t, const char *name);                         /* "dmar0" */

/* --- block devices; device is a path below sys/devices ---------------------------------------- */

void tree_add_disk(Tree *t, const char *device, const char *disk, const char *number);
void tree_add_partition(Tree *t, const char *disk, const char *partition, const char *number);
void tree_add_holder(Tree *t, const char *of, const char *holder, const char *number);

/* An NVMe controller of a function, with the subsystem it is in. */
void tree_add_controller(Tree *t, const char *function, const char *controller, const char *nqn);
/* What it says of its state and its serial number. state NULL: a kernel that does not tell it. */
void tree_set_controller(Tree *t, const char *function, const char *controller, const char *state,
                         const char *serial);
/* A namespace reached through that controller alone. */
void tree_add_namespace(Tree *t, const char *function, const char *controller, const char *disk,
                        const char *number);
/* A namespace with native multipath: the visible node is the subsystem's, the controller has a
 * hidden one. */
void tree_add_multipath_namespace(Tree *t, const char *function, const char *controller,
                                  const char *nqn, const char *hidden, const char *disk,
                                  const char *number);

/* --- processes -------------------------------------------------------------------------------- */

void tree_add_process(Tree *t, int pid, const char *comm, const char *cgroup,
                      const char *mount_namespace);
/* A descriptor of the process that leads to what target is on the machine of the test; flags as for
 * open(). */
void tree_open(Tree *t, int pid, int fd, const char *target, int flags);
void tree_close(Tree *t, int pid, int fd);
void tree_map(Tree *t, int pid, const char *range, const char *target); /* "7f00-7f01" */
void tree_mount(Tree *t, int pid, const char *number, const char *point, const char *type,
                const char *source); /* as mountinfo escapes them; options may follow the source */
