/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.vmkit.Manager */

#include <fcntl.h>
#include <stddef.h>

#include "base/strv.h"
#include "bus.h"
#include "core/image-ops.h"
#include "core/reservations.h"
#include "core/stop-all.h"
#include "core/vm-create.h"
#include "host/hostcheck.h"
#include "methods.h"
#include "options.h"
#include "paths.h"
#include "plan-message.h"
#include "plan-rights.h"
#include "request-message.h"

static Manager *manager_of(const Call *call) {
        return call->bus->manager;
}

int method_read_any(Call *call, Error *error) {
        return 0;
}

/* Once everything is appended to a reply: sends it, or the failure to make it. */
static int send_reply(Call *call, sd_bus_message *reply, int r) {
        return r < 0 ? r : call_reply_message(call, reply);
}

/* --- CreateVM, PlanVM ------------------------------------------------------------------------------------- */

static void free_request(void *data) {
        vm_request_free(data);
}

int manager_read_request(Call *call, Error *error) {
        VmRequest *request;
        int r = request_read(call->message, call->caller, &request, error);

        if (r < 0)
                return r;
        call->data = request;
        call->free_data = free_request;
        return 0;
}

static bool names_address(char *const *words, const PciAddress *address) {
        STRV_FOREACH(word, words) {
                PciAddress named;

                if (pci_address_parse(*word, &named) >= 0 && pci_address_equal(&named, address))
                        return true;
        }
        return false;
}

static bool is_asked_for(const PciDevice *pci, const void *data) {
        const VmRequest *request = data;

        return (pci->kind == KIND_GPU && strv_length(request->gpu) > 0) ||
               (pci->kind == KIND_NVME && strv_length(request->nvme) > 0) ||
               names_address(request->passthrough, &pci->address);
}

/* The whole unit is looked at: a sound card that plays keeps its graphics card on the host. */
static int add_unit(const Device *d, DeviceList *list) {
        _cleanup_device_list_ DeviceList unit = {};
        int r = device_unit(d, &unit);

        for (size_t i = 0; r >= 0 && i < unit.n; i++)
                if (!device_list_contains(list, &unit.items[i]->address))
                        list->items[list->n++] = unit.items[i];
        return r;
}

typedef bool (*IsWanted)(const PciDevice *pci, const void *data);

static int collect_units(const Manager *m, IsWanted is_wanted, const void *data, DeviceList *ret) {
        int r = 0;

        ret->items = calloc(devices_count(m) + 1, sizeof(PciDevice *));
        if (!ret->items)
                return -ENOMEM;

        for (size_t i = 0; r >= 0 && i < devices_count(m); i++)
                if (is_wanted(m->devices.items[i]->pci, data))
                        r = add_unit(m->devices.items[i], ret);
        return r;
}

int manager_inspect_request(Call *call, DeviceList *ret) {
        return collect_units(manager_of(call), is_asked_for, call->data, ret);
}

static int describe_creation(Auth *auth, const Plan *plan, const VmRequest *request) {
        _cleanup_free_ char *devices = NULL, *allowed = strv_join(request->allow, ", ");
        int r;

        r = plan_describe_devices(plan, &devices);
        if (r < 0 || !allowed)
                return -ENOMEM;
        return auth_describe(auth, "create the virtual machine %s%s%s%s%s", plan->spec->name,
                             *devices ? " with the devices " : "", devices, *allowed ? " in spite of: " : "",
                             allowed);
}

/* What cannot be done is refused before anyone is asked for a password; what is consented to is written
 * down in the request, by address. */
int manager_create_details(Call *call, Error *error) {
        VmRequest *request = call->data;
        _cleanup_(plan_freep) Plan *plan = NULL;
        int r;

        r = auth_add_vm(&call->auth, ACTION_CREATE_VM, request->name);
        if (r >= 0)
                r = plan_make(manager_of(call), request, &plan);
        if (r >= 0)
                r = plan_refuse(plan, error);
        if (r >= 0)
                r = auth_add_devices(&call->auth, plan, request->allow);
        if (r >= 0)
                r = describe_creation(&call->auth, plan, request);
        if (r >= 0)
                r = plan_pin_request(plan, request);
        return r;
}

