/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.vmkit.VM */

#include <stddef.h>

#include "base/log.h"
#include "base/strv.h"
#include "core/plan.h"
#include "methods.h"
#include "options.h"
#include "paths.h"
#include "plan-rights.h"

#define STOP_TIMEOUT_DEFAULT (90 * USEC_PER_SEC)
#define DETACH_TIMEOUT_DEFAULT (30 * USEC_PER_SEC)
#define TIMEOUT_MAX (24 * 3600 * USEC_PER_SEC)

/* --- who may ---------------------------------------------------------------------------------------------- */

/* The row names the action for one's own VM; another's needs its counterpart. */
static Action action_for(const Call *call, const Vm *vm) {
        if (vm->spec->owner == call->caller)
                return call->row->action;
        return call->row->action == ACTION_DESTROY_OWN_VM ? ACTION_DESTROY_ANY_VM : ACTION_CONTROL_ANY_VM;
}

static const char *words_for(const Call *call) {
        static const struct {
                const char *member, *words;
        } acts[] = {
                { "Start", "start" },           { "Stop", "stop" },
                { "Reboot", "reboot" },         { "Pause", "pause" },
                { "Resume", "resume" },         { "Destroy", "destroy" },
                { "SetAutostart", "change" },   { "AttachDevice", "attach a device to" },
                { "DetachDevice", "detach a device from" },
                { "OpenConsole", "open the console of" },
                { "OpenDisplay", "open the display of" },
        };

        for (size_t i = 0; i < ELEMENTSOF(acts); i++)
                if (streq(acts[i].member, call->row->member))
                        return acts[i].words;
        return "control";
}

int vm_details(Call *call, Error *error) {
        Vm *vm;
        int r;

        r = call_vm(call, &vm, error);
        if (r >= 0)
                r = auth_describe(&call->auth, "%s the virtual machine %s", words_for(call), vm->spec->name);
        return r < 0 ? r : auth_add_vm(&call->auth, action_for(call, vm), vm->spec->name);
}

/* --- start, stop, … --------------------------------------------------------------------------------------- */

/* The owner is judged again after the wait for polkit: the VM of this path is the one that was asked about,
 * since its UUID is in the path, and a UUID's owner does not change. */
static int prepare(const Call *call, Vm **ret, Error *error) {
        int r = manager_check_job_allowed(call->bus->manager, call->caller, error);

        return r < 0 ? r : call_vm(call, ret, error);
}

typedef int (*SimpleOperation)(Vm *vm, uid_t caller, Job **ret, Error *error);

static int begin_simple(Call *call, SimpleOperation operation, Error *error) {
        Job *job;
        Vm *vm;
        int r;

        r = prepare(call, &vm, error);
        if (r >= 0)
                r = operation(vm, call->caller, &job, error);
        return r < 0 ? r : call_reply_job(call, job);
}

int vm_handle_start(Call *call, Error *error) {
        return begin_simple(call, vm_start, error);
}

int vm_handle_reboot(Call *call, Error *error) {
        return begin_simple(call, vm_reboot, error);
}

int vm_handle_pause(Call *call, Error *error) {
        return begin_simple(call, vm_pause, error);
}

int vm_handle_resume(Call *call, Error *error) {
        return begin_simple(call, vm_resume, error);
}

static int check_timeout(uint64_t timeout, Error *error) {
        if (timeout <= TIMEOUT_MAX)
                return 0;
        return error_set(error, ERROR_INVALID_OPTION, "The option timeout is longer than a day");
}

int read_stop_options(Call *call, uint64_t timeout, Error *error) {
        static const OptionSpec specs[] = {
                { "timeout", "t", offsetof(StopOptions, timeout) },
                { "force", "b", offsetof(StopOptions, force) },
        };
        StopOptions *options = calloc(1, sizeof(StopOptions));
        int r;

        if (!options)
                return -ENOMEM;
        options->timeout = timeout;
        call->data = options;
        call->free_data = free;

        r = options_read(call->message, specs, ELEMENTSOF(specs), options, error);
        return r < 0 ? r : check_timeout(options->timeout, error);
}

