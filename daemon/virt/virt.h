/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libvirt, away from the loop: a connection for events that comes back by itself, and calls that run on
 * workers with connections of their own and answer by callback. No libvirt type leaves this folder. */

#include <systemd/sd-event.h>

#include "base/worker.h"
#include "vmspec.h"

typedef struct Virt Virt;

typedef enum DomainState {
        DOMAIN_STOPPED,
        DOMAIN_RUNNING,
        DOMAIN_PAUSED,
        DOMAIN_SUSPENDED,  /* by the guest (S3) */
        DOMAIN_STOPPING,   /* shutting down, QEMU still there */
        DOMAIN_CRASHED,
        DOMAIN_UNKNOWN,
        _DOMAIN_STATE_MAX,
} DomainState;

const char *domain_state_to_string(DomainState state);

/* A domain of vmkit's as libvirt has it now. */
typedef struct DomainInfo {
        VmSpec *spec;
        DomainState state;
        const char *stopped_for; /* as in changed(), where libvirt still knows */
} DomainInfo;

typedef struct VirtHandler {
        /* Connected (again): all domains that carry our metadata. The callee takes the specs it wants by
         * setting them to NULL. */
        void (*connected)(DomainInfo *domains, size_t n, void *userdata);
        void (*disconnected)(void *userdata);

        /* A domain's state changed, or one was defined (spec set; the callee may take it) or is gone
         * (gone true). stopped_for is libvirt's reason in words for DOMAIN_STOPPED ("shutdown",
         * "destroyed", "crashed", "failed"), else NULL. DOMAIN_STOPPED comes only after QEMU has ended, and
         * gone only then too. Also called for domains that are not ours: their UUIDs mean nothing. */
        void (*changed)(const char *uuid, DomainState state, VmSpec **spec, bool gone,
                        const char *stopped_for, void *userdata);

        /* Whether nothing that happens to a domain has to be told at once: none runs, and nothing waits for what
         * becomes of one. NULL: never. */
        bool (*may_rest)(void *userdata);
} VirtHandler;

/* Starts connecting at once, and again (at growing intervals up to 5 s) whenever the connection is lost. While
 * nothing has to be told it is given up, see rest.h: for the outside that is being connected all the same. */
int virt_new(sd_event *event, WorkerPool *workers, const char *uri, const VirtHandler *handler,
             void *userdata, Virt **ret);
Virt *virt_free(Virt *virt);
DEFINE_CLEANUP(Virt *, virt_free);
bool virt_is_connected(const Virt *virt);
/* Not connected, but an attempt is under way: libvirtd may be at its start. */
bool virt_is_being_asked(const Virt *virt);
const char *virt_uri(const Virt *virt);

/* Exactly one call of done() on the loop for each request that was accepted (r >= 0). error is set when
 * r < 0, with libvirt's and QEMU's text translated into a code and a sentence; the original text has been
 * logged. Not accepted: LibvirtUnavailable at once, set in error. */
typedef void (*VirtDone)(int r, const Error *error, void *userdata);

int virt_define(Virt *virt, const char *xml, VirtDone done, void *userdata, Error *error);
int virt_undefine(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error); /* NVRAM too */
int virt_start(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error);
int virt_shutdown(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error); /* asks */
int virt_destroy(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error);  /* cuts off */
int virt_reboot(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error);
int virt_suspend(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error);
int virt_resume(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error);
/* Writes the metadata of a defined domain (persistent, and live when it runs). */
int virt_set_metadata(Virt *virt, const char *uuid, const char *metadata, VirtDone done, void *userdata,
                      Error *error);

/* Changing passed devices, and what the metadata says of them. Whatever else the definition has stays.
 *   replace  in the definition, each of the devices from (known by their addresses) by the one of to at the
 *            same place; more of from than of to: they go; more of to: they are added
 *   attach   adds one that is the only one of its slot to the definition, and plugs it into the running
 *            domain. LimitExceeded: no port is spare. On failure the definition is as it was.
 *   detach   asks the guest to let one go. done() says only that it was asked; changed() tells when it has
 *            gone, which may be much later, or never. */
int virt_replace_devices(Virt *virt, const char *uuid, const VmDevice *from, size_t n_from,
                         const VmDevice *to, size_t n_to, VirtDone done, void *userdata, Error *error);
int virt_attach_device(Virt *virt, const char *uuid, const VmDevice *device, VirtDone done, void *userdata,
                       Error *error);
int virt_detach_device(Virt *virt, const char *uuid, const VmDevice *device, VirtDone done, void *userdata,
                       Error *error);

/* Has changed() called soon with what the domain's definition is from now on: earlier looks under way are
 * taken again. */
void virt_look_again(Virt *virt, const char *uuid);

/* fd: one end of a socket pair, owned by the callee (-EBADF on failure). The other end is relayed to the
 * guest's console with bounded buffers until either side ends. A second viewer gets Busy. */
typedef void (*VirtFdDone)(int r, int fd, const Error *error, void *userdata);
int virt_open_console(Virt *virt, const char *uuid, VirtFdDone done, void *userdata, Error *error);
/* A connection to the domain's graphics (virDomainOpenGraphicsFD). */
int virt_open_display(Virt *virt, const char *uuid, VirtFdDone done, void *userdata, Error *error);

typedef struct GuestAddress {
        char *family;  /* "ipv4", "ipv6" */
        char *address;
} GuestAddress;
typedef void (*VirtAddressesDone)(int r, const GuestAddress *addresses, size_t n, const Error *error,
                                  void *userdata);
/* From DHCP leases and the guest agent, whichever knows. */
int virt_get_addresses(Virt *virt, const char *uuid, VirtAddressesDone done, void *userdata, Error *error);

/* What libvirt and its QEMU can do; refreshed at each connect. NULL before the first. */
typedef struct VirtCapabilities {
        bool kvm;                  /* domain type kvm is offered */
        bool uefi, secure_boot;    /* firmware for q35 is installed */
        bool tpm;                  /* swtpm 2.0 is usable */
        bool spice, vnc;
        bool passt;                /* user networking can forward ports */
        char **networks;           /* active ones */
        unsigned long version;     /* libvirt's: 1000000 * major + 1000 * minor + release */
} VirtCapabilities;
const VirtCapabilities *virt_capabilities(const Virt *virt);
