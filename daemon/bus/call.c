/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/log.h"
#include "base/strv.h"
#include "call.h"
#include "core/transfer.h"
#include "methods.h"
#include "options.h"
#include "paths.h"

#define ACCESS_DENIED SD_BUS_ERROR_ACCESS_DENIED
#define INTERACTION_REQUIRED SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED

/* --- life ------------------------------------------------------------------------------------------------- */

static Call *call_free(Call *call) {
        if (!call)
                return NULL;

        if (call->previous)
                call->previous->next = call->next;
        else if (call->bus->calls == call)
                call->bus->calls = call->next;
        if (call->next)
                call->next->previous = call->previous;

        polkit_check_drop(call->check);
        if (call->free_data)
                call->free_data(call->data);
        auth_clear(&call->auth);
        charge_release(&call->charge);
        sd_bus_message_unref(call->message);
        free(call);
        return NULL;
}

static int call_new(Bus *b, const MethodRow *row, sd_bus_message *message, Call **ret) {
        Call *call = calloc(1, sizeof(Call));

        if (!call)
                return -ENOMEM;

        call->bus = b;
        call->row = row;
        call->message = sd_bus_message_ref(message);
        call->caller = (uid_t) -1;
        call->next = b->calls;
        if (call->next)
                call->next->previous = call;
        b->calls = call;
        *ret = call;
        return 0;
}

void calls_drop_all(Bus *b) {
        while (b->calls)
                call_free(b->calls);
}

/* --- the target ------------------------------------------------------------------------------------------- */

int call_vm(const Call *call, Vm **ret, Error *error) {
        *ret = vm_from_path(call->bus->manager, sd_bus_message_get_path(call->message));
        return *ret ? 0 : error_set(error, ERROR_NO_SUCH_VM, "The VM is gone");
}

int call_device(const Call *call, Device **ret, Error *error) {
        *ret = device_from_path(call->bus->manager, sd_bus_message_get_path(call->message));
        return *ret ? 0 : error_set(error, ERROR_NO_SUCH_DEVICE, "The device is gone");
}

int call_job(const Call *call, Job **ret, Error *error) {
        *ret = job_from_path(call->bus->manager, sd_bus_message_get_path(call->message));
        return *ret ? 0 : error_set(error, ERROR_NO_SUCH_JOB, "The job is gone");
}

/* --- replies ---------------------------------------------------------------------------------------------- */

int call_replied(Call *call, int r) {
        call->replied = true;
        if (r < 0)
                log_debug("A reply could not be sent: %s", strerror(-r));
        return CALL_ANSWERED;
}

int call_reply_message(Call *call, sd_bus_message *reply) {
        return call_replied(call, sd_bus_send(NULL, reply, NULL));
}

static int send_error(Call *call, const char *name, const char *message) {
        const sd_bus_error e = SD_BUS_ERROR_MAKE_CONST(name, message);

        return call_replied(call, sd_bus_reply_method_error(call->message, &e));
}

/* Where this case has a remedy of its own, it is the second line of the message: a second argument would be
 * hidden, with the message, by bindings that expect one string. */
static int send_error_with_remedy(Call *call, const Error *error) {
        _cleanup_free_ char *text = NULL;

        if (!error->remedy)
                return send_error(call, error_code_name(error->code), str_na(error->message));
        if (asprintf(&text, "%s\n%s", str_na(error->message), error->remedy) < 0)
                return call_replied(call, -ENOMEM);
        return send_error(call, error_code_name(error->code), text);
}

int call_reply_error(Call *call, int r, const Error *error) {
        _cleanup_error_ Error own = ERROR_INIT;

        if (!error_is_set(error)) {
                (void) error_set_errno(&own, r, "%s failed", call->row->member);
                error = &own;
        }
        return send_error_with_remedy(call, error);
}

int call_reply_job(Call *call, const Job *job) {
        return call_reply(call, "o", JOB_PATH(job));
}

