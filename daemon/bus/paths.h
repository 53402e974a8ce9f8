/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Object paths, and the objects behind them. A path is looked up anew each time it is used. */

#include "bus.h"

#define VM_PREFIX "/org/vmkit/vm"
#define DEVICE_PREFIX "/org/vmkit/device"
#define JOB_PREFIX "/org/vmkit/job"

#define PATH_TEXT_MAX 80

/* Each writes into buffer and returns it. */
char *vm_path(const char *uuid, char buffer[PATH_TEXT_MAX]);
char *device_path(const PciAddress *address, char buffer[PATH_TEXT_MAX]);
char *job_path(uint64_t id, char buffer[PATH_TEXT_MAX]);

#define VM_PATH(vm) vm_path((vm)->spec->uuid, (char[PATH_TEXT_MAX]) {})
#define DEVICE_PATH(address) device_path((address), (char[PATH_TEXT_MAX]) {})
#define JOB_PATH(job) job_path((job)->id, (char[PATH_TEXT_MAX]) {})

/* NULL: there is no such object. */
Vm *vm_from_path(const Manager *m, const char *path);
Device *device_from_path(const Manager *m, const char *path);
Job *job_from_path(const Manager *m, const char *path);

/* sd_bus_object_find_t with the Bus as userdata, and the enumerator of all of them. */
int find_vm(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
            sd_bus_error *error);
int find_device(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
                sd_bus_error *error);
int find_job(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
             sd_bus_error *error);
int enumerate_objects(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *error);
