/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which processes have a device node open or mapped. Looks into every process, so only for the
 * device helper. */

#include <sys/types.h>

#include "base/util.h"

typedef struct DeviceNode {
        char *path;             /* "/dev/dri/card0" */
        dev_t number;
        bool block;             /* otherwise a character device */
} DeviceNode;

typedef struct DeviceNodes {
        DeviceNode *items;
        size_t n;
} DeviceNodes;

/* Adds the node whose sysfs directory (relative to root_fd) has the attribute "dev". 0 also if it
 * has none. */
int device_nodes_add(DeviceNodes *nodes, int root_fd, const char *sysfs, const char *path,
                     bool block);
int device_nodes_add_number(DeviceNodes *nodes, const char *path, dev_t number, bool block);
void device_nodes_clear(DeviceNodes *nodes);
#define _cleanup_device_nodes_ _cleanup_(device_nodes_clear)

typedef struct Holder {
        pid_t pid;
        char *command;          /* as /proc/PID/comm has it */
        char *unit;             /* systemd unit; NULL if unknown */
        char *path;             /* of the first node it holds */
} Holder;

typedef struct Holders {
        Holder *items;
        size_t n;
        uint64_t looked_at;     /* when the look began that found no more than these; µs, monotonic */
} Holders;

/* Once per process; leaves out this process and its parent. Processes that end meanwhile are left
 * out. */
int holders_find(int root_fd, const DeviceNodes *nodes, Holders *ret);

/* The same, but waits for those to end that only probe (udev), up to a limit. */
int holders_find_settled(int root_fd, const DeviceNodes *nodes, Holders *ret);

void holders_clear(Holders *holders);
#define _cleanup_holders_ _cleanup_(holders_clear)
