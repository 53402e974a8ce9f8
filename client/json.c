/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A walk over the signature of a message, one function per kind of container. */

#include <limits.h>

#include "base/json-parse.h"
#include "base/printable.h"
#include "json.h"

/* json-c would write 0.05 as 0.050000000000000003. */
static json_object *short_double(double d) {
        char text[32];

        snprintf(text, sizeof text, "%.6g", d);
        return json_object_new_double_s(d, text);
}

static int basic_to_json(sd_bus_message *m, char type, json_object **ret) {
        union {
                uint8_t y;
                int b;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
                const char *s;
                int fd;
        } value;
        int r;

        r = sd_bus_message_read_basic(m, type, &value);
        if (r < 0)
                return r;

        switch (type) {
        case 'y':
                *ret = json_object_new_int(value.y);
                break;
        case 'b':
                *ret = json_object_new_boolean(value.b);
                break;
        case 'n':
                *ret = json_object_new_int(value.n);
                break;
        case 'q':
                *ret = json_object_new_int(value.q);
                break;
        case 'i':
                *ret = json_object_new_int(value.i);
                break;
        case 'u':
                *ret = json_object_new_int64(value.u);
                break;
        case 'x':
                *ret = json_object_new_int64(value.x);
                break;
        case 't':
                *ret = json_object_new_uint64(value.t);
                break;
        case 'd':
                *ret = short_double(value.d);
                break;
        case 'h':
                *ret = NULL;
                return 0;
        default:
                *ret = json_object_new_string(value.s);
        }

        return *ret ? 0 : -ENOMEM;
}

/* One {key: value} of a dictionary; keys that are no strings are written as text. */
static int entry_to_json(sd_bus_message *m, const char *contents, json_object *object) {
        _cleanup_json_ json_object *key = NULL;
        json_object *value;
        int r;

        r = sd_bus_message_enter_container(m, 'e', contents);
        if (r < 0)
                return r;
        r = json_from_message(m, &key);
        if (r < 0)
                return r;
        r = json_from_message(m, &value);
        if (r < 0)
                return r;

        json_object_object_add(object, json_object_get_string(key), value);
        return sd_bus_message_exit_container(m);
}

static int dictionary_to_json(sd_bus_message *m, const char *contents, json_object **ret) {
        _cleanup_json_ json_object *object = json_object_new_object();
        _cleanup_free_ char *inner = strndup(contents + 1,
                                             strlen(contents) - 2); /* without its braces */
        int r;

        if (!object || !inner)
                return -ENOMEM;

        r = sd_bus_message_enter_container(m, 'a', contents);
        if (r < 0)
                return r;
        while ((r = sd_bus_message_at_end(m, false)) == 0) {
                r = entry_to_json(m, inner, object);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;

        *ret = TAKE_PTR(object);
        return sd_bus_message_exit_container(m);
}

static int append_rest(sd_bus_message *m, json_object *array) {
        int r;

        while ((r = sd_bus_message_at_end(m, false)) == 0) {
                json_object *value;

                r = json_from_message(m, &value);
                if (r < 0)
                        return r;
                json_object_array_add(array, value);
        }

        return r < 0 ? r : 0;
}

static int sequence_to_json(sd_bus_message *m, char type, const char *contents, json_object **ret) {
        _cleanup_json_ json_object *array = json_object_new_array();
        int r;

        if (!array)
                return -ENOMEM;

        r = sd_bus_message_enter_container(m, type, contents);
        if (r < 0)
                return r;
        r = append_rest(m, array);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(array);
        return sd_bus_message_exit_container(m);
}

static int variant_to_json(sd_bus_message *m, const char *contents, json_object **ret) {
        json_object *value;
        int r;

        r = sd_bus_message_enter_container(m, 'v', contents);
        if (r < 0)
                return r;
        r = json_from_message(m, &value);
        if (r < 0)
                return r;

        *ret = value;
        return sd_bus_message_exit_container(m);
}

int json_from_message(sd_bus_message *m, json_object **ret) {
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (r == 0)
                return -ENXIO;

        if (type == 'v')
                return variant_to_json(m, contents, ret);
        if (type == 'a' && contents[0] == '{')
                return dictionary_to_json(m, contents, ret);
        if (type == 'a' || type == 'r')
                return sequence_to_json(m, type, contents, ret);

        return basic_to_json(m, type, ret);
}

int json_from_body(sd_bus_message *m, json_object **ret) {
        _cleanup_json_ json_object *array = json_object_new_array();
        int r;

        if (!array)
                return -ENOMEM;

        r = append_rest(m, array);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(array);
        return 0;
}

json_object *json_get(json_object *object, const char *key) {
        json_object *value = NULL;

        return json_object_is_type(object, json_type_object) &&
               json_object_object_get_ex(object, key, &value) ? value : NULL;
}

json_object *json_at(json_object *array, size_t i) {
        return json_object_is_type(array, json_type_array) ? json_object_array_get_idx(array, i)
                                                           : NULL;
}

size_t json_length(json_object *array) {
        return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

static const char *string_of(json_object *value) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value)
                                                                     : NULL;
        return str_empty(s) ? NULL : s;
}