int vm_read_stop(Call *call, Error *error) {
        return read_stop_options(call, STOP_TIMEOUT_DEFAULT, error);
}

int vm_handle_stop(Call *call, Error *error) {
        Job *job;
        Vm *vm;
        int r;

        r = prepare(call, &vm, error);
        if (r >= 0)
                r = vm_stop(vm, call->caller, call->data, &job, error);
        return r < 0 ? r : call_reply_job(call, job);
}

int vm_read_destroy(Call *call, Error *error) {
        static const OptionSpec specs[] = {
                { "force", "b", offsetof(DestroyOptions, force) },
                { "keep-disk", "b", offsetof(DestroyOptions, keep_disk) },
        };

        call->data = calloc(1, sizeof(DestroyOptions));
        call->free_data = free;
        if (!call->data)
                return -ENOMEM;
        return options_read(call->message, specs, ELEMENTSOF(specs), call->data, error);
}

int vm_handle_destroy(Call *call, Error *error) {
        Job *job;
        Vm *vm;
        int r;

        r = prepare(call, &vm, error);
        if (r >= 0)
                r = vm_destroy(vm, call->caller, call->data, &job, error);
        return r < 0 ? r : call_reply_job(call, job);
}

/* --- devices of a VM that is there ------------------------------------------------------------------------ */

typedef struct DeviceArguments {
        PciAddress address;
        char **allow;
        uint64_t timeout;
} DeviceArguments;

static void free_device_arguments(void *p) {
        DeviceArguments *arguments = p;

        if (arguments)
                strv_free(arguments->allow);
        free(arguments);
}

static int read_device_arguments(Call *call, const OptionSpec *specs, size_t n, Error *error) {
        DeviceArguments *arguments = calloc(1, sizeof(DeviceArguments));
        const char *text;
        int r;

        if (!arguments)
                return -ENOMEM;
        arguments->timeout = DETACH_TIMEOUT_DEFAULT;
        call->data = arguments;
        call->free_data = free_device_arguments;

        r = sd_bus_message_read(call->message, "s", &text);
        if (r < 0)
                return r;
        if (pci_address_parse(text, &arguments->address) < 0)
                return error_set(error, ERROR_INVALID_ADDRESS, "'%.40s' is not a PCI address", text);
        return options_read(call->message, specs, n, arguments, error);
}

int vm_read_attach(Call *call, Error *error) {
        static const OptionSpec specs[] = { { "allow", "as", offsetof(DeviceArguments, allow) } };
        int r = read_device_arguments(call, specs, ELEMENTSOF(specs), error);

        if (r >= 0)
                r = allow_check(((const DeviceArguments *) call->data)->allow, error);
        return r < 0 ? r : devices_refresh_if_old(call->bus->manager);
}

int vm_read_detach(Call *call, Error *error) {
        static const OptionSpec specs[] = { { "timeout", "t", offsetof(DeviceArguments, timeout) } };
        int r = read_device_arguments(call, specs, ELEMENTSOF(specs), error);

        return r < 0 ? r : check_timeout(((const DeviceArguments *) call->data)->timeout, error);
}

int vm_inspect_attach(Call *call, DeviceList *ret) {
        const DeviceArguments *arguments = call->data;
        const Device *d = devices_find(call->bus->manager, &arguments->address);

        return d ? device_unit(d, ret) : 0;
}

static int describe_attachment(Auth *auth, const Vm *vm, const Plan *plan, char *const *allow) {
        _cleanup_free_ char *devices = NULL, *allowed = strv_join(allow, ", ");
        int r;

        r = plan_describe_devices(plan, &devices);
        if (r < 0 || !allowed)
                return -ENOMEM;
        return auth_describe(auth, "attach to the virtual machine %s the devices %s%s%s", vm->spec->name, devices,
                             *allowed ? " in spite of: " : "", allowed);
}

