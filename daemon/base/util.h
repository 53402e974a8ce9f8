/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Ownership: cleanup attributes and the macros that move a value out of a variable. */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_ __attribute__((unused))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ({ __auto_type _a = (a); __auto_type _b = (b); _a < _b ? _a : _b; })
#define MAX(a, b) ({ __auto_type _a = (a); __auto_type _b = (b); _a > _b ? _a : _b; })

#define TAKE_PTR(p) ({ __auto_type _p = &(p); __auto_type _v = *_p; *_p = NULL; _v; })
#define TAKE_FD(fd) ({ int *_f = &(fd); int _v = *_f; *_f = -EBADF; _v; })

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)

/* Defines freep-style helpers: DEFINE_CLEANUP(Foo *, foo_free) makes foo_freep(). */
#define DEFINE_CLEANUP(type, func)                      \
        static inline void func##p(type *p) {           \
                if (*p)                                 \
                        *p = func(*p);                  \
        }

static inline void freep(void *p) {
        free(*(void **) p);
}

/* Closes a descriptor if it is one and returns -EBADF, so that `fd = close_fd(fd)` reads well. */
static inline int close_fd(int fd) {
        if (fd >= 0) {
                int saved = errno;
                (void) close(fd);
                errno = saved;
        }
        return -EBADF;
}

static inline void close_fdp(int *fd) {
        *fd = close_fd(*fd);
}

static inline FILE *close_file(FILE *f) {
        if (f)
                (void) fclose(f);
        return NULL;
}

static inline void close_filep(FILE **f) {
        *f = close_file(*f);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(close_fdp)
#define _cleanup_fclose_ _cleanup_(close_filep)

static inline bool streq(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

static inline bool streq_ptr(const char *a, const char *b) {
        return a && b ? streq(a, b) : a == b;
}

static inline bool str_empty(const char *s) {
        return !s || !*s;
}

static inline const char *str_na(const char *s) {
        return s ? s : "n/a";
}

/* The rest of s after prefix, or NULL. */
static inline const char *str_after(const char *s, const char *prefix) {
        size_t n = strlen(prefix);
        return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}
