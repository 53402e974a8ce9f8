/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a plan has to say: a choice that was made, a doubt, or a reason why it cannot be carried out. */

#include <stdarg.h>

#include "base/error.h"

typedef enum Severity {
        SEVERITY_FAIL,
        SEVERITY_WARN,
        SEVERITY_INFO,
        _SEVERITY_MAX,
} Severity;

const char *severity_to_string(Severity severity);

typedef struct Finding {
        const char *code;   /* "no-candidate", a reason code, … */
        Severity severity;
        ErrorCode error;    /* how CreateVM fails because of it */
        char *detail;
        char *remedy;
} Finding;

typedef struct Findings {
        Finding *items;
        size_t n;
} Findings;

/* remedy NULL: that of the error code. -ENOMEM. */
int findings_add(Findings *findings, Severity severity, ErrorCode error, const char *code, const char *remedy,
                 const char *format, ...) _printf_(6, 7);
int findings_addv(Findings *findings, Severity severity, ErrorCode error, const char *code, const char *remedy,
                  const char *format, va_list ap) _printf_(6, 0);
bool findings_fail(const Findings *findings);
void findings_clear(Findings *findings);
#define _cleanup_findings_ _cleanup_(findings_clear)
