/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Processors and memory of machines that exist, written into a tree as their kernels show them. */

#include "tree.h"

/* One socket, 8 cores with 2 threads (N and N+8), one cache, one node of 32 GiB. */
void machine_desktop(Tree *t);
/* Two sockets, each a node of 64 GiB with 8 cores: 0-7,16-23 and 8-15,24-31. */
void machine_two_sockets(Tree *t);
/* One socket and node, 16 cores with 2 threads (N and N+16) in chiplets of 4 that share a cache. */
void machine_chiplets(Tree *t);
/* 8 performance cores with 2 threads (0-1, 2-3, …, 14-15), 8 efficiency cores (16-23), one cache and node. */
void machine_hybrid(Tree *t);
/* 4 cores of one thread in a kernel without NUMA. */
void machine_plain(Tree *t);
/* The two sockets, but the second has no memory. */
void machine_memoryless(Tree *t);

/* Which hugetlbfs are mounted: with pages of 2M, of 1G. All machines have both. */
void machine_mount_pages(Tree *t, bool small, bool large);
void machine_set_offline(Tree *t, unsigned cpu, const char *online);
void machine_set_memory(Tree *t, unsigned node, unsigned total_gib, unsigned free_gib);
void machine_set_pages(Tree *t, unsigned node, unsigned kib, unsigned total, unsigned free);