/* As for a VM that is made: what cannot be is refused before anyone is asked for a password. */
int vm_attach_details(Call *call, Error *error) {
        const DeviceArguments *arguments = call->data;
        _cleanup_(plan_freep) Plan *plan = NULL;
        Vm *vm;
        int r;

        r = call_vm(call, &vm, error);
        if (r >= 0)
                r = vm_plan_attachment(vm, call->caller, &arguments->address, arguments->allow, &plan, error);
        if (r >= 0)
                r = auth_add_vm(&call->auth, action_for(call, vm), vm->spec->name);
        if (r >= 0)
                r = auth_add_devices(&call->auth, plan, arguments->allow);
        return r < 0 ? r : describe_attachment(&call->auth, vm, plan, arguments->allow);
}

int vm_handle_attach(Call *call, Error *error) {
        const DeviceArguments *arguments = call->data;
        _cleanup_(plan_freep) Plan *plan = NULL;
        Job *job;
        Vm *vm;
        int r;

        r = prepare(call, &vm, error);
        if (r >= 0)
                r = vm_plan_attachment(vm, call->caller, &arguments->address, arguments->allow, &plan, error);
        if (r >= 0)
                r = vm_attach(vm, call->caller, TAKE_PTR(plan), arguments->allow, &job, error);
        return r < 0 ? r : call_reply_job(call, job);
}

int vm_handle_detach(Call *call, Error *error) {
        const DeviceArguments *arguments = call->data;
        Job *job;
        Vm *vm;
        int r;

        r = prepare(call, &vm, error);
        if (r >= 0)
                r = vm_detach(vm, call->caller, &arguments->address, arguments->timeout, &job, error);
        return r < 0 ? r : call_reply_job(call, job);
}

/* --- autostart -------------------------------------------------------------------------------------------- */

int vm_read_autostart(Call *call, Error *error) {
        int value, r;

        r = sd_bus_message_read(call->message, "b", &value);
        if (r < 0)
                return r;

        bool *data = malloc(sizeof(bool));
        if (!data)
                return -ENOMEM;
        *data = value;
        call->data = data;
        call->free_data = free;
        return options_read_none(call->message, error);
}

static void on_autostart_set(int r, const Error *error, void *userdata) {
        Call *call = userdata;
        Vm *vm;

        if (r >= 0 && call_vm(call, &vm, NULL) >= 0)
                vm_autostart_was_set(vm, *(const bool *) call->data);
        (void) (r < 0 ? call_reply_error(call, r, error) : call_reply(call, ""));
        call_finish(call);
}

int vm_handle_autostart(Call *call, Error *error) {
        Vm *vm;
        int r;

        r = call_vm(call, &vm, error);
        if (r >= 0)
                r = vm_set_autostart(vm, *(const bool *) call->data, on_autostart_set, call, error);
        return r < 0 ? r : CALL_PENDING;
}

/* --- console, display, addresses -------------------------------------------------------------------------- */

static int check_active(const Vm *vm, const char *what, Error *error) {
        if (vm_is_active(vm))
                return 0;
        return error_set(error, ERROR_WRONG_STATE, "The VM %s is %s: it has no %s", vm->spec->name,
                         vm_state(vm), what);
}

static void on_console(int r, int fd, const Error *error, void *userdata) {
        _cleanup_close_ int owned = fd;
        Call *call = userdata;

        (void) (r < 0 ? call_reply_error(call, r, error) : call_reply(call, "h", owned));
        call_finish(call);
}

int vm_handle_console(Call *call, Error *error) {
        Vm *vm;
        int r;

        r = call_vm(call, &vm, error);
        if (r >= 0)
                r = check_active(vm, "console", error);
        if (r >= 0)
                r = virt_open_console(vm->manager->virt, vm->spec->uuid, on_console, call, error);
        return r < 0 ? r : CALL_PENDING;
}

static void on_display(int r, int fd, const Error *error, void *userdata) {
        _cleanup_close_ int owned = fd;
        _cleanup_error_ Error gone = ERROR_INIT;
        Call *call = userdata;
        Vm *vm;

        if (r >= 0) {
                r = call_vm(call, &vm, &gone);
                error = &gone;
        }
        (void) (r < 0 ? call_reply_error(call, r, error) : call_reply(call, "sh", vm->spec->graphics, owned));
        call_finish(call);
}

