/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* image import, list and remove: the service's store of disk images. */

#include "base/parse.h"
#include "files.h"
#include "job.h"
#include "listing.h"
#include "verbs.h"
#include "vm.h"

static int read_images(Client *c, json_object **ret, Failure *failure) {
        static const char *const keys[] = { "name", "format", "virtual_bytes", "used_bytes",
                                            "owner" };
        _cleanup_json_ json_object *rows = NULL;
        int r;

        r = client_ask(c, "ListImages", &rows, failure, "");
        if (r < 0)
                return r;

        *ret = json_name_fields(rows, keys, ELEMENTSOF(keys));
        return 0;
}

/* list */

static void add_row(Table *table, json_object *images, size_t i) {
        json_object *image = json_at(images, i);
        _cleanup_free_ char *owner = user_text(json_int(image, "owner", -1));
        char virtual_size[SIZE_TEXT_MAX], used[SIZE_TEXT_MAX];

        format_size((uint64_t) json_int(image, "virtual_bytes", 0), virtual_size);
        format_size((uint64_t) json_int(image, "used_bytes", 0), used);

        table_add_colored(table, COLOR_BOLD, json_string(image, "name"));
        table_add(table, json_string(image, "format"));
        table_add(table, virtual_size);
        table_add(table, used);
        table_add(table, owner);
}

static const Column image_columns[] = {
        { .title = "NAME", .min_width = 20 },
        { .title = "FORMAT" },
        { .title = "SIZE", .right = true },
        { .title = "USED", .right = true },
        { .title = "OWNER" },
};

static const Listing image_listing = {
        .columns = image_columns,
        .n_columns = ELEMENTSOF(image_columns),
        .add_row = add_row,
        .none = "There are no images.",
};

int verb_image_list(Client *c, Failure *failure) {
        _cleanup_json_ json_object *images = NULL;
        int r;

        r = read_images(c, &images, failure);
        if (r < 0)
                return r;

        return listing_show(c->args, &image_listing, images);
}

/* import */

static json_object *find_image(json_object *images, const char *name) {
        for (size_t i = 0; i < json_length(images); i++)
                if (streq_ptr(json_string(json_at(images, i), "name"), name))
                        return json_at(images, i);

        return NULL;
}

static int report_image(Client *c, const char *name, Failure *failure) {
        _cleanup_json_ json_object *images = NULL;
        char size[SIZE_TEXT_MAX];
        int r;

        r = read_images(c, &images, failure);
        if (r < 0)
                return r;

        json_object *image = find_image(images, name);
        if (c->json)
                json_print(image);
        else if (!c->quiet)
                print_text(stdout, "%s is in the store (%s, %s); use it as '@%s'\n", name,
                           json_string(image, "format") ?: "?",
                           format_size((uint64_t) json_int(image, "virtual_bytes", 0), size), name);

        return EXIT_DONE;
}

int verb_image_import(Client *c, Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_close_ int fd = -EBADF;
        const char *name = args_operand(c->args, 0);
        int r;

        r = image_open(args_operand(c->args, 1), &fd, failure);
        if (r < 0)
                return r;
        r = client_message(c, VMKIT_MANAGER_PATH, VMKIT_MANAGER, "ImportImage", &m, failure);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "sha{sv}", name, fd, 0);
        if (r < 0)
                return r;
        r = job_run(c, m, failure);
        if (r <= 0)
                return r;

        return report_image(c, name, failure);
}

/* remove */

static void report_removal(Client *c, const char *name) {
        if (c->json) {
                _cleanup_json_ json_object *document = json_object_new_object();

                json_set_string(document, "name", name);
                json_object_object_add(document, "removed", json_object_new_boolean(true));
                json_print(document);
        } else if (!c->quiet)
                print_text(stdout, "%s is removed\n", name);
}

int verb_image_remove(Client *c, Failure *failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        const char *name = args_operand(c->args, 0);
        int r;

        name += name[0] == '@';
        r = client_message(c, VMKIT_MANAGER_PATH, VMKIT_MANAGER, "RemoveImage", &m, failure);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "sa{sv}", name, 0);
        if (r < 0)
                return r;
        r = client_change(c, m, NULL, failure);
        if (r < 0) {
                client_suggest_image(c, name, failure);
                return r;
        }

        report_removal(c, name);
        return EXIT_DONE;
}
