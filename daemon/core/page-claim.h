/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Huge pages that a VM needs beyond those that are free: how many were made for it on which node, written
 * down before they are made, so that whoever finds the record can give them back. These functions do the
 * reading and writing, and block while the kernel moves memory about: they are for a worker. */

#include <stdint.h>

#include "base/error.h"
#include "base/parse.h"

typedef struct PageNeed {
        unsigned node;
        uint64_t size;          /* bytes of a page */
        uint64_t pages;         /* so many the guest takes */
        uint64_t promised;      /* of those that look free, to VMs that have not taken them yet */
} PageNeed;

typedef struct PageHost {
        int root_fd;            /* of the host */
        int records_fd;         /* the directory of records */
        bool has_numa;
        const char *boot_id;
} PageHost;

/* Makes what is missing, or nothing. *ret_made: pages were made, so there is a record. *cancel is looked at in
 * between. InsufficientMemory, Cancelled. */
int pages_take(const PageHost *host, const char *uuid, const PageNeed *needs, size_t n, const bool *cancel,
               bool *ret_made, Error *error);

/* Gives back what the record says was made; does nothing without one. */
int pages_give_back(const PageHost *host, const char *uuid);

/* The VMs that have records. */
int pages_list(int records_fd, char ***ret_uuids);
