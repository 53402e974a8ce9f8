/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A job may end before the reply that names it has been read, so its signals are subscribed to
 * before the call, and its state is read once after the reply. Whatever says that it ended, the
 * properties say how. A service that is restarted meanwhile knows the job by the same name, puts
 * right what it left behind, and says so. */

#include <time.h>

#include "dbus/errors.h"
#include "dict.h"
#include "job.h"
#include "progress.h"
#include "terminal.h"

#define MATCH_JOBS                                                                              \
        "type='signal',sender='" VMKIT_SERVICE "',path_namespace='" VMKIT_ROOT "/job'"
/* How long a service that went away may take to come back. */
#define RETURN_USEC (60 * USEC_PER_SEC)

typedef struct Waiter {
        Client *c;
        char *path; /* NULL until the reply is here */
        sd_bus_slot *jobs;
        sd_bus_slot *owner;
        Progress progress;
        sd_event_source *tick;
        json_object *properties;
        json_object *completed; /* the arguments of Completed, should the object be gone already */
        bool ended;
        bool lost; /* the name on the bus has changed hands */
} Waiter;

const char *job_id(const char *path) {
        return strrchr(path, '/') + 1;
}

static void waiter_done(Waiter *w) {
        w->tick = sd_event_source_disable_unref(w->tick);
        progress_clear(&w->progress);
        w->jobs = sd_bus_slot_unref(w->jobs);
        w->owner = sd_bus_slot_unref(w->owner);
        json_object_put(w->properties);
        json_object_put(w->completed);
        free(w->path);
}

static uint64_t monotonic_now(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

/* What the job says of itself */

static void show(Waiter *w, const char *phase, double fraction, uint64_t bytes) {
        uint64_t now = monotonic_now();

        progress_set(&w->progress, phase, fraction, bytes, now);
        progress_draw(&w->progress, now);
}

/* Where nothing is heard for a while, how long it takes is seen to go on. */
static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        Waiter *w = userdata;

        progress_draw(&w->progress, monotonic_now());
        (void) sd_event_source_set_time(source, usec + USEC_PER_SEC);
        return sd_event_source_set_enabled(source, SD_EVENT_ON);
}

static void start_ticking(Waiter *w) {
        if (w->progress.enabled)
                (void) sd_event_add_time_relative(w->c->event, &w->tick, CLOCK_MONOTONIC, USEC_PER_SEC, 0,
                                                  on_tick, w);
}

static void take_properties(Waiter *w) {
        const char *state = json_string(w->properties, "State");

        if (state && !streq(state, "running")) {
                w->ended = true;
                return;
        }

        bool known = json_flag(w->properties, "ProgressKnown");
        double fraction = json_object_get_double(json_get(w->properties, "Progress"));
        show(w, json_string(w->properties, "Phase") ?: "working", known ? fraction : -1,
             (uint64_t) json_int(w->properties, "Bytes", 0));
}

static int read_job(Waiter *w, Failure *failure) {
        json_object *properties;
        int r;

        r = client_properties(w->c, w->path, VMKIT_JOB, &properties, failure);
        if (r < 0)
                return r;

        json_object_put(w->properties);
        w->properties = properties;
        return 0;
}

/* Signals */

/* A change carries some of the properties only; those it does not are remembered. */
static void merge_properties(Waiter *w, json_object *changed) {
        if (!w->properties)
                w->properties = json_object_new_object();

        json_object_object_foreach(changed, key, value)
                json_object_object_add(w->properties, key, json_object_get(value));

        take_properties(w);
}

static int on_properties(Waiter *w, sd_bus_message *m) {
        _cleanup_json_ json_object *body = NULL;
        int r;

        r = json_from_body(m, &body);
        if (r < 0)
                return r;

        if (json_object_is_type(json_at(body, 1), json_type_object))
                merge_properties(w, json_at(body, 1));
        return 0;
}

