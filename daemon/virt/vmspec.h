/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A VM as vmkit defines it: what becomes the libvirt domain, and what is read back from one. The domain is
 * the only place where it is stored; what libvirt has no element for stands in vmkit's metadata in it. */

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/pci-address.h"

/* A device as the VM remembers it: not only where it was, but what it is. One entry for each function that
 * the guest sees; functions that move along but are not given (bridges never) are not listed. */
typedef struct VmDevice {
        PciAddress address;
        PciAddress requested;   /* the device of the unit that the caller named, or auto chose */
        uint16_t vendor_id, device_id;
        uint16_t subsystem_vendor_id, subsystem_device_id;
        char *kind;             /* "gpu", "nvme", … */
        char *serial;           /* NULL: none known */
        char *slot_path;
        char **allow;           /* overridable codes that the caller took the responsibility for */
        char *rom_path;         /* our own copy of a VBIOS; NULL: none */
        unsigned guest_port;    /* the guest's root port that its slot has; 0: the next free one */
} VmDevice;

/* A NUMA node that the guest sees, and the host's node that its memory comes from. */
typedef struct VmCell {
        unsigned cpus;          /* so many of the guest's, in their order */
        uint64_t memory;        /* bytes; a multiple of 1 KiB */
        unsigned node;
} VmCell;

typedef struct VmSpec {
        char *name;
        char uuid[UUID_TEXT_MAX];
        uid_t owner;
        uint64_t created_at;    /* µs since the epoch */

        uint64_t memory;        /* bytes */
        unsigned cpus;

        char *disk_path;        /* our own copy; NULL: no disk of its own */
        char *disk_format;      /* "raw" or "qcow2" */
        char *base_path;        /* the image of the store that the disk is laid over; NULL: it stands alone */
        char *base_format;
        uint64_t disk_bytes;    /* what the guest sees of it; 0: no disk */
        char *seed_path;        /* cloud-init ISO; NULL: none */
        char *cdrom_path;       /* our own copy; NULL: none */
        char *image;            /* what it was made from, as the caller may see it ("@debian", "file") or NULL */

        VmDevice *devices;
        size_t n_devices;
        char *on_stop;          /* "hold", "host", or "" for the default by kind */

        char *graphics;         /* "none", "spice", "vnc" */
        char *firmware;         /* "uefi", "bios" */
        bool secure_boot, tpm;
        char *network;          /* "none", "user", or a libvirt network */
        unsigned ssh_port;      /* of 127.0.0.1, forwarded to the guest's port 22 (network "user"); 0: none */
        char *user;             /* whom cloud-init was told to make; NULL: the image's own */
        char *pin, *hugepages, *numa; /* as asked for; "none" where not */
        unsigned io_threads;
        char *guest_os;         /* "linux", "windows", "other" */
        bool hide_hypervisor;
        bool autostart;         /* by vmkitd, never by libvirt */

        /* What became of pin, hugepages and numa. */
        unsigned sockets, dies, cores, threads; /* 0: one socket with as many cores as CPUs */
        bool tells_threads;     /* by the CPU feature topoext, which AMD's processors need for it */
        char **cpu_pins;        /* the host's CPUs for each of the guest's, as a list; NULL: any */
        char *emulator_pins;    /* those for QEMU's other threads; NULL: any */
        char *nodes;            /* the host's nodes that memory comes from, as a list; NULL: any */
        VmCell *cells;          /* the guest's nodes; none: it sees no NUMA */
        size_t n_cells;
        uint64_t page_size;     /* bytes of a huge page; 0: the usual pages */
        uint64_t window;        /* bytes of address space for the memory of PCI devices; 0: the machine's default */

        char *domain_type;      /* "kvm" or "qemu" */
} VmSpec;

VmSpec *vm_spec_new(void); /* with strings NULL */
VmSpec *vm_spec_free(VmSpec *spec);
DEFINE_CLEANUP(VmSpec *, vm_spec_free);

/* Appends an empty device and returns it; NULL: out of memory. */
VmDevice *vm_spec_add_device(VmSpec *spec);

int vm_device_copy(const VmDevice *from, VmDevice *ret);
int vm_spec_copy(const VmSpec *from, VmSpec **ret);
void vm_device_clear(VmDevice *d);
/* A copy of it in the place of the one there, or behind the last. */
int vm_spec_set_device(VmSpec *spec, size_t i, const VmDevice *device);
void vm_spec_remove_device(VmSpec *spec, size_t i);
/* NULL: it has none at this address. */
VmDevice *vm_spec_find_device(const VmSpec *spec, const PciAddress *address);

/* Fills in each device's guest_port as vm_spec_to_xml() chooses it, so that it stays when others go. */
int vm_spec_place_devices(VmSpec *spec);
/* Appends a cell; -ENOMEM. */
int vm_spec_add_cell(VmSpec *spec, const VmCell *cell);

/* Built with libxml2's writer; every string is escaped by it. */
int vm_spec_to_xml(const VmSpec *spec, char **ret);

/* From libvirt's domain XML. Memory, CPUs, devices and graphics are read from libvirt's own elements, so
 * that a change made with virsh is seen. -ENODATA: not a domain of vmkit's. */
int vm_spec_from_xml(const char *xml, VmSpec **ret);

/* A domain's definition with the passed devices, and the metadata, of spec instead of its own; all else in it
 * is left as it is. A device that is new in it gets a free port of the guest, and where fewer than usual are
 * spare then, more are added. spec's guest_ports are filled in. */
int vm_spec_edit_xml(const char *xml, VmSpec *spec, char **ret);

/* A port of the guest that is free in both, the running domain and its definition. -ENOSPC: none. */
int vm_spec_find_spare_port(const char *live_xml, const char *definition_xml, unsigned *ret);

/* One device by itself, for attaching to a running domain at its guest_port, and for detaching. */
int vm_device_to_xml(const VmDevice *device, char **ret);

/* The <metadata> element's content alone, for virDomainSetMetadata (autostart changes, …). */
int vm_spec_to_metadata(const VmSpec *spec, char **ret);
#define VMKIT_METADATA_URI "https://vmkit.org/xmlns/domain/1"
#define VMKIT_METADATA_PREFIX "vmkit"
