/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a caller asks for when it plans or creates a VM: the options of the contract, as they were given. */

#include "base/pci-address.h"
#include "image/image.h"


/* The file of a VBIOS for a device. */
typedef struct VmRom {
        PciAddress address;
        int fd;
} VmRom;

typedef struct VmRequest {
        char *name;
        uid_t caller;

        uint64_t memory;
        unsigned cpus;
        int image;              /* -EBADF: none */
        char *image_name;
        int cdrom;              /* -EBADF: none */
        uint64_t disk_size;     /* 0: the image's */
        char **gpu, **nvme, **passthrough;
        char **chosen;          /* those of passthrough that `auto` stood for */
        char *on_stop;          /* "": by kind */
        char **allow;
        char *graphics, *firmware;
        bool secure_boot, tpm;
        bool has_cloud_init;
        CloudInit cloud_init;
        char *network;          /* NULL: not said */
        char *pin, *hugepages, *numa;
        unsigned io_threads;
        char *guest_os;
        bool hide_hypervisor;
        VmRom *roms;
        size_t n_roms;
        bool autostart, start;
} VmRequest;

/* With every default. NULL: out of memory. */
VmRequest *vm_request_new(void);
VmRequest *vm_request_free(VmRequest *request);
DEFINE_CLEANUP(VmRequest *, vm_request_free);

/* Takes the descriptor, also on failure. InvalidAddress, InvalidOption. */
int vm_request_add_rom(VmRequest *request, const char *address, int fd, Error *error);

/* Only codes that can be overridden. InvalidOption. */
int allow_check(char *const *allow, Error *error);

/* Judges every value by itself, without looking at the host: InvalidName, InvalidOption, InvalidAddress. */
int vm_request_check(const VmRequest *request, Error *error);