static int on_job_signal(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error) {
        Waiter *w = userdata;

        if (!client_is_from_service(w->c, m) || !w->path || !streq_ptr(sd_bus_message_get_path(m), w->path))
                return 0;

        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Properties", "PropertiesChanged"))
                return on_properties(w, m);
        if (!sd_bus_message_is_signal(m, VMKIT_JOB, "Completed"))
                return 0;

        w->ended = true;
        json_object_put(TAKE_PTR(w->completed));
        return json_from_body(m, &w->completed);
}

static void on_owner_changed(void *userdata, _unused_ const char *before, _unused_ const char *after) {
        Waiter *w = userdata;

        /* Before the reply this is the service being activated; after it, the one that had the job
         * left. */
        w->lost = w->path;
}

static int subscribe(Waiter *w, Failure *failure) {
        int r;

        r = sd_bus_add_match(w->c->bus, &w->jobs, MATCH_JOBS, on_job_signal, w);
        if (r < 0)
                return failure_from_bus(failure, r, NULL);

        return client_follow_service(w->c, on_owner_changed, w, &w->owner, failure);
}

/* Ctrl-C */

static int left_running(Waiter *w, Failure *failure) {
        (void) failure_set(failure, VMKIT_ERROR_PREFIX "Cancelled",
                           "Not waiting any longer; job %s goes on", job_id(w->path));
        failure->exit_code = EXIT_INTERRUPTED;
        failure_advise(failure, "'vmkitctl jobs' shows it, 'vmkitctl cancel %s' ends it.",
                       job_id(w->path));
        return -EINTR;
}

static void note_refusal(Waiter *w, const Failure *failure) {
        progress_clear(&w->progress);
        if (!w->c->json)
                print_text(stderr, "The job goes on: %s\n", failure->message);
}

static void ask_to_cancel(Waiter *w) {
        _cleanup_failure_ Failure failure = { 0 };
        _cleanup_json_ json_object *nothing = NULL;
        int r;

        show(w, "cancelling", -1, 0);
        r = client_read(w->c, w->path, VMKIT_JOB, "Cancel", &nothing, &failure, "a{sv}", 0);
        if (r < 0 && w->c->interrupts == 1)
                note_refusal(w, &failure);
}

/* Waiting */

static int fail_interrupted(Failure *failure, const char *what) {
        return failure_set(failure, VMKIT_ERROR_PREFIX "Interrupted",
                           "The service went away before the operation was over and %s", what);
}

/* The name on the bus has another owner, or none yet. Asking starts the service where the bus can;
 * elsewhere its return is announced. */
static int find_again(Waiter *w, Failure *failure) {
        uint64_t end = monotonic_now() + RETURN_USEC;

        show(w, "waiting for the service", -1, 0);
        for (;;) {
                _cleanup_failure_ Failure gone = { 0 };
                uint64_t now;
                int r;

                w->lost = false;
                if (read_job(w, &gone) >= 0) {
                        take_properties(w);
                        return 0;
                }
                if (gone.exit_code != EXIT_UNREACHABLE)
                        return fail_interrupted(failure, "does not know it any more");

                while (!w->lost) {
                        now = monotonic_now();
                        if (now >= end)
                                return fail_interrupted(failure, "has not come back");
                        if (w->c->interrupts > 0)
                                return left_running(w, failure);

                        r = sd_event_run(w->c->event, end - now);
                        if (r < 0)
                                return failure_from_bus(failure, r, NULL);
                }
        }
}

static int wait_end(Waiter *w, Failure *failure) {
        bool asked = false;
        int r;

        while (!w->ended) {
                if (w->lost) {
                        r = find_again(w, failure);
                        if (r < 0)
                                return r;
                        continue;
                }

                r = sd_event_run(w->c->event, UINT64_MAX);
                if (r < 0)
                        return failure_from_bus(failure, r, NULL);

                if (w->c->interrupts > 0 && !asked) {
                        asked = true;
                        ask_to_cancel(w);
                }
                if (w->c->interrupts > 1)
                        return left_running(w, failure);
        }

        return 0;
}

