/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* create, and its --dry-run. */

#include <ctype.h>

#include "base/parse.h"
#include "dict.h"
#include "files.h"
#include "job.h"
#include "terminal.h"
#include "verbs.h"
#include "vm.h"

/* Options that go to the service under their own name. */
#define SENT(option, k, v, h) { .name = option, .kind = k, .value = v, .key = option, .help = h }
#define CLOUD_INIT(option, k, v, key_, h) \
        { .name = option, .kind = k, .value = v, .key = key_, .cloud_init = true, .help = h }

const OptionSpec create_options[] = {
        SENT("memory", OPTION_SIZE, "SIZE", "memory (default 2G)"),
        SENT("cpus", OPTION_COUNT, "N", "virtual CPUs (default 2)"),
        SENT("disk-size", OPTION_SIZE, "SIZE",
             "grow the copy of the image; without one, an empty disk"),
        SENT("cdrom", OPTION_FILE, "FILE", "an installer's ISO image"),
        SENT("gpu", OPTION_ADDRESS, "ADDRESS|auto[:VENDOR]",
             "a graphics device and what moves with it"),
        SENT("nvme", OPTION_ADDRESS, "ADDRESS|auto", "an NVMe drive"),
        SENT("passthrough", OPTION_ADDRESS, "ADDRESS", "any other PCI function"),
        SENT("on-stop", OPTION_CHOICE, "host|hold", "where its devices wait while it is stopped"),
        SENT("allow", OPTION_LIST, "CODE", "take responsibility for an overridable reason"),
        SENT("graphics", OPTION_CHOICE, "none|spice|vnc", "a virtual display (default none)"),
        SENT("firmware", OPTION_CHOICE, "uefi|bios", "default uefi"),
        SENT("secure-boot", OPTION_FLAG, NULL, "UEFI Secure Boot"),
        SENT("tpm", OPTION_FLAG, NULL, "a TPM 2.0"),
        CLOUD_INIT("ssh-key", OPTION_KEYS, "FILE", "ssh-keys", "public keys that may log in"),
        CLOUD_INIT("user", OPTION_STRING, "NAME", "user", "the user they log in as"),
        CLOUD_INIT("hostname", OPTION_STRING, "NAME", "hostname", "default: the VM's name"),
        CLOUD_INIT("user-data", OPTION_FILE, "FILE", "user-data",
                   "a cloud-init document of your own"),
        SENT("network", OPTION_STRING, "none|user|NETWORK",
             "default: the network 'default', else user"),
        SENT("pin", OPTION_STRING, "none|auto|LIST", "host CPUs the virtual ones run on"),
        SENT("hugepages", OPTION_CHOICE, "none|auto|2M|1G", "memory in huge pages"),
        SENT("numa", OPTION_STRING, "none|auto|N", "memory of one node"),
        SENT("io-threads", OPTION_COUNT, "N", "threads for disks of its own"),
        SENT("guest-os", OPTION_CHOICE, "linux|windows|other", "default linux"),
        SENT("hide-hypervisor", OPTION_FLAG, NULL, "for drivers that refuse to run in a VM"),
        SENT("rom", OPTION_ROM, "ADDRESS=FILE", "a VBIOS image for a device"),
        SENT("autostart", OPTION_FLAG, NULL, "start it when the host boots"),
        SENT("start", OPTION_FLAG, NULL, "start it now"),
        { .name = "dry-run", .kind = OPTION_FLAG,
          .help = "show what would be done, and change nothing" },
        { 0 },
};

/* The call */

/* A host name from the VM's: what may stand in one but not in the other becomes '-'. */
static void host_name(const char *vm, char *buffer, size_t size) {
        snprintf(buffer, size, "%s", vm);
        for (char *p = buffer; *p; p++)
                if (!isalnum((unsigned char) *p))
                        *p = '-';
}

static int add_image(sd_bus_message *m, const char *image, Failure *failure) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!image)
                return 0;
        if (image[0] == '@')
                return dict_add_string(m, "image-name", image + 1);

        r = image_open(image, &fd, failure);
        return r < 0 ? r : dict_add_fd(m, "image", fd);
}

static int add_options(sd_bus_message *m, const Args *args, Failure *failure) {
        char hostname[64];
        int r;

        host_name(args_operand(args, 0), hostname, sizeof hostname);

        r = dict_open(m);
        if (r < 0)
                return r;
        r = add_image(m, args_operand(args, 1), failure);
        if (r < 0)
                return r;
        r = dict_add_given(m, args, failure);
        if (r < 0)
                return r;
        r = dict_add_cloud_init(m, args, hostname, failure);
        return r < 0 ? r : dict_close(m);
}

