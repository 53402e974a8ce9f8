/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The block devices behind a function, and what the kernel has stacked on them. From sysfs
 * alone. */

#include <sys/types.h>

#include "base/util.h"

typedef enum BlockType {
        BLOCK_DISK,
        BLOCK_PARTITION,
        BLOCK_LVM,
        BLOCK_CRYPT,
        BLOCK_MULTIPATH,
        BLOCK_MAPPER,    /* any other device-mapper target */
        BLOCK_MD,
        BLOCK_BCACHE,
        BLOCK_HOLDER,    /* anything else that holds a device below it */
} BlockType;

typedef struct BlockNode {
        BlockType type;
        char *name;      /* in sysfs: "dm-3" */
        char *sysfs;     /* "sys/block/nvme0n1/nvme0n1p1" */
        char *path;      /* "/dev/nvme0n1p1", "/dev/mapper/vg-data" */
        dev_t number;    /* 0: unknown */
        size_t below;    /* index of what it lies on; its own for a disk */
} BlockNode;

/* A disk, its partitions, and recursively whatever holds one of them. The disk comes first, and
 * everything after what it lies on. */
typedef struct BlockTree {
        BlockNode *nodes;
        size_t n;
} BlockTree;

int block_tree_read(int root_fd, const char *disk, BlockTree *ret);
void block_tree_clear(BlockTree *tree);
#define _cleanup_block_tree_ _cleanup_(block_tree_clear)

/* Whether the node is of the disk itself and not stacked on it. */
static inline bool block_node_is_own(const BlockNode *node) {
        return node->type == BLOCK_DISK || node->type == BLOCK_PARTITION;
}
