/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>
#include <sys/random.h>
#include <time.h>

#include "base/io.h"
#include "host/locked-memory.h"
#include "identity.h"
#include "manager.h"
#include "plan-tuning.h"
#include "quota.h"
#include "ssh-port.h"

Plan *plan_free(Plan *plan) {
        if (!plan)
                return NULL;

        findings_clear(&plan->findings);
        for (size_t i = 0; i < plan->n_devices; i++)
                device_list_clear(&plan->devices[i].unit);
        free(plan->devices);
        vm_spec_free(plan->spec);
        free(plan);
        return NULL;
}

bool plan_is_ready(const Plan *plan) {
        return !findings_fail(&plan->findings);
}

int plan_refuse(const Plan *plan, Error *error) {
        for (size_t i = 0; i < plan->findings.n; i++) {
                const Finding *finding = &plan->findings.items[i];

                if (finding->severity != SEVERITY_FAIL)
                        continue;

                (void) error_set(error, finding->error, "%s", finding->detail);
                if (!streq(finding->remedy, error_code_remedy(finding->error)))
                        error_set_remedy(error, "%s", finding->remedy);
                return -error_code_errno(finding->error);
        }
        return 0;
}

/* remedy NULL: that of the error code. */
_printf_(6, 7) static int add_finding(Plan *plan, Severity severity, ErrorCode error, const char *code,
                                      const char *remedy, const char *format, ...) {
        va_list ap;
        int r;

        va_start(ap, format);
        r = findings_addv(&plan->findings, severity, error, code, remedy, format, ap);
        va_end(ap);
        return r;
}

/* --- the VM itself ---------------------------------------------------------------------------------------- */

static int make_uuid(char ret[UUID_TEXT_MAX]) {
        uint8_t b[16];

        if (getrandom(b, sizeof(b), 0) != sizeof(b))
                return -EIO;

        b[6] = (uint8_t) ((b[6] & 0x0f) | 0x40);
        b[8] = (uint8_t) ((b[8] & 0x3f) | 0x80);
        snprintf(ret, UUID_TEXT_MAX, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                 b[14], b[15]);
        return 0;
}

