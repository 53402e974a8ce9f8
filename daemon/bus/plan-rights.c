/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/strv.h"
#include "core/manager.h"
#include "plan-rights.h"

static int add_function(Auth *auth, Action action, const char *vm, const Manager *m, const PciDevice *pci,
                        const char *requested) {
        const char *kind = device_kind_to_string(inventory_card_kind(m->devices.inventory, pci));
        char address[PCI_ADDRESS_TEXT_MAX], vendor[5];

        pci_address_format(&pci->address, address);
        snprintf(vendor, sizeof(vendor), "%04x", pci->vendor_id);
        return auth_add(auth, action, (const char *const[_DETAIL_MAX]) {
                                              [DETAIL_VM] = vm,
                                              [DETAIL_DEVICE] = address,
                                              [DETAIL_KIND] = kind,
                                              [DETAIL_VENDOR] = vendor,
                                              [DETAIL_REQUESTED] = requested,
                                      });
}

int auth_add_functions(Auth *auth, Action action, const char *vm, const Manager *m, const DeviceList *functions,
                       const PciAddress *requested) {
        char text[PCI_ADDRESS_TEXT_MAX];
        int r = 0;

        pci_address_format(requested, text);
        for (size_t i = 0; r >= 0 && i < functions->n; i++)
                r = add_function(auth, action, vm, m, functions->items[i], text);
        return r;
}

/* Who says `allow` asks for the right to override, whether or not a reason stands against a device now. */
int auth_add_devices(Auth *auth, const Plan *plan, char *const *allow) {
        const char *vm = plan->spec->name;
        bool overrides = strv_length(allow) > 0;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < plan->n_devices; i++) {
                const Device *d = plan->devices[i].device;
                const DeviceList *unit = &plan->devices[i].unit;

                r = auth_add_functions(auth, ACTION_USE_DEVICE, vm, d->manager, unit, &d->pci->address);
                if (r >= 0 && overrides)
                        r = auth_add_functions(auth, ACTION_OVERRIDE_DEVICE, vm, d->manager, unit,
                                               &d->pci->address);
        }
        if (r >= 0 && overrides && plan->n_devices == 0)
                r = auth_add_vm(auth, ACTION_OVERRIDE_DEVICE, vm);
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