static int new_call(Client *c, const char *member, sd_bus_message **ret, Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = client_message(c, VMKIT_MANAGER_PATH, VMKIT_MANAGER, member, &m, failure);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "s", args_operand(c->args, 0));
        if (r < 0)
                return r;
        r = add_options(m, c->args, failure);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(m);
        return 0;
}

static int create(Client *c, Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = new_call(c, "CreateVM", &m, failure);
        if (r < 0)
                return r;
        r = job_run(c, m, failure);
        if (r <= 0)
                return r;
        r = client_find_vm(c, args_operand(c->args, 0), &path, failure);
        if (r < 0)
                return r;

        return vm_report(c, path, failure);
}

/* --dry-run */

/* The same with null where a string says nothing. */
static json_object *without_empty(json_object *dictionary) {
        json_object *d = json_object_new_object();

        json_object_object_foreach(dictionary, key, value) {
                (void) value;
                json_copy(d, key, dictionary, key);
        }

        return d;
}

static json_object *plan_document(json_object *results) {
        static const char *const keys[] = { "code", "severity", "detail", "remedy" };
        json_object *d = json_object_new_object();

        json_object_object_add(d, "ready", json_object_get(json_at(results, 0)));
        json_object_object_add(d, "findings",
                               json_pick_fields(json_at(results, 1), keys, ELEMENTSOF(keys)));
        json_object_object_add(d, "plan", without_empty(json_at(results, 2)));
        return d;
}

static void print_finding(json_object *finding) {
        const char *detail = json_string(finding, "detail");
        const char *remedy = json_string(finding, "remedy");

        print_mark(stdout, json_string(finding, "severity"));
        print_text(stdout, " ");
        print_wrapped(stdout, 2, detail ?: json_string(finding, "code") ?: "");
        if (remedy) {
                print_text(stdout, "    ");
                print_wrapped(stdout, 4, remedy);
        }
}

static void print_planned_device(json_object *device) {
        _cleanup_free_ char *unit = join_strings(json_get(device, "unit"), ", ");

        print_text(stdout, "  %s  %s", json_string(device, "address") ?: "?",
                   json_string(device, "kind") ?: "?");
        if (json_has(device, "driver"))
                print_text(stdout, ", from %s", json_string(device, "driver") ?: "no driver");
        if (json_length(json_get(device, "unit")) > 1)
                print_text(stdout, ", moves with %s", unit ?: "others");
        print_text(stdout, "\n");
}

/* Lists are shown elsewhere; what was not asked for is not shown. */
static bool says_something(json_object *value) {
        if (json_object_is_type(value, json_type_string))
                return !streq(json_object_get_string(value), "none");
        return (json_object_is_type(value, json_type_boolean) || json_object_is_type(value, json_type_int)) &&
               json_object_get_int64(value) != 0;
}

static void print_planned_options(json_object *plan) {
        json_object_object_foreach(plan, key, value) {
                if (!says_something(value))
                        continue;

                bool bytes = streq(key, "memory") || streq(key, "disk-size");
                char size[SIZE_TEXT_MAX];
                print_text(stdout, "  %-16s %s\n", key, bytes ? format_size(json_object_get_uint64(value), size)
                                                              : json_object_get_string(value));
        }
}

static void print_plan(json_object *d) {
        json_object *findings = json_get(d, "findings"), *plan = json_get(d, "plan");
        json_object *devices = json_get(plan, "devices");
        bool ready = json_flag(d, "ready");

        for (size_t i = 0; i < json_length(findings); i++)
                print_finding(json_at(findings, i));

        if (json_length(devices) > 0)
                print_text(stdout, "Devices:\n");
        for (size_t i = 0; i < json_length(devices); i++)
                print_planned_device(json_at(devices, i));

        print_text(stdout, "Options:\n");
        print_planned_options(plan);
        print_text(stdout, "\n");
        print_colored(stdout, ready ? COLOR_GREEN : COLOR_RED, "%s",
                      ready ? "It can be created." : "It cannot be created.");
        print_text(stdout, "\n");
}

static int dry_run(Client *c, Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_json_ json_object *results = NULL, *document = NULL;
        int r;

        r = new_call(c, "PlanVM", &m, failure);
        if (r < 0)
                return r;
        r = client_call(c, m, &reply, failure);
        if (r < 0)
                return r;
        r = json_from_body(reply, &results);
        if (r < 0)
                return r;

        document = plan_document(results);
        if (c->json)
                json_print(document);
        else if (!c->quiet)
                print_plan(document);

        return json_flag(document, "ready") ? EXIT_DONE : EXIT_FAILED;
}

int verb_create(Client *c, Failure *failure) {
        const char *image = args_operand(c->args, 1);
        int r = args_has(c->args, "dry-run") ? dry_run(c, failure) : create(c, failure);

        if (r < 0 && image && image[0] == '@')
                client_suggest_image(c, image + 1, failure);
        return r;
}
