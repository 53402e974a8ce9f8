/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Failures carry D-Bus error names wherever they come from, so that one table gives the exit code
 * and one shared with the daemon gives the remedy. */

#include <stdarg.h>

#include "dbus/errors.h"
#include "failure.h"
#include "json.h"
#include "permission.h"
#include "terminal.h"

typedef struct NameExit {
        const char *prefix;
        int exit_code;
} NameExit;

static const NameExit name_exits[] = {
        { VMKIT_ERROR_PREFIX "NoSuchVM", EXIT_MISSING },
        { VMKIT_ERROR_PREFIX "NoSuchDevice", EXIT_MISSING },
        { VMKIT_ERROR_PREFIX "NoSuchImage", EXIT_MISSING },
        { VMKIT_ERROR_PREFIX "NoSuchJob", EXIT_MISSING },
        { VMKIT_ERROR_PREFIX "InvalidName", EXIT_USAGE },
        { VMKIT_ERROR_PREFIX "InvalidOption", EXIT_USAGE },
        { VMKIT_ERROR_PREFIX "InvalidAddress", EXIT_USAGE },
        { SD_BUS_ERROR_ACCESS_DENIED, EXIT_UNAUTHORISED },
        { SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, EXIT_UNAUTHORISED },
        { SD_BUS_ERROR_SERVICE_UNKNOWN, EXIT_UNREACHABLE },
        { SD_BUS_ERROR_NAME_HAS_NO_OWNER, EXIT_UNREACHABLE },
        { SD_BUS_ERROR_NO_SERVER, EXIT_UNREACHABLE },
        { SD_BUS_ERROR_NO_REPLY, EXIT_UNREACHABLE },
        { SD_BUS_ERROR_DISCONNECTED, EXIT_UNREACHABLE },
        { "org.freedesktop.DBus.Error.TimedOut", EXIT_UNREACHABLE },
        { SD_BUS_ERROR_TIMEOUT, EXIT_UNREACHABLE },
        { "org.freedesktop.DBus.Error.Spawn.", EXIT_UNREACHABLE },
        { "org.freedesktop.systemd1.", EXIT_UNREACHABLE }, /* activation failed */
};

static const char unreachable_remedy[] = "'systemctl start vmkitd' starts the service; 'systemctl "
                                         "status vmkitd' says why it does not run.";

static int exit_code_from_name(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(name_exits); i++)
                if (str_after(name, name_exits[i].prefix))
                        return name_exits[i].exit_code;

        return EXIT_FAILED;
}

void failure_done(Failure *failure) {
        free(failure->name);
        free(failure->message);
        free(failure->remedy);
        *failure = (Failure) { 0 };
}

static char *copy(const char *s) {
        return str_empty(s) ? NULL : strdup(s);
}

static void fill(Failure *failure, int exit_code, const char *name, const char *message,
                 const char *remedy) {
        failure_done(failure);
        failure->exit_code = exit_code;
        failure->name = copy(name);
        failure->message = copy(message);
        failure->remedy = copy(remedy);
}

_printf_(1, 0) static char *format_valist(const char *format, va_list ap) {
        char *s = NULL;
        return vasprintf(&s, format, ap) < 0 ? NULL : s;
}

#define FORMAT_INTO(variable, format)                           \
        _cleanup_free_ char *variable = NULL;                   \
        do {                                                    \
                va_list _ap;                                    \
                va_start(_ap, format);                          \
                variable = format_valist(format, _ap);          \
                va_end(_ap);                                    \
        } while (0)

int failure_set(Failure *failure, const char *name, const char *format, ...) {
        FORMAT_INTO(message, format);
        ErrorCode code = error_code_from_name(name);

        fill(failure, exit_code_from_name(name), name, message, error_code_remedy(code));
        return code == ERROR_NONE ? -EIO : -error_code_errno(code);
}

int failure_usage(Failure *failure, const char *command, const char *format, ...) {
        FORMAT_INTO(message, format);

        fill(failure, EXIT_USAGE, SD_BUS_ERROR_INVALID_ARGS, message, NULL);
        failure_advise(failure, "'vmkitctl %s%s--help' shows the usage.", command ?: "",
                       command ? " " : "");
        return -EINVAL;
}

int failure_errno(Failure *failure, int r, const char *format, ...) {
        FORMAT_INTO(what, format);
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *message = NULL;

        (void) sd_bus_error_set_errno(&error, r);
        if (asprintf(&message, "%s: %s", what, strerror(-r)) < 0)
                message = NULL;

        fill(failure, EXIT_FAILED, error.name, message, NULL);
        return r;
}

static void fill_unreachable(Failure *failure, const char *name, const char *cause) {
        _cleanup_free_ char *message = NULL;

        if (asprintf(&message, "The vmkit service cannot be reached: %s", cause) < 0)
                message = NULL;

        fill(failure, EXIT_UNREACHABLE, name, message, unreachable_remedy);
}