int manager_create_vm(Call *call, Error *error) {
        Manager *m = manager_of(call);
        VmRequest *request = call->data;
        _cleanup_(plan_freep) Plan *plan = NULL;
        Job *job;
        Vm *vm;
        int r;

        r = manager_check_job_allowed(m, call->caller, error);
        if (r >= 0)
                r = plan_make(m, request, &plan);
        if (r >= 0)
                r = plan_refuse(plan, error);
        if (r < 0)
                return r;

        call->data = NULL;
        r = vm_create(m, request, TAKE_PTR(plan), &vm, &job, error);
        if (r < 0)
                return r;
        return call_reply(call, "oo", VM_PATH(vm), JOB_PATH(job));
}

int manager_plan_vm(Call *call, Error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(plan_freep) Plan *plan = NULL;
        int r;

        r = plan_make(manager_of(call), call->data, &plan);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call->message, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "b", plan_is_ready(plan));
        if (r >= 0)
                r = append_findings(reply, plan);
        if (r >= 0)
                r = append_plan(reply, plan, call->data);
        return send_reply(call, reply, r);
}

/* --- VMs -------------------------------------------------------------------------------------------------- */

/* Before libvirt has answered for the first time, that there are none would be a guess. */
static int check_vms_are_known(const Manager *m, Error *error) {
        return m->reconciled ? 0
                             : error_set(error, ERROR_LIBVIRT_UNAVAILABLE,
                                         "libvirt at %s has not answered since vmkitd began: which VMs there are "
                                         "is not known",
                                         virt_uri(m->virt));
}

int manager_get_vm(Call *call, Error *error) {
        const Manager *m = manager_of(call);
        const char *name;
        const Vm *vm;
        int r;

        r = sd_bus_message_read(call->message, "s", &name);
        if (r < 0)
                return r;
        if (!name_is_valid(name))
                return error_set(error, ERROR_INVALID_NAME, "'%.70s' is not a name of a VM", name);

        r = check_vms_are_known(m, error);
        if (r < 0)
                return r;

        vm = manager_find_vm(m, name);
        if (!vm)
                return error_set(error, ERROR_NO_SUCH_VM, "There is no VM named %s", name);
        return call_reply(call, "o", VM_PATH(vm));
}

int manager_list_vms(Call *call, Error *error) {
        const Manager *m = manager_of(call);
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r = check_vms_are_known(m, error);

        if (r < 0)
                return r;

        r = sd_bus_message_new_method_return(call->message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sosu)");
        for (size_t i = 0; r >= 0 && i < m->n_vms; i++)
                r = sd_bus_message_append(reply, "(sosu)", m->vms[i]->spec->name, VM_PATH(m->vms[i]),
                                          vm_state(m->vms[i]), (uint32_t) m->vms[i]->spec->owner);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return send_reply(call, reply, r);
}

/* --- devices ---------------------------------------------------------------------------------------------- */

typedef struct DeviceFilter {
        char *kind;
        bool available;
        bool has_available;
} DeviceFilter;

static void device_filter_clear(DeviceFilter *filter) {
        free(filter->kind);
}

static int read_available(sd_bus_message *m, void *target, Error *error) {
        DeviceFilter *filter = target;
        int value, r;

        r = sd_bus_message_read(m, "b", &value);
        if (r < 0)
                return r;
        filter->available = value;
        filter->has_available = true;
        return 0;
}

static int check_kind(const char *kind, Error *error) {
        if (device_kind_from_string(kind) >= 0)
                return 0;
        return error_set(error, ERROR_INVALID_OPTION,
                         "'%.20s' is not a kind of device: gpu, nvme, audio, usb, network, storage, bridge, "
                         "other", kind);
}

static bool filter_matches(const DeviceFilter *filter, Device *d) {
        if (filter->kind && !streq(filter->kind, device_kind_to_string(d->pci->kind)))
                return false;
        return !filter->has_available || device_is_available(d) == filter->available;
}

