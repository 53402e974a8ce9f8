/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One pass over argv: options may stand anywhere, those of a verb after its name. Values are
 * checked here, by kind, so that a typing error costs no call to the service. */

#include "args.h"
#include "base/parse.h"
#include "base/pci-address.h"
#include "base/strv.h"
#include "text.h"

typedef struct Parser {
        Args *args;
        const Verb *verbs;
        const char *group; /* "image", until the word after it is known */
        const char *const *argv;
        int argc;
        int next;
} Parser;

const OptionSpec global_options[] = {
        { .name = "json", .kind = OPTION_FLAG, .help = "one JSON document on standard output" },
        { .name = "host", .kind = OPTION_STRING, .value = "[USER@]HOST[,...]",
          .letter = 'H',
          .help = "run the command on another host, over ssh; list, devices and check on several" },
        { .name = "no-ask-password", .kind = OPTION_FLAG, .help = "never ask for a password" },
        { .name = "no-wait", .kind = OPTION_FLAG, .help = "return as soon as the job has begun" },
        { .name = "quiet", .kind = OPTION_FLAG, .letter = 'q',
          .help = "no progress, no word of success; the exit code tells" },
        { .name = "version", .kind = OPTION_FLAG, .help = "show the version" },
        { .name = "help", .kind = OPTION_FLAG, .letter = 'h',
          .help = "show this help, or a command's" },
        { 0 },
};

static const char *verb_name(const Args *args) {
        return args->verb ? args->verb->name : NULL;
}

/* Lookup */

static const OptionSpec *find_in(const OptionSpec *specs, const char *name, size_t length) {
        for (const OptionSpec *s = specs; s && s->name; s++)
                if (strlen(s->name) == length && strncmp(s->name, name, length) == 0)
                        return s;

        return NULL;
}

const OptionSpec *args_find_option(const Verb *verb, const char *name, size_t length) {
        return find_in(global_options, name, length) ?: (verb ? find_in(verb->options, name, length) : NULL);
}

const OptionSpec *args_find_letter(char letter) {
        for (const OptionSpec *s = global_options; s->name; s++)
                if (s->letter == letter)
                        return s;

        return NULL;
}

const Verb *args_find_verb(const Verb *verbs, const char *name) {
        for (const Verb *v = verbs; v->name; v++)
                if (streq(v->name, name))
                        return v;

        return NULL;
}

bool args_is_group(const Verb *verbs, const char *word) {
        for (const Verb *v = verbs; v->name; v++) {
                const char *rest = str_after(v->name, word);
                if (rest && *rest == ' ')
                        return true;
        }

        return false;
}

static void suggest_options(Nearest *nearest, const OptionSpec *specs) {
        for (const OptionSpec *s = specs; s && s->name; s++)
                nearest_offer(nearest, s->name);
}

static int unknown_option(const Args *args, const char *name, size_t length, Failure *failure) {
        _cleanup_free_ char *word = strndup(name, length), *suggestion = NULL;
        Nearest nearest = { .word = word };

        (void) failure_usage(failure, verb_name(args), "%s%sunknown option '--%s'",
                             verb_name(args) ?: "", args->verb ? ": " : "", word);
        suggest_options(&nearest, global_options);
        suggest_options(&nearest, args->verb ? args->verb->options : NULL);
        if (nearest.best && asprintf(&suggestion, "--%s", nearest.best) > 0)
                failure_suggest(failure, suggestion);

        return -EINVAL;
}

int args_unknown_verb(const Verb *verbs, const char *name, Failure *failure) {
        Nearest nearest = { .word = name };

        (void) failure_usage(failure, NULL, "unknown command '%s'", name);
        for (const Verb *v = verbs; v->name; v++)
                nearest_offer(&nearest, v->name);
        if (nearest.best)
                failure_suggest(failure, nearest.best);

        return -EINVAL;
}

/* Checks of values, by kind */

static bool valid_count(const char *value) {
        uint64_t n;
        return parse_uint(value, 10, UINT32_MAX, &n) >= 0;
}