int vm_handle_display(Call *call, Error *error) {
        Vm *vm;
        int r;

        r = call_vm(call, &vm, error);
        if (r < 0)
                return r;
        if (streq_ptr(vm->spec->graphics, "none"))
                return error_set(error, ERROR_NOT_SUPPORTED, "The VM %s was created without graphics",
                                 vm->spec->name);

        r = check_active(vm, "display", error);
        if (r >= 0)
                r = virt_open_display(vm->manager->virt, vm->spec->uuid, on_display, call, error);
        return r < 0 ? r : CALL_PENDING;
}

static int reply_addresses(Call *call, const GuestAddress *addresses, size_t n) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(call->message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ss)");
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = sd_bus_message_append(reply, "(ss)", addresses[i].family, addresses[i].address);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? call_reply_error(call, r, NULL) : call_reply_message(call, reply);
}

/* Another call for the same of the same VM. */
static Call *find_same(const Call *call, int sharing) {
        for (Call *other = call->bus->calls; other; other = other->next)
                if (other != call && other->row == call->row && (int) other->sharing == sharing &&
                    streq(sd_bus_message_get_path(other->message), sd_bus_message_get_path(call->message)))
                        return other;
        return NULL;
}

static void tell_addresses(Call *call, int r, const GuestAddress *addresses, size_t n, const Error *error) {
        (void) (r < 0 ? call_reply_error(call, r, error) : reply_addresses(call, addresses, n));
        call_finish(call);
}

static void on_addresses(int r, const GuestAddress *addresses, size_t n, const Error *error, void *userdata) {
        Call *call = userdata, *other;

        while ((other = find_same(call, WAITS_FOR_ANOTHERS)))
                tell_addresses(other, r, addresses, n, error);
        tell_addresses(call, r, addresses, n, error);
}

/* The agent in the guest takes its time, or never answers, and who waits for it has one of the few workers: of a
 * VM it is only one at a time, however many ask. */
int vm_handle_addresses(Call *call, Error *error) {
        Vm *vm;
        int r;

        r = call_vm(call, &vm, error);
        if (r < 0)
                return r;
        if (!vm_is_active(vm))
                return reply_addresses(call, NULL, 0);

        call->sharing = find_same(call, SHARES_ITS_ANSWER) ? WAITS_FOR_ANOTHERS
                                                                            : SHARES_ITS_ANSWER;
        if (call->sharing == WAITS_FOR_ANOTHERS)
                return CALL_PENDING;

        r = virt_get_addresses(vm->manager->virt, vm->spec->uuid, on_addresses, call, error);
        return r < 0 ? r : CALL_PENDING;
}

/* --- properties ------------------------------------------------------------------------------------------- */

#define GETTER(name)                                                                                      \
        static int name(sd_bus *bus, const char *path, const char *interface, const char *property,       \
                        sd_bus_message *reply, void *userdata, sd_bus_error *error)

