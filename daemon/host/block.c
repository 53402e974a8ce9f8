/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* /sys/block/DISK has a directory for each partition and, in holders/, a link to each device that
 * is made of it; those have partitions and holders again. */

#include "base/strv.h"
#include "block.h"
#include "sysfs.h"

/* More than any real stack has; what is beyond is not needed to say that the disk is in use. */
#define NODES_MAX 1024

static void block_node_clear(BlockNode *node) {
        free(node->name);
        free(node->sysfs);
        free(node->path);
        *node = (BlockNode) {};
}

static BlockType mapper_type(int root_fd, const char *sysfs) {
        static const struct {
                const char *prefix;
                BlockType type;
        } prefixes[] = {
                { "LVM-", BLOCK_LVM },
                { "CRYPT-", BLOCK_CRYPT },
                { "mpath-", BLOCK_MULTIPATH },
        };
        _cleanup_free_ char *uuid = NULL;

        if (read_line_at(root_fd, PATH_TEXT("%s/dm/uuid", sysfs), &uuid) < 0)
                return BLOCK_MAPPER;

        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++)
                if (str_after(uuid, prefixes[i].prefix))
                        return prefixes[i].type;
        return BLOCK_MAPPER;
}

static BlockType holder_type(int root_fd, const char *name, const char *sysfs) {
        if (path_exists_at(root_fd, PATH_TEXT("%s/dm", sysfs)))
                return mapper_type(root_fd, sysfs);
        if (path_exists_at(root_fd, PATH_TEXT("%s/md", sysfs)))
                return BLOCK_MD;
        return str_after(name, "bcache") ? BLOCK_BCACHE : BLOCK_HOLDER;
}

/* The name that people know: device-mapper nodes have one of their own; sysfs writes '/' as '!'. */
static char *node_path(int root_fd, const char *name, const char *sysfs) {
        _cleanup_free_ char *mapped = NULL;
        char *path;

        if (read_line_at(root_fd, PATH_TEXT("%s/dm/name", sysfs), &mapped) >= 0 &&
            !str_empty(mapped))
                return asprintf(&path, "/dev/mapper/%s", mapped) < 0 ? NULL : path;

        if (asprintf(&path, "/dev/%s", name) < 0)
                return NULL;
        for (char *c = path; *c; c++)
                if (*c == '!')
                        *c = '/';
        return path;
}

static bool tree_contains(const BlockTree *tree, const char *name) {
        for (size_t i = 0; i < tree->n; i++)
                if (streq(tree->nodes[i].name, name))
                        return true;
        return false;
}

static int tree_add(int root_fd, BlockTree *tree, BlockType type, const char *name,
                    const char *sysfs, size_t below) {
        if (tree->n >= NODES_MAX || tree_contains(tree, name))
                return 0;

        BlockNode *grown = reallocarray(tree->nodes, tree->n + 1, sizeof(BlockNode));
        if (!grown)
                return -ENOMEM;
        tree->nodes = grown;

        BlockNode node = {
                .type = type,
                .name = strdup(name),
                .sysfs = strdup(sysfs),
                .path = node_path(root_fd, name, sysfs),
                .below = below,
        };
        if (!node.name || !node.sysfs || !node.path) {
                block_node_clear(&node);
                return -ENOMEM;
        }

        if (read_device_number_at(root_fd, PATH_TEXT("%s/dev", sysfs), &node.number) < 0)
                node.number = 0;

        tree->nodes[tree->n++] = node;
        return 0;
}

static int add_partitions(int root_fd, BlockTree *tree, size_t of) {
        _cleanup_free_ char *disk = strdup(tree->nodes[of].sysfs);
        _cleanup_strv_ char **entries = NULL;
        int r;

        if (!disk)
                return -ENOMEM;

        r = list_dir_if_exists_at(root_fd, disk, &entries);
        STRV_FOREACH(entry, entries) {
                if (r < 0)
                        return r;
                if (!path_exists_at(root_fd, PATH_TEXT("%s/%s/partition", disk, *entry)))
                        continue;
                r = tree_add(root_fd, tree, BLOCK_PARTITION, *entry,
                             PATH_TEXT("%s/%s", disk, *entry), of);
        }
        return r;
}

static int add_holders(int root_fd, BlockTree *tree, size_t of) {
        _cleanup_strv_ char **holders = NULL;
        int r;

        r = list_dir_if_exists_at(root_fd, PATH_TEXT("%s/holders", tree->nodes[of].sysfs),
                                  &holders);
        STRV_FOREACH(holder, holders) {
                const char *sysfs = PATH_TEXT("sys/block/%s", *holder);
                if (r < 0)
                        return r;
                r = tree_add(root_fd, tree, holder_type(root_fd, *holder, sysfs), *holder, sysfs,
                             of);
        }
        return r;
}

int block_tree_read(int root_fd, const char *disk, BlockTree *ret) {
        _cleanup_block_tree_ BlockTree tree = {};
        int r;

        r = tree_add(root_fd, &tree, BLOCK_DISK, disk, PATH_TEXT("sys/block/%s", disk), 0);

        /* The tree grows while it is walked. */
        for (size_t i = 0; r >= 0 && i < tree.n; i++) {
                if (tree.nodes[i].type != BLOCK_PARTITION)
                        r = add_partitions(root_fd, &tree, i);
                if (r >= 0)
                        r = add_holders(root_fd, &tree, i);
        }
        if (r < 0)
                return r;

        *ret = tree;
        tree = (BlockTree) {};
        return 0;
}

void block_tree_clear(BlockTree *tree) {
        for (size_t i = 0; i < tree->n; i++)
                block_node_clear(&tree->nodes[i]);
        free(tree->nodes);
        *tree = (BlockTree) {};
}
