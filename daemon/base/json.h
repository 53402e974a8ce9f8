/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The few json-c idioms that records and helper messages need. */

#include "json-parse.h"

static inline struct json_object *json_unref(struct json_object *o) {
        if (o)
                json_object_put(o);
        return NULL;
}

DEFINE_CLEANUP(struct json_object *, json_unref);
#define _cleanup_json_ _cleanup_(json_unrefp)

/* The member as a string; NULL when it is missing, null or of another type. Borrowed. */
static inline const char *json_string(struct json_object *o, const char *key) {
        struct json_object *value;

        if (!json_object_object_get_ex(o, key, &value) || !json_object_is_type(value, json_type_string))
                return NULL;
        return json_object_get_string(value);
}

static inline int64_t json_number(struct json_object *o, const char *key, int64_t fallback) {
        struct json_object *value;

        if (!json_object_object_get_ex(o, key, &value) || !json_object_is_type(value, json_type_int))
                return fallback;
        return json_object_get_int64(value);
}

/* The member as an array; NULL when it is missing or of another type. Borrowed. */
static inline struct json_object *json_array(struct json_object *o, const char *key) {
        struct json_object *value;

        if (!json_object_object_get_ex(o, key, &value) || !json_object_is_type(value, json_type_array))
                return NULL;
        return value;
}

/* Adds a string, or null for NULL. */
static inline void json_add_string(struct json_object *o, const char *key, const char *value) {
        json_object_object_add(o, key, value ? json_object_new_string(value) : NULL);
}
