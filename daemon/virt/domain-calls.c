/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The requests of virt.h, each a few lines of libvirt on a worker. */

#include <arpa/inet.h>
#include <libvirt/virterror.h>

#include "connection.h"
#include "console.h"

#define AGENT_TIMEOUT_SEC 2
#define ADDRESSES_MAX 64

static int check_result(Call *call, int result) {
        return result < 0 ? call_fail(call) : 0;
}

static int run_define(Call *call) {
        virDomainPtr domain = virDomainDefineXMLFlags(call->connection, call->text, 0);

        if (!domain)
                return call_fail(call);
        (void) virDomainFree(domain);
        return 0;
}

/* Drivers differ in what they know of; none of it is left behind where it is known. */
static int run_undefine(Call *call) {
        static const unsigned flags[] = {
                VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                        VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_NVRAM |
                        VIR_DOMAIN_UNDEFINE_TPM,
                VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                        VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA,
                0,
        };
        int r = -1;

        for (size_t i = 0; r < 0 && i < ELEMENTSOF(flags); i++) {
                r = virDomainUndefineFlags(call->domain, flags[i]);
                if (r < 0 && virGetLastErrorCode() != VIR_ERR_INVALID_ARG)
                        break;
        }
        return check_result(call, r);
}

static int run_start(Call *call) {
        return check_result(call, virDomainCreate(call->domain));
}

static int run_shutdown(Call *call) {
        return check_result(call, virDomainShutdown(call->domain));
}

static int run_destroy(Call *call) {
        return check_result(call, virDomainDestroy(call->domain));
}

static int run_reboot(Call *call) {
        return check_result(call, virDomainReboot(call->domain, 0));
}

static int run_suspend(Call *call) {
        return check_result(call, virDomainSuspend(call->domain));
}

/* A guest that put itself to sleep is woken up: for the caller it is the same. */
static int run_resume(Call *call) {
        int state = VIR_DOMAIN_NOSTATE;

        if (virDomainGetState(call->domain, &state, NULL, 0) < 0)
                return call_fail(call);
        if (state == VIR_DOMAIN_PMSUSPENDED)
                return check_result(call, virDomainPMWakeup(call->domain, 0));
        if (state == VIR_DOMAIN_RUNNING)
                return error_set(&call->error, ERROR_WRONG_STATE,
                                 "cannot resume the VM: it is running already");
        return check_result(call, virDomainResume(call->domain));
}

static int run_set_metadata(Call *call) {
        unsigned flags = VIR_DOMAIN_AFFECT_CONFIG;
        int active = virDomainIsActive(call->domain);

        if (active < 0)
                return call_fail(call);
        if (active)
                flags |= VIR_DOMAIN_AFFECT_LIVE;
        return check_result(call, virDomainSetMetadata(call->domain, VIR_DOMAIN_METADATA_ELEMENT,
                                                       call->text, VMKIT_METADATA_PREFIX,
                                                       VMKIT_METADATA_URI, flags));
}

/* SKIPAUTH: there is no password, and the descriptor goes only to who may have it. */
static int run_open_display(Call *call) {
        int fd = virDomainOpenGraphicsFD(call->domain, 0, VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH);

        if (fd < 0)
                return call_fail(call);
        call->fd = fd;
        return 0;
}

static int run_open_console(Call *call) {
        return console_open(call);
}

/* An agent in the guest says what it likes, and how much of it. */
bool guest_address_is_wanted(int type, const char *address) {
        unsigned char binary[sizeof(struct in6_addr)];

        return inet_pton(type == VIR_IP_ADDR_TYPE_IPV6 ? AF_INET6 : AF_INET, address, binary) == 1 &&
               !str_after(address, "127.") && !str_after(address, "fe80:") && !streq(address, "::1");
}

static bool address_is_known(const Call *call, const char *address) {
        for (size_t i = 0; i < call->n_addresses; i++)
                if (streq(call->addresses[i].address, address))
                        return true;
        return false;
}

