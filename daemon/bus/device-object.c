/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.vmkit.Device */

#include <stddef.h>

#include "base/strv.h"
#include "core/device-ops.h"
#include "core/request.h"
#include "core/reservations.h"
#include "core/vfs.h"
#include "methods.h"
#include "options.h"
#include "paths.h"
#include "plan-message.h"
#include "plan-rights.h"

/* --- who may ---------------------------------------------------------------------------------------------- */

static const char *words_for(const Call *call) {
        static const struct {
                const char *member, *words;
        } acts[] = {
                { "Bind", "take from the host" },
                { "Release", "return to the host" },
                { "Reset", "reset" },
                { "Reserve", "reserve at boot" },
                { "Unreserve", "no longer reserve at boot" },
                { "SetVirtualFunctions", "set the number of virtual functions of" },
                { "ClearQuarantine", "release from quarantine" },
        };

        for (size_t i = 0; i < ELEMENTSOF(acts); i++)
                if (streq(acts[i].member, call->row->member))
                        return acts[i].words;
        return "manage";
}

/* What the call is about in the words of its prompt, and what it moves. A number of virtual functions is set of one
 * function alone, and those it has go. */
static int describe_act(Call *call, Device *d, DeviceList *ret_moved) {
        bool sets_vfs = call->row->handle == device_handle_vfs;
        const DeviceList alone = { .items = &d->pci, .n = 1 };
        _cleanup_free_ char *functions = NULL;
        int r;

        r = sets_vfs ? device_with_vfs(d, ret_moved) : device_unit(d, ret_moved);
        if (r >= 0)
                r = describe_functions(sets_vfs ? &alone : ret_moved, &functions);
        return r < 0 ? r : auth_describe(&call->auth, "%s %s", words_for(call), functions);
}

int device_details(Call *call, Error *error) {
        char *const *allow = call->row->read == device_read_bind ? call->data : NULL;
        _cleanup_device_list_ DeviceList moved = {};
        const PciAddress *requested;
        Device *d;
        int r;

        r = call_device(call, &d, error);
        if (r >= 0)
                r = describe_act(call, d, &moved);
        if (r < 0)
                return r;

        requested = &d->pci->address;
        r = auth_add_functions(&call->auth, ACTION_MANAGE_DEVICE, NULL, d->manager, &moved, requested);
        if (r >= 0 && strv_length(allow) > 0)
                r = auth_add_functions(&call->auth, ACTION_OVERRIDE_DEVICE, NULL, d->manager, &moved, requested);
        return r;
}

/* --- by hand ---------------------------------------------------------------------------------------------- */

static void free_strings(void *data) {
        strv_free(data);
}

int device_read_bind(Call *call, Error *error) {
        static const OptionSpec specs[] = { { "allow", "as", 0 } };
        char **allow = NULL;
        int r;

        r = options_read(call->message, specs, ELEMENTSOF(specs), &allow, error);
        if (r >= 0)
                r = allow_check(allow, error);
        if (r < 0) {
                strv_free(allow);
                return r;
        }

        call->data = allow;
        call->free_data = free_strings;
        return 0;
}

int device_inspect_self(Call *call, DeviceList *ret) {
        Device *d = device_from_path(call->bus->manager, sd_bus_message_get_path(call->message));

        return d ? device_unit(d, ret) : 0;
}

static int prepare(const Call *call, Device **ret, Error *error) {
        int r = manager_check_job_allowed(call->bus->manager, call->caller, error);

        return r < 0 ? r : call_device(call, ret, error);
}

typedef int (*TakingOperation)(Device *d, uid_t caller, char *const *allow, Job **ret, Error *error);

static int begin_taking(Call *call, TakingOperation operation, Error *error) {
        Device *d;
        Job *job;
        int r;

        r = prepare(call, &d, error);
        if (r >= 0)
                r = operation(d, call->caller, call->data, &job, error);
        return r < 0 ? r : call_reply_job(call, job);
}

int device_handle_bind(Call *call, Error *error) {
        return begin_taking(call, device_bind, error);
}

int device_handle_reserve(Call *call, Error *error) {
        return begin_taking(call, device_reserve, error);
}

typedef int (*Operation)(Device *d, uid_t caller, Job **ret, Error *error);

static int begin(Call *call, Operation operation, Error *error) {
        Device *d;
        Job *job;
        int r;

        r = prepare(call, &d, error);
        if (r >= 0)
                r = operation(d, call->caller, &job, error);
        return r < 0 ? r : call_reply_job(call, job);
}

