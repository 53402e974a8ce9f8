/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/cpu-set.h"
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

/* The lists of all pins in one: what `auto` came to. */
static char *pin_of(const VmSpec *spec) {
        CpuSet all = {}, one;

        if (streq(spec->pin, "none") || !spec->cpu_pins)
                return strdup(spec->pin);

        STRV_FOREACH(list, spec->cpu_pins)
                if (cpu_set_parse(*list, &one) >= 0)
                        cpu_set_add_all(&all, &one);
        return cpu_set_format(&all);
}

static const char *pages_of(const VmSpec *spec) {
        if (spec->page_size == 0)
                return spec->hugepages;
        return spec->page_size == GIB ? "1G" : "2M";
}

static const char *numa_of(const VmSpec *spec) {
        return !streq(spec->numa, "none") && spec->nodes ? spec->nodes : spec->numa;
}

static int append_texts(sd_bus_message *m, const Plan *plan, const VmRequest *request) {
        const VmSpec *spec = plan->spec;
        _cleanup_free_ char *pin = pin_of(spec);
        const struct {
                const char *key, *value;
        } texts[] = {
                { "name", spec->name },           { "image-name", request->image_name },
                { "on-stop", spec->on_stop },     { "graphics", spec->graphics },
                { "firmware", spec->firmware },   { "network", spec->network },
                { "pin", pin },                   { "hugepages", pages_of(spec) },
                { "numa", numa_of(spec) },        { "guest-os", spec->guest_os },
                { "domain-type", spec->domain_type },
        };
        int r = 0;

        if (!pin)
                return -ENOMEM;

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

/* "au" */
static int append_set(sd_bus_message *m, const char *list) {
        CpuSet set = {};
        int r = list ? cpu_set_parse(list, &set) : 0;

        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "u");
        for (unsigned i = cpu_set_next(&set, 0); r >= 0 && i < CPU_SET_MAX; i = cpu_set_next(&set, i + 1))
                r = sd_bus_message_append(m, "u", i);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_pin(sd_bus_message *m, unsigned cpu, const char *list) {
        int r;

        r = sd_bus_message_open_container(m, 'r', "uau");
        if (r >= 0)
                r = sd_bus_message_append(m, "u", cpu);
        if (r >= 0)
                r = append_set(m, list);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_pins(sd_bus_message *m, const VmSpec *spec) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "cpu-pins");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a(uau)");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(uau)");
        for (unsigned i = 0; r >= 0 && spec->cpu_pins && spec->cpu_pins[i]; i++)
                r = append_pin(m, i, spec->cpu_pins[i]);
        for (unsigned level = 0; r >= 0 && level < 3; level++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int append_nodes(sd_bus_message *m, const VmSpec *spec) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "numa-nodes");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "au");
        if (r >= 0)
                r = append_set(m, spec->nodes);
        for (unsigned level = 0; r >= 0 && level < 2; level++)
                r = sd_bus_message_close_container(m);
        return r;
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
                r = append_pins(m, plan->spec);
        if (r >= 0)
                r = append_nodes(m, plan->spec);
        return r < 0 ? r : sd_bus_message_close_container(m);
}
