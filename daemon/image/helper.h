/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The operations of vmkit-image, one run each. request is what the task sent; the descriptor handed
 * over, if the operation takes one, is HANDED_FD. */

#include <json-c/json.h>

#include "image.h"

#define HANDED_FD 3
#define SECOND_FD 4

int operation_copy(struct json_object *request, ImageInfo *ret, Error *error);
int operation_flatten(struct json_object *request, ImageInfo *ret, Error *error);
int operation_empty(struct json_object *request, ImageInfo *ret, Error *error);
int operation_seed(struct json_object *request, ImageInfo *ret, Error *error);

/* The descriptor is that of a regular file, open for reading. option is its name to the caller. */
int handed_file_check(const char *option, uint64_t *ret_size, Error *error);

/* A number of bytes in the request; 0 if there is none. */
uint64_t request_size(struct json_object *request, const char *key);

/* What QEMU wants the size of a disk to be: a multiple of 512. */
static inline uint64_t whole_sectors(uint64_t size) {
        return (size + 511) & ~UINT64_C(511);
}

/* Opens the directory of the request. */
int open_target(struct json_object *request, Error *error);

/* 1 if target now has the blocks of source, 0 if the file system cannot share them. */
int reflink(int source, int target, uint64_t size, Error *error);

/* Copies the first size bytes, holes as holes. Reports progress. */
int transfer(int source, int target, uint64_t size, Error *error);

/* Runs a program of PATH with exactly that command line and waits for it. It has extra_fd
 * under its own number (below 0: none) and no more; what it prints is not read. */
int run_tool(const char *const argv[], int extra_fd, const char *package, Error *error);

int tool_missing(const char *tool, const char *package, Error *error);
void log_tool_messages(const char *tool, int fd);

/* Converts source, a file of ours in the format driver (what: in words), into target, an empty one: qcow2. */
int convert(int source, uint64_t size, int target, const char *driver, const char *what, Error *error);

/* Converts the overlay in fd, over the base in base_fd, into target, an empty file: one qcow2. */
int flatten(int fd, int base_fd, const char *base_format, int target, Error *error);

/* root without its capabilities, here and in what is run from here: none of this needs them, but for reading
 * (may_read) what belongs to QEMU's user. */
int drop_capabilities(bool may_read);
