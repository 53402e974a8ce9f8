/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/strv.h"
#include "core/manager.h"
#include "plan-message.h"

int append_reasons(sd_bus_message *m, const Reasons *reasons) {
        int r = sd_bus_message_open_container(m, 'a', "(ss)");

        for (size_t i = 0; r >= 0 && i < reasons->n; i++)
                r = sd_bus_message_append(m, "(ss)", reason_code_to_string(reasons->items[i].code),
                                          reasons->items[i].detail);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int append_findings(sd_bus_message *m, const Plan *plan) {
        int r = sd_bus_message_open_container(m, 'a', "a{sv}");

        for (size_t i = 0; r >= 0 && i < plan->findings.n; i++) {
                const Finding *finding = &plan->findings.items[i];

                r = sd_bus_message_append(m, "a{sv}", 4, "code", "s", finding->code, "severity", "s",
                                          severity_to_string(finding->severity), "detail", "s",
                                          finding->detail, "remedy", "s", finding->remedy);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_reasons_entry(sd_bus_message *m, const Reasons *reasons) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "reasons");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a(ss)");
        if (r >= 0)
                r = append_reasons(m, reasons);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_candidate(sd_bus_message *m, const Candidate *candidate) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}{sv}", "address", "s",
                                          PCI_ADDRESS_TEXT(&candidate->device->pci->address), "eligible", "b",
                                          candidate->eligible);
        if (r >= 0)
                r = append_reasons_entry(m, &candidate->reasons);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int append_candidates(sd_bus_message *m, const Candidates *candidates) {
        int r = sd_bus_message_open_container(m, 'a', "a{sv}");

        for (size_t i = 0; r >= 0 && i < candidates->n; i++)
                r = append_candidate(m, &candidates->items[i]);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* --- the plan --------------------------------------------------------------------------------------------- */

static int append_text(sd_bus_message *m, const char *key, const char *value) {
        return sd_bus_message_append(m, "{sv}", key, "s", value ? value : "");
}

static int append_texts(sd_bus_message *m, const Plan *plan, const VmRequest *request) {
        const VmSpec *spec = plan->spec;
        const struct {
                const char *key, *value;
        } texts[] = {
                { "name", spec->name },           { "image-name", request->image_name },
                { "on-stop", spec->on_stop },     { "graphics", spec->graphics },
                { "firmware", spec->firmware },   { "network", spec->network },
                { "pin", spec->pin },             { "hugepages", spec->hugepages },
                { "numa", spec->numa },           { "guest-os", spec->guest_os },
                { "domain-type", spec->domain_type },
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(texts); i++)
                r = append_text(m, texts[i].key, texts[i].value);
        return r;
}

static int append_numbers(sd_bus_message *m, const Plan *plan, const VmRequest *request) {
        const VmSpec *spec = plan->spec;
        uint64_t disk = request->disk_size ? request->disk_size : plan->image_size;

        return sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}", "memory", "t", spec->memory,
                                     "cpus", "u", spec->cpus, "disk-size", "t", disk, "io-threads", "u",
                                     spec->io_threads, "secure-boot", "b", spec->secure_boot, "tpm", "b",
                                     spec->tpm, "hide-hypervisor", "b", spec->hide_hypervisor, "autostart",
                                     "b", spec->autostart, "start", "b", request->start);
}

static int append_unit(sd_bus_message *m, const DeviceList *unit) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "unit");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "as");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "s");
        for (size_t i = 0; r >= 0 && i < unit->n; i++)
                r = sd_bus_message_append(m, "s", PCI_ADDRESS_TEXT(&unit->items[i]->address));
        for (unsigned level = 0; r >= 0 && level < 3; level++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int append_plan_device(sd_bus_message *m, const PlanDevice *device) {
        const PciDevice *pci = device->device->pci;
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = append_text(m, "address", PCI_ADDRESS_TEXT(&pci->address));
        if (r >= 0)
                r = append_text(m, "kind", device_kind_to_string(pci->kind));
        if (r >= 0)
                r = append_text(m, "driver", device_original_driver(device->device));
        if (r >= 0)
                r = append_unit(m, &device->unit);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_plan_devices(sd_bus_message *m, const Plan *plan) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "devices");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "aa{sv}");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "a{sv}");
        for (size_t i = 0; r >= 0 && i < plan->n_devices; i++)
                r = append_plan_device(m, &plan->devices[i]);
        for (unsigned level = 0; r >= 0 && level < 3; level++)
                r = sd_bus_message_close_container(m);
        return r;
}

int append_plan(sd_bus_message *m, const Plan *plan, const VmRequest *request) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = append_texts(m, plan, request);
        if (r >= 0)
                r = append_numbers(m, plan, request);
        if (r >= 0)
                r = append_plan_devices(m, plan);
        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}{sv}", "cpu-pins", "a(uau)", 0, "numa-nodes", "au", 0);
        return r < 0 ? r : sd_bus_message_close_container(m);
}
