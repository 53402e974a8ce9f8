/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the bus says as JSON values: one conversion serves tables and --json alike, and a property
 * that the service does not have is simply absent. */

#include <json-c/json.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#include "base/util.h"

static inline void json_putp(json_object **o) {
        json_object_put(*o);
}

#define _cleanup_json_ _cleanup_(json_putp)

/* Reads the next complete value of the message. Dictionaries become objects, structs arrays,
 * variants their content, descriptors null. */
int json_from_message(sd_bus_message *m, json_object **ret);

/* All values that remain in the message, as an array. */
int json_from_body(sd_bus_message *m, json_object **ret);

/* Borrowed; NULL when absent, or when the object is NULL. */
json_object *json_get(json_object *object, const char *key);
json_object *json_at(json_object *array, size_t i);
size_t json_length(json_object *array);

/* NULL when absent, null or empty. */
const char *json_string(json_object *object, const char *key);
const char *json_string_at(json_object *array, size_t i);
bool json_flag(json_object *object, const char *key);
int64_t json_int(json_object *object, const char *key, int64_t missing);
bool json_has(json_object *object, const char *key);

/* A key of an object that comes from elsewhere, and the type of what it may have beside null. */
typedef struct JsonField {
        const char *key;
        json_type type, element; /* of an array: what is in it */
} JsonField;

/* An array of objects, none of whose fields has another type, and whose first field each of them has. */
bool json_are_rows(json_object *value, const JsonField *fields, size_t n);

/* The one document that the text is, NULL if it is none, or one that is too large. */
json_object *json_parse_answer(const char *text, size_t size);

/* object[to] = from[key], or null; empty strings and the object path "/" become null too. */
void json_copy(json_object *object, const char *to, json_object *from, const char *key);

/* object[key] = s, or null. */
void json_set_string(json_object *object, const char *key, const char *s);

/* Turns an array of structs into an array of objects with these keys, in order. */
json_object *json_name_fields(json_object *structs, const char *const *keys, size_t n);

/* An array of objects with exactly these keys of the given ones. */
json_object *json_pick_fields(json_object *objects, const char *const *keys, size_t n);

/* Characters that a terminal would obey are escaped, in strings and in keys. */
void json_print(json_object *document);
void json_print_line(FILE *stream, json_object *document);
