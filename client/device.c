/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Properties of org.vmkit.Device to the document of --json, and that to words for people. */

#include "base/strv.h"
#include "dbus/errors.h"
#include "device.h"

#define DEVICE_PREFIX VMKIT_ROOT "/device/"

char *device_address(const char *path) {
        const char *name = path ? str_after(path, DEVICE_PREFIX) : NULL;
        char *address = name ? strdup(name) : NULL;
        size_t n = address ? strlen(address) : 0;

        /* 0000_01_00_0: the last separator is the dot. */
        for (size_t i = 0; i < n; i++)
                if (address[i] == '_')
                        address[i] = i + 2 == n ? '.' : ':';

        return address;
}

json_object *device_addresses(json_object *paths) {
        json_object *array = json_object_new_array();

        for (size_t i = 0; i < json_length(paths); i++) {
                _cleanup_free_ char *address = device_address(json_string_at(paths, i));
                if (address)
                        json_object_array_add(array, json_object_new_string(address));
        }

        return array;
}

static void set_id(json_object *document, const char *key, json_object *properties,
                   const char *property) {
        char text[8] = "";

        if (json_has(properties, property))
                snprintf(text, sizeof text, "%04x",
                         (unsigned) json_int(properties, property, 0) & 0xffff);
        json_set_string(document, key, text);
}

static const char *vm_name(json_object *vm_names, const char *path) {
        return path && !streq(path, "/") ? json_string(vm_names, path) : NULL;
}

static json_object *names_of(json_object *paths, json_object *vm_names) {
        json_object *array = json_object_new_array();

        for (size_t i = 0; i < json_length(paths); i++) {
                const char *name = vm_name(vm_names, json_string_at(paths, i));
                if (name)
                        json_object_array_add(array, json_object_new_string(name));
        }

        return array;
}

static json_object *reasons_or_null(json_object *structs) {
        static const char *const keys[] = { "code", "detail" };
        return structs ? json_name_fields(structs, keys, ELEMENTSOF(keys)) : NULL;
}

static json_object *group_or_null(json_object *properties) {
        int64_t group = json_int(properties, "IOMMUGroup", -1);
        return group < 0 ? NULL : json_object_new_int64(group);
}

static json_object *node_or_null(json_object *properties) {
        int64_t node = json_int(properties, "NUMANode", -1);
        return node < 0 ? NULL : json_object_new_int64(node);
}

static json_object *physical_or_null(json_object *properties) {
        _cleanup_free_ char *address = device_address(json_string(properties, "PhysicalFunction"));
        return address ? json_object_new_string(address) : NULL;
}

json_object *device_document(json_object *p, json_object *vm_names) {
        json_object *d = json_object_new_object();

        json_copy(d, "address", p, "Address");
        json_copy(d, "kind", p, "Kind");
        set_id(d, "vendor_id", p, "VendorID");
        set_id(d, "device_id", p, "DeviceID");
        json_copy(d, "vendor", p, "Vendor");
        json_copy(d, "product", p, "Product");
        json_copy(d, "driver", p, "Driver");
        json_object_object_add(d, "iommu_group", group_or_null(p));
        json_object_object_add(d, "group", device_addresses(json_get(p, "Group")));
        json_object_object_add(d, "unit", device_addresses(json_get(p, "Unit")));
        json_object_object_add(d, "numa_node", node_or_null(p));
        json_copy(d, "boot_display", p, "BootDisplay");
        json_object_object_add(d, "in_use", reasons_or_null(json_get(p, "InUse")));
        json_copy(d, "available", p, "Available");
        json_copy(d, "reserved", p, "Reserved");
        json_set_string(d, "vm", vm_name(vm_names, json_string(p, "VM")));
        json_object_object_add(d, "assigned_to", names_of(json_get(p, "AssignedTo"), vm_names));
        json_copy(d, "reset_methods", p, "ResetMethods");
        json_object_object_add(d, "physical_function", physical_or_null(p));
        json_copy(d, "health", p, "Health");
        json_copy(d, "health_detail", p, "HealthDetail");
        return d;
}

int device_vm_names(Client *c, json_object **ret, Failure *failure) {
        _cleanup_json_ json_object *rows = NULL, *names = json_object_new_object();
        int r;

        r = client_ask(c, "ListVMs", &rows, failure, "");
        /* The devices are the host's, and can be shown without the names. */
        if (r < 0 && failure_is(failure, VMKIT_ERROR_PREFIX "LibvirtUnavailable")) {
                failure_done(failure);
                r = 0;
        }
        if (r < 0)
                return r;

        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_at(rows, i);
                json_object_object_add(names, json_string_at(row, 1),
                                       json_object_get(json_at(row, 0)));
        }

        *ret = TAKE_PTR(names);
        return 0;
}

/* Reading the document */

/* Reasons that are of the device itself and not of somebody who uses it. */
static bool is_unfit(const char *code) {
        static const char *const codes[] = { "not-endpoint", "no-iommu", "group-not-viable", "shared-reset",
                                             "no-reset", "has-vfs" };

        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                if (streq_ptr(codes[i], code))
                        return true;
        return false;
}

/* The codes, each once, then what the first of them means: a narrow table cuts the latter. */
static char *reasons_text(json_object *reasons) {
        const char *first = json_string(json_at(reasons, 0), "code");
        const char *detail = json_string(json_at(reasons, 0), "detail");
        _cleanup_free_ char *codes = NULL;
        _cleanup_strv_ char **words = NULL;
        char *text;

        for (size_t i = 0; i < json_length(reasons); i++) {
                const char *code = json_string(json_at(reasons, i), "code") ?: "?";
                if (!strv_contains(words, code) && strv_push(&words, code) < 0)
                        return NULL;
        }

        codes = strv_join(words, ", ");
        if (!codes || asprintf(&text, "%s: %s%s%s%s", is_unfit(first) ? "unfit" : "in use", codes, detail ? " (" : "", detail ?: "",
                               detail ? ")" : "") < 0)
                return NULL;

        return text;
}

static char *labelled(const char *label, const char *name) {
        char *text;
        return asprintf(&text, "%s%s", label, name) < 0 ? NULL : text;
}

char *device_status(json_object *d, Color *ret_color) {
        const char *vm = json_string(d, "vm"), *health = json_string(d, "health");
        const char *assigned = json_string_at(json_get(d, "assigned_to"), 0);
        json_object *reasons = json_get(d, "in_use");
        bool available = json_flag(d, "available");

        *ret_color = COLOR_YELLOW;
        if (vm)
                return labelled("leased to ", vm);
        if (health && !streq(health, "ready")) {
                *ret_color = COLOR_RED;
                return strdup(health);
        }
        if (!available && json_length(reasons) > 0)
                return reasons_text(reasons);
        if (assigned)
                return labelled("assigned to ", assigned);
        if (!available)
                return strdup("in use with its group");

        *ret_color = COLOR_GREEN;
        return strdup(json_flag(d, "reserved") ? "free, reserved" : "free");
}

char *device_product(json_object *d) {
        const char *product = json_string(d, "product");
        char *ids;

        if (product)
                return strdup(product);
        if (asprintf(&ids, "%s:%s", json_string(d, "vendor_id") ?: "????",
                     json_string(d, "device_id") ?: "????") < 0)
                return NULL;

        return ids;
}