void call_finish(Call *call) {
        if (!call->replied) {
                log_error("%s ended without an answer", call->row->member);
                (void) call_reply_error(call, -EBADE, NULL);
        }
        call_free(call);
}

/* Its caller has left the bus: nobody is there to be answered. */
static void call_drop(Call *call) {
        call->replied = true;
        call_finish(call);
}

/* Ends the call with the outcome of a stage that failed. */
static void call_fail(Call *call, int r, const Error *error) {
        if (!call->replied)
                (void) call_reply_error(call, r, error);
        call_finish(call);
}

static void refuse_more(Call *call, const char *why) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = error_set(&error, ERROR_LIMIT_EXCEEDED, "%s", why);

        error_set_remedy(&error, "Wait a moment and try again.");
        call_fail(call, r, &error);
}

/* --- the stages, last first ------------------------------------------------------------------------------- */

static int add_rights(Call *call, Error *error) {
        if (call->row->details)
                return call->row->details(call, error);
        return auth_add_vm(&call->auth, call->row->action, NULL);
}

/* What was consented to is what is done. While a password was typed, what moves with a device may have become
 * more, and a name that of another's image. */
static int check_consent(Call *call, Error *error) {
        _cleanup_(auth_clear) Auth consented = call->auth;
        int r;

        call->auth = (Auth) {};
        r = add_rights(call, error);
        if (r < 0 || auth_equal(&consented, &call->auth))
                return r;

        r = error_set(error, ERROR_BUSY, "What this would do has changed while the right to do it was checked");
        error_set_remedy(error, "See whether it is still wanted, and try again.");
        return r;
}

static void call_handle(Call *call) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = 0;

        /* Methods see the host as it is now; properties may be as old as the contract says. */
        devices_forget_view(call->bus->manager);
        if (call->row->action != ACTION_PUBLIC)
                r = check_consent(call, &error);
        if (r >= 0)
                r = call->row->handle(call, &error);
        if (r < 0)
                call_fail(call, r, &error);
        else if (r == CALL_ANSWERED)
                call_finish(call);
}

/* The devices for which an action was not granted: "0000:01:00.0, 0000:01:00.1"; "" where it is not about any. */
static char *missing_devices(const Call *call, Action action) {
        _cleanup_strv_ char **devices = NULL;

        for (size_t i = 0; i < call->auth.n; i++) {
                const AuthItem *item = &call->auth.items[i];
                const char *device = item->details[DETAIL_DEVICE];

                if (item->granted || item->action != action || !device || strv_contains(devices, device))
                        continue;
                if (strv_push(&devices, device) < 0)
                        return NULL;
        }
        return strv_join(devices, ", ");
}

static bool is_missing(const Call *call, Action action) {
        for (size_t i = 0; i < call->auth.n; i++)
                if (call->auth.items[i].action == action && !call->auth.items[i].granted)
                        return true;
        return false;
}

static int add_missing_right(const Call *call, Action action, char ***rights) {
        _cleanup_free_ char *devices = missing_devices(call, action);
        char *right;

        if (!devices || asprintf(&right, "%s%s%s", action_id(action), *devices ? " for " : "", devices) < 0)
                return -ENOMEM;
        return strv_consume(rights, right);
}

/* The actions that were not granted: "org.vmkit.create-vm, org.vmkit.use-device for …". */
static char *missing_rights(const Call *call) {
        _cleanup_strv_ char **rights = NULL;

        for (Action action = ACTION_PUBLIC + 1; action < _ACTION_MAX; action++)
                if (is_missing(call, action) && add_missing_right(call, action, &rights) < 0)
                        return NULL;
        return strv_join(rights, "; ");
}

static void log_verdict(const Call *call, int level, const char *outcome) {
        log_message(level, "uid %u: %s.%s on %s%s%s: %s", call->caller, call->row->interface,
                    call->row->member, sd_bus_message_get_path(call->message), call->auth.act ? " to " : "",
                    call->auth.act ? call->auth.act : "", outcome);
}

