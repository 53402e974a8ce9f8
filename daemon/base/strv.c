/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "strv.h"

size_t strv_length(char *const *l) {
        size_t n = 0;

        STRV_FOREACH(s, l)
                n++;
        return n;
}

bool strv_equal(char *const *a, char *const *b) {
        size_t n = strv_length(a);

        if (strv_length(b) != n)
                return false;
        for (size_t i = 0; i < n; i++)
                if (!streq(a[i], b[i]))
                        return false;
        return true;
}

bool strv_contains(char *const *l, const char *wanted) {
        STRV_FOREACH(s, l)
                if (streq(*s, wanted))
                        return true;
        return false;
}

int strv_consume(char ***l, char *s) {
        size_t n = strv_length(*l);

        char **grown = s ? reallocarray(*l, n + 2, sizeof(char *)) : NULL;
        if (!grown) {
                free(s);
                return -ENOMEM;
        }

        grown[n] = s;
        grown[n + 1] = NULL;
        *l = grown;
        return 0;
}

int strv_push(char ***l, const char *s) {
        return strv_consume(l, strdup(s));
}

int strv_copy(char *const *l, char ***ret) {
        _cleanup_strv_ char **copy = NULL;
        int r;

        STRV_FOREACH(s, l) {
                r = strv_push(&copy, *s);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(copy);
        return 0;
}

int strv_split(const char *s, const char *separators, char ***ret) {
        _cleanup_strv_ char **parts = NULL;
        int r;

        for (s += strspn(s, separators); *s; s += strspn(s, separators)) {
                size_t n = strcspn(s, separators);
                r = strv_consume(&parts, strndup(s, n));
                if (r < 0)
                        return r;
                s += n;
        }

        *ret = TAKE_PTR(parts);
        return 0;
}

char *strv_join(char *const *l, const char *separator) {
        size_t size = 1;

        STRV_FOREACH(s, l)
                size += strlen(*s) + strlen(separator);

        char *joined = malloc(size), *end = joined;
        if (!joined)
                return NULL;

        *end = '\0';
        STRV_FOREACH(s, l) {
                if (s != l)
                        end = stpcpy(end, separator);
                end = stpcpy(end, *s);
        }
        return joined;
}

char **strv_free(char **l) {
        STRV_FOREACH(s, l)
                free(*s);
        free(l);
        return NULL;
}
