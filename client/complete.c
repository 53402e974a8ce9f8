/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The words before the last are read as the parser would read them, but for errors. What may stand at a place is
 * told by the same text that the help shows: words in lower case stand for themselves, those in capitals for a
 * kind of thing. */

#include <ctype.h>

#include "base/printable.h"
#include "client.h"
#include "complete.h"
#include "device.h"
#include "job.h"

#define PATIENCE_SECONDS 3 /* somebody waits at a prompt */

typedef struct Completion {
        const Verb *verbs, *verb;
        const char *group;         /* "image", until the word after it is known */
        const OptionSpec *pending; /* the option whose value comes next */
        size_t n_operands;
        bool remote;               /* --host was given: names here are not those there */
        bool options_over;
        const char *word;          /* to be completed */
        const char *prefix;        /* "--gpu=" where the value is in the same word */
        int prefix_length;
} Completion;

/* Offers */

static bool is_plain(const char *s) {
        _cleanup_free_ char *printable = strdup(s);

        if (printable)
                make_printable(printable, SIZE_MAX);
        return streq_ptr(printable, s);
}

/* A name that is not shown as it is could not be completed to what it is either. */
static void offer(const Completion *c, const char *candidate, const char *description) {
        if (!str_after(candidate, c->word) || !is_plain(candidate))
                return;

        print_text(stdout, "%.*s%s", c->prefix_length, c->prefix ?: "", candidate);
        if (!str_empty(description)) {
                putchar('\t');
                print_text(stdout, "%s", description);
        }
        print_text(stdout, "\n");
}

static void offer_options(const Completion *c, const OptionSpec *specs) {
        char text[64];

        for (const OptionSpec *s = specs; s && s->name; s++) {
                snprintf(text, sizeof text, "--%s", s->name);
                offer(c, text, s->help);
        }
}

/* The second word of the group's commands. */
static void offer_group(const Completion *c) {
        for (const Verb *v = c->verbs; v->name; v++) {
                const char *rest = str_after(v->name, c->group);
                if (rest && *rest == ' ')
                        offer(c, rest + 1, v->help);
        }
}

/* The first word of each command. Those of a group stand together in the table. */
static void offer_verbs(const Completion *c) {
        char word[32], last[32] = "";

        for (const Verb *v = c->verbs; v->name; v++) {
                snprintf(word, sizeof word, "%.*s", (int) strcspn(v->name, " "), v->name);
                if (!streq(word, last))
                        offer(c, word, streq(word, v->name) ? v->help : "images in the store");
                strcpy(last, word);
        }
}

/* Names of the running service */

typedef void (*OfferRow)(const Completion *c, json_object *row);

static void offer_rows(const Completion *c, const char *member, const char *types, OfferRow offer_row) {
        _cleanup_failure_ Failure ignored = { 0 };
        _cleanup_json_ json_object *rows = NULL;
        const Args none = { 0 };
        Client client = { 0 };

        if (c->remote)
                return;

        if (client_open(&client, &none, &ignored) >= 0 &&
            client_ask(&client, member, &rows, &ignored, types, 0) >= 0)
                for (size_t i = 0; i < json_length(rows); i++)
                        offer_row(c, json_at(rows, i));
        client_close(&client);
}

static void offer_vm(const Completion *c, json_object *row) {
        offer(c, json_string_at(row, 0) ?: "", json_string_at(row, 2));
}

static void offer_image(const Completion *c, json_object *row) {
        offer(c, json_string_at(row, 0) ?: "", json_string_at(row, 1));
}

static void offer_stored_image(const Completion *c, json_object *row) {
        char text[128];

        snprintf(text, sizeof text, "@%s", json_string_at(row, 0) ?: "");
        offer(c, text, json_string_at(row, 1));
}

static const char *wanted_kind(const Completion *c) {
        const char *option = c->pending ? c->pending->name : "";

        return streq(option, "gpu") || streq(option, "nvme") ? option : NULL;
}

/* In full, or short if that is how it was begun. */
static void offer_device(const Completion *c, json_object *row) {
        const char *address = json_string_at(row, 0) ?: "", *kind = json_string_at(row, 2) ?: "";
        const char *shorter = str_after(address, "0000:");
        bool rom = c->pending && c->pending->kind == OPTION_ROM;
        char description[64], text[32];

        if (wanted_kind(c) ? !streq(kind, wanted_kind(c)) : streq(kind, "bridge"))
                return;
        if (shorter && !str_after(address, c->word))
                address = shorter;

        snprintf(text, sizeof text, "%s%s", address, rom ? "=" : "");
        snprintf(description, sizeof description, "%s, %s", kind, json_string_at(row, 3) ?: "no driver");
        offer(c, text, description);
}

static void offer_jobs(const Completion *c) {
        _cleanup_failure_ Failure ignored = { 0 };
        _cleanup_json_ json_object *manager = NULL;
        const Args none = { 0 };
        Client client = { 0 };

        if (!c->remote && client_open(&client, &none, &ignored) >= 0 &&
            client_properties(&client, VMKIT_MANAGER_PATH, VMKIT_MANAGER, &manager, &ignored) >= 0)
                for (size_t i = 0; i < json_length(json_get(manager, "Jobs")); i++)
                        offer(c, job_id(json_string_at(json_get(manager, "Jobs"), i)), NULL);
        client_close(&client);
}