static void refuse(Call *call, const char *name, const char *why) {
        _cleanup_free_ char *message = NULL, *rights = missing_rights(call);

        log_verdict(call, LOG_NOTICE, why);
        if (asprintf(&message, "Not authorised: this needs %s (%s)", rights ? rights : "a right", why) < 0)
                message = NULL;
        (void) send_error(call, name, message ? message : "Not authorised");
        call_finish(call);
}

static void refuse_prompt(Call *call) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = error_set(&error, ERROR_LIMIT_EXCEEDED, "Too many questions for a password are open");

        log_verdict(call, LOG_NOTICE, error.message);
        error_set_remedy(&error, "Answer those that are open or close them, and try again.");
        call_fail(call, r, &error);
}

static void on_verdict(Verdict verdict, void *userdata) {
        Call *call = userdata;

        call->check = NULL;
        switch (verdict) {
        case VERDICT_GRANTED:
                log_verdict(call, LOG_INFO, "authorised");
                call_handle(call);
                break;
        case VERDICT_NEEDS_INTERACTION:
                refuse(call, INTERACTION_REQUIRED, "a password would have to be asked for");
                break;
        case VERDICT_TOO_MANY_PROMPTS:
                refuse_prompt(call);
                break;
        case VERDICT_NOT_ANSWERED:
                refuse(call, ACCESS_DENIED, "nobody has answered the question for a password");
                break;
        case VERDICT_UNAVAILABLE:
                refuse(call, ACCESS_DENIED, "polkit does not answer");
                break;
        case VERDICT_DENIED:
                refuse(call, ACCESS_DENIED, "denied by polkit");
                break;
        }
}

static void call_authorise(Call *call) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        if (call->row->action == ACTION_PUBLIC) {
                call_handle(call);
                return;
        }

        r = add_rights(call, &error);
        if (r >= 0)
                r = polkit_check(call->bus->polkit, sd_bus_message_get_sender(call->message), call->caller,
                                 sd_bus_message_get_allow_interactive_authorization(call->message) > 0,
                                 &call->auth, on_verdict, call, &call->check);
        if (r < 0)
                call_fail(call, r, &error);
}

static void on_inspected(int r, const Error *error, void *userdata) {
        Call *call = userdata;

        if (r < 0)
                log_warning("Devices could not be looked at closely: %s", str_na(error ? error->message : NULL));
        call_authorise(call);
}

/* What was looked at a moment ago needs no helper, unless the caller has just made it free and wants it now;
 * the last word is the device helper's at each bind. */
static bool look_is_due(const MethodRow *row, const Device *d) {
        return row->inspects_afresh ? !device_deep_failed_lately(d) : !device_deep_is_fresh(d);
}

static void drop_fresh(const MethodRow *row, const Manager *m, DeviceList *devices) {
        size_t kept = 0;

        for (size_t i = 0; i < devices->n; i++)
                if (look_is_due(row, devices_find(m, &devices->items[i]->address)))
                        devices->items[kept++] = devices->items[i];
        devices->n = kept;
}

static void call_inspect(Call *call) {
        _cleanup_device_list_ DeviceList devices = {};
        int r = 0;

        if (call->row->inspect) {
                r = call->row->inspect(call, &devices);
                drop_fresh(call->row, call->bus->manager, &devices);
        }
        if (r >= 0 && devices.n > 0) {
                r = transfer_inspect(call->bus->manager, &devices, on_inspected, call);
                if (r >= 0)
                        return;
        }

        if (r == -EBUSY)
                refuse_more(call, "Too many devices are being looked at");
        else if (r < 0)
                call_fail(call, r, NULL);
        else
                call_authorise(call);
}

static void call_read(Call *call) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        r = call->row->read ? call->row->read(call, &error) : options_read_none(call->message, &error);
        if (r < 0)
                call_fail(call, r, &error);
        else
                call_inspect(call);
}

/* --- who calls -------------------------------------------------------------------------------------------- */

