/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* list, info, and the verbs that change a VM that exists. */

#include "base/parse.h"
#include "base/pci-address.h"
#include "device.h"
#include "dbus/errors.h"
#include "job.h"
#include "listing.h"
#include "text.h"
#include "verbs.h"
#include "vm.h"

const OptionSpec stop_options[] = {
        { .name = "all", .kind = OPTION_FLAG, .help = "every VM, as the host does before it goes down" },
        { .name = "force", .kind = OPTION_FLAG, .key = "force",
          .help = "cut the guest off when the time is over" },
        { .name = "timeout", .kind = OPTION_SECONDS, .value = "SECONDS", .key = "timeout",
          .help = "how long the guest may take (default 90)" },
        { 0 },
};

const OptionSpec detach_options[] = {
        { .name = "timeout", .kind = OPTION_SECONDS, .value = "SECONDS", .key = "timeout",
          .help = "how long the guest may take (default 30)" },
        { 0 },
};

const OptionSpec destroy_options[] = {
        { .name = "force", .kind = OPTION_FLAG, .key = "force", .help = "even if it is running" },
        { .name = "keep-disk", .kind = OPTION_FLAG, .key = "keep-disk",
          .help = "keep its disk as image NAME-disk" },
        { .name = "yes", .kind = OPTION_FLAG, .help = "do not ask for confirmation" },
        { 0 },
};

static Color state_color(const char *state) {
        if (streq_ptr(state, "running"))
                return COLOR_GREEN;
        if (streq_ptr(state, "crashed"))
                return COLOR_RED;
        if (streq_ptr(state, "stopped"))
                return COLOR_DIM;

        return COLOR_YELLOW;
}

/* list */

/* A VM may go away between the list and the look at it: it is left out then. */
static int read_vms(Client *c, json_object **ret, Failure *failure) {
        _cleanup_json_ json_object *rows = NULL, *documents = json_object_new_array();
        int r;

        r = client_ask(c, "ListVMs", &rows, failure, "");
        if (r < 0)
                return r;

        for (size_t i = 0; i < json_length(rows); i++) {
                _cleanup_json_ json_object *properties = NULL;

                r = client_properties(c, json_string_at(json_at(rows, i), 1), VMKIT_VM, &properties,
                                      failure);
                if (r >= 0)
                        json_object_array_add(documents, vm_document(properties));
                else if (!failure_is_gone(failure))
                        return r;
        }

        *ret = TAKE_PTR(documents);
        return 0;
}

static void add_row(Table *table, json_object *vms, size_t i) {
        json_object *vm = json_at(vms, i);
        _cleanup_free_ char *owner = user_of(vm);
        _cleanup_free_ char *devices = join_strings(json_get(vm, "devices"), " ");
        const char *state = json_string(vm, "state"),
                   *cpus = json_object_get_string(json_get(vm, "cpus"));
        char memory[SIZE_TEXT_MAX];

        format_size((uint64_t) json_int(vm, "memory_bytes", 0), memory);

        table_add_colored(table, COLOR_BOLD, json_string(vm, "name"));
        table_add_colored(table, state_color(state), state);
        table_add(table, owner);
        table_add(table, memory);
        table_add(table, cpus);
        table_add(table, devices);
}

static const Column vm_columns[] = {
        { .title = "NAME", .min_width = 20 },
        { .title = "STATE" },
        { .title = "OWNER" },
        { .title = "MEMORY", .right = true },
        { .title = "CPUS", .right = true },
        { .title = "DEVICES", .min_width = 13 },
};

static const Listing vm_listing = {
        .columns = vm_columns,
        .n_columns = ELEMENTSOF(vm_columns),
        .add_row = add_row,
        .none = "There are no VMs.",
};

static const JsonField vm_fields[] = {
        { "name", json_type_string },
        { "state", json_type_string },
        { "owner", json_type_int },
        { "owner_name", json_type_string },
        { "memory_bytes", json_type_int },
        { "cpus", json_type_int },
        { "devices", json_type_array, json_type_string },
};