/* Things by what they are called in the tables */

static void offer_codes(const Completion *c) {
        static const char *const codes[] = { "has-data", "fstab", "boot-display", "framebuffer-console",
                                             "active-connector", "no-reset" };

        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                offer(c, codes[i], NULL);
}

static void offer_vendors(const Completion *c) {
        static const char *const choices[] = { "auto:nvidia", "auto:amd", "auto:intel" };

        offer(c, "auto", "the best that is free");
        for (size_t i = 0; i < ELEMENTSOF(choices); i++)
                offer(c, choices[i], NULL);
}

/* A new VM and a new image have names that nobody knows yet. */
static void offer_names(const Completion *c) {
        if (!c->verb || streq(c->verb->name, "create") || streq(c->verb->name, "image import") || c->pending)
                return;
        if (streq(c->verb->name, "image remove"))
                offer_rows(c, "ListImages", "", offer_image);
        else
                offer_rows(c, "ListVMs", "", offer_vm);
}

static void offer_thing(const Completion *c, const char *thing) {
        if (!isupper((unsigned char) thing[0]) && !strchr("[@", thing[0]))
                offer(c, thing, NULL);
        else if (streq(thing, "NAME"))
                offer_names(c);
        else if (streq(thing, "ADDRESS") || streq(thing, "ADDRESS=FILE"))
                offer_rows(c, "ListDevices", "a{sv}", offer_device);
        else if (streq(thing, "IMAGE")) {
                offer_rows(c, "ListImages", "", offer_stored_image);
                print_text(stdout, ":files\n");
        } else if (streq(thing, "FILE"))
                print_text(stdout, ":files\n");
        else if (streq(thing, "JOB"))
                offer_jobs(c);
        else if (streq(thing, "CODE"))
                offer_codes(c);
        else if (streq(thing, "COMMAND"))
                offer_verbs(c);
        else if (str_after(thing, "[USER@]HOST"))
                print_text(stdout, ":hosts\n");
}

/* "none|user|NETWORK" */
static void offer_things(const Completion *c, const char *things) {
        char thing[64];

        for (const char *p = things; *p; p += strspn(p, "|")) {
                size_t n = strcspn(p, "|");

                snprintf(thing, sizeof thing, "%.*s", (int) n, p);
                if (streq(thing, "auto[:VENDOR]"))
                        offer_vendors(c);
                else
                        offer_thing(c, thing);
                p += n;
        }
}

/* The nth word of "NAME [IMAGE]". */
static void offer_operand(const Completion *c) {
        const char *p = c->verb->operands;
        char things[64];

        for (size_t i = 0; i < c->n_operands; i++) {
                p += strcspn(p, " ");
                p += strspn(p, " ");
        }
        p += strspn(p, "[");

        snprintf(things, sizeof things, "%.*s", (int) strcspn(p, " ]"), p);
        offer_things(c, things);
}

/* Reading the words before */

static void read_plain(Completion *c, const char *word) {
        char name[64];

        snprintf(name, sizeof name, "%s%s%s", c->group ?: "", c->group ? " " : "", word);
        if (c->verb)
                c->n_operands++;
        else if (!c->group && args_is_group(c->verbs, word))
                c->group = word;
        else
                c->verb = args_find_verb(c->verbs, name);
}

static void read_option(Completion *c, const char *word) {
        const OptionSpec *spec = word[1] == '-' ? args_find_option(c->verb, word + 2, strcspn(word + 2, "="))
                                                : args_find_letter(word[strlen(word) - 1]);

        if (!spec)
                return;
        c->remote |= streq(spec->name, "host");
        if (spec->kind != OPTION_FLAG && !strchr(word, '='))
                c->pending = spec;
}

static void read_word(Completion *c, const char *word) {
        if (c->pending)
                c->pending = NULL;
        else if (streq(word, "--"))
                c->options_over = true;
        else if (word[0] == '-' && word[1] && !c->options_over)
                read_option(c, word);
        else
                read_plain(c, word);
}

/* "--gpu=au": the value is what is to be completed. */
static void split_word(Completion *c) {
        const char *value = strchr(c->word, '=');

        if (c->pending || !str_after(c->word, "--") || !value)
                return;

        c->pending = args_find_option(c->verb, c->word + 2, (size_t) (value - c->word) - 2);
        c->prefix = c->word;
        c->prefix_length = (int) (value + 1 - c->word);
        c->word = value + 1;
}

int complete_words(const Verb *verbs, size_t n, const char *const *words) {
        Completion c = { .verbs = verbs, .word = n > 0 ? words[n - 1] : "" };

        (void) alarm(PATIENCE_SECONDS);
        for (size_t i = 0; i + 1 < n; i++)
                read_word(&c, words[i]);
        split_word(&c);

        if (c.pending)
                offer_things(&c, c.pending->value ?: "");
        else if (c.word[0] == '-' && !c.options_over) {
                offer_options(&c, c.verb ? c.verb->options : NULL);
                offer_options(&c, global_options);
        } else if (c.verb)
                offer_operand(&c);
        else if (c.group)
                offer_group(&c);
        else
                offer_verbs(&c);

        return EXIT_DONE;
}