int manager_list_devices(Call *call, Error *error) {
        static const OptionSpec specs[] = {
                { "kind", "s", offsetof(DeviceFilter, kind) },
                { "available", "b", 0, read_available },
        };
        Manager *m = manager_of(call);
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(device_filter_clear) DeviceFilter filter = {};
        int r;

        r = options_read(call->message, specs, ELEMENTSOF(specs), &filter, error);
        if (r >= 0 && filter.kind)
                r = check_kind(filter.kind, error);
        if (r >= 0)
                r = devices_refresh_if_old(m);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call->message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sossi)");

        for (size_t i = 0; r >= 0 && i < devices_count(m); i++) {
                Device *d = m->devices.items[i];

                if (!filter_matches(&filter, d))
                        continue;
                r = sd_bus_message_append(reply, "(sossi)", PCI_ADDRESS_TEXT(&d->pci->address),
                                          DEVICE_PATH(&d->pci->address), device_kind_to_string(d->pci->kind),
                                          d->pci->driver ? d->pci->driver : "", d->pci->iommu_group);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return send_reply(call, reply, r);
}

int manager_get_device(Call *call, Error *error) {
        Manager *m = manager_of(call);
        PciAddress address;
        const char *text;
        int r;

        r = sd_bus_message_read(call->message, "s", &text);
        if (r < 0)
                return r;
        if (pci_address_parse(text, &address) < 0)
                return error_set(error, ERROR_INVALID_ADDRESS, "'%.40s' is not a PCI address", text);

        (void) devices_refresh_if_old(m);
        if (!devices_find(m, &address))
                return error_set(error, ERROR_NO_SUCH_DEVICE, "There is no device at %s", text);
        return call_reply(call, "o", DEVICE_PATH(&address));
}

typedef struct FindRequest {
        DeviceKind kind;
        char *vendor;
} FindRequest;

static void free_find_request(void *data) {
        FindRequest *request = data;

        if (request)
                free(request->vendor);
        free(request);
}

int manager_read_find_device(Call *call, Error *error) {
        static const OptionSpec specs[] = { { "vendor", "s", offsetof(FindRequest, vendor) } };
        FindRequest *request = calloc(1, sizeof(FindRequest));
        const char *kind;
        int r;

        if (!request)
                return -ENOMEM;
        call->data = request;
        call->free_data = free_find_request;

        r = sd_bus_message_read(call->message, "s", &kind);
        if (r >= 0)
                r = check_kind(kind, error);
        if (r >= 0)
                r = options_read(call->message, specs, ELEMENTSOF(specs), request, error);
        if (r < 0)
                return r;

        if (request->vendor && !vendor_is_known(request->vendor))
                return error_set(error, ERROR_INVALID_OPTION,
                                 "The option vendor is '%.20s', but must be nvidia, amd or intel",
                                 request->vendor);
        request->kind = (DeviceKind) device_kind_from_string(kind);
        return devices_refresh_if_old(manager_of(call));
}

static bool is_of_kind(const PciDevice *pci, const void *data) {
        const FindRequest *request = data;

        return pci->kind == request->kind;
}

int manager_inspect_find_device(Call *call, DeviceList *ret) {
        return collect_units(manager_of(call), is_of_kind, call->data, ret);
}

int manager_find_device(Call *call, Error *error) {
        const FindRequest *request = call->data;
        const Selection selection = { .kind = request->kind, .vendor = request->vendor };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_candidates_ Candidates candidates = {};
        int r;

        r = select_candidates(manager_of(call), &selection, &candidates);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call->message, &reply);
        if (r < 0)
                return r;

        const Device *best = candidates_best(&candidates);
        r = sd_bus_message_append(reply, "o", best ? DEVICE_PATH(&best->pci->address) : "/");
        if (r >= 0)
                r = append_candidates(reply, &candidates);
        return send_reply(call, reply, r);
}

/* --- the host --------------------------------------------------------------------------------------------- */

static int add_missing_libvirt(const Manager *m, HostChecks *checks) {
        bool asked = virt_is_being_asked(m->virt);
        _cleanup_free_ char *install = host_install_remedy(m->root_fd, PACKAGE_LIBVIRT), *remedy = NULL;

        if (!install || asprintf(&remedy, "%s %s",
                                 asked ? "It may be at its start: try again in a moment; 'systemctl status libvirtd' "
                                         "says more."
                                       : "'systemctl start libvirtd' starts it.",
                                 install) < 0)
                return -ENOMEM;
        return host_checks_add(checks, "libvirt", CHECK_FAIL, remedy,
                               asked ? "libvirt has not answered yet at %s" : "libvirt cannot be reached at %s",
                               virt_uri(m->virt));
}