const Fleet list_fleet = { .listing = &vm_listing, .fields = vm_fields, .n_fields = ELEMENTSOF(vm_fields) };

int verb_list(Client *c, Failure *failure) {
        _cleanup_json_ json_object *vms = NULL;
        int r;

        r = read_vms(c, &vms, failure);
        if (r < 0)
                return r;

        return listing_show(c->args, &vm_listing, vms);
}

/* info: the document */

static const char *const info_copies[][2] = {
        { "firmware",    "Firmware"   },
        { "secure_boot", "SecureBoot" },
        { "tpm",         "TPM"        },
        { "graphics",    "Graphics"   },
        { "autostart",   "Autostart"  },
        { "network",     "Network"    },
        { "ssh_port",    "SSHPort"    },
        { "user",        "User"       },
        { "image",       "Image"      },
        { "disk_bytes",  "DiskBytes"  },
        { "pin",         "Pin"        },
        { "hugepages",   "HugePages"  },
        { "numa",        "NUMA"       },
        { "io_threads",  "IOThreads"  },
        { "on_stop",     "OnStop"     },
};

static json_object *read_addresses(Client *c, const char *path) {
        _cleanup_json_ json_object *results = NULL;
        _cleanup_failure_ Failure ignored = { 0 };
        json_object *array = json_object_new_array();

        if (client_read(c, path, VMKIT_VM, "GetAddresses", &results, &ignored, "") < 0)
                return array;

        for (size_t i = 0; i < json_length(json_at(results, 0)); i++)
                json_object_array_add(array,
                                      json_object_get(json_at(json_at(json_at(results, 0), i), 1)));

        return array;
}

static json_object *console_or_null(json_object *properties) {
        const char *state = json_string(properties, "State");

        return state ? json_object_new_boolean(streq(state, "running") || streq(state, "paused"))
                     : NULL;
}

static json_object *info_document(json_object *properties, json_object *addresses) {
        json_object *d = vm_document(properties);
        uint64_t created = (uint64_t) json_int(properties, "CreatedAt", 0);

        for (size_t i = 0; i < ELEMENTSOF(info_copies); i++)
                json_copy(d, info_copies[i][0], properties, info_copies[i][1]);

        if (json_int(d, "ssh_port", 0) == 0)
                json_object_object_add(d, "ssh_port", NULL);
        json_object_object_add(d, "addresses", addresses);
        json_set_string(d, "created_at",
                        created > 0 ? time_format(created, (char[TIME_TEXT_MAX]){ 0 }) : NULL);
        json_object_object_add(d, "console", console_or_null(properties));
        return d;
}

/* info: the text */

/* What a VM does not have is not shown. */
static void print_field(const char *label, const char *value) {
        if (!value || streq(value, "none"))
                return;

        print_text(stdout, "%12s: ", label);
        print_wrapped(stdout, 14, value);
}

static void print_size(const char *label, json_object *d, const char *key) {
        uint64_t bytes = (uint64_t) json_int(d, key, 0);
        char text[SIZE_TEXT_MAX];

        print_field(label, bytes > 0 ? format_size(bytes, text) : NULL);
}

static char *device_line(Client *c, const char *path) {
        _cleanup_json_ json_object *properties = NULL, *d = NULL;
        _cleanup_failure_ Failure ignored = { 0 };
        _cleanup_free_ char *address = device_address(path), *product = NULL;
        char *line;

        if (client_properties(c, path, VMKIT_DEVICE, &properties, &ignored) < 0) {
                if (!failure_is_gone(&ignored) || asprintf(&line, "%s is gone", address) < 0)
                        return TAKE_PTR(address);
                return line;
        }

        d = device_document(properties, NULL);
        product = device_product(d);
        if (asprintf(&line, "%s %-7s %s%s%s", address, json_string(d, "kind") ?: "", product,
                     json_has(d, "driver") ? " on " : "", json_string(d, "driver") ?: "") < 0)
                return TAKE_PTR(address);

        return line;
}