static int copy_string(const char *value, char **ret) {
        char *copy = value ? strdup(value) : NULL;

        if (value && !copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

static int name_of_image(const VmRequest *request, char **ret) {
        if (request->image_name)
                return asprintf(ret, "@%s", request->image_name) < 0 ? -ENOMEM : 0;
        return copy_string(request->image >= 0 ? "file" : NULL, ret);
}

static int fill_strings(const VmRequest *request, VmSpec *spec) {
        const struct {
                const char *from;
                char **to;
        } strings[] = {
                { request->name, &spec->name },           { request->on_stop, &spec->on_stop },
                { request->graphics, &spec->graphics },   { request->firmware, &spec->firmware },
                { request->pin, &spec->pin },             { request->hugepages, &spec->hugepages },
                { request->numa, &spec->numa },           { request->guest_os, &spec->guest_os },
        };

        for (size_t i = 0; i < ELEMENTSOF(strings); i++) {
                int r = copy_string(strings[i].from, strings[i].to);
                if (r < 0)
                        return r;
        }
        if (request->has_cloud_init) {
                int r = copy_string(request->cloud_init.user, &spec->user);
                if (r < 0)
                        return r;
        }
        return name_of_image(request, &spec->image);
}

static int plan_fill_spec(const VmRequest *request, VmSpec *spec) {
        struct timespec now;
        int r;

        r = make_uuid(spec->uuid);
        if (r >= 0)
                r = fill_strings(request, spec);
        if (r < 0)
                return r;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        spec->created_at = (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
        spec->owner = request->caller;
        spec->memory = request->memory;
        spec->cpus = request->cpus;
        spec->secure_boot = request->secure_boot;
        spec->tpm = request->tpm;
        spec->io_threads = request->io_threads;
        spec->hide_hypervisor = request->hide_hypervisor;
        spec->autostart = request->autostart;
        return 0;
}

static int judge_name(Manager *m, Plan *plan) {
        if (!manager_find_vm(m, plan->spec->name))
                return 0;
        return add_finding(plan, SEVERITY_FAIL, ERROR_VM_EXISTS, "vm-exists", NULL,
                           "There is a VM named %s already", plan->spec->name);
}

/* --- devices ---------------------------------------------------------------------------------------------- */

static int plan_add_device(Plan *plan, Device *d, const DeviceList *unit, bool automatic) {
        PlanDevice *grown = reallocarray(plan->devices, plan->n_devices + 1, sizeof(PlanDevice));

        if (!grown)
                return -ENOMEM;
        plan->devices = grown;
        plan->devices[plan->n_devices++] = (PlanDevice) { .device = d, .unit = *unit, .automatic = automatic };
        return 0;
}

static int fill_vm_device(VmDevice *to, const Device *requested, const PciDevice *pci, char *const *allow) {
        int r;

        to->address = pci->address;
        to->requested = requested->pci->address;
        r = identity_describe(to, pci);
        return r < 0 ? r : strv_copy(allow, &to->allow);
}

/* What the guest sees: the device and its siblings in the slot. Others of the unit only move along. */
static int spec_add_unit(VmSpec *spec, const Device *requested, const DeviceList *unit, char *const *allow) {
        for (size_t i = 0; i < unit->n; i++) {
                VmDevice *added;
                int r;

                if (!pci_address_same_slot(&unit->items[i]->address, &requested->pci->address))
                        continue;

                added = vm_spec_add_device(spec);
                if (!added)
                        return -ENOMEM;
                r = fill_vm_device(added, requested, unit->items[i], allow);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int tell_company(Plan *plan, const Device *requested, const DeviceList *unit) {
        for (size_t i = 0; i < unit->n; i++) {
                const PciDevice *pci = unit->items[i];
                int r;

                if (pci_address_equal(&pci->address, &requested->pci->address))
                        continue;
                r = add_finding(plan, SEVERITY_INFO, ERROR_NONE, "moves-along", NULL,
                                "%s (%s) moves along with %s", PCI_ADDRESS_TEXT(&pci->address),
                                device_kind_to_string(pci->kind), PCI_ADDRESS_TEXT(&requested->pci->address));
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_planned(const Plan *plan, const Device *d) {
        for (size_t i = 0; i < plan->n_devices; i++)
                if (device_list_contains(&plan->devices[i].unit, &d->pci->address))
                        return true;
        return false;
}

static int plan_take_device(Plan *plan, Device *d, const VmRequest *request, bool automatic) {
        DeviceList unit = {};
        int r;

        r = device_unit(d, &unit);
        if (r < 0)
                return r;

        r = plan_add_device(plan, d, &unit, automatic);
        if (r < 0) {
                device_list_clear(&unit);
                return r;
        }

        r = spec_add_unit(plan->spec, d, &unit, request->allow);
        return r < 0 ? r : tell_company(plan, d, &unit);
}

static int tell_reasons(Plan *plan, const Device *d, const Reasons *reasons, char *const *allow) {
        char text[PCI_ADDRESS_TEXT_MAX];

        pci_address_format(&d->pci->address, text);
        for (size_t i = 0; i < reasons->n; i++) {
                const Reason *reason = &reasons->items[i];
                const char *code = reason_code_to_string(reason->code);
                bool may = reason_code_is_overridable(reason->code);
                _cleanup_free_ char *remedy = reason_code_remedy(reason->code);
                int r;

                if (may && !remedy)
                        return -ENOMEM;

                if (may && strv_contains(allow, code))
                        r = add_finding(plan, SEVERITY_WARN, reason_code_to_error(reason->code), code,
                                        "You have taken the responsibility for it.", "%s: %s", text,
                                        reason->detail);
                else
                        r = add_finding(plan, SEVERITY_FAIL, reason_code_to_error(reason->code), code, remedy,
                                        "%s cannot be given to a VM: %s", text, reason->detail);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A drive that waits for another user's VM carries that user's data, which cannot be looked at there. */
static int add_foreign_owner(const Device *d, const VmRequest *request, Reasons *reasons) {
        const Vm *other = device_assigned_elsewhere(d, NULL);

        if (!other || other->spec->owner == request->caller)
                return 0;
        return reasons_add(reasons, REASON_HAS_DATA, "it is assigned to the VM %s of another user",
                           other->spec->name);
}

static int plan_named_device(Manager *m, Plan *plan, const VmRequest *request, const char *option,
                             const char *word) {
        _cleanup_reasons_ Reasons reasons = {};
        PciAddress address;
        int r;

        r = pci_address_parse(word, &address);
        if (r < 0)
                return r;

        Device *d = devices_find(m, &address);
        if (!d)
                return add_finding(plan, SEVERITY_FAIL, ERROR_NO_SUCH_DEVICE, "no-such-device", NULL,
                                   "There is no device at %s", word);
        if (is_planned(plan, d))
                return 0;
        if (!streq(option, "passthrough") && !streq(option, device_kind_to_string(d->pci->kind)))
                return add_finding(plan, SEVERITY_FAIL, ERROR_INVALID_OPTION, "wrong-kind",
                                   "Use --passthrough for it, or choose another device.",
                                   "%s is of the kind %s, not %s", word,
                                   device_kind_to_string(d->pci->kind), option);

        bool automatic = strv_contains(request->chosen, word);
        const Vm *other = automatic ? device_assigned_elsewhere(d, NULL) : NULL;
        if (other)
                return add_finding(plan, SEVERITY_FAIL, ERROR_NO_CANDIDATE, "no-candidate", NULL,
                                   "%s was free a moment ago, but the VM %s has it now", word,
                                   other->spec->name);

        r = device_reasons(d, NULL, &reasons);
        if (r >= 0)
                r = device_add_unlooked(d, &reasons);
        if (r >= 0)
                r = add_foreign_owner(d, request, &reasons);
        if (r >= 0)
                r = tell_reasons(plan, d, &reasons, request->allow);
        if (r >= 0)
                r = plan_take_device(plan, d, request, automatic);
        return r;
}

static int explain_no_candidate(Plan *plan, const Candidates *candidates, const char *option,
                                const char *vendor) {
        if (candidates->n == 0)
                return add_finding(plan, SEVERITY_FAIL, ERROR_NO_CANDIDATE, "no-candidate", NULL,
                                   "This host has no %s%s%s that could be chosen", option,
                                   vendor ? " of the vendor " : "", vendor ? vendor : "");

        const Candidate *first = &candidates->items[0];
        const Reason *reason = &first->reasons.items[0];

        return add_finding(plan, SEVERITY_FAIL, ERROR_NO_CANDIDATE, "no-candidate", NULL,
                           "No %s is free: %s%s", option, reason->detail,
                           candidates->n > 1 ? " (and others, for their own reasons)" : "");
}

static int plan_automatic_device(Manager *m, Plan *plan, const VmRequest *request, const char *option,
                                 const char *word) {
        _cleanup_candidates_ Candidates candidates = {};
        _cleanup_device_list_ DeviceList taken = {};
        const char *vendor = str_after(word, "auto:");
        int r;

        taken.items = calloc(plan->n_devices + 1, sizeof(PciDevice *));
        if (!taken.items)
                return -ENOMEM;
        for (size_t i = 0; i < plan->n_devices; i++)
                taken.items[taken.n++] = plan->devices[i].device->pci;

        const Selection selection = {
                .kind = streq(option, "gpu") ? KIND_GPU : KIND_NVME,
                .vendor = vendor,
                .allow = request->allow,
                .taken = &taken,
        };
        r = select_candidates(m, &selection, &candidates);
        if (r < 0)
                return r;

        Device *best = candidates_best(&candidates);
        if (!best && !m->devices.inventory->has_iommu)
                return 0; /* told once, by judge_iommu() */
        if (!best)
                return explain_no_candidate(plan, &candidates, option, vendor);

        r = tell_reasons(plan, best, &candidates.items[0].reasons, request->allow);
        return r < 0 ? r : plan_take_device(plan, best, request, true);
}

static int plan_devices(Manager *m, Plan *plan, const VmRequest *request) {
        const struct {
                const char *option;
                char *const *words;
        } lists[] = {
                { "passthrough", request->passthrough },
                { "gpu", request->gpu },
                { "nvme", request->nvme },
        };

        /* Those that are named come first, so that `auto` does not take one of them. */
        for (int automatic = 0; automatic < 2; automatic++)
                for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                        STRV_FOREACH(word, lists[i].words) {
                                bool is_auto = str_after(*word, "auto") != NULL;
                                int r;

                                if (is_auto != (automatic == 1))
                                        continue;
                                r = is_auto ? plan_automatic_device(m, plan, request, lists[i].option, *word)
                                            : plan_named_device(m, plan, request, lists[i].option, *word);
                                if (r < 0)
                                        return r;
                        }
        return 0;
}

static bool wants_devices(const VmRequest *request) {
        return strv_length(request->gpu) + strv_length(request->nvme) + strv_length(request->passthrough) > 0;
}

static int judge_iommu(Manager *m, Plan *plan, const VmRequest *request) {
        if (!wants_devices(request) || m->devices.inventory->has_iommu)
                return 0;
        return add_finding(plan, SEVERITY_FAIL, ERROR_NO_IOMMU, "no-iommu", NULL,
                           "This host has no IOMMU switched on: no device can be given to a VM");
}

/* --- what libvirt must offer ------------------------------------------------------------------------------ */

static int decide_domain_type(Manager *m, Plan *plan, const VirtCapabilities *capabilities) {
        const char *wanted = m->config->domain_type;
        int r;

        if (!streq(wanted, "auto"))
                return copy_string(wanted, &plan->spec->domain_type);

        r = copy_string(capabilities->kvm ? "kvm" : "qemu", &plan->spec->domain_type);
        if (r < 0 || capabilities->kvm)
                return r;
        return add_finding(plan, SEVERITY_WARN, ERROR_NOT_READY, "no-kvm",
                           "Switch on VT-x or AMD-V (SVM) in the firmware setup and load kvm_intel or kvm_amd.",
                           "KVM cannot be used: the guest's processor is emulated, which is slow");
}

static int judge_firmware(Plan *plan, const VirtCapabilities *capabilities) {
        int r = 0;

        if (streq(plan->spec->firmware, "uefi") &&
            !(plan->spec->secure_boot ? capabilities->secure_boot : capabilities->uefi))
                r = add_finding(plan, SEVERITY_FAIL, ERROR_NOT_READY, "no-firmware",
                                "Install the package ovmf, or use --firmware bios.",
                                "This host has no UEFI firmware%s for guests",
                                plan->spec->secure_boot ? " with Secure Boot" : "");
        if (r >= 0 && plan->spec->tpm && !capabilities->tpm)
                r = add_finding(plan, SEVERITY_FAIL, ERROR_NOT_READY, "no-tpm",
                                "Install the packages swtpm and swtpm-tools.",
                                "This host cannot emulate a TPM 2.0");
        return r;
}

static int judge_graphics(Plan *plan, const VirtCapabilities *capabilities) {
        const char *graphics = plan->spec->graphics;

        if ((streq(graphics, "spice") && !capabilities->spice) ||
            (streq(graphics, "vnc") && !capabilities->vnc))
                return add_finding(plan, SEVERITY_FAIL, ERROR_NOT_READY, "no-graphics",
                                   "Use another kind of graphics, or install a QEMU that has it.",
                                   "This host's QEMU has no %s", graphics);
        return 0;
}

static bool network_is_allowed(const Manager *m, const VirtCapabilities *capabilities, const char *network) {
        return strv_contains(m->config->networks, network) && strv_contains(capabilities->networks, network);
}

/* Without a port that leads in, nobody on the host can log in. */
static int judge_user_network(Manager *m, Plan *plan, const VirtCapabilities *capabilities) {
        unsigned port = capabilities->passt ? ssh_port_choose(m) : 0;

        plan->spec->ssh_port = port;
        if (port > 0)
                return add_finding(plan, SEVERITY_INFO, ERROR_NONE, "ssh-forwarded", NULL,
                                   "The guest's ssh is reached at 127.0.0.1 port %u of the host", port);
        return add_finding(plan, SEVERITY_WARN, ERROR_NOT_READY, "user-network",
                           "Use a network of libvirt's ('virsh net-start default' makes it available). A libvirt "
                           "that was built for passt forwards a port with the package passt.",
                           "The guest reaches out through user networking, and cannot be reached from the host");
}

static int choose_network(Manager *m, Plan *plan, const VmRequest *request,
                          const VirtCapabilities *capabilities) {
        const char *asked = request->network;
        bool has_default = network_is_allowed(m, capabilities, "default");

        if (!asked) {
                int r = copy_string(has_default ? "default" : "user", &plan->spec->network);

                if (r < 0 || has_default)
                        return r;
                r = add_finding(plan, SEVERITY_WARN, ERROR_NOT_READY, "no-default-network",
                                "'virsh net-start default' makes libvirt's network available.",
                                "The network default is not active: the guest gets user networking");
                return r < 0 ? r : judge_user_network(m, plan, capabilities);
        }

        if (!streq(asked, "none") && !streq(asked, "user")) {
                if (!strv_contains(m->config->networks, asked))
                        return add_finding(plan, SEVERITY_FAIL, ERROR_INVALID_OPTION, "network-not-listed",
                                           "The administrator lists the networks that VMs may join: Networks= "
                                           "in vmkitd.conf.",
                                           "The network %s is not open to users", asked);
                if (!strv_contains(capabilities->networks, asked))
                        return add_finding(plan, SEVERITY_FAIL, ERROR_NOT_READY, "network-inactive",
                                           "Have it started with 'virsh net-start', or use --network user.",
                                           "The network %s is not active", asked);
        }

        int r = copy_string(asked, &plan->spec->network);
        return r < 0 || !streq(asked, "user") ? r : judge_user_network(m, plan, capabilities);
}

static int judge_libvirt(Manager *m, Plan *plan, const VmRequest *request) {
        const VirtCapabilities *capabilities = virt_capabilities(m->virt);
        int r;

        if (!virt_is_connected(m->virt) || !capabilities)
                return add_finding(plan, SEVERITY_FAIL, ERROR_LIBVIRT_UNAVAILABLE, "libvirt-unavailable", NULL,
                                   "libvirt cannot be reached at %s", virt_uri(m->virt));

        r = decide_domain_type(m, plan, capabilities);
        if (r >= 0)
                r = judge_firmware(plan, capabilities);
        if (r >= 0)
                r = judge_graphics(plan, capabilities);
        if (r >= 0)
                r = choose_network(m, plan, request, capabilities);
        return r;
}

/* --- memory, image, limits -------------------------------------------------------------------------------- */

static int read_available_memory(int root_fd, uint64_t *ret) {
        _cleanup_free_ char *meminfo = NULL;
        int r;

        r = read_file_at(root_fd, "proc/meminfo", 65536, &meminfo);
        if (r < 0)
                return r;

        const char *line = strstr(meminfo, "MemAvailable:");
        if (!line)
                return -ENODATA;

        *ret = strtoull(line + strlen("MemAvailable:"), NULL, 10) * KIB;
        return 0;
}

/* VFIO pins all of the guest's memory at start; without a device QEMU takes it as it goes. */
static int judge_memory(Manager *m, Plan *plan) {
        char wanted[SIZE_TEXT_MAX], there[SIZE_TEXT_MAX];
        uint64_t available;
        bool pinned = plan->n_devices > 0;

        if (plan->spec->page_size > 0)
                return 0; /* counted in pages, with the placement */
        if (read_available_memory(m->root_fd, &available) < 0 || plan->spec->memory <= available)
                return 0;

        format_size(plan->spec->memory, wanted);
        format_size(available, there);
        if (!pinned)
                return add_finding(plan, SEVERITY_WARN, ERROR_INSUFFICIENT_MEMORY, "insufficient-memory", NULL,
                                   "The VM may use %s, but only %s are available now", wanted, there);
        return add_finding(plan, SEVERITY_FAIL, ERROR_INSUFFICIENT_MEMORY, "insufficient-memory", NULL,
                           "Passed devices need all of the VM's memory at once: %s, but only %s are available",
                           wanted, there);
}

/* Beside the guest's memory there is QEMU's own, and what devices have of it mapped; libvirt allows a GiB. */
static int judge_memlock(Manager *m, Plan *plan) {
        char wanted[SIZE_TEXT_MAX], allowed[SIZE_TEXT_MAX];
        uint64_t limit;

        if (plan->n_devices == 0 || locked_memory_limit(m->root_fd, &limit) < 0 ||
            plan->spec->memory + GIB <= limit)
                return 0;
        return add_finding(plan, SEVERITY_FAIL, ERROR_INSUFFICIENT_MEMORY, "memlock",
                           "Run libvirtd with CAP_SYS_RESOURCE, or raise LimitMEMLOCK= of its unit.",
                           "Passed devices need all of the VM's memory locked: %s, but libvirtd may not let QEMU lock "
                           "more than %s", format_size(plan->spec->memory, wanted), format_size(limit, allowed));
}

static int judge_image(Manager *m, Plan *plan, const VmRequest *request) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_image_info_ ImageInfo info = {};
        uid_t owner;

        if (!request->image_name)
                return 0;

        if (image_store_open(m->state_fd, request->caller, request->image_name, &fd, &owner, &error) < 0)
                return add_finding(plan, SEVERITY_FAIL, error.code, "no-such-image", NULL, "%s",
                                   str_na(error.message));
        if (image_peek(fd, &info, &error) < 0)
                return add_finding(plan, SEVERITY_FAIL, error.code, "image-rejected", NULL, "%s",
                                   str_na(error.message));
        if (request->disk_size > 0 && request->disk_size < info.virtual_size)
                return add_finding(plan, SEVERITY_FAIL, ERROR_INVALID_OPTION, "disk-size-too-small",
                                   "Leave disk-size out, or make it larger than the image.",
                                   "disk-size is smaller than the image %s", request->image_name);

        plan->image_size = info.virtual_size;
        return 0;
}

static int judge_limits(Manager *m, Plan *plan, const VmRequest *request) {
        _cleanup_error_ Error error = ERROR_INIT;
        const char *code;
        const Quota extra = {
                .vms = 1,
                .cpus = request->cpus,
                .memory = request->memory,
                .devices = plan->spec->n_devices,
                .image_bytes = MAX(request->disk_size, plan->image_size),
        };
        int r;

        r = quota_check(m, request->caller, &extra, &code, &error);
        if (r <= 0)
                return r;
        return add_finding(plan, SEVERITY_FAIL, ERROR_LIMIT_EXCEEDED, code, NULL, "%s", error.message);
}

/* The owner of the VM has it on account, whoever attaches it; an administrator may exceed the limit. */
static int judge_device_limit(Manager *m, Plan *plan, uid_t caller) {
        _cleanup_error_ Error error = ERROR_INIT;
        const char *code;
        int r;

        const Vm *vm = manager_find_vm_by_uuid(m, plan->spec->uuid);
        const Quota extra = { .devices = plan->spec->n_devices - (vm ? vm->spec->n_devices : 0) };
        r = caller == 0 ? 0 : quota_check(m, plan->spec->owner, &extra, &code, &error);
        if (r <= 0)
                return r;
        return add_finding(plan, SEVERITY_FAIL, ERROR_LIMIT_EXCEEDED, code, NULL, "%s", error.message);
}

/* ---------------------------------------------------------------------------------------------------------- */

static int judge_all(Manager *m, Plan *plan, const VmRequest *request) {
        int r;

        r = judge_name(m, plan);
        if (r >= 0)
                r = judge_iommu(m, plan, request);
        if (r >= 0)
                r = plan_devices(m, plan, request);
        if (r >= 0)
                r = plan_tuning(m, plan, request);
        if (r >= 0)
                r = judge_libvirt(m, plan, request);
        if (r >= 0)
                r = judge_memory(m, plan);
        if (r >= 0)
                r = judge_memlock(m, plan);
        if (r >= 0)
                r = judge_image(m, plan, request);
        if (r >= 0)
                r = judge_limits(m, plan, request);
        return r;
}

int plan_make(Manager *m, const VmRequest *request, Plan **ret) {
        _cleanup_(plan_freep) Plan *plan = calloc(1, sizeof(Plan));
        int r;

        if (!plan)
                return -ENOMEM;

        plan->spec = vm_spec_new();
        if (!plan->spec)
                return -ENOMEM;

        r = devices_refresh_if_old(m);
        if (r >= 0)
                r = plan_fill_spec(request, plan->spec);
        if (r >= 0)
                r = judge_all(m, plan, request);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(plan);
        return 0;
}

int plan_pin_request(const Plan *plan, VmRequest *request) {
        request->gpu = strv_free(request->gpu);
        request->nvme = strv_free(request->nvme);
        request->passthrough = strv_free(request->passthrough);

        for (size_t i = 0; i < plan->n_devices; i++) {
                const PlanDevice *device = &plan->devices[i];
                char text[PCI_ADDRESS_TEXT_MAX];
                int r;

                pci_address_format(&device->device->pci->address, text);
                r = strv_push(&request->passthrough, text);
                if (r >= 0 && device->automatic)
                        r = strv_push(&request->chosen, text);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- a device for a VM that is there ---------------------------------------------------------------------- */

static int judge_attachment(Manager *m, Plan *plan, const VmRequest *request, bool pins_memory) {
        int r;

        r = judge_iommu(m, plan, request);
        if (r >= 0)
                r = plan_devices(m, plan, request);
        if (r >= 0 && pins_memory)
                r = judge_memory(m, plan);
        if (r >= 0 && pins_memory)
                r = judge_memlock(m, plan);
        return r < 0 ? r : judge_device_limit(m, plan, request->caller);
}

int plan_make_attachment(Manager *m, const VmSpec *spec, const VmRequest *request, bool pins_memory,
                         Plan **ret) {
        _cleanup_(plan_freep) Plan *plan = calloc(1, sizeof(Plan));
        int r;

        if (!plan)
                return -ENOMEM;

        r = vm_spec_copy(spec, &plan->spec);
        if (r >= 0)
                r = devices_refresh_if_old(m);
        if (r >= 0)
                r = judge_attachment(m, plan, request, pins_memory);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(plan);
        return 0;
}
