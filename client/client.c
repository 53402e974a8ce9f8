/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every call is asynchronous underneath: one loop serves replies, signals of jobs and Ctrl-C. */

#include <fcntl.h>
#include <stdarg.h>

#include "base/pci-address.h"
#include "client.h"
#include "dbus/errors.h"
#include "terminal.h"
#include "text.h"

/* Ctrl-C */

static int on_interrupt(_unused_ sd_event_source *source,
                        _unused_ const struct signalfd_siginfo *info, void *userdata) {
        Client *c = userdata;

        c->interrupts++;
        return 0;
}

InterruptHold interrupt_hold(void) {
        InterruptHold hold;
        sigset_t mask;

        sigemptyset(&mask);
        sigaddset(&mask, SIGINT);
        (void) sigprocmask(SIG_BLOCK, &mask, &hold.before);
        return hold;
}

void interrupt_release(InterruptHold *hold) {
        (void) sigprocmask(SIG_SETMASK, &hold->before, NULL);
}

int client_check_interrupt(Client *c, Failure *failure) {
        if (c->interrupts == 0)
                return 0;

        (void) failure_set(failure, VMKIT_ERROR_PREFIX "Cancelled", "Interrupted");
        failure_advise(failure, "What the service has begun goes on; 'vmkitctl jobs' shows it.");
        failure->exit_code = EXIT_INTERRUPTED;
        return -EINTR;
}

/* Connection */

static int open_loop(Client *c) {
        _cleanup_hold_ _unused_ InterruptHold hold = interrupt_hold();
        int r;

        r = sd_event_new(&c->event);
        if (r < 0)
                return r;

        return sd_event_add_signal(c->event, NULL, SIGINT, on_interrupt, c);
}

static int open_bus(Client *c, Failure *failure) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *name;
        int r;

        r = sd_bus_open_system(&c->bus);
        /* Waits for the end of the handshake, for which the bus has seconds: a file that comes by standard input
         * may take minutes before the first call. */
        if (r >= 0)
                r = sd_bus_get_unique_name(c->bus, &name);
        if (r < 0) {
                (void) sd_bus_error_setf(&error, SD_BUS_ERROR_NO_SERVER,
                                         "no connection to the system bus (%s)", strerror(-r));
                return failure_from_bus(failure, r, &error);
        }

        r = sd_bus_attach_event(c->bus, c->event, SD_EVENT_PRIORITY_NORMAL);
        return r < 0 ? failure_errno(failure, r, "The event loop fails") : 0;
}

int client_open(Client *c, const Args *args, Failure *failure) {
        int r;

        *c = (Client) {
                .args = args,
                .json = args_has(args, "json"),
                .quiet = args_has(args, "quiet"),
                .agent = AGENT_INIT,
        };

        r = open_loop(c);
        if (r < 0)
                return failure_errno(failure, r, "The event loop fails");

        return open_bus(c, failure);
}

void client_close(Client *c) {
        agent_close(&c->agent);
        c->bus = sd_bus_close_unref(c->bus);
        c->event = sd_event_unref(c->event);
        free(c->service);
        c->service = NULL;
}

/* Calls */

int client_message(Client *c, const char *path, const char *interface, const char *member,
                   sd_bus_message **ret, Failure *failure) {
        int r = sd_bus_message_new_method_call(c->bus, ret, VMKIT_SERVICE, path, interface, member);

        return r < 0 ? failure_from_bus(failure, r, NULL) : 0;
}

static int on_reply(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error) {
        sd_bus_message **reply = userdata;

        *reply = sd_bus_message_ref(m);
        return 0;
}

/* A person at a prompt takes any time; a read that takes long is a service that hangs. */
static uint64_t call_timeout(sd_bus_message *m) {
        return sd_bus_message_get_allow_interactive_authorization(m) > 0 ? UINT64_MAX
                                                                         : 60 * USEC_PER_SEC;
}

static int wait_reply(Client *c, sd_bus_message *const *reply, Failure *failure) {
        _cleanup_hold_ _unused_ InterruptHold hold = interrupt_hold();
        unsigned before = c->interrupts;
        int r;

        while (!*reply) {
                r = sd_event_run(c->event, UINT64_MAX);
                if (r < 0)
                        return failure_from_bus(failure, r, NULL);
                if (c->interrupts > before)
                        return client_check_interrupt(c, failure);
        }

        return 0;
}