static void print_devices(Client *c, json_object *paths) {
        for (size_t i = 0; i < json_length(paths); i++) {
                _cleanup_free_ char *line = device_line(c, json_string_at(paths, i));

                print_text(stdout, "%12s%c ", i == 0 ? "Devices" : "", i == 0 ? ':' : ' ');
                print_wrapped(stdout, 14, line ?: "?");
        }
}

/* How to log in: by the forwarded port, else to the first address that is known. That of user networking leads
 * nowhere from the host. */
static char *login_line(json_object *d) {
        const char *user = json_string(d, "user"), *address = json_string_at(json_get(d, "addresses"), 0);
        int64_t port = json_int(d, "ssh_port", 0);
        char *line = NULL;
        int r = 0;

        if (port > 0)
                r = asprintf(&line, "ssh -p %lld %s%s127.0.0.1", (long long) port, user ?: "",
                             str_empty(user) ? "" : "@");
        else if (address && !streq_ptr(json_string(d, "network"), "user"))
                r = asprintf(&line, "ssh %s%s%s", user ?: "", str_empty(user) ? "" : "@", address);
        return r < 0 ? NULL : line;
}

static void print_heading(json_object *d) {
        print_colored(stdout, state_color(json_string(d, "state")), "%s", mark_text(MARK_DOT));
        print_text(stdout, " ");
        print_colored(stdout, COLOR_BOLD, "%s", json_string(d, "name") ?: "?");
        print_text(stdout, "\n");
}

static void print_state(json_object *d) {
        const char *state = json_string(d, "state");

        print_text(stdout, "%12s: ", "State");
        print_colored(stdout, state_color(state), "%s", state ?: "unknown");
        print_text(stdout, "%s\n", json_flag(d, "autostart") ? "; starts with the host" : "");
}

static void print_firmware(json_object *d) {
        char text[64];

        snprintf(text, sizeof text, "%s%s%s", json_string(d, "firmware") ?: "?",
                 json_flag(d, "secure_boot") ? ", Secure Boot" : "", json_flag(d, "tpm") ? ", TPM 2.0" : "");
        print_field("Firmware", text);
}

static const char *on_stop_text(const char *word) {
        if (!word)
                return "storage stays on vfio-pci, the rest goes back to the host";
        return streq(word, "hold") ? "all of them stay on vfio-pci" : "all of them go back to the host";
}

static void print_info(Client *c, json_object *d, json_object *device_paths) {
        _cleanup_free_ char *owner = user_of(d);
        _cleanup_free_ char *addresses = join_strings(json_get(d, "addresses"), " ");
        _cleanup_free_ char *login = login_line(d);

        print_heading(d);
        print_state(d);
        print_field("UUID", json_string(d, "uuid"));
        print_field("Owner", owner);
        print_size("Memory", d, "memory_bytes");
        print_field("CPUs", json_object_get_string(json_get(d, "cpus")));
        print_devices(c, device_paths);
        if (json_length(device_paths) > 0)
                print_field("On stop", on_stop_text(json_string(d, "on_stop")));
        print_size("Disk", d, "disk_bytes");
        print_field("Image", json_string(d, "image"));
        print_firmware(d);
        print_field("Graphics", json_string(d, "graphics"));
        print_field("Network", json_string(d, "network"));
        print_field("Addresses", str_empty(addresses) ? NULL : addresses);
        print_field("Log in", login);
        print_field("CPU pinning", json_string(d, "pin"));
        print_field("Huge pages", json_string(d, "hugepages"));
        print_field("NUMA", json_string(d, "numa"));
        if (json_int(d, "io_threads", 0) > 0)
                print_field("I/O threads", json_object_get_string(json_get(d, "io_threads")));
        print_field("Created", json_string(d, "created_at"));
}

int verb_info(Client *c, Failure *failure) {
        _cleanup_json_ json_object *properties = NULL, *document = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = client_find_vm(c, args_operand(c->args, 0), &path, failure);
        if (r < 0)
                return r;
        r = client_properties(c, path, VMKIT_VM, &properties, failure);
        if (r < 0)
                return r;

        document = info_document(properties, read_addresses(c, path));
        if (c->json)
                json_print(document);
        else
                print_info(c, document, json_get(properties, "Devices"));

        return client_check_interrupt(c, failure);
}

