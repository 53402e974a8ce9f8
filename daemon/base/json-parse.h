/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How all parts read JSON that comes from elsewhere. */

#include <ctype.h>
#include <json-c/json.h>

#include "util.h"

/* The document that a text is, up to its end; NULL: it is none. json-c is not asked to be strict: its version 0.18 then
 * refuses strings with any character beyond ASCII. */
static inline struct json_object *json_parse(const char *text, size_t size) {
        struct json_tokener *tokener = json_tokener_new();
        struct json_object *o;
        size_t end;

        if (!tokener)
                return NULL;
        json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(tokener, text, (int) size);
        end = json_tokener_get_parse_end(tokener);
        json_tokener_free(tokener);

        while (end < size && isspace((unsigned char) text[end]))
                end++;
        if (end == size)
                return o;
        json_object_put(o);
        return NULL;
}
