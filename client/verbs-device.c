/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* devices, and the verbs that change one device. */

#include "base/parse.h"
#include "device.h"
#include "job.h"
#include "listing.h"
#include "verbs.h"

#define KINDS "gpu|nvme|audio|usb|network|storage|bridge|other"

const OptionSpec devices_options[] = {
        { .name = "kind", .kind = OPTION_CHOICE, .value = KINDS,
          .help = "only devices of this kind" },
        { .name = "all", .kind = OPTION_FLAG, .help = "bridges and chipset functions too" },
        { 0 },
};

const OptionSpec allow_options[] = {
        { .name = "allow", .kind = OPTION_LIST, .value = "CODE", .key = "allow",
          .help = "take responsibility for an overridable reason" },
        { 0 },
};

/* All objects of the service at once */

static json_object *names_in(json_object *objects) {
        json_object *names = json_object_new_object();

        json_object_object_foreach(objects, path, interfaces) {
                json_object *name = json_get(json_get(interfaces, VMKIT_VM), "Name");
                if (name)
                        json_object_object_add(names, path, json_object_get(name));
        }

        return names;
}

static bool wanted(const Args *args, json_object *properties) {
        const char *kind = json_string(properties, "Kind") ?: "other",
                   *only = args_value(args, "kind");

        if (only)
                return streq(kind, only);

        return args_has(args, "all") || (!streq(kind, "bridge") && !streq(kind, "other"));
}

/* By IOMMU group, devices without one last, then by address. */
static int compare_devices(const void *a, const void *b) {
        json_object *x = *(json_object *const *) a, *y = *(json_object *const *) b;
        int64_t group_x = json_int(x, "iommu_group", INT64_MAX),
                group_y = json_int(y, "iommu_group", INT64_MAX);

        if (group_x != group_y)
                return group_x < group_y ? -1 : 1;

        return strcmp(json_string(x, "address") ?: "", json_string(y, "address") ?: "");
}

/* A device and where it is listed: a virtual function right below its physical one, if that is listed too. */
typedef struct Row {
        json_object *device, *head;
} Row;

static int compare_rows(const void *a, const void *b) {
        const Row *x = a, *y = b;

        if (x->head != y->head)
                return compare_devices(&x->head, &y->head);
        if ((x->device == x->head) != (y->device == y->head))
                return x->device == x->head ? -1 : 1;
        return compare_devices(&x->device, &y->device);
}

/* Of documents by their address. */
static json_object *in_order(json_object *by_address) {
        json_object *ordered = json_object_new_array();
        size_t n = 0;
        _cleanup_free_ Row *rows =
                calloc((size_t) json_object_object_length(by_address) + 1, sizeof *rows);

        json_object_object_foreach(by_address, address, d) {
                const char *physical = json_string(d, "physical_function");
                json_object *head = physical ? json_get(by_address, physical) : NULL;

                if (rows && address)
                        rows[n++] = (Row) { .device = d, .head = head ?: d };
        }

        qsort(rows, n, sizeof *rows, compare_rows);
        for (size_t i = 0; i < n; i++)
                json_object_array_add(ordered, json_object_get(rows[i].device));

        return ordered;
}

static json_object *documents_in(json_object *objects, const Args *args) {
        _cleanup_json_ json_object *names = names_in(objects),
                                   *by_address = json_object_new_object();

        json_object_object_foreach(objects, path, interfaces) {
                json_object *properties = json_get(interfaces, VMKIT_DEVICE);
                if (str_after(path, VMKIT_ROOT) && properties && wanted(args, properties))
                        json_object_object_add(by_address, json_string(properties, "Address") ?: path,
                                               device_document(properties, names));
        }

        return in_order(by_address);
}

static int read_devices(Client *c, json_object **ret, Failure *failure) {
        _cleanup_json_ json_object *results = NULL;
        int r;

        r = client_read(c, VMKIT_ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
                        &results, failure, "");
        if (r < 0)
                return r;

        *ret = documents_in(json_at(results, 0), c->args);
        return 0;
}

/* The table */

static bool same_host(json_object *a, json_object *b) {
        return streq_ptr(json_string(a, "host"), json_string(b, "host"));
}

static void add_group(Table *table, json_object *d, json_object *above) {
        int64_t group = json_int(d, "iommu_group", -1);
        char text[24] = "-";

        if (above && same_host(d, above) && json_int(above, "iommu_group", -1) == group && group >= 0)
                text[0] = ' ';
        else if (group >= 0)
                snprintf(text, sizeof text, "%lld", (long long) group);

        table_add(table, text);
}

