/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* NULL-terminated arrays of strings that own their strings. NULL is the empty array. */

#include "util.h"

size_t strv_length(char *const *l);
bool strv_equal(char *const *a, char *const *b); /* the same strings in the same order */
bool strv_contains(char *const *l, const char *s);
int strv_push(char ***l, const char *s);    /* appends a copy; 0 or -ENOMEM */
int strv_consume(char ***l, char *s);       /* appends s itself, and frees it on failure */
int strv_copy(char *const *l, char ***ret);
int strv_split(const char *s, const char *separators, char ***ret); /* drops empty parts */
char *strv_join(char *const *l, const char *separator);             /* NULL: out of memory */
char **strv_free(char **l);

DEFINE_CLEANUP(char **, strv_free);
#define _cleanup_strv_ _cleanup_(strv_freep)

#define STRV_FOREACH(s, l) for (char *const *s = (l); s && *s; s++)
