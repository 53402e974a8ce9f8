/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check: what a doctor would say of this host. */

#include "client.h"
#include "terminal.h"
#include "verbs.h"

/* A line that begins with a space is a command: it stands alone and unbroken, so that it can be copied. */
static void print_remedy(const char *remedy, int indent) {
        for (const char *line = remedy, *end; *line; line = *end ? end + 1 : end) {
                end = strchrnul(line, '\n');

                _cleanup_free_ char *text = strndup(line, (size_t) (end - line));
                if (!text)
                        return;
                if (text[0] == ' ')
                        print_text(stdout, "    %s\n", text + strspn(text, " "));
                else {
                        print_text(stdout, "%*s", indent, "");
                        print_wrapped(stdout, indent, text);
                }
        }
}

static void print_check(json_object *check, int id_width) {
        const char *status = json_string(check, "status"), *remedy = json_string(check, "remedy");
        int indent = id_width + 4;

        print_mark(stdout, status);
        print_text(stdout, " %-*s  ", id_width, json_string(check, "id") ?: "-");
        print_wrapped(stdout, indent, json_string(check, "summary") ?: "");

        if (remedy && !streq_ptr(status, "ok"))
                print_remedy(remedy, indent);
}

static size_t count_status(json_object *checks, const char *status) {
        size_t n = 0;

        for (size_t i = 0; i < json_length(checks); i++)
                n += streq_ptr(json_string(json_at(checks, i), "status"), status);

        return n;
}

static void print_verdict(json_object *checks, bool ready) {
        size_t failed = count_status(checks, "fail"), warned = count_status(checks, "warn");

        print_text(stdout, "\n");
        print_colored(stdout, ready ? COLOR_GREEN : COLOR_RED, "%s",
                      ready ? "This host is ready." : "This host is not ready.");
        if (failed > 0)
                print_text(stdout, " To do: %zu.", failed);
        if (warned > 0)
                print_text(stdout, " Worth a look: %zu.", warned);
        print_text(stdout, "\n");
}

static void print_checks(json_object *checks, bool ready) {
        int width = 0;

        for (size_t i = 0; i < json_length(checks); i++)
                width = MAX(width, text_columns(json_string(json_at(checks, i), "id") ?: "-"));
        for (size_t i = 0; i < json_length(checks); i++)
                print_check(json_at(checks, i), width);

        print_verdict(checks, ready);
}

/* Several hosts: what is not well on each, and a row for one where all is. */

static json_object *findings_of(json_object *checks) {
        json_object *findings = json_object_new_array();

        for (size_t i = 0; i < json_length(checks); i++)
                if (!streq_ptr(json_string(json_at(checks, i), "status"), "ok"))
                        json_object_array_add(findings, json_object_get(json_at(checks, i)));

        if (json_length(findings) == 0) {
                json_object *well = json_object_new_object();

                json_set_string(well, "status", "ok");
                json_set_string(well, "summary", "This host is ready.");
                json_object_array_add(findings, well);
        }

        return findings;
}

static void add_finding(Table *table, json_object *findings, size_t i) {
        json_object *finding = json_at(findings, i);
        const char *status = json_string(finding, "status");

        table_add_colored(table, status_color(status), status);
        table_add(table, json_string(finding, "id"));
        table_add(table, json_string(finding, "summary"));
}

static const Column finding_columns[] = {
        { .title = "STATUS" },
        { .title = "CHECK" },
        { .title = "FINDING", .min_width = 20 },
};

static const Listing finding_listing = {
        .columns = finding_columns,
        .n_columns = ELEMENTSOF(finding_columns),
        .add_row = add_finding,
        .none = "No host has answered.",
};

static const JsonField check_fields[] = {
        { "status", json_type_string },
        { "id", json_type_string },
        { "summary", json_type_string },
};

const Fleet check_fleet = {
        .listing = &finding_listing,
        .key = "checks",
        .fields = check_fields,
        .n_fields = ELEMENTSOF(check_fields),
        .rows = findings_of,
        .hint = "'vmkitctl -H HOST check' says what to do about it.",
        .exit_tells = true,
};

int verb_check(Client *c, Failure *failure) {
        static const char *const keys[] = { "id", "status", "summary", "remedy" };
        _cleanup_json_ json_object *results = NULL, *document = json_object_new_object();
        int r;

        r = client_read(c, VMKIT_MANAGER_PATH, VMKIT_MANAGER, "CheckHost", &results, failure, "");
        if (r < 0)
                return r;

        bool ready = json_object_get_boolean(json_at(results, 0));
        json_object *checks = json_name_fields(json_at(results, 1), keys, ELEMENTSOF(keys));

        json_object_object_add(document, "ready", json_object_new_boolean(ready));
        json_object_object_add(document, "checks", checks);

        if (c->json)
                json_print(document);
        else if (!c->quiet)
                print_checks(checks, ready);

        return ready ? EXIT_DONE : EXIT_FAILED;
}
