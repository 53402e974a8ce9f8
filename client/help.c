/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The tables of main.c and of the verbs are the only source of what is printed here. */

#include "help.h"
#include "terminal.h"

#define LABEL_WIDTH 28

int print_version(void) {
        puts("vmkitctl " VMKIT_VERSION);
        return EXIT_DONE;
}

static void print_row(const char *label, const char *help) {
        int columns = text_columns(label);

        printf("  %s", label);
        if (columns >= LABEL_WIDTH)
                printf("\n  %*s", LABEL_WIDTH, "");
        else
                printf("%*s", LABEL_WIDTH - columns, "");
        print_wrapped(stdout, LABEL_WIDTH + 2, help);
}

static void print_option(const OptionSpec *spec) {
        char label[128], letter[8] = "";

        if (spec->letter)
                snprintf(letter, sizeof letter, "-%c, ", spec->letter);
        snprintf(label, sizeof label, "%s--%s%s%s", letter, spec->name, spec->value ? " " : "",
                 spec->value ?: "");
        print_row(label, spec->help);
}

static void print_options(const char *title, const OptionSpec *specs) {
        printf("\n%s:\n", title);
        for (const OptionSpec *s = specs; s->name; s++)
                print_option(s);
}

static void print_verbs(const Verb *verbs) {
        puts("Usage: vmkitctl [OPTIONS] COMMAND ...\n\n"
             "Gives virtual machines real PCI devices.\n\n"
             "Commands:");
        for (const Verb *v = verbs; v->name; v++) {
                char label[64];

                snprintf(label, sizeof label, "%s %s", v->name, v->operands);
                print_row(label, v->help);
        }
}

static void print_verb(const Verb *verb) {
        printf("Usage: vmkitctl [OPTIONS] %s%s%s%s\n\n%s\n", verb->name, *verb->operands ? " " : "",
               verb->operands, verb->options ? " [OPTIONS]" : "", verb->help);
        if (verb->options)
                print_options("Options of the command", verb->options);
}

int print_help(const Verb *verbs, const Verb *verb) {
        if (verb)
                print_verb(verb);
        else
                print_verbs(verbs);

        print_options("Options", global_options);
        if (!verb)
                puts("\n'vmkitctl COMMAND --help' shows the options of a command; vmkitctl(1) has "
                     "more.");
        return EXIT_DONE;
}

int print_help_for(const Verb *verbs, const char *name, Failure *failure) {
        if (!name)
                return print_help(verbs, NULL);

        for (const Verb *v = verbs; v->name; v++)
                if (streq(v->name, name))
                        return print_help(verbs, v);

        return args_unknown_verb(verbs, name, failure);
}