/* start, stop, reboot, pause, resume, attach, detach, destroy: one call with a job */

static int append_address(sd_bus_message *m, const char *operand, Failure *failure) {
        PciAddress address;

        if (pci_address_parse_short(operand, &address) < 0)
                return failure_set(failure, VMKIT_ERROR_PREFIX "InvalidAddress",
                                   "'%s' is not a PCI address", operand);

        return sd_bus_message_append(m, "s", PCI_ADDRESS_TEXT(&address));
}

/* Returns as job_run() does. */
static int change_vm(Client *c, const char *path, Failure *failure) {
        return job_run_method(c, path, VMKIT_VM, c->args->verb->member, append_address, failure);
}

int verb_vm_change(Client *c, Failure *failure) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = client_find_vm(c, args_operand(c->args, 0), &path, failure);
        if (r < 0)
                return r;
        r = change_vm(c, path, failure);
        if (r <= 0)
                return r;

        return vm_report(c, path, failure);
}

/* stop */

static int stop_all(Client *c, Failure *failure) {
        int r = job_run_method(c, VMKIT_MANAGER_PATH, VMKIT_MANAGER, "StopAllVMs", NULL, failure);

        if (r <= 0)
                return r;

        return verb_list(c, failure);
}

int verb_stop(Client *c, Failure *failure) {
        bool all = args_has(c->args, "all"), named = args_operand(c->args, 0);

        if (all == named)
                return failure_usage(failure, "stop", "stop takes either a NAME or --all");

        return all ? stop_all(c, failure) : verb_vm_change(c, failure);
}

/* Without somebody to ask, as in a script, the command itself is the confirmation. */
static int confirm(Client *c, const char *name, Failure *failure) {
        char answer[16] = "";

        if (args_has(c->args, "yes") || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
                return 0;

        print_text(stderr, "Destroy %s%s? [y/N] ", name,
                   args_has(c->args, "keep-disk") ? "" : " and its disk");
        if (!fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y')) {
                (void) failure_set(failure, VMKIT_ERROR_PREFIX "Cancelled", "%s was not destroyed",
                                   name);
                failure_advise(failure, "Answer 'y', or give --yes.");
                return -ECANCELED;
        }

        return 0;
}

int verb_destroy(Client *c, Failure *failure) {
        _cleanup_json_ json_object *properties = NULL, *result = NULL;
        _cleanup_free_ char *path = NULL;
        const char *name = args_operand(c->args, 0);
        int r;

        r = client_find_vm(c, name, &path, failure);
        if (r < 0)
                return r;
        r = client_properties(c, path, VMKIT_VM, &properties, failure);
        if (r < 0)
                return r;
        r = confirm(c, name, failure);
        if (r < 0)
                return r;
        r = change_vm(c, path, failure);
        if (r <= 0)
                return r;

        json_object_object_del(properties, "Devices"); /* it has none any more */
        result = vm_result(properties, "destroyed");
        vm_print_result(c, result);
        return EXIT_DONE;
}

/* autostart */

int verb_autostart(Client *c, Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_free_ char *path = NULL;
        const char *word = args_operand(c->args, 1);
        int r;

        if (!streq(word, "on") && !streq(word, "off"))
                return failure_usage(failure, "autostart",
                                     "autostart takes 'on' or 'off', not '%s'", word);

        r = client_find_vm(c, args_operand(c->args, 0), &path, failure);
        if (r < 0)
                return r;
        r = client_message(c, path, VMKIT_VM, "SetAutostart", &m, failure);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "ba{sv}", streq(word, "on"), 0);
        if (r < 0)
                return r;
        r = client_change(c, m, NULL, failure);
        if (r < 0)
                return r;
        if (c->json || c->quiet)
                return vm_report(c, path, failure);

        print_text(stdout, "%s %s with the host\n", args_operand(c->args, 0),
                   streq(word, "on") ? "starts" : "does not start");
        return EXIT_DONE;
}
