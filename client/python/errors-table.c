/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Writes the Python module of exceptions from the table of errors that daemon and clients share, so that
 * there is one table: a class for each error name, with its remedy. Run when vmkit is built. */

#include <stdio.h>
#include <string.h>

#include "dbus/errors.h"

static void put_string(const char *s) {
        putchar('"');
        for (; *s; s++) {
                if (*s == '"' || *s == '\\')
                        putchar('\\');
                putchar(*s);
        }
        putchar('"');
}

static const char *member(ErrorCode code) {
        return error_code_name(code) + strlen(VMKIT_ERROR_PREFIX);
}

static void put_names(void) {
        puts("__all__ = [");
        for (ErrorCode code = ERROR_NONE + 1; code < _ERROR_CODE_MAX; code++)
                printf("    \"%s\",\n", member(code));
        puts("]");
}

static void put_class(ErrorCode code) {
        printf("\n\nclass %s(Error):\n    ", member(code));
        put_string(error_code_remedy(code));
        printf("\n\n    dbus_name = \"%s\"\n    usual_remedy = ", error_code_name(code));
        put_string(error_code_remedy(code));
        putchar('\n');
}

int main(void) {
        puts("# SPDX-License-Identifier: LGPL-2.1-or-later\n"
             "# Made from dbus/errors.c when vmkit is built.\n"
             "\"\"\"An exception for each error name of org.vmkit; what it says of itself is the remedy.\"\"\"\n"
             "\n"
             "from ._error import Error\n");
        put_names();
        for (ErrorCode code = ERROR_NONE + 1; code < _ERROR_CODE_MAX; code++)
                put_class(code);

        return fflush(stdout) == 0 ? 0 : 1;
}
