/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* monitor: the signals of all objects, as they come, each as a document or as a line for people. */

#include "base/strv.h"
#include "device.h"
#include "object.h"
#include "text.h"
#include "verbs.h"

typedef struct Monitor {
        Client *c;
        json_object *vm_names;
} Monitor;

#define MATCH_ALL "type='signal',sender='" VMKIT_SERVICE "',path_namespace='" VMKIT_ROOT "'"

/* Events as text: of all that changes, what somebody who watches wants to know. --json has everything. */

static const char *const told[][2] = {
        { "State", ""              }, { "Kind", ""            }, { "Driver", "on"           },
        { "Health", ""             }, { "VM", "leased to"     }, { "AssignedTo", "assigned to" },
        { "Reserved", "reserved"   }, { "Devices", "with"     }, { "Autostart", "autostart" },
};

static bool is_empty(json_object *value) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;

        return !value || (s && !*s) || (json_object_is_type(value, json_type_array) && json_length(value) == 0);
}

/* Paths are told by name. */
static char *value_text(json_object *vm_names, json_object *value) {
        const char *s = json_object_get_string(value);
        _cleanup_strv_ char **names = NULL;

        if (json_object_is_type(value, json_type_boolean))
                return strdup(json_object_get_boolean(value) ? "yes" : "no");
        if (!json_object_is_type(value, json_type_array))
                return streq(s, "/") ? strdup("nobody") : s[0] == '/' ? object_name(vm_names, s) : strdup(s);

        for (size_t i = 0; i < json_length(value); i++)
                if (strv_consume(&names, object_name(vm_names, json_string_at(value, i) ?: "?")) < 0)
                        return NULL;
        return strv_join(names, " ");
}

static void add_change(char ***words, json_object *vm_names, const char *label, json_object *value) {
        _cleanup_free_ char *text = is_empty(value) ? NULL : value_text(vm_names, value);
        char *word;

        if (text && asprintf(&word, "%s%s%s", label, *label ? " " : "", text) >= 0)
                (void) strv_consume(words, word);
}

/* NULL: nothing that is worth a line. */
static char *changes_text(json_object *vm_names, json_object *changes) {
        _cleanup_strv_ char **words = NULL;

        for (size_t i = 0; i < ELEMENTSOF(told); i++)
                add_change(&words, vm_names, told[i][1], json_get(changes, told[i][0]));

        return words ? strv_join(words, ", ") : NULL;
}

static char *outcome_text(json_object *changes) {
        const char *message = json_string(changes, "message");
        char *text;

        if (json_flag(changes, "success"))
                return strdup("done");
        return asprintf(&text, "failed: %s", message ?: "it did not say why") < 0 ? NULL : text;
}

/* "create of gaming-vm", its phases, and how it ended. The name of a VM that is being made is not known at the
 * beginning. */
static char *job_text(json_object *vm_names, json_object *event) {
        json_object *changes = json_get(event, "changes");
        const char *what = json_string(event, "event"), *phase = json_string(changes, "Phase");
        _cleanup_free_ char *target = NULL;
        char *text;

        if (streq(what, "completed"))
                return outcome_text(changes);
        if (!streq(what, "added"))
                return phase ? strdup(phase) : NULL;

        target = object_name(vm_names, json_string(changes, "Target") ?: "/");
        if (asprintf(&text, "%s%s%s", json_string(changes, "Operation") ?: "begun",
                     !target || target[0] == '/' ? "" : " of ", !target || target[0] == '/' ? "" : target) < 0)
                return NULL;
        return text;
}

static char *event_text(json_object *vm_names, json_object *event) {
        const char *what = json_string(event, "event");
        _cleanup_free_ char *changes = NULL;
        char *text;

        if (str_after(json_string(event, "object"), JOB_PREFIX))
                return job_text(vm_names, event);

        changes = changes_text(vm_names, json_get(event, "changes"));
        if (streq(what, "changed"))
                return TAKE_PTR(changes);
        return asprintf(&text, "%s%s%s", what, changes ? ": " : "", changes ?: "") < 0 ? NULL : text;
}

static Color event_color(json_object *event) {
        if (!streq(json_string(event, "event"), "completed"))
                return COLOR_OFF;
        return json_flag(json_get(event, "changes"), "success") ? COLOR_GREEN : COLOR_RED;
}

#define NAME_WIDTH 16
#define EVENT_INDENT (8 + 2 + NAME_WIDTH + 2)

