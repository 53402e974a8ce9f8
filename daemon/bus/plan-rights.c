/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/strv.h"
#include "core/manager.h"
#include "plan-rights.h"

static int add_device(Auth *auth, const Plan *plan, const PlanDevice *device) {
        const PciDevice *pci = device->device->pci;
        const char *kind = device_kind_to_string(pci->kind);
        char address[PCI_ADDRESS_TEXT_MAX], vendor[5];
        int r;

        pci_address_format(&pci->address, address);
        snprintf(vendor, sizeof(vendor), "%04x", pci->vendor_id);
        r = auth_add(auth, ACTION_USE_DEVICE, plan->spec->name, address, kind, vendor);
        if (r >= 0 && device->overridden)
                r = auth_add(auth, ACTION_OVERRIDE_DEVICE, plan->spec->name, address, kind, vendor);
        return r;
}

/* Who says `allow` asks for the right to override, whether or not a reason stands against a device now. */
int auth_add_devices(Auth *auth, const Plan *plan, char *const *allow) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < plan->n_devices; i++)
                r = add_device(auth, plan, &plan->devices[i]);
        if (r >= 0 && strv_length(allow) > 0)
                r = auth_add(auth, ACTION_OVERRIDE_DEVICE, plan->spec->name, "", "", "");
        return r;
}

static int add_part(char ***parts, const PciDevice *pci) {
        char *part;

        if (asprintf(&part, "%s (%s)", PCI_ADDRESS_TEXT(&pci->address), device_kind_to_string(pci->kind)) < 0)
                return -ENOMEM;
        return strv_consume(parts, part);
}

static int add_parts(char ***parts, const DeviceList *functions) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < functions->n; i++)
                r = add_part(parts, functions->items[i]);
        return r;
}

int describe_functions(const DeviceList *functions, char **ret) {
        _cleanup_strv_ char **parts = NULL;
        int r = add_parts(&parts, functions);

        if (r < 0)
                return r;
        *ret = strv_join(parts, ", ");
        return *ret ? 0 : -ENOMEM;
}

int plan_describe_devices(const Plan *plan, char **ret) {
        _cleanup_strv_ char **parts = NULL;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < plan->n_devices; i++)
                r = add_parts(&parts, &plan->devices[i].unit);
        if (r < 0)
                return r;

        *ret = strv_join(parts, ", ");
        return *ret ? 0 : -ENOMEM;
}