int device_handle_release(Call *call, Error *error) {
        return begin(call, device_release, error);
}

int device_handle_reset(Call *call, Error *error) {
        return begin(call, device_reset, error);
}

int device_handle_clear_quarantine(Call *call, Error *error) {
        return begin(call, device_clear_quarantine, error);
}

int device_handle_unreserve(Call *call, Error *error) {
        return begin(call, device_unreserve, error);
}

int device_read_vfs(Call *call, Error *error) {
        uint32_t *count = malloc(sizeof(uint32_t));
        int r;

        if (!count)
                return -ENOMEM;
        call->data = count;
        call->free_data = free;

        r = sd_bus_message_read(call->message, "u", count);
        return r < 0 ? r : options_read_none(call->message, error);
}

int device_handle_vfs(Call *call, Error *error) {
        const uint32_t *count = call->data;
        Device *d;
        Job *job;
        int r;

        r = prepare(call, &d, error);
        if (r >= 0)
                r = device_set_vfs(d, *count, call->caller, &job, error);
        return r < 0 ? r : call_reply_job(call, job);
}

/* --- properties ------------------------------------------------------------------------------------------- */

#define GETTER(name)                                                                                      \
        static int name(sd_bus *bus, const char *path, const char *interface, const char *property,       \
                        sd_bus_message *reply, void *userdata, sd_bus_error *error)

static int append_text(sd_bus_message *reply, const char *value) {
        return sd_bus_message_append(reply, "s", value ? value : "");
}

GETTER(get_address) {
        return append_text(reply, PCI_ADDRESS_TEXT(&((Device *) userdata)->pci->address));
}

GETTER(get_kind) {
        return append_text(reply, device_kind_to_string(((Device *) userdata)->pci->kind));
}

GETTER(get_vendor_id) {
        return sd_bus_message_append(reply, "q", ((Device *) userdata)->pci->vendor_id);
}

GETTER(get_device_id) {
        return sd_bus_message_append(reply, "q", ((Device *) userdata)->pci->device_id);
}

GETTER(get_vendor) {
        return append_text(reply, ((Device *) userdata)->pci->vendor);
}

GETTER(get_product) {
        return append_text(reply, ((Device *) userdata)->pci->product);
}

GETTER(get_driver) {
        return append_text(reply, ((Device *) userdata)->pci->driver);
}

GETTER(get_original_driver) {
        return append_text(reply, device_original_driver(userdata));
}

GETTER(get_iommu_group) {
        return sd_bus_message_append(reply, "i", (int32_t) ((Device *) userdata)->pci->iommu_group);
}

GETTER(get_numa_node) {
        return sd_bus_message_append(reply, "i", (int32_t) ((Device *) userdata)->pci->numa_node);
}

static int append_paths(sd_bus_message *reply, const DeviceList *list) {
        int r = sd_bus_message_open_container(reply, 'a', "o");

        for (size_t i = 0; r >= 0 && i < list->n; i++)
                r = sd_bus_message_append(reply, "o", DEVICE_PATH(&list->items[i]->address));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_unit) {
        _cleanup_device_list_ DeviceList unit = {};
        int r = device_unit(userdata, &unit);

        return r < 0 ? r : append_paths(reply, &unit);
}

GETTER(get_group) {
        _cleanup_device_list_ DeviceList group = {};
        int r = device_group(userdata, &group);

        return r < 0 ? r : append_paths(reply, &group);
}

static bool is_boot_display(Device *d) {
        const Reasons *reasons;

        if (d->pci->kind != KIND_GPU)
                return false;

        reasons = device_in_use(d);
        for (size_t i = 0; i < reasons->n; i++)
                if (reasons->items[i].code == REASON_BOOT_DISPLAY)
                        return true;
        return d->pci->boot_vga;
}

GETTER(get_boot_display) {
        return sd_bus_message_append(reply, "b", is_boot_display(userdata));
}

GETTER(get_reserved) {
        return sd_bus_message_append(reply, "b", device_is_reserved(userdata));
}

GETTER(get_vm) {
        const Device *d = userdata;

        return sd_bus_message_append(reply, "o", d->lease ? VM_PATH(d->lease) : "/");
}

GETTER(get_assigned_to) {
        const Device *d = userdata;
        const Manager *m = d->manager;
        int r = sd_bus_message_open_container(reply, 'a', "o");

        for (size_t i = 0; r >= 0 && i < m->n_vms; i++)
                if (vm_is_assigned(m->vms[i], &d->pci->address))
                        r = sd_bus_message_append(reply, "o", VM_PATH(m->vms[i]));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_reset_methods) {
        return sd_bus_message_append_strv(reply, ((Device *) userdata)->pci->reset_methods);
}