/* The time of day without its date is enough. */
static void print_event_text(json_object *vm_names, json_object *event) {
        _cleanup_free_ char *text = event_text(vm_names, event);
        const char *name = json_string(event, "name");
        Color color = event_color(event);

        if (!text)
                return;

        print_text(stdout, "%.8s  ", strchr(json_string(event, "time"), 'T') + 1);
        print_colored(stdout, COLOR_BOLD, "%s%*s", name, MAX(0, NAME_WIDTH - text_columns(name)) + 2, "");
        if (color != COLOR_OFF)
                print_color(stdout, color);
        print_wrapped(stdout, EVENT_INDENT, text);
        if (color != COLOR_OFF)
                print_color(stdout, COLOR_OFF);
        fflush(stdout);
}

static void emit(Monitor *monitor, const char *event, const char *path, json_object *changes) {
        _cleanup_free_ char *name = object_name(monitor->vm_names, path);
        _cleanup_json_ json_object *line = json_object_new_object();

        json_set_string(line, "time", time_format_exact(time_now(), (char[TIME_TEXT_MAX]) { 0 }));
        json_set_string(line, "event", event);
        json_set_string(line, "object", path);
        json_set_string(line, "name", name);
        json_object_object_add(line, "changes", json_object_get(changes));

        if (monitor->c->json)
                json_print_line(stdout, line);
        else
                print_event_text(monitor->vm_names, line);
}

/* The interfaces of sd-bus itself say nothing. */
static json_object *own_interface(json_object *interfaces) {
        json_object_object_foreach(interfaces, name, properties)
                if (str_after(name, "org.vmkit."))
                        return properties;

        return NULL;
}

static void on_added(Monitor *monitor, json_object *body) {
        const char *path = json_string_at(body, 0);
        json_object *properties = own_interface(json_at(body, 1));
        json_object *name = json_get(json_get(json_at(body, 1), VMKIT_VM), "Name");

        if (name)
                json_object_object_add(monitor->vm_names, path, json_object_get(name));
        emit(monitor, "added", path, properties);
}

static void on_removed(Monitor *monitor, json_object *body) {
        const char *path = json_string_at(body, 0);

        emit(monitor, "removed", path, NULL);
        json_object_object_del(monitor->vm_names, path);
}

/* What changed without its value being sent is null. */
static json_object *changes_of(json_object *body) {
        json_object *changes = json_object_get(json_at(body, 1)), *invalidated = json_at(body, 2);

        for (size_t i = 0; i < json_length(invalidated); i++)
                json_object_object_add(changes, json_string_at(invalidated, i), NULL);

        return changes;
}

static json_object *completion_of(json_object *body) {
        json_object *changes = json_object_new_object();

        json_object_object_add(changes, "success", json_object_get(json_at(body, 0)));
        json_set_string(changes, "error", json_string_at(body, 1));
        json_set_string(changes, "message", json_string_at(body, 2));
        return changes;
}

static void dispatch(Monitor *monitor, const char *member, const char *path, json_object *body) {
        _cleanup_json_ json_object *changes = NULL;

        if (streq_ptr(member, "InterfacesAdded"))
                on_added(monitor, body);
        else if (streq_ptr(member, "InterfacesRemoved"))
                on_removed(monitor, body);
        else if (streq_ptr(member, "PropertiesChanged"))
                emit(monitor, "changed", path, changes = changes_of(body));
        else if (streq_ptr(member, "Completed"))
                emit(monitor, "completed", path, changes = completion_of(body));
}

static int on_signal(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error) {
        _cleanup_json_ json_object *body = NULL;
        Monitor *monitor = userdata;

        if (client_is_from_service(monitor->c, m) && json_from_body(m, &body) >= 0)
                dispatch(monitor, sd_bus_message_get_member(m), sd_bus_message_get_path(m), body);

        return 0;
}

/* What a service that comes anew has is announced by nobody, but VMs keep their paths. */
static void on_owner(void *userdata, const char *before, const char *after) {
        if (*before)
                emit(userdata, "stopped", VMKIT_MANAGER_PATH, NULL);
        if (*after)
                emit(userdata, "started", VMKIT_MANAGER_PATH, NULL);
}

static int follow(Monitor *monitor, Failure *failure) {
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *objects = NULL, *owner = NULL;
        int r;

        r = client_follow_service(monitor->c, on_owner, monitor, &owner, failure);
        if (r >= 0)
                r = sd_bus_add_match(monitor->c->bus, &objects, MATCH_ALL, on_signal, monitor);
        while (r >= 0 && monitor->c->interrupts == 0)
                r = sd_event_run(monitor->c->event, UINT64_MAX);

        return r < 0 ? r : EXIT_INTERRUPTED;
}

int verb_monitor(Client *c, Failure *failure) {
        _cleanup_hold_ _unused_ InterruptHold hold = interrupt_hold();
        _cleanup_json_ json_object *names = NULL;
        Monitor monitor = { .c = c };
        int r;

        r = device_vm_names(c, &names, failure);
        if (r < 0)
                return r;

        monitor.vm_names = names;
        return follow(&monitor, failure);
}