static int add_address(Call *call, const virDomainIPAddress *a) {
        GuestAddress *l, *e;

        if (call->n_addresses >= ADDRESSES_MAX || address_is_known(call, a->addr))
                return 0;

        l = reallocarray(call->addresses, call->n_addresses + 1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        call->addresses = l;
        e = &l[call->n_addresses++];
        e->family = strdup(a->type == VIR_IP_ADDR_TYPE_IPV6 ? "ipv6" : "ipv4");
        e->address = strdup(a->addr);
        return e->family && e->address ? 0 : -ENOMEM;
}

static int add_addresses(Call *call, const virDomainInterface *i) {
        int r = 0;

        for (unsigned k = 0; r >= 0 && k < i->naddrs && !streq_ptr(i->name, "lo"); k++)
                if (guest_address_is_wanted(i->addrs[k].type, i->addrs[k].addr))
                        r = add_address(call, &i->addrs[k]);
        return r;
}

static int read_addresses(Call *call, unsigned source) {
        virDomainInterfacePtr *interfaces = NULL;
        int n, r = 0;

        /* No lease and no agent is the usual case, and no error: nothing is known then. */
        n = virDomainInterfaceAddresses(call->domain, &interfaces, source, 0);
        for (int i = 0; i < n; i++) {
                if (r >= 0)
                        r = add_addresses(call, interfaces[i]);
                virDomainInterfaceFree(interfaces[i]);
        }
        free(interfaces);
        return r;
}

static int run_get_addresses(Call *call) {
        int r;

        r = read_addresses(call, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE);
        if (r >= 0) {
                /* By default libvirt waits for ever for an agent that answers once and then no more. */
                (void) virDomainAgentSetResponseTimeout(call->domain, AGENT_TIMEOUT_SEC, 0);
                r = read_addresses(call, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT);
        }
        if (r < 0)
                return error_set_errno(&call->error, r, "cannot %s", act_to_string(call->act));
        if (virConnectIsAlive(call->connection) != 1)
                return call_fail(call);
        return 0;
}

static void answer_plain(Call *call) {
        call->done(call->r, call->r < 0 ? &call->error : NULL, call->userdata);
}

static void answer_fd(Call *call) {
        call->fd_done(call->r, call->r < 0 ? -EBADF : TAKE_FD(call->fd),
                      call->r < 0 ? &call->error : NULL, call->userdata);
}

static void answer_addresses(Call *call) {
        call->addresses_done(call->r, call->r < 0 ? NULL : call->addresses,
                             call->r < 0 ? 0 : call->n_addresses, call->r < 0 ? &call->error : NULL,
                             call->userdata);
}

static int submit(Virt *virt, Act act, CallRun run, const char *uuid, const char *text,
                  VirtDone done, void *userdata, Error *error) {
        Call *call = call_new(virt, act, run, uuid, text, error);

        if (!call)
                return -ENOMEM;
        call->answer = answer_plain;
        call->done = done;
        call->userdata = userdata;
        return call_submit(call, error);
}

int virt_define(Virt *virt, const char *xml, VirtDone done, void *userdata, Error *error) {
        return submit(virt, ACT_DEFINE, run_define, NULL, xml, done, userdata, error);
}

int virt_undefine(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error) {
        return submit(virt, ACT_UNDEFINE, run_undefine, uuid, NULL, done, userdata, error);
}

int virt_start(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error) {
        return submit(virt, ACT_START, run_start, uuid, NULL, done, userdata, error);
}

int virt_shutdown(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error) {
        return submit(virt, ACT_SHUTDOWN, run_shutdown, uuid, NULL, done, userdata, error);
}

int virt_destroy(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error) {
        return submit(virt, ACT_DESTROY, run_destroy, uuid, NULL, done, userdata, error);
}

int virt_reboot(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error) {
        return submit(virt, ACT_REBOOT, run_reboot, uuid, NULL, done, userdata, error);
}

int virt_suspend(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error) {
        return submit(virt, ACT_SUSPEND, run_suspend, uuid, NULL, done, userdata, error);
}

int virt_resume(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error) {
        return submit(virt, ACT_RESUME, run_resume, uuid, NULL, done, userdata, error);
}

int virt_set_metadata(Virt *virt, const char *uuid, const char *metadata, VirtDone done,
                      void *userdata, Error *error) {
        return submit(virt, ACT_SET_METADATA, run_set_metadata, uuid, metadata, done, userdata,
                      error);
}

static int submit_fd(Virt *virt, Act act, CallRun run, const char *uuid, VirtFdDone done,
                     void *userdata, Error *error) {
        Call *call = call_new(virt, act, run, uuid, NULL, error);

        if (!call)
                return -ENOMEM;
        call->answer = answer_fd;
        call->fd_done = done;
        call->userdata = userdata;
        return call_submit(call, error);
}

int virt_open_console(Virt *virt, const char *uuid, VirtFdDone done, void *userdata, Error *error) {
        return submit_fd(virt, ACT_OPEN_CONSOLE, run_open_console, uuid, done, userdata, error);
}

int virt_open_display(Virt *virt, const char *uuid, VirtFdDone done, void *userdata, Error *error) {
        return submit_fd(virt, ACT_OPEN_DISPLAY, run_open_display, uuid, done, userdata, error);
}

int virt_get_addresses(Virt *virt, const char *uuid, VirtAddressesDone done, void *userdata,
                       Error *error) {
        Call *call = call_new(virt, ACT_GET_ADDRESSES, run_get_addresses, uuid, NULL, error);

        if (!call)
                return -ENOMEM;
        call->answer = answer_addresses;
        call->addresses_done = done;
        call->userdata = userdata;
        return call_submit(call, error);
}