static const char *text_property(const VmSpec *spec, const char *property) {
        const struct {
                const char *property, *value;
        } texts[] = {
                { "Name", spec->name },           { "UUID", spec->uuid },
                { "Graphics", spec->graphics },   { "Firmware", spec->firmware },
                { "Network", spec->network },     { "Image", spec->image },
                { "Pin", spec->pin },             { "HugePages", spec->hugepages },
                { "NUMA", spec->numa },           { "OnStop", spec->on_stop },
                { "User", spec->user },
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (streq(texts[i].property, property))
                        return texts[i].value;
        return NULL;
}

GETTER(get_text) {
        const char *value = text_property(((Vm *) userdata)->spec, property);

        return sd_bus_message_append(reply, "s", value ? value : "");
}

GETTER(get_state) {
        return sd_bus_message_append(reply, "s", vm_state(userdata));
}

GETTER(get_owner) {
        return sd_bus_message_append(reply, "u", (uint32_t) ((Vm *) userdata)->spec->owner);
}

GETTER(get_memory) {
        return sd_bus_message_append(reply, "t", ((Vm *) userdata)->spec->memory);
}

GETTER(get_cpus) {
        return sd_bus_message_append(reply, "u", (uint32_t) ((Vm *) userdata)->spec->cpus);
}

GETTER(get_io_threads) {
        return sd_bus_message_append(reply, "u", (uint32_t) ((Vm *) userdata)->spec->io_threads);
}

GETTER(get_ssh_port) {
        return sd_bus_message_append(reply, "q", (uint16_t) ((Vm *) userdata)->spec->ssh_port);
}

GETTER(get_created_at) {
        return sd_bus_message_append(reply, "t", ((Vm *) userdata)->spec->created_at);
}

GETTER(get_secure_boot) {
        return sd_bus_message_append(reply, "b", ((Vm *) userdata)->spec->secure_boot);
}

GETTER(get_tpm) {
        return sd_bus_message_append(reply, "b", ((Vm *) userdata)->spec->tpm);
}

GETTER(get_autostart) {
        return sd_bus_message_append(reply, "b", ((Vm *) userdata)->spec->autostart);
}

GETTER(get_devices) {
        const VmSpec *spec = ((Vm *) userdata)->spec;
        int r = sd_bus_message_open_container(reply, 'a', "o");

        for (size_t i = 0; r >= 0 && i < spec->n_devices; i++)
                r = sd_bus_message_append(reply, "o", DEVICE_PATH(&spec->devices[i].address));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_disk_bytes) {
        return sd_bus_message_append(reply, "t", ((Vm *) userdata)->spec->disk_bytes);
}

#define CONSTANT SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

const sd_bus_vtable vm_properties[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Name", "s", get_text, 0, CONSTANT),
        SD_BUS_PROPERTY("UUID", "s", get_text, 0, CONSTANT),
        SD_BUS_PROPERTY("State", "s", get_state, 0, CHANGES),
        SD_BUS_PROPERTY("Owner", "u", get_owner, 0, CONSTANT),
        SD_BUS_PROPERTY("Memory", "t", get_memory, 0, CONSTANT),
        SD_BUS_PROPERTY("CPUs", "u", get_cpus, 0, CONSTANT),
        SD_BUS_PROPERTY("Devices", "ao", get_devices, 0, CHANGES),
        SD_BUS_PROPERTY("Graphics", "s", get_text, 0, CONSTANT),
        SD_BUS_PROPERTY("Firmware", "s", get_text, 0, CONSTANT),
        SD_BUS_PROPERTY("SecureBoot", "b", get_secure_boot, 0, CONSTANT),
        SD_BUS_PROPERTY("TPM", "b", get_tpm, 0, CONSTANT),
        SD_BUS_PROPERTY("Autostart", "b", get_autostart, 0, CHANGES),
        SD_BUS_PROPERTY("Network", "s", get_text, 0, CHANGES),
        SD_BUS_PROPERTY("SSHPort", "q", get_ssh_port, 0, CHANGES),
        SD_BUS_PROPERTY("User", "s", get_text, 0, CHANGES),
        SD_BUS_PROPERTY("Image", "s", get_text, 0, CHANGES),
        SD_BUS_PROPERTY("DiskBytes", "t", get_disk_bytes, 0, CHANGES),
        SD_BUS_PROPERTY("Pin", "s", get_text, 0, CHANGES),
        SD_BUS_PROPERTY("HugePages", "s", get_text, 0, CHANGES),
        SD_BUS_PROPERTY("NUMA", "s", get_text, 0, CHANGES),
        SD_BUS_PROPERTY("IOThreads", "u", get_io_threads, 0, CHANGES),
        SD_BUS_PROPERTY("OnStop", "s", get_text, 0, CHANGES),
        SD_BUS_PROPERTY("CreatedAt", "t", get_created_at, 0, CONSTANT),
        SD_BUS_VTABLE_END,
};
