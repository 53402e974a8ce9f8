/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files relative to a directory descriptor. Paths never begin with '/', so that a test's directory can
 * stand in for the root. All return 0 (or what is said) or a negative errno. */

#include <stdint.h>
#include <sys/types.h>

#include "util.h"

/* The whole file as a string, at most max bytes (-EFBIG above). Trailing newlines stay. */
int read_file_at(int dir_fd, const char *path, size_t max, char **ret);

/* The first line without its newline, for sysfs attributes (at most 4096 bytes). */
int read_line_at(int dir_fd, const char *path, char **ret);

/* One number, as sysfs writes it: decimal, or hexadecimal behind "0x". */
int read_uint_at(int dir_fd, const char *path, uint64_t *ret);

/* The target of a symbolic link; read_link_name_at() only its last component. */
int read_link_at(int dir_fd, const char *path, char **ret);
int read_link_name_at(int dir_fd, const char *path, char **ret);

/* One write(2) of the string to an existing file, as sysfs wants it. */
int write_attribute_at(int dir_fd, const char *path, const char *value);

/* Replaces the file by rename, with data and directory on disk before it returns. */
int write_file_atomic_at(int dir_fd, const char *name, const char *content, mode_t mode);

/* Removes the file and makes that durable. 0 also if there is none. */
int remove_file_at(int dir_fd, const char *name);

/* The names in a directory but for those that begin with '.', sorted. */
int list_dir_at(int dir_fd, const char *path, char ***ret);

/* Opens a directory for use as dir_fd. */
int open_dir_at(int dir_fd, const char *path);

/* All of the buffer, or an error. */
int write_all(int fd, const void *data, size_t size);

/* Removes the directory at path, whose descriptor is fd, with all the files in it. A directory in it is an
 * error: ours have none. */
int remove_flat_dir_at(int dir_fd, const char *path, int fd);