/* Those that wait for their caller's uid, in the order in which they came. */
static Call *take_waiting(Bus *b, const Caller *caller) {
        Call *first = NULL;

        for (Call *call = b->calls; call; call = call->next) {
                if (!call->awaits_caller || call->charge.caller != caller)
                        continue;
                call->awaits_caller = false;
                call->next_waiting = first;
                first = call;
        }
        return first;
}

static void fail_unidentified(Call *call) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = error_set(&error, ERROR_BUSY, "The bus does not say whose call this is, so nothing was done");

        error_set_remedy(&error, "Try again; the log of the service says what the bus answered.");
        call_fail(call, r, &error);
}

static void call_begin(Call *call) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = charge_to_user(&call->charge, &error);

        if (r < 0) {
                call_fail(call, r, &error);
                return;
        }
        call->caller = caller_uid(call->charge.caller);
        call_read(call);
}

void call_on_identified(Caller *caller, int r, void *userdata) {
        Call *next;

        for (Call *call = take_waiting(userdata, caller); call; call = next) {
                next = call->next_waiting;
                if (r >= 0)
                        call_begin(call);
                else if (r == -ENOENT)
                        call_drop(call);
                else
                        fail_unidentified(call);
        }
}

static void identify_and_begin(Call *call) {
        int r;

        if (caller_is_known(call->charge.caller)) {
                call_begin(call);
                return;
        }

        call->awaits_caller = true;
        r = caller_identify(call->charge.caller);
        if (r < 0)
                call_fail(call, r, NULL);
}

/* --- arrival ---------------------------------------------------------------------------------------------- */

static int message_cost(const MethodRow *row, sd_bus_message *message, Cost *ret, Error *error) {
        size_t bytes;
        int r;

        r = message_measure(message, &bytes);
        if (r == -E2BIG) {
                r = error_set(error, ERROR_LIMIT_EXCEEDED, "The arguments of %s are longer than %u MiB",
                              row->member, (unsigned) (MESSAGE_BYTES_MAX / MIB));
                error_set_remedy(error, "What is long is given as a file descriptor, such as `user-data`.");
                return r;
        }
        if (r < 0)
                return error_set(error, ERROR_INVALID_OPTION,
                                 "The arguments of %s cannot be read: is a file descriptor missing?", row->member);

        *ret = (Cost) {
                .calls = 1,
                .descriptors = row->takes_descriptors ? MESSAGE_DESCRIPTORS_MAX : 0,
                .bytes = bytes,
        };
        return 0;
}

/* Reading what is known needs neither a right nor time: such a call is over before the next message is read. */
static bool is_answered_at_once(const MethodRow *row) {
        return row->action == ACTION_PUBLIC && !row->needs_caller;
}

/* Counted before it waits for anything. */
static int call_admit(Call *call, Error *error) {
        Caller *caller;
        Cost cost;
        int r;

        r = message_cost(call->row, call->message, &cost, error);
        if (r < 0 || is_answered_at_once(call->row))
                return r;

        r = callers_get(call->bus->callers, sd_bus_message_get_sender(call->message), &caller);
        return r < 0 ? r : charge_take(&call->charge, caller, &cost, error);
}

int call_dispatch(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const MethodRow *row = method_find(sd_bus_message_get_interface(message),
                                           sd_bus_message_get_member(message));
        /* The userdata argument is the object that was found; the vtable's own is the Bus. */
        Bus *b = sd_bus_slot_get_userdata(sd_bus_get_current_slot(sd_bus_message_get_bus(message)));
        _cleanup_error_ Error refusal = ERROR_INIT;
        Call *call;
        int r;

        if (!row || !sd_bus_message_get_sender(message))
                return sd_bus_error_set(error, SD_BUS_ERROR_UNKNOWN_METHOD, "There is no such method");

        r = call_new(b, row, message, &call);
        if (r < 0)
                return r;

        r = call_admit(call, &refusal);
        if (r < 0)
                call_fail(call, r, &refusal);
        else if (is_answered_at_once(row))
                call_read(call);
        else
                identify_and_begin(call);
        return 1;
}
