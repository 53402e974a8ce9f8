/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The part of a plan that makes the guest fast: where it runs, what its memory is made of, how much room its
 * devices need in its address space, and what they find there instead of their own firmware. */

#include "base/io.h"
#include "base/strv.h"
#include "host/bar.h"
#include "manager.h"
#include "placement.h"
#include "plan-tuning.h"

/* What QEMU and UEFI leave for the windows of devices when nothing is said. */
#define WINDOW_DEFAULT (32 * GIB)
#define APPARMOR_DIR "etc/apparmor.d"
#define APPARMOR_INCLUDE "<abstractions/libvirt-qemu.d>"

/* --- placement ---------------------------------------------------------------------------------------- */

/* Graphics first: it moves the most data. */
static const PciDevice *most_important_device(const Plan *plan) {
        const PciDevice *found = NULL;

        for (size_t i = 0; i < plan->n_devices; i++) {
                const PciDevice *pci = plan->devices[i].device->pci;

                if (pci->numa_node < 0)
                        continue;
                if (!found || (pci->kind == KIND_GPU && found->kind != KIND_GPU))
                        found = pci;
        }
        return found;
}

/* Running or not: sooner or later they run at the same time. */
static void pinned_by_others(const Manager *m, CpuSet *ret) {
        *ret = (CpuSet) {};
        for (size_t i = 0; i < m->n_vms; i++) {
                const VmSpec *spec = m->vms[i]->spec;

                if (!spec->pin || streq(spec->pin, "none"))
                        continue;
                STRV_FOREACH(list, spec->cpu_pins) {
                        CpuSet cpus;
                        if (cpu_set_parse(*list, &cpus) >= 0)
                                cpu_set_add_all(ret, &cpus);
                }
        }
}

static int set_pins(const Placement *p, VmSpec *spec) {
        int r = 0;

        for (unsigned i = 0; p->pins && r >= 0 && i < spec->cpus; i++) {
                char text[16];

                snprintf(text, sizeof(text), "%u", p->pins[i]);
                r = strv_push(&spec->cpu_pins, text);
        }
        if (r < 0 || cpu_set_is_empty(&p->emulator))
                return r;

        spec->emulator_pins = cpu_set_format(&p->emulator);
        return spec->emulator_pins ? 0 : -ENOMEM;
}

/* Where the guest believes that its CPUs are near some of its memory, they are, pinned or not. */
static int keep_cells_together(const Topology *t, const Placement *p, VmSpec *spec) {
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < p->n_cells; i++) {
                _cleanup_free_ char *cpus = cpu_set_format(&topology_node(t, p->cells[i].node)->cpus);

                if (!cpus)
                        return -ENOMEM;
                for (unsigned k = 0; r >= 0 && k < p->cells[i].cpus; k++)
                        r = strv_push(&spec->cpu_pins, cpus);
        }
        return r;
}

static int set_cells(const Topology *t, const Placement *p, VmSpec *spec) {
        CpuSet nodes = {};
        int r = 0;

        if (p->n_cells == 0 || !t->has_numa)
                return 0;

        for (unsigned i = 0; i < p->n_cells; i++)
                cpu_set_add(&nodes, p->cells[i].node);
        spec->nodes = cpu_set_format(&nodes);
        if (!spec->nodes)
                return -ENOMEM;
        if (p->n_cells == 1)
                return 0; /* the guest sees one node anyway */

        for (unsigned i = 0; r >= 0 && i < p->n_cells; i++)
                r = vm_spec_add_cell(spec, &(VmCell) { .cpus = p->cells[i].cpus, .memory = p->cells[i].memory,
                                                       .node = p->cells[i].node });
        return r < 0 || p->pins ? r : keep_cells_together(t, p, spec);
}

static int set_placement(const Topology *t, const Placement *p, VmSpec *spec) {
        int r;

        if (p->pins || p->n_cells > 1) {
                spec->sockets = p->sockets;
                spec->dies = p->dies;
                spec->cores = p->cores;
                spec->threads = p->threads;
                spec->tells_threads = t->is_amd && p->threads > 1;
        }
        spec->page_size = p->page_size;

        r = set_pins(p, spec);
        return r < 0 ? r : set_cells(t, p, spec);
}

static int place(Manager *m, Plan *plan, const VmRequest *request, const Topology *t) {
        _cleanup_placement_ Placement placement = {};
        const PciDevice *device = most_important_device(plan);
        char name[PCI_ADDRESS_TEXT_MAX] = "";
        CpuSet taken;
        int r;

        pinned_by_others(m, &taken);
        if (device)
                pci_address_format(&device->address, name);

        const PlacementRequest wanted = {
                .cpus = request->cpus,
                .memory = request->memory,
                .pin = request->pin,
                .hugepages = request->hugepages,
                .numa = request->numa,
                .device_node = device ? device->numa_node : -1,
                .device = name,
                .taken = &taken,
        };
        r = placement_choose(t, &wanted, &placement, &plan->findings);
        return r < 0 ? r : set_placement(t, &placement, plan->spec);
}

/* --- room for devices --------------------------------------------------------------------------------- */

static uint64_t power_of_two(uint64_t least) {
        uint64_t size = 1;

        while (size < least && size < UINT64_C(1) << 62)
                size <<= 1;
        return size;
}