GETTER(get_physical_function) {
        const PciDevice *pci = ((Device *) userdata)->pci;

        return sd_bus_message_append(reply, "o", pci->is_vf ? DEVICE_PATH(&pci->physical_function) : "/");
}

GETTER(get_health) {
        return append_text(reply, device_health_to_string(((Device *) userdata)->health));
}

GETTER(get_health_detail) {
        return append_text(reply, ((Device *) userdata)->health_detail);
}

GETTER(get_in_use) {
        return append_reasons(reply, device_in_use(userdata));
}

GETTER(get_available) {
        return sd_bus_message_append(reply, "b", device_is_available(userdata));
}

GETTER(get_reasons) {
        _cleanup_reasons_ Reasons reasons = {};
        int r = device_reasons(userdata, NULL, &reasons);

        return r < 0 ? r : append_reasons(reply, &reasons);
}

#define CONSTANT SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

const sd_bus_vtable device_properties[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Address", "s", get_address, 0, CONSTANT),
        SD_BUS_PROPERTY("Kind", "s", get_kind, 0, CONSTANT),
        SD_BUS_PROPERTY("VendorID", "q", get_vendor_id, 0, CONSTANT),
        SD_BUS_PROPERTY("DeviceID", "q", get_device_id, 0, CONSTANT),
        SD_BUS_PROPERTY("Vendor", "s", get_vendor, 0, CONSTANT),
        SD_BUS_PROPERTY("Product", "s", get_product, 0, CONSTANT),
        SD_BUS_PROPERTY("Driver", "s", get_driver, 0, CHANGES),
        SD_BUS_PROPERTY("OriginalDriver", "s", get_original_driver, 0, CHANGES),
        SD_BUS_PROPERTY("IOMMUGroup", "i", get_iommu_group, 0, CHANGES),
        SD_BUS_PROPERTY("Unit", "ao", get_unit, 0, CHANGES),
        SD_BUS_PROPERTY("Group", "ao", get_group, 0, CHANGES),
        SD_BUS_PROPERTY("NUMANode", "i", get_numa_node, 0, CHANGES),
        SD_BUS_PROPERTY("BootDisplay", "b", get_boot_display, 0, CHANGES),
        SD_BUS_PROPERTY("Reserved", "b", get_reserved, 0, CHANGES),
        SD_BUS_PROPERTY("VM", "o", get_vm, 0, CHANGES),
        SD_BUS_PROPERTY("AssignedTo", "ao", get_assigned_to, 0, CHANGES),
        SD_BUS_PROPERTY("ResetMethods", "as", get_reset_methods, 0, CHANGES),
        SD_BUS_PROPERTY("PhysicalFunction", "o", get_physical_function, 0, CHANGES),
        SD_BUS_PROPERTY("Health", "s", get_health, 0, CHANGES),
        SD_BUS_PROPERTY("HealthDetail", "s", get_health_detail, 0, CHANGES),
        SD_BUS_PROPERTY("InUse", "a(ss)", get_in_use, 0, 0),
        SD_BUS_PROPERTY("Available", "b", get_available, 0, 0),
        SD_BUS_VTABLE_END,
};

/* Told by Inspect() alone: a property would have to be right without a close look. */
static const sd_bus_vtable reasons_of_unit = SD_BUS_PROPERTY("Reasons", "a(ss)", get_reasons, 0, 0);

/* --- a fresh look ----------------------------------------------------------------------------------------- */

static int append_property(sd_bus_message *m, Device *d, const sd_bus_vtable *property) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", property->x.property.member);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', property->x.property.signature);
        if (r >= 0)
                r = property->x.property.get(NULL, NULL, NULL, NULL, m, d, NULL);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int device_handle_inspect(Call *call, Error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Device *d;
        int r;

        r = devices_refresh(call->bus->manager);
        if (r >= 0)
                r = call_device(call, &d, error);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call->message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r < 0)
                return r;

        device_forget_use(d);
        for (size_t i = 1; r >= 0 && i < ELEMENTSOF(device_properties) - 1; i++)
                r = append_property(reply, d, &device_properties[i]);
        if (r >= 0)
                r = append_property(reply, d, &reasons_of_unit);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : call_reply_message(call, reply);
}
