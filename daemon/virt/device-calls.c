/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Changing the devices of a domain. The definition is changed as a whole, devices and metadata together, so
 * that at no moment one says what the other does not. */

#include <libvirt/virterror.h>

#include "base/log.h"
#include "connection.h"

/* With all that is needed to define it again. */
static int read_definition(Call *call, char **ret) {
        *ret = virDomainGetXMLDesc(call->domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
        return *ret ? 0 : call_fail(call);
}

static int define(Call *call, const char *xml) {
        virDomainPtr domain = virDomainDefineXMLFlags(call->connection, xml, 0);

        if (!domain)
                return call_fail(call);
        (void) virDomainFree(domain);
        return 0;
}

static int fail(Call *call, int r) {
        if (r == -E2BIG)
                return error_set(&call->error, ERROR_LIMIT_EXCEEDED,
                                 "cannot %s: the guest has no port left for another device",
                                 act_to_string(call->act));
        return error_set_errno(&call->error, r, "cannot %s", act_to_string(call->act));
}

/* A successor is in the place of what it replaces, since the order of devices is the order in which the guest
 * boots from them. */
static int apply_change(const Call *call, VmSpec *spec) {
        const VmSpec *from = call->removed, *to = call->added;
        _cleanup_(vm_spec_freep) VmSpec *next = NULL;
        int r;

        r = vm_spec_copy(spec, &next);
        for (size_t i = spec->n_devices; r >= 0 && i-- > 0;) {
                const VmDevice *old = vm_spec_find_device(from, &spec->devices[i].address);
                size_t place = old ? (size_t) (old - from->devices) : 0;

                if (old && place >= to->n_devices)
                        vm_spec_remove_device(next, i);
                else if (old)
                        r = vm_spec_set_device(next, i, &to->devices[place]);
        }
        for (size_t i = from->n_devices; r >= 0 && i < to->n_devices; i++)
                if (!vm_spec_find_device(next, &to->devices[i].address))
                        r = vm_spec_set_device(next, next->n_devices, &to->devices[i]);
        if (r < 0)
                return r;

        VmSpec swap = *spec;
        *spec = *next;
        *next = swap;
        return 0;
}

static int change_definition(Call *call, const char *definition, char **ret) {
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;
        int r;

        r = vm_spec_from_xml(definition, &spec);
        if (r >= 0)
                r = apply_change(call, spec);
        if (r >= 0)
                r = vm_spec_edit_xml(definition, spec, ret);
        return r < 0 ? fail(call, r) : 0;
}

static int run_replace_devices(Call *call) {
        _cleanup_free_ char *definition = NULL, *changed = NULL;
        int r;

        r = read_definition(call, &definition);
        if (r >= 0)
                r = change_definition(call, definition, &changed);
        return r < 0 ? r : define(call, changed);
}

/* --- attaching -------------------------------------------------------------------------------------------- */

static int choose_port(Call *call, const char *live, const char *definition) {
        int r = vm_spec_find_spare_port(live, definition, &call->added->devices[0].guest_port);

        if (r == -ENOSPC) {
                r = error_set(&call->error, ERROR_LIMIT_EXCEEDED,
                              "the running VM has no spare port left to plug a device into");
                error_set_remedy(&call->error, "Detach a device from it, or stop the VM and attach this "
                                               "one then: the VM gets new spare ports with it.");
                return r;
        }
        return r < 0 ? fail(call, r) : 0;
}

static int write_metadata(Call *call, const VmSpec *spec, unsigned flags) {
        _cleanup_free_ char *metadata = NULL;
        int r = vm_spec_to_metadata(spec, &metadata);

        if (r < 0)
                return fail(call, r);
        if (virDomainSetMetadata(call->domain, VIR_DOMAIN_METADATA_ELEMENT, metadata, VMKIT_METADATA_PREFIX,
                                 VMKIT_METADATA_URI, flags) < 0)
                return call_fail(call);
        return 0;
}

/* What the metadata says of a device that is not there is not looked at. So it says it first, and nobody sees a
 * device of which nothing is known. */
static int tell_identity(Call *call, const char *xml, unsigned flags) {
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;
        int r;

        r = vm_spec_from_xml(xml, &spec);
        if (r >= 0)
                r = apply_change(call, spec);
        return r < 0 ? fail(call, r) : write_metadata(call, spec, flags);
}

/* The failure that led here is the one to be told. */
static void forget_identity(Call *call, const char *xml, unsigned flags) {
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;
        _cleanup_free_ char *metadata = NULL;

        if (vm_spec_from_xml(xml, &spec) >= 0 && vm_spec_to_metadata(spec, &metadata) >= 0)
                (void) virDomainSetMetadata(call->domain, VIR_DOMAIN_METADATA_ELEMENT, metadata,
                                            VMKIT_METADATA_PREFIX, VMKIT_METADATA_URI, flags);
}

static int plug(Call *call) {
        _cleanup_free_ char *xml = NULL;
        int r = vm_device_to_xml(&call->added->devices[0], &xml);

        if (r < 0)
                return fail(call, r);
        if (virDomainAttachDeviceFlags(call->domain, xml,
                                       VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG) < 0)
                return call_fail(call);
        return 0;
}

/* For the next start: a place in the order of booting, and new spare ports. The device is there without. */
static void tidy_definition(Call *call) {
        _cleanup_free_ char *definition = NULL, *tidy = NULL;
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;
        int r;

        r = read_definition(call, &definition);
        if (r >= 0)
                r = vm_spec_from_xml(definition, &spec);
        if (r >= 0)
                r = vm_spec_edit_xml(definition, spec, &tidy);
        if (r >= 0)
                r = define(call, tidy);
        if (r < 0)
                log_warning("domain %s has a device more, but may have no spare ports when it starts again",
                            call->uuid);
        error_clear(&call->error);
}

/* libvirt changes both, the running domain and the definition, or neither. */
static int run_attach_device(Call *call) {
        _cleanup_free_ char *definition = NULL, *live = NULL;
        int r;

        live = virDomainGetXMLDesc(call->domain, 0);
        if (!live)
                return call_fail(call);

        r = read_definition(call, &definition);
        if (r >= 0)
                r = choose_port(call, live, definition);
        if (r >= 0)
                r = tell_identity(call, live, VIR_DOMAIN_AFFECT_LIVE);
        if (r >= 0)
                r = tell_identity(call, definition, VIR_DOMAIN_AFFECT_CONFIG);
        if (r >= 0)
                r = plug(call);
        if (r >= 0) {
                tidy_definition(call);
                return 0;
        }

        forget_identity(call, live, VIR_DOMAIN_AFFECT_LIVE);
        forget_identity(call, definition, VIR_DOMAIN_AFFECT_CONFIG);
        return r;
}

/* --- detaching -------------------------------------------------------------------------------------------- */

static int run_detach_device(Call *call) {
        _cleanup_free_ char *xml = NULL, *live = NULL;
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;
        const VmDevice *device;
        int r;

        live = virDomainGetXMLDesc(call->domain, 0);
        if (!live)
                return call_fail(call);

        r = vm_spec_from_xml(live, &spec);
        device = r >= 0 ? vm_spec_find_device(spec, &call->removed->devices[0].address) : NULL;
        if (r >= 0 && !device)
                return 0; /* gone already */
        if (r >= 0)
                r = vm_device_to_xml(device, &xml);
        if (r < 0)
                return fail(call, r);

        if (virDomainDetachDeviceFlags(call->domain, xml, VIR_DOMAIN_AFFECT_LIVE) < 0)
                return call_fail(call);
        return 0;
}

/* --- the requests ----------------------------------------------------------------------------------------- */

static void answer(Call *call) {
        call->done(call->r, call->r < 0 ? &call->error : NULL, call->userdata);
}

static int copy_devices(const VmDevice *devices, size_t n, VmSpec **ret) {
        const VmSpec list = { .devices = (VmDevice *) devices, .n_devices = n };

        return vm_spec_copy(&list, ret);
}

static int submit(Virt *virt, Act act, CallRun run, const char *uuid, const VmDevice *from, size_t n_from,
                  const VmDevice *to, size_t n_to, VirtDone done, void *userdata, Error *error) {
        _cleanup_(call_freep) Call *call = call_new(virt, act, run, uuid, NULL, error);
        int r;

        if (!call)
                return -ENOMEM;
        call->answer = answer;
        call->done = done;
        call->userdata = userdata;

        r = copy_devices(from, n_from, &call->removed);
        if (r >= 0)
                r = copy_devices(to, n_to, &call->added);
        if (r < 0)
                return error_set_errno(error, r, "cannot %s", act_to_string(act));
        return call_submit(TAKE_PTR(call), error);
}

int virt_replace_devices(Virt *virt, const char *uuid, const VmDevice *from, size_t n_from,
                         const VmDevice *to, size_t n_to, VirtDone done, void *userdata, Error *error) {
        return submit(virt, ACT_CHANGE_DEVICES, run_replace_devices, uuid, from, n_from, to, n_to, done,
                      userdata, error);
}

int virt_attach_device(Virt *virt, const char *uuid, const VmDevice *device, VirtDone done, void *userdata,
                       Error *error) {
        return submit(virt, ACT_ATTACH, run_attach_device, uuid, NULL, 0, device, 1, done, userdata, error);
}

int virt_detach_device(Virt *virt, const char *uuid, const VmDevice *device, VirtDone done, void *userdata,
                       Error *error) {
        return submit(virt, ACT_DETACH, run_detach_device, uuid, device, 1, NULL, 0, done, userdata, error);
}
