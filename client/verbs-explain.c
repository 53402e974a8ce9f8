/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* explain: the service's own choice for `auto` with all its candidates, or what stands for and
 * against one device. */

#include "base/pci-address.h"
#include "device.h"
#include "text.h"
#include "verbs.h"

static const char *const reason_keys[] = { "code", "detail" };

/* Documents */

static json_object *candidate(json_object *address, bool eligible, json_object *reasons) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "address", json_object_get(address));
        json_object_object_add(o, "eligible", json_object_new_boolean(eligible));
        json_object_object_add(o, "reasons", reasons);
        return o;
}

static json_object *explanation(const char *kind, const char *chosen, json_object *candidates) {
        json_object *o = json_object_new_object();

        json_set_string(o, "kind", kind);
        json_set_string(o, "chosen", chosen);
        json_object_object_add(o, "candidates", candidates);
        return o;
}

static json_object *name_candidates(json_object *found) {
        json_object *array = json_object_new_array();

        for (size_t i = 0; i < json_length(found); i++) {
                json_object *f = json_at(found, i);
                json_object *reasons = json_name_fields(json_get(f, "reasons"), reason_keys,
                                                        ELEMENTSOF(reason_keys));

                json_object_array_add(array, candidate(json_get(f, "address"),
                                                       json_flag(f, "eligible"), reasons));
        }

        return array;
}

static int explain_kind(Client *c, const char *kind, json_object **ret, Failure *failure) {
        _cleanup_json_ json_object *results = NULL;
        int r;

        r = client_read(c, VMKIT_MANAGER_PATH, VMKIT_MANAGER, "FindDevice", &results, failure,
                        "sa{sv}", kind, 0);
        if (r < 0)
                return r;

        _cleanup_free_ char *chosen = device_address(json_string_at(results, 0));
        *ret = explanation(kind, chosen, name_candidates(json_at(results, 1)));
        return 0;
}

static int explain_device(Client *c, const char *address, json_object **ret, Failure *failure) {
        _cleanup_json_ json_object *results = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = client_find_device(c, address, &path, failure);
        if (r < 0)
                return r;
        r = client_read(c, path, VMKIT_DEVICE, "Inspect", &results, failure, "");
        if (r < 0)
                return r;

        json_object *p = json_at(results, 0);
        bool eligible = json_flag(p, "Available");
        json_object *reasons = json_name_fields(json_get(p, "Reasons"), reason_keys,
                                                ELEMENTSOF(reason_keys));
        json_object *candidates = json_object_new_array();

        json_object_array_add(candidates, candidate(json_get(p, "Address"), eligible, reasons));
        *ret = explanation(json_string(p, "Kind"), eligible ? json_string(p, "Address") : NULL,
                           candidates);
        return 0;
}

static bool is_address(const char *what) {
        PciAddress address;
        return pci_address_parse_short(what, &address) >= 0;
}

static int neither(const char *what, Failure *failure) {
        Nearest nearest = { .word = what };

        (void) failure_usage(failure, "explain", "'%s' is neither gpu, nvme nor a PCI address such as 01:00.0", what);
        nearest_offer(&nearest, "gpu");
        nearest_offer(&nearest, "nvme");
        if (nearest.best)
                failure_suggest(failure, nearest.best);
        return -EINVAL;
}

/* Text */

static bool is_kind(const char *what) {
        return streq(what, "gpu") || streq(what, "nvme");
}

static int widest_code(json_object *reasons) {
        int width = 0;

        for (size_t i = 0; i < json_length(reasons); i++)
                width = MAX(width, text_columns(json_string(json_at(reasons, i), "code") ?: "?"));

        return width;
}

static void print_reasons(json_object *reasons) {
        int width = widest_code(reasons);

        for (size_t i = 0; i < json_length(reasons); i++) {
                json_object *reason = json_at(reasons, i);

                print_text(stdout, "    ");
                print_colored(stdout, COLOR_BOLD, "%-*s", width, json_string(reason, "code") ?: "?");
                print_text(stdout, "  ");
                print_wrapped(stdout, 4 + width + 2, json_string(reason, "detail") ?: "");
        }
}

static void print_candidate(json_object *o, const char *chosen) {
        const char *address = json_string(o, "address") ?: "?";
        bool eligible = json_flag(o, "eligible");

        print_mark(stdout, eligible ? "ok" : "fail");
        print_text(stdout, " %s  %s\n", address,
                   streq_ptr(address, chosen) ? "chosen" : eligible ? "eligible" : "passed over");
        print_reasons(json_get(o, "reasons"));
}

static void print_explanation(json_object *document, const char *asked) {
        const char *chosen = json_string(document, "chosen");
        json_object *candidates = json_get(document, "candidates");

        for (size_t i = 0; i < json_length(candidates); i++)
                print_candidate(json_at(candidates, i), chosen);

        if (json_length(candidates) == 0)
                print_text(stdout, "This host has no %s.\n", asked);
        else if (!chosen)
                print_text(stdout, "\nNo %s can be given to a VM now.\n",
                           is_kind(asked) ? asked : "such device");
}

int verb_explain(Client *c, Failure *failure) {
        const char *what = args_operand(c->args, 0);
        _cleanup_json_ json_object *document = NULL;
        int r;

        if (is_kind(what))
                r = explain_kind(c, what, &document, failure);
        else if (!is_address(what))
                r = neither(what, failure);
        else
                r = explain_device(c, what, &document, failure);
        if (r < 0)
                return r;

        if (c->json)
                json_print(document);
        else if (!c->quiet)
                print_explanation(document, what);

        return json_has(document, "chosen") ? EXIT_DONE : EXIT_FAILED;
}
