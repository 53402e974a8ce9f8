/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Properties of org.vmkit.VM to the documents of --json. */

#include <inttypes.h>
#include <pwd.h>

#include "base/strv.h"
#include "device.h"
#include "vm.h"

static const char *user_name(int64_t uid) {
        const struct passwd *pw = uid < 0 ? NULL : getpwuid((uid_t) uid);
        return pw ? pw->pw_name : NULL;
}

json_object *vm_document(json_object *p) {
        json_object *d = json_object_new_object();

        json_copy(d, "name", p, "Name");
        json_copy(d, "uuid", p, "UUID");
        json_copy(d, "state", p, "State");
        json_copy(d, "owner", p, "Owner");
        json_set_string(d, "owner_name", user_name(json_int(p, "Owner", -1)));
        json_copy(d, "memory_bytes", p, "Memory");
        json_copy(d, "cpus", p, "CPUs");
        json_object_object_add(d, "devices", device_addresses(json_get(p, "Devices")));
        return d;
}

json_object *vm_result(json_object *p, const char *state) {
        json_object *d = json_object_new_object();

        json_copy(d, "vm", p, "Name");
        json_copy(d, "uuid", p, "UUID");
        json_set_string(d, "state", state ?: json_string(p, "State"));
        json_object_object_add(d, "devices", device_addresses(json_get(p, "Devices")));
        return d;
}

void vm_print_result(Client *c, json_object *result) {
        _cleanup_free_ char *devices = join_strings(json_get(result, "devices"), ", ");

        if (c->json)
                json_print(result);
        else if (!c->quiet)
                print_text(stdout, "%s is %s%s%s\n", json_string(result, "vm") ?: "?",
                           json_string(result, "state") ?: "unknown",
                           str_empty(devices) ? "" : ", with ", devices ?: "");
}

int vm_report(Client *c, const char *path, Failure *failure) {
        _cleanup_json_ json_object *properties = NULL, *result = NULL;
        int r;

        r = client_properties(c, path, VMKIT_VM, &properties, failure);
        if (r < 0)
                return r;

        result = vm_result(properties, NULL);
        vm_print_result(c, result);
        return EXIT_DONE;
}

char *user_text(int64_t uid) {
        const char *name = user_name(uid);
        char *text;

        if (name)
                return strdup(name);

        return asprintf(&text, "%" PRId64, uid) < 0 ? NULL : text;
}

char *user_of(json_object *document) {
        const char *name = json_string(document, "owner_name");
        char *text;

        if (name)
                return strdup(name);

        return asprintf(&text, "%" PRId64, json_int(document, "owner", -1)) < 0 ? NULL : text;
}

char *join_strings(json_object *array, const char *separator) {
        _cleanup_strv_ char **words = NULL;

        for (size_t i = 0; i < json_length(array); i++)
                if (strv_push(&words, json_string_at(array, i) ?: "?") < 0)
                        return NULL;

        return strv_join(words, separator);
}