/* Whether the device stands below its physical function, with none but other virtual ones between. */
static bool below_physical(json_object *devices, size_t i) {
        const char *physical = json_string(json_at(devices, i), "physical_function");

        while (physical && i-- > 0)
                if (!json_has(json_at(devices, i), "physical_function"))
                        return same_host(json_at(devices, i), json_at(devices, i + 1)) &&
                               streq_ptr(json_string(json_at(devices, i), "address"), physical);

        return false;
}

static void add_address(Table *table, json_object *devices, size_t i) {
        const char *address = json_string(json_at(devices, i), "address");
        _cleanup_free_ char *text = NULL;

        if (address && below_physical(devices, i) && asprintf(&text, "  %s", address) < 0)
                text = NULL;

        table_add(table, text ?: address);
}

static void add_row(Table *table, json_object *devices, size_t i) {
        json_object *d = json_at(devices, i);
        Color color;
        _cleanup_free_ char *status = device_status(d, &color), *product = device_product(d);

        add_group(table, d, i > 0 ? json_at(devices, i - 1) : NULL);
        add_address(table, devices, i);
        table_add(table, json_string(d, "kind"));
        table_add(table, json_string(d, "driver"));
        table_add_colored(table, color, status);
        table_add(table, product);
}

static const Column device_columns[] = {
        { .title = "GROUP", .right = true },
        { .title = "ADDRESS" },
        { .title = "KIND" },
        { .title = "DRIVER" },
        { .title = "STATUS", .min_width = 15 },
        { .title = "PRODUCT", .min_width = 9 },
};

static const Listing device_listing = {
        .columns = device_columns,
        .n_columns = ELEMENTSOF(device_columns),
        .add_row = add_row,
        .none = "No such devices.",
};

static const JsonField device_fields[] = {
        { "address", json_type_string },
        { "kind", json_type_string },
        { "vendor_id", json_type_string },
        { "device_id", json_type_string },
        { "product", json_type_string },
        { "driver", json_type_string },
        { "iommu_group", json_type_int },
        { "in_use", json_type_array, json_type_object },
        { "available", json_type_boolean },
        { "reserved", json_type_boolean },
        { "vm", json_type_string },
        { "assigned_to", json_type_array, json_type_string },
        { "physical_function", json_type_string },
        { "health", json_type_string },
};

const Fleet devices_fleet = {
        .listing = &device_listing,
        .fields = device_fields,
        .n_fields = ELEMENTSOF(device_fields),
};

int verb_devices(Client *c, Failure *failure) {
        _cleanup_json_ json_object *documents = NULL;
        int r;

        r = read_devices(c, &documents, failure);
        if (r < 0)
                return r;

        return listing_show(c->args, &device_listing, documents);
}

/* bind, release, reset, reserve, unreserve, vfs, clear-quarantine */

static void print_device(json_object *d) {
        Color color;
        _cleanup_free_ char *status = device_status(d, &color);
        const char *driver = json_string(d, "driver");

        print_text(stdout, "%s: %s%s, %s\n", json_string(d, "address") ?: "?", driver ? "on " : "no driver",
                   driver ?: "", status);
}

/* An initramfs is the administrator's to make: it takes a while, and one that fails can keep the host from
 * booting. */
static void print_reminder(void) {
        print_text(stderr, "An initramfs that was made before does not know of this: 'update-initramfs -u' or "
                           "'dracut --force' makes it anew.\n");
}

static int report_device(Client *c, const char *path, Failure *failure) {
        _cleanup_json_ json_object *properties = NULL, *names = NULL, *document = NULL;
        int r;

        r = client_properties(c, path, VMKIT_DEVICE, &properties, failure);
        if (r < 0)
                return r;
        r = device_vm_names(c, &names, failure);
        if (r < 0)
                return r;

        document = device_document(properties, names);
        if (c->json)
                json_print(document);
        else if (!c->quiet) {
                print_device(document);
                if (streq(c->args->verb->member, "Reserve") || streq(c->args->verb->member, "Unreserve"))
                        print_reminder();
        }

        return EXIT_DONE;
}

static int append_count(sd_bus_message *m, const char *operand, Failure *failure) {
        uint64_t count;

        if (parse_uint(operand, 10, UINT16_MAX, &count) < 0)
                return failure_usage(failure, "vfs", "'%s' is not a number of virtual functions",
                                     operand);

        return sd_bus_message_append(m, "u", (uint32_t) count);
}

int verb_device_change(Client *c, Failure *failure) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = client_find_device(c, args_operand(c->args, 0), &path, failure);
        if (r < 0)
                return r;
        r = job_run_method(c, path, VMKIT_DEVICE, c->args->verb->member, append_count, failure);
        if (r <= 0)
                return r;

        return report_device(c, path, failure);
}