static int fail_job(Waiter *w, const char *name, const char *message, const char *remedy,
                    Failure *failure) {
        (void) failure_from_job(failure, name, message, remedy);

        if (w->c->interrupts > 0 && failure_is(failure, VMKIT_ERROR_PREFIX "Cancelled"))
                failure->exit_code = EXIT_INTERRUPTED;
        return -EIO;
}

static int outcome_by_signal(Waiter *w, Failure *failure) {
        if (!w->completed)
                return fail_interrupted(failure, "has forgotten it");
        if (json_object_get_boolean(json_at(w->completed, 0)))
                return 1;

        return fail_job(w, json_string_at(w->completed, 1), json_string_at(w->completed, 2), NULL,
                        failure);
}

/* Worth knowing however it ended. */
static void show_note(Waiter *w) {
        const char *note = json_string(w->properties, "Note");

        if (note && !w->c->quiet)
                print_text(stderr, "Note: %s\n", note);
}

static int outcome(Waiter *w, Failure *failure) {
        _cleanup_failure_ Failure gone = { 0 };

        if (read_job(w, &gone) < 0)
                return outcome_by_signal(w, failure);
        show_note(w);
        if (streq_ptr(json_string(w->properties, "State"), "done"))
                return 1;

        json_object *error = json_get(w->properties, "Error");
        return fail_job(w, json_string_at(error, 0), json_string_at(error, 1),
                        json_string(w->properties, "Remedy"), failure);
}

static int announce(Waiter *w) {
        if (w->c->json) {
                _cleanup_json_ json_object *document = json_object_new_object();

                json_object_object_add(document, "job",
                                       json_object_new_int64(atoll(job_id(w->path))));
                json_print(document);
        } else if (!w->c->quiet)
                print_text(stdout, "job %s\n", job_id(w->path));

        return 0;
}

static int send_call(Waiter *w, sd_bus_message *m, Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_json_ json_object *results = NULL;
        int r;

        r = client_change(w->c, m, &reply, failure);
        if (r < 0)
                return r;
        r = json_from_body(reply, &results);
        if (r < 0)
                return failure_from_bus(failure, r, NULL);

        size_t n = json_length(results);
        const char *path = n > 0 ? json_string_at(results, n - 1) : NULL;
        if (!path || !strrchr(path, '/'))
                return failure_set(failure, VMKIT_ERROR_PREFIX "Internal",
                                   "The service answered without a job");

        w->path = strdup(path);
        return w->path ? 0 : failure_oom(failure);
}

int job_run(Client *c, sd_bus_message *m, Failure *failure) {
        _cleanup_hold_ _unused_ InterruptHold hold = interrupt_hold();
        _cleanup_(waiter_done) Waiter w = { .c = c, .progress = progress_new(c->quiet) };
        _cleanup_failure_ Failure gone = { 0 };
        int r;

        r = subscribe(&w, failure);
        if (r < 0)
                return r;
        r = send_call(&w, m, failure);
        if (r < 0)
                return r;
        if (args_has(c->args, "no-wait"))
                return announce(&w);

        start_ticking(&w);
        if (read_job(&w, &gone) >= 0)
                take_properties(&w);

        r = wait_end(&w, failure);
        if (r < 0)
                return r;

        progress_clear(&w.progress);
        return outcome(&w, failure);
}

int job_run_method(Client *c, const char *path, const char *interface, const char *member,
                   AppendOperand append, Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        const char *operand = args_operand(c->args, 1);
        int r;

        r = client_message(c, path, interface, member, &m, failure);
        if (r < 0)
                return r;
        if (append && operand) {
                r = append(m, operand, failure);
                if (r < 0)
                        return r;
        }
        r = dict_append(m, c->args, failure);
        if (r < 0)
                return r;

        return job_run(c, m, failure);
}
