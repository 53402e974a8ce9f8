/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "finding.h"

static const char *const severity_names[_SEVERITY_MAX] = {
        [SEVERITY_FAIL] = "fail",
        [SEVERITY_WARN] = "warn",
        [SEVERITY_INFO] = "info",
};

const char *severity_to_string(Severity severity) {
        return severity_names[severity];
}

int findings_addv(Findings *findings, Severity severity, ErrorCode error, const char *code, const char *remedy,
                  const char *format, va_list ap) {
        Finding *grown = reallocarray(findings->items, findings->n + 1, sizeof(Finding));

        if (!grown)
                return -ENOMEM;
        findings->items = grown;

        Finding *finding = &grown[findings->n];
        *finding = (Finding) { .code = code, .severity = severity, .error = error };
        if (vasprintf(&finding->detail, format, ap) < 0)
                finding->detail = NULL;

        if (!remedy)
                remedy = severity == SEVERITY_INFO ? "" : error_code_remedy(error);
        finding->remedy = strdup(remedy ? remedy : "");
        if (!finding->detail || !finding->remedy) {
                free(finding->detail);
                free(finding->remedy);
                return -ENOMEM;
        }

        findings->n++;
        return 0;
}

int findings_add(Findings *findings, Severity severity, ErrorCode error, const char *code, const char *remedy,
                 const char *format, ...) {
        va_list ap;
        int r;

        va_start(ap, format);
        r = findings_addv(findings, severity, error, code, remedy, format, ap);
        va_end(ap);
        return r;
}

bool findings_fail(const Findings *findings) {
        for (size_t i = 0; i < findings->n; i++)
                if (findings->items[i].severity == SEVERITY_FAIL)
                        return true;
        return false;
}

void findings_clear(Findings *findings) {
        for (size_t i = 0; i < findings->n; i++) {
                free(findings->items[i].detail);
                free(findings->items[i].remedy);
        }
        free(findings->items);
        *findings = (Findings) {};
}