const char *json_string(json_object *object, const char *key) {
        return string_of(json_get(object, key));
}

const char *json_string_at(json_object *array, size_t i) {
        return string_of(json_at(array, i));
}

bool json_flag(json_object *object, const char *key) {
        return json_object_get_boolean(json_get(object, key));
}

int64_t json_int(json_object *object, const char *key, int64_t missing) {
        json_object *value = json_get(object, key);
        return value ? json_object_get_int64(value) : missing;
}

bool json_has(json_object *object, const char *key) {
        return json_get(object, key);
}

static bool is_of_type(json_object *value, const JsonField *field) {
        if (!value)
                return true;
        if (!json_object_is_type(value, field->type))
                return false;

        for (size_t i = 0; i < json_length(value); i++)
                if (!json_object_is_type(json_at(value, i), field->element))
                        return false;
        return true;
}

static bool is_row(json_object *value, const JsonField *fields, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (!is_of_type(json_get(value, fields[i].key), &fields[i]))
                        return false;

        return json_has(value, fields[0].key);
}

bool json_are_rows(json_object *value, const JsonField *fields, size_t n) {
        for (size_t i = 0; i < json_length(value); i++)
                if (!is_row(json_at(value, i), fields, n))
                        return false;

        return json_object_is_type(value, json_type_array);
}

/* A row of devices has some 60 of them, and no host has thousands of functions. An empty object takes two bytes
 * here, and hundreds in memory. */
#define VALUES_MAX 500000

/* No fewer than the values that are in it: before each stands one of these. */
static size_t count_separators(const char *text, size_t size) {
        size_t n = 0;

        for (size_t i = 0; i < size; i++)
                n += text[i] == ',' || text[i] == ':' || text[i] == '[' || text[i] == '{';
        return n;
}

json_object *json_parse_answer(const char *text, size_t size) {
        if (size > INT_MAX || count_separators(text, size) > VALUES_MAX)
                return NULL;
        return json_parse(text, size);
}

/* A reference to the value; NULL for an empty string and for the path "/", which say nothing. */
static json_object *said(json_object *value) {
        const char *s = string_of(value);

        if (json_object_is_type(value, json_type_string) && (!s || streq(s, "/")))
                return NULL;

        return json_object_get(value);
}

void json_copy(json_object *object, const char *to, json_object *from, const char *key) {
        json_object_object_add(object, to, said(json_get(from, key)));
}

void json_set_string(json_object *object, const char *key, const char *s) {
        json_object_object_add(object, key, str_empty(s) ? NULL : json_object_new_string(s));
}

static json_object *name_one(json_object *fields, const char *const *keys, size_t n) {
        json_object *object = json_object_new_object();

        for (size_t i = 0; i < n; i++)
                json_object_object_add(object, keys[i], said(json_at(fields, i)));

        return object;
}

json_object *json_name_fields(json_object *structs, const char *const *keys, size_t n) {
        json_object *array = json_object_new_array();

        for (size_t i = 0; i < json_length(structs); i++)
                json_object_array_add(array, name_one(json_at(structs, i), keys, n));

        return array;
}

static json_object *pick_one(json_object *from, const char *const *keys, size_t n) {
        json_object *object = json_object_new_object();

        for (size_t i = 0; i < n; i++)
                json_copy(object, keys[i], from, keys[i]);

        return object;
}

json_object *json_pick_fields(json_object *objects, const char *const *keys, size_t n) {
        json_object *array = json_object_new_array();

        for (size_t i = 0; i < json_length(objects); i++)
                json_object_array_add(array, pick_one(json_at(objects, i), keys, n));

        return array;
}

/* json-c escapes the control characters of ASCII but DEL, and checks no encoding. What else a terminal obeys stands
 * in strings and keys only, where an escape means the same. */
static void print_escaped(FILE *stream, const char *text) {
        size_t n;

        for (const char *p = text; *p; p += MAX(n, (size_t) 1)) {
                uint32_t c = 0xfffd; /* for what is no character */

                n = utf8_character(p, &c);
                if (n > 0 && (is_printable(c) || c == '\n'))
                        fwrite(p, 1, n, stream);
                else
                        fprintf(stream, "\\u%04x", c);
        }
        fputc('\n', stream);
}

void json_print(json_object *document) {
        print_escaped(stdout, json_object_to_json_string_ext(document, JSON_C_TO_STRING_PRETTY |
                                                                               JSON_C_TO_STRING_SPACED |
                                                                               JSON_C_TO_STRING_NOSLASHESCAPE));
}

void json_print_line(FILE *stream, json_object *document) {
        print_escaped(stream, json_object_to_json_string_ext(document, JSON_C_TO_STRING_NOSLASHESCAPE));
        fflush(stream);
}
