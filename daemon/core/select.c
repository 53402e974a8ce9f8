/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "manager.h"
#include "select.h"

static const struct {
        const char *name;
        uint16_t id;
} vendors[] = {
        { "nvidia", 0x10de },
        { "amd", 0x1002 },
        { "intel", 0x8086 },
};

bool vendor_is_known(const char *vendor) {
        for (size_t i = 0; i < ELEMENTSOF(vendors); i++)
                if (streq(vendors[i].name, vendor))
                        return true;
        return false;
}

static bool vendor_matches(const char *vendor, uint16_t id) {
        for (size_t i = 0; i < ELEMENTSOF(vendors); i++)
                if (vendors[i].id == id)
                        return streq(vendors[i].name, vendor);
        return false;
}

void candidates_clear(Candidates *candidates) {
        for (size_t i = 0; i < candidates->n; i++)
                reasons_clear(&candidates->items[i].reasons);
        free(candidates->items);
        *candidates = (Candidates) {};
}

/* Also by what a job under way is about to make of it. */
static bool is_or_will_be_assigned(const Vm *vm, const PciAddress *address) {
        return vm_is_assigned(vm, address) || (vm->wanted && vm_spec_find_device(vm->wanted, address));
}

Vm *device_assigned_elsewhere(const Device *d, const Vm *vm) {
        const Manager *m = d->manager;

        for (size_t i = 0; i < m->n_vms; i++)
                if (m->vms[i] != vm && is_or_will_be_assigned(m->vms[i], &d->pci->address))
                        return m->vms[i];
        return NULL;
}

/* `auto` leaves alone what another VM names, even while that VM is stopped. */
static int add_assignment(const Candidate *candidate, Reasons *reasons) {
        const Vm *other = device_assigned_elsewhere(candidate->device, NULL);

        if (!other || candidate->device->lease)
                return 0;
        return reasons_add(reasons, REASON_CLAIMED, "%s is assigned to the VM %s",
                           PCI_ADDRESS_TEXT(&candidate->device->pci->address), other->spec->name);
}

static bool is_wanted(const Device *d, const Selection *selection) {
        if (d->pci->kind != selection->kind)
                return false;
        if (selection->vendor && !vendor_matches(selection->vendor, d->pci->vendor_id))
                return false;
        return !selection->taken || !device_list_contains(selection->taken, &d->pci->address);
}

static bool has_reason(const Candidate *candidate, ReasonCode code) {
        for (size_t i = 0; i < candidate->reasons.n; i++)
                if (candidate->reasons.items[i].code == code)
                        return true;
        return false;
}

/* What the host shows itself on, which a caller may take all the same. */
static bool is_display_of_host(const Candidate *candidate) {
        return has_reason(candidate, REASON_BOOT_DISPLAY) || has_reason(candidate, REASON_FRAMEBUFFER_CONSOLE) ||
               has_reason(candidate, REASON_ACTIVE_CONNECTOR);
}

static bool is_near(const Candidate *candidate, const DeviceList *taken) {
        for (size_t i = 0; taken && i < taken->n; i++)
                if (taken->items[i]->numa_node >= 0 &&
                    taken->items[i]->numa_node == candidate->device->pci->numa_node)
                        return true;
        return false;
}

/* The best has the fewest of these against it, the first ones weighing most; then the address decides, so that
 * the same host always gives the same answer. */
static unsigned demerits(const Candidate *candidate, const Selection *selection) {
        return (unsigned) !candidate->eligible << 4 | (unsigned) has_reason(candidate, REASON_HAS_DATA) << 3 |
               (unsigned) is_display_of_host(candidate) << 2 |
               (unsigned) pci_device_is_integrated(candidate->device->pci) << 1 |
               (unsigned) !is_near(candidate, selection->taken);
}

static int candidate_judge(Candidate *candidate, const Selection *selection) {
        int r;

        r = device_reasons(candidate->device, NULL, &candidate->reasons);
        if (r >= 0)
                r = device_add_unlooked(candidate->device, &candidate->reasons);
        if (r >= 0)
                r = add_assignment(candidate, &candidate->reasons);
        if (r < 0)
                return r;

        candidate->eligible = !reasons_blocking(&candidate->reasons, selection->allow);
        candidate->demerits = demerits(candidate, selection);
        return 0;
}

static int compare_candidates(const void *x, const void *y) {
        const Candidate *a = x, *b = y;

        if (a->demerits != b->demerits)
                return a->demerits < b->demerits ? -1 : 1;
        return pci_address_compare(&a->device->pci->address, &b->device->pci->address);
}

int select_candidates(Manager *m, const Selection *selection, Candidates *ret) {
        _cleanup_candidates_ Candidates candidates = {};

        candidates.items = calloc(devices_count(m) + 1, sizeof(Candidate));
        if (!candidates.items)
                return -ENOMEM;

        for (size_t i = 0; i < devices_count(m); i++) {
                Device *d = m->devices.items[i];

                if (!is_wanted(d, selection))
                        continue;

                Candidate *candidate = &candidates.items[candidates.n++];
                candidate->device = d;
                int r = candidate_judge(candidate, selection);
                if (r < 0)
                        return r;
        }

        qsort(candidates.items, candidates.n, sizeof(Candidate), compare_candidates);
        *ret = candidates;
        candidates = (Candidates) {};
        return 0;
}

Device *candidates_best(const Candidates *candidates) {
        return candidates->n > 0 && candidates->items[0].eligible ? candidates->items[0].device : NULL;
}
