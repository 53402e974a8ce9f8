/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "device.h"
#include "object.h"

char *object_name(json_object *vm_names, const char *path) {
        const char *vm = json_string(vm_names, path), *job = str_after(path, JOB_PREFIX);
        char *text = NULL;

        if (vm)
                return strdup(vm);
        if (streq(path, VMKIT_MANAGER_PATH))
                return strdup("vmkitd");
        if (job)
                return asprintf(&text, "job %s", job) < 0 ? NULL : text;

        return device_address(path) ?: strdup(path);
}