static int add_libvirt_checks(const Manager *m, HostChecks *checks) {
        const VirtCapabilities *capabilities = virt_capabilities(m->virt);
        _cleanup_free_ char *install = NULL;
        int r;

        if (!virt_is_connected(m->virt) || !capabilities)
                return add_missing_libvirt(m, checks);

        r = host_checks_add(checks, "libvirt", CHECK_OK, "", "libvirt %lu.%lu.%lu answers at %s",
                            capabilities->version / 1000000, capabilities->version / 1000 % 1000,
                            capabilities->version % 1000, virt_uri(m->virt));
        if (r >= 0)
                r = capabilities->kvm
                            ? host_checks_add(checks, "libvirt-kvm", CHECK_OK, "",
                                              "libvirt can run guests with KVM")
                            : host_checks_add(checks, "libvirt-kvm", CHECK_WARN,
                                              "Switch on VT-x or AMD-V (SVM) in the firmware setup, and load "
                                              "kvm_intel or kvm_amd.",
                                              "libvirt cannot use KVM: guests would be emulated");
        if (r >= 0 && !capabilities->uefi) {
                install = host_install_remedy(m->root_fd, PACKAGE_UEFI);
                r = host_checks_add(checks, "libvirt-uefi", CHECK_WARN, install,
                                    "There is no UEFI firmware for guests: only --firmware bios works");
        }
        return r;
}

static int append_checks(sd_bus_message *m, const HostChecks *checks) {
        int r = sd_bus_message_open_container(m, 'a', "(ssss)");

        for (size_t i = 0; r >= 0 && i < checks->n; i++)
                r = sd_bus_message_append(m, "(ssss)", checks->items[i].id,
                                          check_status_to_string(checks->items[i].status),
                                          checks->items[i].summary, checks->items[i].remedy);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int manager_check_host(Call *call, Error *error) {
        Manager *m = manager_of(call);
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_host_checks_ HostChecks checks = {};
        int r;

        r = devices_refresh_if_old(m);
        if (r >= 0)
                r = host_check(m->root_fd, m->devices.inventory, &checks);
        if (r >= 0)
                r = add_libvirt_checks(m, &checks);
        if (r >= 0)
                r = reservations_add_checks(m, &checks);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call->message, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "b", host_checks_ready(&checks));
        if (r >= 0)
                r = append_checks(reply, &checks);
        return send_reply(call, reply, r);
}

/* --- images ----------------------------------------------------------------------------------------------- */

typedef struct ImageRequest {
        char *name;
        int fd;
} ImageRequest;

static void free_image_request(void *data) {
        ImageRequest *request = data;

        if (!request)
                return;
        free(request->name);
        close_fd(request->fd);
        free(request);
}

static int read_image_name(Call *call, Error *error) {
        ImageRequest *request = calloc(1, sizeof(ImageRequest));
        const char *name;
        int r;

        if (!request)
                return -ENOMEM;
        request->fd = -EBADF;
        call->data = request;
        call->free_data = free_image_request;

        r = sd_bus_message_read(call->message, "s", &name);
        if (r < 0)
                return r;
        if (!name_is_valid(name))
                return error_set(error, ERROR_INVALID_NAME, "'%.70s' is not a name of an image", name);

        request->name = strdup(name);
        return request->name ? 0 : -ENOMEM;
}

int manager_read_import(Call *call, Error *error) {
        ImageRequest *request;
        int fd, r;

        r = read_image_name(call, error);
        if (r >= 0)
                r = sd_bus_message_read(call->message, "h", &fd);
        if (r < 0)
                return r;

        request = call->data;
        request->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (request->fd < 0)
                return -errno;

        r = image_descriptor_check(request->fd, "image", error);
        return r < 0 ? r : options_read_none(call->message, error);
}

int manager_import_details(Call *call, Error *error) {
        const ImageRequest *request = call->data;
        int r = auth_describe(&call->auth, "import the image %s", request->name);

        return r < 0 ? r : auth_add_vm(&call->auth, ACTION_CREATE_VM, NULL);
}