static void fill_unauthorised(Failure *failure, const char *name, const char *cause) {
        _cleanup_free_ char *message = NULL, *remedy = permission_remedy(cause);
        bool said = str_after(cause, "Not authorised"); /* vmkitd says so, dbus-daemon does not */

        if (asprintf(&message, "%s%s", said ? "" : "Not authorised: ", cause) < 0)
                message = NULL;

        fill(failure, EXIT_UNAUTHORISED, name, message, remedy);
}

/* A second line is the remedy for the case at hand; without one, that of the table. */
static void fill_domain(Failure *failure, int exit_code, const char *name, const char *text) {
        const char *newline = strchr(text, '\n');
        _cleanup_free_ char *message = newline ? strndup(text, (size_t) (newline - text)) : strdup(text);

        fill(failure, exit_code, name, message,
             newline ? newline + 1 : error_code_remedy(error_code_from_name(name)));
}

int failure_from_bus(Failure *failure, int r, const sd_bus_error *error) {
        _cleanup_(sd_bus_error_free) sd_bus_error local = SD_BUS_ERROR_NULL;

        if (!sd_bus_error_is_set(error)) {
                (void) sd_bus_error_set_errno(&local, r);
                error = &local;
        }

        const char *message = str_empty(error->message) ? error->name : error->message;
        int exit_code = exit_code_from_name(error->name);

        if (exit_code == EXIT_UNREACHABLE)
                fill_unreachable(failure, error->name, message);
        else if (exit_code == EXIT_UNAUTHORISED)
                fill_unauthorised(failure, error->name, message);
        else
                fill_domain(failure, exit_code, error->name, message);

        return r < 0 ? r : -EIO;
}

int failure_from_job(Failure *failure, const char *name, const char *message, const char *remedy) {
        if (str_empty(name))
                name = VMKIT_ERROR_PREFIX "Internal";
        if (str_empty(message))
                message = "The operation failed without saying why";
        if (str_empty(remedy))
                remedy = error_code_remedy(error_code_from_name(name));

        fill(failure, EXIT_FAILED, name, message, remedy);
        return -EIO;
}

int failure_oom(Failure *failure) {
        return failure_errno(failure, -ENOMEM, "Out of memory");
}

void failure_advise(Failure *failure, const char *format, ...) {
        FORMAT_INTO(remedy, format);

        free(failure->remedy);
        failure->remedy = TAKE_PTR(remedy);
}

void failure_suggest(Failure *failure, const char *suggestion) {
        _cleanup_free_ char *rest = TAKE_PTR(failure->remedy);

        failure_advise(failure, "Did you mean '%s'?%s%s", suggestion, rest ? " " : "", rest ?: "");
}

bool failure_is(const Failure *failure, const char *name) {
        return streq_ptr(failure->name, name);
}

bool failure_is_gone(const Failure *failure) {
        return failure_is(failure, SD_BUS_ERROR_UNKNOWN_OBJECT) ||
               failure_is(failure, SD_BUS_ERROR_UNKNOWN_METHOD) ||
               failure_is(failure, SD_BUS_ERROR_UNKNOWN_INTERFACE) ||
               failure_is(failure, VMKIT_ERROR_PREFIX "NoSuchVM") ||
               failure_is(failure, VMKIT_ERROR_PREFIX "NoSuchJob");
}

static json_object *string_or_null(const char *s) {
        return s ? json_object_new_string(s) : NULL;
}

json_object *failure_document(const Failure *failure) {
        json_object *error = json_object_new_object();

        json_object_object_add(error, "name", string_or_null(failure->name));
        json_object_object_add(error, "message", string_or_null(failure->message));
        json_object_object_add(error, "remedy", string_or_null(failure->remedy));
        return error;
}

static void report_json(const Failure *failure) {
        _cleanup_json_ json_object *document = json_object_new_object();

        json_object_object_add(document, "error", failure_document(failure));
        json_print_line(stderr, document);
}

static bool ends_sentence(const char *s) {
        size_t n = strlen(s);
        return n > 0 && strchr(".?!:", s[n - 1]);
}

void failure_print(const char *label, const char *message, const char *remedy, int remedy_indent) {
        _cleanup_free_ char *sentence = NULL;

        message = message ?: "Failed";
        if (asprintf(&sentence, "%s%s", message, ends_sentence(message) ? "" : ".") < 0)
                return;

        print_colored(stderr, COLOR_RED, "%s:", label);
        print_text(stderr, " ");
        print_wrapped(stderr, text_columns(label) + 2, sentence);
        if (!remedy)
                return;
        print_text(stderr, "%*s", remedy_indent, "");
        print_wrapped(stderr, remedy_indent, remedy);
}

int failure_report(const Failure *failure, bool json) {
        if (json)
                report_json(failure);
        else
                failure_print("Error", failure->message, failure->remedy, 0);

        return failure->exit_code ?: EXIT_FAILED;
}
