/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/strv.h"
#include "paths.h"

char *vm_path(const char *uuid, char buffer[PATH_TEXT_MAX]) {
        char *p = stpcpy(buffer, VM_PREFIX "/");

        for (; *uuid; uuid++)
                if (*uuid != '-')
                        *p++ = *uuid;
        *p = '\0';
        return buffer;
}

char *device_path(const PciAddress *address, char buffer[PATH_TEXT_MAX]) {
        char *p = stpcpy(buffer, DEVICE_PREFIX "/");

        strcpy(p, PCI_ADDRESS_TEXT(address));
        for (; *p; p++)
                if (*p == ':' || *p == '.')
                        *p = '_';
        return buffer;
}

char *job_path(uint64_t id, char buffer[PATH_TEXT_MAX]) {
        snprintf(buffer, PATH_TEXT_MAX, JOB_PREFIX "/%llu", (unsigned long long) id);
        return buffer;
}

Vm *vm_from_path(const Manager *m, const char *path) {
        for (size_t i = 0; i < m->n_vms; i++)
                if (streq(VM_PATH(m->vms[i]), path))
                        return m->vms[i];
        return NULL;
}

Device *device_from_path(const Manager *m, const char *path) {
        const char *name = str_after(path, DEVICE_PREFIX "/");
        char text[PCI_ADDRESS_TEXT_MAX];
        PciAddress address;
        unsigned separators = 0;

        if (!name || strlen(name) >= sizeof(text))
                return NULL;

        strcpy(text, name);
        for (char *p = text; *p; p++)
                if (*p == '_')
                        *p = separators++ < 2 ? ':' : '.';

        /* Only the canonical path names the device. */
        if (pci_address_parse(text, &address) < 0 || !streq(DEVICE_PATH(&address), path))
                return NULL;
        return devices_find(m, &address);
}

Job *job_from_path(const Manager *m, const char *path) {
        const char *name = str_after(path, JOB_PREFIX "/");
        uint64_t id;

        if (!name || parse_uint(name, 10, UINT64_MAX, &id) < 0)
                return NULL;

        Job *job = manager_find_job(m, id);
        return job && streq(JOB_PATH(job), path) ? job : NULL;
}

int find_vm(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
            sd_bus_error *error) {
        const Bus *b = userdata;

        *ret = vm_from_path(b->manager, path);
        return *ret != NULL;
}

int find_device(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
                sd_bus_error *error) {
        const Bus *b = userdata;

        *ret = device_from_path(b->manager, path);
        return *ret != NULL;
}

int find_job(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
             sd_bus_error *error) {
        const Bus *b = userdata;

        *ret = job_from_path(b->manager, path);
        return *ret != NULL;
}

int enumerate_objects(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *error) {
        const Bus *b = userdata;
        const Manager *m = b->manager;
        size_t n = 0;

        char **paths = calloc(devices_count(m) + m->n_vms + m->n_jobs + 1, sizeof(char *));
        if (!paths)
                return -ENOMEM;

        for (size_t i = 0; i < devices_count(m); i++)
                paths[n++] = strdup(DEVICE_PATH(&m->devices.items[i]->pci->address));
        for (size_t i = 0; i < m->n_vms; i++)
                paths[n++] = strdup(VM_PATH(m->vms[i]));
        for (size_t i = 0; i < m->n_jobs; i++)
                paths[n++] = strdup(JOB_PATH(m->jobs[i]));

        for (size_t i = 0; i < n; i++)
                if (!paths[i]) {
                        for (size_t k = 0; k < n; k++)
                                free(paths[k]);
                        free(paths);
                        return -ENOMEM;
                }

        *ret = paths;
        return 0;
}