static bool valid_choice(const char *choices, const char *value) {
        size_t length = strlen(value);

        for (const char *p = choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
                if (strcspn(p, "|") == length && strncmp(p, value, length) == 0)
                        return true;

        return false;
}

static bool valid_size(const char *value) {
        uint64_t bytes;
        return parse_size(value, &bytes) >= 0;
}

static bool valid_address(const char *value) {
        PciAddress address;
        return streq(value, "auto") || str_after(value, "auto:") ||
               pci_address_parse_short(value, &address) >= 0;
}

static bool valid_rom(const char *value) {
        const char *file = strchr(value, '=');
        PciAddress parsed;

        if (!file || !file[1])
                return false;

        _cleanup_free_ char *address = strndup(value, (size_t) (file - value));
        return address && pci_address_parse_short(address, &parsed) >= 0;
}

static bool valid_value(const OptionSpec *spec, const char *value) {
        switch (spec->kind) {
        case OPTION_COUNT:
        case OPTION_SECONDS:
                return valid_count(value);
        case OPTION_CHOICE:
                return valid_choice(spec->value, value);
        case OPTION_SIZE:
                return valid_size(value);
        case OPTION_ADDRESS:
                return valid_address(value);
        case OPTION_ROM:
                return valid_rom(value);
        default:
                return *value;
        }
}

static const char *expected(OptionKind kind) {
        switch (kind) {
        case OPTION_COUNT:
        case OPTION_SECONDS:
                return "a whole number";
        case OPTION_SIZE:
                return "a size such as 512M or 16G";
        case OPTION_ADDRESS:
                return "a PCI address such as 0000:01:00.0, or auto[:VENDOR]";
        case OPTION_ROM:
                return "ADDRESS=FILE";
        default:
                return NULL;
        }
}

/* Parsing */

static void suggest_choice(const char *choices, const char *value, Failure *failure) {
        _cleanup_strv_ char **words = NULL;
        Nearest nearest = { .word = value };

        if (strv_split(choices, "|", &words) < 0)
                return;
        STRV_FOREACH(word, words)
                nearest_offer(&nearest, *word);
        if (nearest.best)
                failure_suggest(failure, nearest.best);
}

static int refuse_value(const Parser *p, const OptionSpec *spec, const char *value, Failure *failure) {
        bool choice = spec->kind == OPTION_CHOICE;

        (void) failure_usage(failure, verb_name(p->args), "--%s: '%s' is not %s%s", spec->name, value,
                             choice ? "one of " : "", expected(spec->kind) ?: spec->value);
        if (choice)
                suggest_choice(spec->value, value, failure);
        return -EINVAL;
}

static int add_option(Parser *p, const OptionSpec *spec, const char *value, Failure *failure) {
        if (value && !valid_value(spec, value))
                return refuse_value(p, spec, value, failure);

        Option *grown = reallocarray(p->args->options, p->args->n_options + 1, sizeof(Option));
        if (!grown)
                return failure_oom(failure);

        p->args->options = grown;
        p->args->options[p->args->n_options++] = (Option) { spec, value };
        return 0;
}

/* attached: the value that came in the same word, or NULL. */
static int take_option(Parser *p, const OptionSpec *spec, const char *attached, Failure *failure) {
        if (spec->kind == OPTION_FLAG && attached)
                return failure_usage(failure, verb_name(p->args), "--%s takes no value",
                                     spec->name);
        if (spec->kind == OPTION_FLAG || attached)
                return add_option(p, spec, attached, failure);
        if (p->next >= p->argc)
                return failure_usage(failure, verb_name(p->args), "--%s needs a value: %s",
                                     spec->name, spec->value);

        return add_option(p, spec, p->argv[p->next++], failure);
}

static int parse_long(Parser *p, const char *word, Failure *failure) {
        size_t length = strcspn(word, "=");
        const OptionSpec *spec = args_find_option(p->args->verb, word, length);

        if (!spec)
                return unknown_option(p->args, word, length, failure);

        return take_option(p, spec, word[length] == '=' ? word + length + 1 : NULL, failure);
}

static int parse_letters(Parser *p, const char *letters, Failure *failure) {
        for (; *letters; letters++) {
                const OptionSpec *spec = args_find_letter(*letters);

                if (!spec)
                        return failure_usage(failure, verb_name(p->args), "unknown option '-%c'",
                                             *letters);
                if (spec->kind != OPTION_FLAG)
                        return take_option(p, spec, letters[1] ? letters + 1 : NULL, failure);

                int r = take_option(p, spec, NULL, failure);
                if (r < 0)
                        return r;
        }

        return 0;
}

static int parse_verb(Parser *p, const char *word, Failure *failure) {
        _cleanup_free_ char *joined = NULL;

        if (!p->group && args_is_group(p->verbs, word)) {
                p->group = word;
                return 0;
        }
        if (p->group) {
                if (asprintf(&joined, "%s %s", p->group, word) < 0)
                        return failure_oom(failure);
                word = joined;
        }

        p->args->verb = args_find_verb(p->verbs, word);
        return p->args->verb ? 0 : args_unknown_verb(p->verbs, word, failure);
}

static int parse_operand(Parser *p, const char *word, Failure *failure) {
        if (!p->args->verb)
                return parse_verb(p, word, failure);
        if (p->args->n_operands >= ARGS_MAX_OPERANDS)
                return failure_usage(failure, verb_name(p->args), "%s: unexpected '%s'",
                                     verb_name(p->args), word);

        p->args->operands[p->args->n_operands++] = word;
        return 0;
}

static int parse_word(Parser *p, bool *options_over, Failure *failure) {
        const char *word = p->argv[p->next++];

        if (*options_over || word[0] != '-' || streq(word, "-"))
                return parse_operand(p, word, failure);
        if (streq(word, "--")) {
                *options_over = true;
                return 0;
        }

        return word[1] == '-' ? parse_long(p, word + 2, failure)
                              : parse_letters(p, word + 1, failure);
}

static void count_operands(const char *operands, size_t *ret_min, size_t *ret_max) {
        *ret_min = *ret_max = 0;

        for (const char *p = operands; *p; p += strspn(p, " ")) {
                *ret_min += *p != '[';
                *ret_max += 1;
                p += strcspn(p, " ");
        }
}

static int check_operands(const Args *args, Failure *failure) {
        size_t min, max;

        count_operands(args->verb->operands, &min, &max);
        if (args->n_operands < min)
                return failure_usage(failure, verb_name(args), "%s needs %s", verb_name(args),
                                     args->verb->operands);
        if (args->n_operands > max)
                return failure_usage(failure, verb_name(args), "%s: unexpected '%s'",
                                     verb_name(args), args->operands[max]);

        return 0;
}

static bool asks_only_for_help(const Args *args) {
        return args_has(args, "help") || args_has(args, "version");
}

int args_parse(Args *args, const Verb *verbs, int argc, const char *const *argv, Failure *failure) {
        Parser p = { .args = args, .verbs = verbs, .argv = argv, .argc = argc, .next = 1 };
        bool options_over = false;
        int r;

        while (p.next < argc) {
                r = parse_word(&p, &options_over, failure);
                if (r < 0)
                        return r;
        }

        if (asks_only_for_help(args))
                return 0;
        if (!args->verb)
                return failure_usage(failure, NULL, "%s%s", p.group ?: "no command",
                                     p.group ? " needs a command after it" : " given");

        return check_operands(args, failure);
}

void args_done(Args *args) {
        free(args->options);
        *args = (Args) { 0 };
}

bool args_has(const Args *args, const char *option) {
        for (size_t i = 0; i < args->n_options; i++)
                if (streq(args->options[i].spec->name, option))
                        return true;

        return false;
}

const char *args_value(const Args *args, const char *option) {
        const char *value = NULL;

        for (size_t i = 0; i < args->n_options; i++)
                if (streq(args->options[i].spec->name, option))
                        value = args->options[i].value;

        return value;
}

const char *args_operand(const Args *args, size_t n) {
        return n < args->n_operands ? args->operands[n] : NULL;
}

bool args_wants_json(int argc, const char *const *argv) {
        for (int i = 1; i < argc && !streq(argv[i], "--"); i++)
                if (streq(argv[i], "--json"))
                        return true;

        return false;
}
