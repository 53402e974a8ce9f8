/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the layer shares about the shape of sysfs. */

#include "base/io.h"
#include "pci.h"

/* The device path in the target of a sysfs link ("../../devices/pci0000:00/…/net/eth0": what
 * follows "devices/"), or NULL. Points into target. */
const char *sysfs_device_path(const char *target);

/* Whether the device of a class link ("sys/class/net/eth0") is this function or below it. */
bool sysfs_link_is_below(int root_fd, const char *link, const PciDevice *device);
bool sysfs_path_is_below(const char *device_path, const PciDevice *device);

/* The directory of the function, for open_dir_at() and as a prefix:
 * "sys/bus/pci/devices/0000:01:00.0". */
#define SYSFS_PCI_PATH_MAX 64
char *sysfs_pci_path(const PciAddress *address, char buffer[SYSFS_PCI_PATH_MAX]);
#define SYSFS_PCI_PATH(a) sysfs_pci_path((a), (char[SYSFS_PCI_PATH_MAX]) {})

/* A path put together for the time of the enclosing block. One that would not fit names nothing. */
#define PATH_TEXT_MAX 768
char *path_format(char buffer[PATH_TEXT_MAX], const char *format, ...) _printf_(2, 3);
#define PATH_TEXT(...) path_format((char[PATH_TEXT_MAX]) {}, __VA_ARGS__)

/* Attributes that may be missing. */
bool path_exists_at(int dir_fd, const char *path);
bool attribute_is(int dir_fd, const char *path, const char *value);

/* "259:3" */
int parse_device_number(const char *s, dev_t *ret);
int read_device_number_at(int dir_fd, const char *path, dev_t *ret);

/* Like list_dir_at(), but an absent directory is an empty one. */
int list_dir_if_exists_at(int dir_fd, const char *path, char ***ret);