int client_call(Client *c, sd_bus_message *m, sd_bus_message **ret, Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        int r;

        r = sd_bus_call_async(c->bus, &slot, m, on_reply, &reply, call_timeout(m));
        if (r < 0)
                return failure_from_bus(failure, r, NULL);

        r = wait_reply(c, &reply, failure);
        if (r < 0)
                return r;

        if (sd_bus_message_is_method_error(reply, NULL))
                return failure_from_bus(failure, 0, sd_bus_message_get_error(reply));

        if (ret)
                *ret = TAKE_PTR(reply);
        return 0;
}

int client_change(Client *c, sd_bus_message *m, sd_bus_message **ret, Failure *failure) {
        if (!args_has(c->args, "no-ask-password")) {
                (void) sd_bus_message_set_allow_interactive_authorization(m, true);
                if (terminal_can_ask())
                        agent_open(&c->agent);
        }

        return client_call(c, m, ret, failure);
}

static int read_valist(Client *c, const char *path, const char *interface, const char *member,
                       json_object **ret, Failure *failure, const char *types, va_list ap) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r;

        r = client_message(c, path, interface, member, &m, failure);
        if (r < 0)
                return r;
        r = sd_bus_message_appendv(m, types, ap);
        if (r < 0)
                return failure_from_bus(failure, r, NULL);
        r = client_call(c, m, &reply, failure);
        if (r < 0)
                return r;

        r = json_from_body(reply, ret);
        return r < 0 ? failure_from_bus(failure, r, NULL) : 0;
}

int client_read(Client *c, const char *path, const char *interface, const char *member,
                json_object **ret, Failure *failure, const char *types, ...) {
        va_list ap;

        va_start(ap, types);
        int r = read_valist(c, path, interface, member, ret, failure, types, ap);
        va_end(ap);
        return r;
}

int client_ask(Client *c, const char *member, json_object **ret, Failure *failure,
               const char *types, ...) {
        _cleanup_json_ json_object *results = NULL;
        va_list ap;

        va_start(ap, types);
        int r = read_valist(c, VMKIT_MANAGER_PATH, VMKIT_MANAGER, member, &results, failure, types,
                            ap);
        va_end(ap);
        if (r < 0)
                return r;

        *ret = json_object_get(json_at(results, 0));
        return 0;
}

int client_properties(Client *c, const char *path, const char *interface, json_object **ret,
                      Failure *failure) {
        _cleanup_json_ json_object *results = NULL;
        int r;

        r = client_read(c, path, "org.freedesktop.DBus.Properties", "GetAll", &results, failure,
                        "s", interface);
        if (r < 0)
                return r;

        *ret = json_object_get(json_at(results, 0));
        return 0;
}

/* The message keeps its own descriptor and string. */
static int take_descriptor(sd_bus_message *reply, char **ret_word, int *ret) {
        _cleanup_free_ char *word = NULL;
        const char *s = NULL;
        int r, fd;

        if (sd_bus_message_has_signature(reply, "sh"))
                r = sd_bus_message_read(reply, "sh", &s, &fd);
        else
                r = sd_bus_message_read(reply, "h", &fd);
        if (r < 0)
                return r;
        if (ret_word && s && !(word = strdup(s)))
                return -ENOMEM;

        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return -errno;

        if (ret_word)
                *ret_word = TAKE_PTR(word);
        *ret = fd;
        return 0;
}

int client_descriptor(Client *c, const char *path, const char *member, char **ret_word, int *ret,
                      Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r;

        r = client_message(c, path, VMKIT_VM, member, &m, failure);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "a{sv}", 0);
        if (r < 0)
                return r;
        r = client_change(c, m, &reply, failure);
        if (r < 0)
                return r;

        return take_descriptor(reply, ret_word, ret);
}

/* The service and who is not it */

#define BUS_SERVICE "org.freedesktop.DBus"
#define MATCH_OWNER \
        "type='signal',sender='" BUS_SERVICE "',interface='" BUS_SERVICE "',member='NameOwnerChanged'," \
        "arg0='" VMKIT_SERVICE "'"

static int set_service(Client *c, const char *connection) {
        char *copy = str_empty(connection) ? NULL : strdup(connection);

        if (!str_empty(connection) && !copy)
                return -ENOMEM;
        free(c->service);
        c->service = copy;
        return 0;
}