/* Each device is behind a port of its own, whose window is a multiple of the largest thing in it. */
static uint64_t room_for_devices(const Manager *m, const VmSpec *spec) {
        uint64_t total = 0, largest = 0;

        for (size_t i = 0; i < spec->n_devices; i++) {
                BarRoom room;

                if (pci_bar_room(m->root_fd, &spec->devices[i].address, &room) < 0 || room.largest == 0)
                        continue;
                total += (room.total + room.largest - 1) / room.largest * room.largest;
                largest = MAX(largest, room.largest);
        }
        return total + largest;
}

static bool window_fits(const Topology *t, const VmSpec *spec, uint64_t window) {
        return t->physical_bits == 0 || t->physical_bits >= 63 ||
               4 * GIB + spec->memory + window <= UINT64_C(1) << t->physical_bits;
}

static int plan_window(Manager *m, Plan *plan, const Topology *t) {
        uint64_t room = room_for_devices(m, plan->spec), window = power_of_two(room);
        char size[SIZE_TEXT_MAX];

        if (room <= WINDOW_DEFAULT / 2)
                return 0;

        format_size(window, size);
        if (!window_fits(t, plan->spec, window))
                return findings_add(&plan->findings, SEVERITY_WARN, ERROR_NONE, "large-window",
                                    "Switch Resizable BAR off in the firmware setup, or give the VM fewer "
                                    "devices.",
                                    "The memory of the devices needs %s of the guest's address space, more "
                                    "than this processor's %u bits leave: the guest may not be able to use it",
                                    size, t->physical_bits);

        plan->spec->window = MAX(window, 2 * WINDOW_DEFAULT);
        format_size(plan->spec->window, size);
        return findings_add(&plan->findings, SEVERITY_INFO, ERROR_NONE, "large-window", NULL,
                            "The memory of the devices is large: %s of the guest's address space are kept "
                            "for it",
                            size);
}

/* --- what the guest finds ----------------------------------------------------------------------------- */

static int tell_windows(Plan *plan) {
        if (!streq(plan->spec->guest_os, "windows"))
                return 0;
        return findings_add(&plan->findings, SEVERITY_INFO, ERROR_NONE, "windows-drivers",
                            "Have the drivers of virtio-win.iso on the image, or load them in the installer.",
                            "Windows has no drivers of its own for the disk and the network of the VM "
                            "(virtio)");
}

static bool file_contains(int root_fd, const char *path, const char *text) {
        _cleanup_free_ char *content = NULL;

        return read_file_at(root_fd, path, MIB, &content) >= 0 && strstr(content, text);
}

/* libvirt lets a confined QEMU read a VM's disks, but not its ROM files; vmkit's rule for these is read only
 * where libvirt's own rules include the directory it is in. */
static bool apparmor_hides_roms(int root_fd) {
        _cleanup_free_ char *enabled = NULL;

        if (read_line_at(root_fd, "sys/module/apparmor/parameters/enabled", &enabled) < 0 ||
            !streq(enabled, "Y") || faccessat(root_fd, APPARMOR_DIR "/abstractions/libvirt-qemu", F_OK, 0) < 0)
                return false;

        return faccessat(root_fd, APPARMOR_DIR "/abstractions/libvirt-qemu.d/vmkit", F_OK, 0) < 0 ||
               (!file_contains(root_fd, APPARMOR_DIR "/abstractions/libvirt-qemu", APPARMOR_INCLUDE) &&
                !file_contains(root_fd, APPARMOR_DIR "/local/abstractions/libvirt-qemu", APPARMOR_INCLUDE));
}

static bool has_device(const VmSpec *spec, const PciAddress *address) {
        for (size_t i = 0; i < spec->n_devices; i++)
                if (pci_address_equal(&spec->devices[i].address, address))
                        return true;
        return false;
}

static int judge_roms(Manager *m, Plan *plan, const VmRequest *request) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < request->n_roms; i++)
                if (!has_device(plan->spec, &request->roms[i].address))
                        r = findings_add(&plan->findings, SEVERITY_FAIL, ERROR_INVALID_OPTION,
                                         "rom-without-device", "Give the VM the device as well, with --gpu or --passthrough.",
                                         "rom names %s, which is not among the VM's devices",
                                         PCI_ADDRESS_TEXT(&request->roms[i].address));
        if (r >= 0 && request->n_roms > 0 && apparmor_hides_roms(m->root_fd))
                r = findings_add(&plan->findings, SEVERITY_FAIL, ERROR_NOT_READY, "apparmor-rom",
                                 "Add the line 'include if exists <abstractions/libvirt-qemu.d>' to "
                                 "/etc/apparmor.d/local/abstractions/libvirt-qemu.",
                                 "AppArmor does not let QEMU read ROM files of VMs");
        return r;
}

/* ------------------------------------------------------------------------------------------------------ */

static bool wants_placement(const VmRequest *request) {
        return !streq(request->pin, "none") || !streq(request->hugepages, "none") ||
               !streq(request->numa, "none");
}

int plan_tuning(Manager *m, Plan *plan, const VmRequest *request) {
        _cleanup_(topology_freep) Topology *t = NULL;
        int r;

        r = judge_roms(m, plan, request);
        if (r >= 0)
                r = tell_windows(plan);
        if (r < 0 || (!wants_placement(request) && plan->spec->n_devices == 0))
                return r;

        r = topology_read(m->root_fd, &t);
        if (r < 0)
                return findings_add(&plan->findings, wants_placement(request) ? SEVERITY_FAIL : SEVERITY_WARN,
                                    ERROR_INTERNAL, "no-topology", NULL,
                                    "The host's processors could not be looked at: %s", strerror(-r));

        if (wants_placement(request))
                r = place(m, plan, request, t);
        return r < 0 ? r : plan_window(m, plan, t);
}