int manager_import_image(Call *call, Error *error) {
        const ImageRequest *request = call->data;
        Manager *m = manager_of(call);
        Job *job;
        int r;

        r = manager_check_job_allowed(m, call->caller, error);
        if (r >= 0)
                r = image_import(m, call->caller, request->name, request->fd, &job, error);
        return r < 0 ? r : call_reply_job(call, job);
}

int manager_list_images(Call *call, Error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(stored_images_clear) StoredImages images = {};
        int r;

        r = image_store_list(manager_of(call)->state_fd, call->caller, &images);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call->message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ssttu)");
        for (size_t i = 0; r >= 0 && i < images.n; i++) {
                const StoredImage *image = &images.items[i];

                r = sd_bus_message_append(reply, "(ssttu)", image->name, image->info.format,
                                          image->info.virtual_size, image->info.used,
                                          (uint32_t) image->owner);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return send_reply(call, reply, r);
}

int manager_read_remove(Call *call, Error *error) {
        int r = read_image_name(call, error);

        return r < 0 ? r : options_read_none(call->message, error);
}

static int find_owner(const Call *call, uid_t *ret, Error *error) {
        const ImageRequest *request = call->data;
        _cleanup_close_ int fd = -EBADF;

        return image_store_open(manager_of(call)->state_fd, call->caller, request->name, &fd, ret, error);
}

int manager_remove_details(Call *call, Error *error) {
        const ImageRequest *request = call->data;
        uid_t owner;
        int r;

        r = find_owner(call, &owner, error);
        if (r >= 0)
                r = auth_describe(&call->auth, "remove the image %s", request->name);
        if (r < 0)
                return r;

        return auth_add_vm(&call->auth, owner == call->caller ? ACTION_DESTROY_OWN_VM : ACTION_DESTROY_ANY_VM,
                           NULL);
}

int manager_remove_image(Call *call, Error *error) {
        const ImageRequest *request = call->data;
        uid_t owner;
        int r;

        r = find_owner(call, &owner, error);
        if (r < 0)
                return r;

        r = image_store_remove(manager_of(call)->state_fd, owner, request->name, error);
        if (r < 0)
                return r;
        image_bases_collect(manager_of(call));
        return call_reply(call, "");
}

/* --- StopAllVMs ------------------------------------------------------------------------------------------- */

int manager_read_stop_all(Call *call, Error *error) {
        return read_stop_options(call, manager_of(call)->config->shutdown_timeout, error);
}

int manager_stop_all_details(Call *call, Error *error) {
        int r = auth_describe(&call->auth, "stop all virtual machines");

        return r < 0 ? r : auth_add_vm(&call->auth, call->row->action, NULL);
}

int manager_stop_all(Call *call, Error *error) {
        Manager *m = manager_of(call);
        Job *job;
        int r;

        r = manager_check_job_allowed(m, call->caller, error);
        if (r >= 0)
                r = stop_all(m, call->caller, call->data, &job);
        return r < 0 ? r : call_reply_job(call, job);
}

/* --- properties ------------------------------------------------------------------------------------------- */

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", ((Bus *) userdata)->manager->config->version);
}

static int get_vms(sd_bus *bus, const char *path, const char *interface, const char *property,
                   sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const Manager *m = ((Bus *) userdata)->manager;
        int r = sd_bus_message_open_container(reply, 'a', "o");

        for (size_t i = 0; r >= 0 && i < m->n_vms; i++)
                r = sd_bus_message_append(reply, "o", VM_PATH(m->vms[i]));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_devices(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const Manager *m = ((Bus *) userdata)->manager;
        int r = sd_bus_message_open_container(reply, 'a', "o");

        for (size_t i = 0; r >= 0 && i < devices_count(m); i++)
                r = sd_bus_message_append(reply, "o", DEVICE_PATH(&m->devices.items[i]->pci->address));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_jobs(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const Manager *m = ((Bus *) userdata)->manager;
        int r = sd_bus_message_open_container(reply, 'a', "o");

        for (size_t i = 0; r >= 0 && i < m->n_jobs; i++)
                r = sd_bus_message_append(reply, "o", JOB_PATH(m->jobs[i]));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

const sd_bus_vtable manager_properties[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("VMs", "ao", get_vms, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_PROPERTY("Devices", "ao", get_devices, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_PROPERTY("Jobs", "ao", get_jobs, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_VTABLE_END,
};