static int on_owner(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error) {
        Client *c = userdata;
        const char *name, *before, *after;
        int r;

        if (!streq_ptr(sd_bus_message_get_sender(m), BUS_SERVICE))
                return 0;
        r = sd_bus_message_read(m, "sss", &name, &before, &after);
        if (r < 0)
                return r;
        r = set_service(c, after);
        if (r < 0)
                return r;

        c->owner_changed(c->owner_userdata, before, after);
        return 0;
}

/* A service that does not run has none yet. */
static int find_service(Client *c, Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_failure_ Failure none = { 0 };
        const char *connection;
        int r;

        r = sd_bus_message_new_method_call(c->bus, &m, BUS_SERVICE, "/org/freedesktop/DBus", BUS_SERVICE,
                                           "GetNameOwner");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", VMKIT_SERVICE);
        if (r < 0)
                return failure_from_bus(failure, r, NULL);
        if (client_call(c, m, &reply, &none) < 0)
                return client_check_interrupt(c, failure);

        r = sd_bus_message_read(reply, "s", &connection);
        if (r >= 0)
                r = set_service(c, connection);
        return r < 0 ? failure_from_bus(failure, r, NULL) : 0;
}

int client_follow_service(Client *c, OwnerFunction changed, void *userdata, sd_bus_slot **ret, Failure *failure) {
        int r;

        c->owner_changed = changed;
        c->owner_userdata = userdata;
        r = sd_bus_add_match(c->bus, ret, MATCH_OWNER, on_owner, c);
        if (r < 0)
                return failure_from_bus(failure, r, NULL);

        return find_service(c, failure);
}

bool client_is_from_service(const Client *c, sd_bus_message *m) {
        return c->service && streq_ptr(sd_bus_message_get_sender(m), c->service);
}

/* Names */

static int path_from_json(json_object *path, char **ret, Failure *failure) {
        const char *s = json_object_get_string(path);

        *ret = s ? strdup(s) : NULL;
        return *ret ? 0 : failure_oom(failure);
}

/* Each row begins with a name. */
static void suggest_from(json_object *rows, const char *word, Failure *failure) {
        Nearest nearest = { .word = word };

        for (size_t i = 0; i < json_length(rows); i++) {
                const char *name = json_string_at(json_at(rows, i), 0);
                if (name)
                        nearest_offer(&nearest, name);
        }

        if (nearest.best)
                failure_suggest(failure, nearest.best);
}

int client_find_vm(Client *c, const char *name, char **ret, Failure *failure) {
        _cleanup_json_ json_object *path = NULL, *vms = NULL;
        _cleanup_failure_ Failure ignored = { 0 };
        int r;

        r = client_ask(c, "GetVM", &path, failure, "s", name);
        if (r < 0 && failure_is(failure, VMKIT_ERROR_PREFIX "NoSuchVM") &&
            client_ask(c, "ListVMs", &vms, &ignored, "") >= 0)
                suggest_from(vms, name, failure);

        return r < 0 ? r : path_from_json(path, ret, failure);
}

int client_find_device(Client *c, const char *address, char **ret, Failure *failure) {
        _cleanup_json_ json_object *path = NULL, *devices = NULL;
        _cleanup_failure_ Failure ignored = { 0 };
        PciAddress parsed;
        int r;

        if (pci_address_parse_short(address, &parsed) < 0)
                return failure_set(failure, VMKIT_ERROR_PREFIX "InvalidAddress",
                                   "'%s' is not a PCI address", address);

        r = client_ask(c, "GetDevice", &path, failure, "s", PCI_ADDRESS_TEXT(&parsed));
        if (r < 0 && failure_is(failure, VMKIT_ERROR_PREFIX "NoSuchDevice") &&
            client_ask(c, "ListDevices", &devices, &ignored, "a{sv}", 0) >= 0)
                suggest_from(devices, PCI_ADDRESS_TEXT(&parsed), failure);

        return r < 0 ? r : path_from_json(path, ret, failure);
}

void client_suggest_image(Client *c, const char *name, Failure *failure) {
        _cleanup_json_ json_object *images = NULL;
        _cleanup_failure_ Failure ignored = { 0 };

        if (failure_is(failure, VMKIT_ERROR_PREFIX "NoSuchImage") &&
            client_ask(c, "ListImages", &images, &ignored, "") >= 0)
                suggest_from(images, name, failure);
}
