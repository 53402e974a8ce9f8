/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The command line as data. A verb is a row of a table, its options are rows of its own small
 * table; an option's kind says how its value is checked and how it goes onto the bus, its key
 * where. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"

typedef struct Client Client;
typedef struct Fleet Fleet;

typedef enum OptionKind {
        OPTION_FLAG,
        OPTION_STRING,
        OPTION_CHOICE,  /* one of the words in `value`, separated by '|' */
        OPTION_COUNT,   /* u */
        OPTION_SIZE,    /* t, bytes */
        OPTION_SECONDS, /* t, sent as µs */
        OPTION_LIST,    /* as, repeatable */
        OPTION_ADDRESS, /* as of PCI addresses or auto[:VENDOR], repeatable */
        OPTION_FILE,    /* h, opened by us */
        OPTION_KEYS,    /* as: the lines of a file of public keys, repeatable */
        OPTION_ROM,     /* a{sh}: ADDRESS=FILE, repeatable */
} OptionKind;

typedef struct OptionSpec {
        const char *name;
        OptionKind kind;
        const char *value; /* what the value is called in the help; NULL for flags */
        const char *key;   /* the key in the a{sv} of the method; NULL: for the client itself */
        const char *help;
        char letter;       /* the short form, if there is one */
        bool cloud_init;   /* the key goes into the `cloud-init` dictionary */
} OptionSpec;

typedef int (*VerbFunction)(Client *c, Failure *failure);

typedef struct Verb {
        const char *name;     /* one word or two ("image list") */
        const char *operands; /* "NAME [IMAGE]" */
        VerbFunction run;
        const OptionSpec *options;
        const char *help;
        const char *member; /* the D-Bus method, for verbs that share a function */
        const Fleet *fleet; /* how it answers for several hosts; NULL: it does not */
} Verb;

typedef struct Option {
        const OptionSpec *spec;
        const char *value;
} Option;

#define ARGS_MAX_OPERANDS 3

typedef struct Args {
        const Verb *verb; /* NULL: none was given */
        Option *options;
        size_t n_options;
        const char *operands[ARGS_MAX_OPERANDS];
        size_t n_operands;
} Args;

extern const OptionSpec global_options[];

/* Parses argv against a table of verbs that ends in a row without a name. */
int args_parse(Args *args, const Verb *verbs, int argc, const char *const *argv, Failure *failure);
void args_done(Args *args);

bool args_has(const Args *args, const char *option);

/* The last value given for the option, or NULL. */
const char *args_value(const Args *args, const char *option);

/* The nth operand, or NULL. */
const char *args_operand(const Args *args, size_t n);

/* Lookup in the tables; NULL: there is no such. The options of a verb (may be NULL) and the global ones. */
const OptionSpec *args_find_option(const Verb *verb, const char *name, size_t length);
const OptionSpec *args_find_letter(char letter);
const Verb *args_find_verb(const Verb *verbs, const char *name);

/* The failure for a command that is not in the table, with the nearest one. */
int args_unknown_verb(const Verb *verbs, const char *name, Failure *failure);

/* Whether the word is the first of commands of two words. */
bool args_is_group(const Verb *verbs, const char *word);

/* Whether --json is on a command line that may not even parse. */
bool args_wants_json(int argc, const char *const *argv);
