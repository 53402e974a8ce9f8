/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The tables that turn libvirt's and QEMU's words into ours. A new case is one line, and one in
 * tests/unit/test-virt-errors.c with the real text. */

#include <ctype.h>
#include <libvirt/virterror.h>

#include "base/pci-address.h"
#include "translate.h"

/* message may name {device} (the first PCI address in the text), {group} (the IOMMU group),
 * {domain} (what stands behind that word) and {quoted} (the first text in single quotes). */
typedef struct Case {
        const char *words[3]; /* all of them occur */
        ErrorCode code;
        const char *message;
        const char *remedy; /* NULL: that of the code */
} Case;

#define HUGE_REMEDY "Reserve huge pages first (vm.nr_hugepages), or leave the option hugepages out."
#define PIN_REMEDY                                                         \
        "Give the VM less memory or free some; libvirtd must be able to " \
        "raise RLIMIT_MEMLOCK."
#define SWTPM_REMEDY "Install the packages swtpm and swtpm-tools, or leave the option tpm out."
#define KVM_REMEDY                                                                       \
        "Switch on virtualization (VT-x, AMD-V) in the firmware setup and load the module " \
        "kvm_intel or kvm_amd, or set the domain type 'qemu' in vmkitd.conf."
#define ACCESS_REMEDY                                                                    \
        "QEMU's user needs search permission on every directory above the file, and AppArmor " \
        "must allow it; 'journalctl -k' shows what AppArmor denied."

static const Case cases[] = {
        { { "not viable" }, ERROR_GROUP_NOT_VIABLE,
          "IOMMU group {group} of {device} has another function that is still on a host driver",
          NULL },
        { { "Verify all devices in group" }, ERROR_GROUP_NOT_VIABLE,
          "not every function of IOMMU group {group} is on vfio-pci, which {device} needs", NULL },
        { { "/dev/vfio/", "Device or resource busy" }, ERROR_DEVICE_IN_USE,
          "another program has IOMMU group {group} of {device} open",
          "End the program ('fuser -v /dev/vfio/*' names it), then start the VM again." },
        { { "/dev/vfio/", "No such file or directory" }, ERROR_BIND_FAILED,
          "{device} is not on vfio-pci: its IOMMU group {group} has no device node", NULL },
        { { "is in use by driver", "domain" }, ERROR_DEVICE_CLAIMED,
          "{device} is in use by the libvirt domain {domain}", NULL },
        { { "must be manually detached" }, ERROR_BIND_FAILED, "{device} is not on vfio-pci", NULL },
        { { "DMA", "Cannot allocate memory" }, ERROR_INSUFFICIENT_MEMORY,
          "the VM's memory could not be pinned for {device}: memory, or the limit of locked "
          "memory, is used up",
          PIN_REMEDY },
        { { "dma_map", "= -12" }, ERROR_INSUFFICIENT_MEMORY,
          "the VM's memory could not be pinned for {device}: memory, or the limit of locked "
          "memory, is used up",
          PIN_REMEDY },
        { { "DMA", "Invalid argument" }, ERROR_NOT_SUPPORTED,
          "the IOMMU cannot reach an address of the VM's memory or of {device}'s BARs",
          "The IOMMU's address width is smaller than the guest's: give the VM less memory." },
        { { "dma_map", "= -22" }, ERROR_NOT_SUPPORTED,
          "the IOMMU cannot reach an address of the VM's memory or of {device}'s BARs",
          "The IOMMU's address width is smaller than the guest's: give the VM less memory." },
        { { "dma_map", "= -28" }, ERROR_LIMIT_EXCEEDED,
          "{device} needs more DMA mappings than VFIO allows",
          "Raise the parameter dma_entry_limit of the module vfio_iommu_type1." },
        { { "Failed to set iommu for container", "Operation not permitted" }, ERROR_NO_IOMMU,
          "the IOMMU has no interrupt remapping, without which VFIO refuses {device}",
          "Switch on interrupt remapping (x2APIC, VT-d) in the firmware setup." },
        { { "Unable to power on device" }, ERROR_RESET_FAILED,
          "{device} does not wake up: it is stuck in power state D3", NULL },
        { { "stuck in D3" }, ERROR_RESET_FAILED,
          "{device} does not wake up: it is stuck in power state D3", NULL },
        { { "Unknown PCI header type" }, ERROR_RESET_FAILED,
          "{device} does not answer: it has no power or has crashed", NULL },
        { { "Unable to reset PCI device" }, ERROR_RESET_FAILED,
          "{device} could not be reset", NULL },
        { { "support passthrough of host PCI devices" }, ERROR_NO_IOMMU,
          "this host has no IOMMU switched on, or the module vfio-pci is not loaded", NULL },
        { { "host doesn't support VFIO" }, ERROR_NO_IOMMU,
          "this host has no IOMMU switched on, or the module vfio-pci is not loaded", NULL },
        { { "no iommu_group found" }, ERROR_NO_IOMMU, "{device} is not behind an IOMMU", NULL },
        { { "Device ", " not found: could not access" }, ERROR_NO_SUCH_DEVICE,
          "there is no PCI device at {device} any more", NULL },
        { { "cannot limit locked memory" }, ERROR_INSUFFICIENT_MEMORY,
          "libvirtd may not raise the limit of locked memory, which passthrough needs",
          "Run libvirtd with CAP_SYS_RESOURCE, or raise LimitMEMLOCK= of its unit." },
        { { "free host memory pages" }, ERROR_INSUFFICIENT_MEMORY,
          "there are not enough free huge pages for the VM's memory", HUGE_REMEDY },
        { { "unable to map backing store", "Cannot allocate memory" }, ERROR_INSUFFICIENT_MEMORY,
          "there are not enough free huge pages for the VM's memory", HUGE_REMEDY },
        { { "hugetlbfs filesystem is not mounted" }, ERROR_NOT_SUPPORTED,
          "this host has no huge pages set up", HUGE_REMEDY },
        { { "Unable to find any usable hugetlbfs mount" }, ERROR_NOT_SUPPORTED,
          "this host has no huge pages of that size", HUGE_REMEDY },
        { { "cannot set up guest memory" }, ERROR_INSUFFICIENT_MEMORY,
          "the host has not enough memory for the VM", NULL },
        { { "Cannot allocate memory" }, ERROR_INSUFFICIENT_MEMORY,
          "the host has not enough memory for the VM", NULL },
        { { "No space left on device" }, ERROR_NO_SPACE, "the host's disk is full", NULL },
        { { "Unable to find", "firmware" }, ERROR_NOT_SUPPORTED,
          "this host has no firmware of the kind that the VM asks for",
          "Install the package ovmf, or use the option firmware 'bios'." },
        { { "does not support UEFI" }, ERROR_NOT_SUPPORTED, "this host has no UEFI firmware",
          "Install the package ovmf, or use the option firmware 'bios'." },
        { { "swtpm" }, ERROR_NOT_SUPPORTED, "the TPM emulator swtpm is missing or did not start",
          SWTPM_REMEDY },
        { { "TPM version", "not supported" }, ERROR_NOT_SUPPORTED,
          "this host cannot emulate a TPM 2.0",
          SWTPM_REMEDY },
        { { "does not support virt type 'kvm'" }, ERROR_NOT_SUPPORTED,
          "KVM cannot be used on this host",
          KVM_REMEDY },
        { { "domaintype=kvm" }, ERROR_NOT_SUPPORTED,
          "KVM cannot be used on this host", KVM_REMEDY },
        { { "could not find capabilities", "domaintype" }, ERROR_NOT_SUPPORTED,
          "libvirt has no emulator for this kind of domain",
          "Install the package qemu-system-x86." },
        { { "Could not access KVM kernel module" }, ERROR_NOT_SUPPORTED,
          "KVM cannot be used on this host",
          KVM_REMEDY },
        { { "failed to initialize", "kvm" }, ERROR_NOT_SUPPORTED, "KVM cannot be used on this host",
          KVM_REMEDY },
        { { "Failed to get", "\" lock" }, ERROR_BUSY, "another program has the VM's disk open",
          "End the program that uses the image, then start the VM again." },
        { { "Cannot access storage file", "No such file" }, ERROR_START_FAILED,
          "the VM's disk image {quoted} is missing", NULL },
        { { "Cannot access storage file", "Permission denied" }, ERROR_START_FAILED,
          "QEMU may not open {quoted}", ACCESS_REMEDY },
        { { "Could not open", "Permission denied" }, ERROR_START_FAILED,
          "QEMU may not open {quoted}",
          ACCESS_REMEDY },
        { { "Could not open", "No such file" }, ERROR_START_FAILED, "{quoted} is missing", NULL },
        { { "Image is not in", "format" }, ERROR_START_FAILED,
          "the VM's disk image is damaged, or in another format than it was made in", NULL },
        { { "romfile" }, ERROR_START_FAILED, "QEMU could not load the VBIOS file of {device}",
          ACCESS_REMEDY },
        { { "rom file" }, ERROR_START_FAILED, "QEMU could not load the VBIOS file of {device}",
          ACCESS_REMEDY },
        { { "Active console session exists" }, ERROR_BUSY, "the VM's console is open elsewhere",
          "Close the other viewer of the console." },
        { { "Network not found" }, ERROR_INVALID_OPTION, "libvirt has no network {quoted}",
          "'virsh net-list --all' shows the networks there are." },
        { { "no network with matching name" }, ERROR_INVALID_OPTION,
          "libvirt has no network {quoted}",
          "'virsh net-list --all' shows the networks there are." },
        { { "network ", "is not active" }, ERROR_NOT_READY,
          "the libvirt network {quoted} is not active",
          "'virsh net-start NETWORK' starts it, 'virsh net-autostart NETWORK' at each boot." },
        { { "cannot acquire state change lock" }, ERROR_BUSY,
          "libvirt is still busy with another operation on the VM", NULL },
        { { "is already defined with uuid" }, ERROR_VM_EXISTS,
          "libvirt has a domain {quoted} already", NULL },
        { { "already exists with uuid" }, ERROR_VM_EXISTS,
          "libvirt has a domain {quoted} already", NULL },
        { { "already running" }, ERROR_WRONG_STATE, "the VM is running already", NULL },
        { { "already active" }, ERROR_WRONG_STATE, "the VM is running already", NULL },
        { { "is not running" }, ERROR_WRONG_STATE, "the VM is not running", NULL },
        { { "not paused" }, ERROR_WRONG_STATE, "the VM is not paused", NULL },
        { { "domain is already" }, ERROR_WRONG_STATE, "the VM is in that state already", NULL },
};

typedef struct CodeCase {
        int number;
        ErrorCode code;
        const char *message;
} CodeCase;

static const CodeCase code_cases[] = {
        { VIR_ERR_NO_DOMAIN, ERROR_NO_SUCH_VM, "libvirt has no such domain" },
        { VIR_ERR_NO_CONNECT, ERROR_LIBVIRT_UNAVAILABLE, "libvirt cannot be reached" },
        { VIR_ERR_INVALID_CONN, ERROR_LIBVIRT_UNAVAILABLE, "the connection to libvirt was lost" },
        { VIR_ERR_RPC, ERROR_LIBVIRT_UNAVAILABLE, "the connection to libvirt was lost" },
        { VIR_ERR_NO_SUPPORT, ERROR_NOT_SUPPORTED, "libvirt's driver cannot do this" },
        { VIR_ERR_CONFIG_UNSUPPORTED, ERROR_NOT_SUPPORTED, NULL },
        { VIR_ERR_ARGUMENT_UNSUPPORTED, ERROR_NOT_SUPPORTED, NULL },
        { VIR_ERR_OPERATION_UNSUPPORTED, ERROR_NOT_SUPPORTED, NULL },
        { VIR_ERR_DOM_EXIST, ERROR_VM_EXISTS, "libvirt has a domain of that name already" },
        { VIR_ERR_OPERATION_INVALID, ERROR_WRONG_STATE, NULL },
        { VIR_ERR_OPERATION_TIMEOUT, ERROR_TIMEOUT, "libvirt did not answer in time" },
        { VIR_ERR_RESOURCE_BUSY, ERROR_BUSY, NULL },
        { VIR_ERR_AGENT_UNRESPONSIVE, ERROR_TIMEOUT, "the guest agent does not answer" },
        { VIR_ERR_NO_MEMORY, ERROR_INSUFFICIENT_MEMORY, "libvirt ran out of memory" },
};

static const char *const acts[_ACT_MAX] = {
        [ACT_CONNECT] = "connect to libvirt",
        [ACT_DEFINE] = "define the VM",
        [ACT_UNDEFINE] = "remove the VM",
        [ACT_START] = "start the VM",
        [ACT_SHUTDOWN] = "shut the VM down",
        [ACT_DESTROY] = "stop the VM",
        [ACT_REBOOT] = "reboot the VM",
        [ACT_SUSPEND] = "pause the VM",
        [ACT_RESUME] = "resume the VM",
        [ACT_SET_METADATA] = "change the VM's settings",
        [ACT_OPEN_CONSOLE] = "open the VM's console",
        [ACT_OPEN_DISPLAY] = "open the VM's display",
        [ACT_GET_ADDRESSES] = "ask for the VM's addresses",
        [ACT_CHANGE_DEVICES] = "change the VM's devices",
        [ACT_ATTACH] = "attach the device",
        [ACT_DETACH] = "detach the device",
        [ACT_READ] = "read the VM's definition",
};

const char *act_to_string(Act act) {
        return acts[act];
}

static bool has_all_words(const char *text, const char *const words[3]) {
        for (size_t i = 0; i < 3 && words[i]; i++)
                if (!strcasestr(text, words[i]))
                        return false;
        return true;
}

/* "DDDD:BB:SS.F" (domains may be longer); end is behind it. */
static bool address_ends_at(const char *text, const char *end, char buffer[PCI_ADDRESS_TEXT_MAX]) {
        const char *start = end;
        PciAddress address;
        size_t size;

        while (start > text && (isxdigit((unsigned char) start[-1]) || strchr(":.", start[-1])))
                start--;
        while (*start == ':' || *start == '.')
                start++;
        size = (size_t) (end - start);
        if (end < start || size >= PCI_ADDRESS_TEXT_MAX)
                return false;

        memcpy(buffer, start, size);
        buffer[size] = '\0';
        return pci_address_parse(buffer, &address) == 0 && pci_address_format(&address, buffer);
}

static char *find_device(const char *text) {
        char buffer[PCI_ADDRESS_TEXT_MAX];

        for (const char *dot = strchr(text, '.'); dot; dot = strchr(dot + 1, '.'))
                if (isdigit((unsigned char) dot[1]) && address_ends_at(text, dot + 2, buffer))
                        return strdup(buffer);
        return strdup("the device");
}

static char *find_group(const char *text) {
        static const char *const before[] = { "/dev/vfio/", "group " };

        for (size_t i = 0; i < ELEMENTSOF(before); i++)
                for (const char *p = strstr(text, before[i]); p; p = strstr(p + 1, before[i])) {
                        const char *digits = p + strlen(before[i]);
                        size_t n = strspn(digits, "0123456789");

                        if (n > 0)
                                return strndup(digits, n);
                }
        return strdup("(unknown)");
}

static char *find_quoted(const char *text) {
        const char *start = strchr(text, '\''), *end = start ? strchr(start + 1, '\'') : NULL;

        if (!end)
                return strdup("a file it needs");
        return strndup(start, (size_t) (end - start) + 1);
}

static char *find_domain(const char *text) {
        const char *name = strstr(text, "domain ");

        if (!name)
                return strdup("(unknown)");
        name += strlen("domain ");
        return strndup(name, strcspn(name, " \t\n"));
}

typedef struct Placeholder {
        const char *name;
        char *(*find)(const char *text);
} Placeholder;

static const Placeholder *placeholder_at(const char *s) {
        static const Placeholder placeholders[] = {
                { "{device}", find_device },
                { "{group}", find_group },
                { "{domain}", find_domain },
                { "{quoted}", find_quoted },
        };

        for (size_t i = 0; i < ELEMENTSOF(placeholders); i++)
                if (str_after(s, placeholders[i].name))
                        return &placeholders[i];
        return NULL;
}

static char *expand(const char *message, const char *text) {
        _cleanup_free_ char *result = NULL;
        _cleanup_fclose_ FILE *f = NULL;
        size_t size;

        f = open_memstream(&result, &size);
        if (!f)
                return NULL;

        while (*message) {
                const Placeholder *p = placeholder_at(message);
                _cleanup_free_ char *value = p ? p->find(text) : NULL;

                if (value)
                        (void) fputs(value, f);
                else
                        (void) fputc(*message, f);
                message += p ? strlen(p->name) : 1;
        }
        f = close_file(f);
        return TAKE_PTR(result);
}

/* The line that says why: QEMU's last where its output is in the text (hints may follow), else
 * the last that is not empty. */
static const char *find_line(const char *text, size_t *ret_size) {
        const char *line = text, *qemu = NULL, *last = text;

        for (; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                size_t n = strcspn(line, "\n");

                if (n > 0)
                        last = line;
                if (memmem(line, n, "qemu-system-", strlen("qemu-system-")))
                        qemu = line;
        }
        line = qemu ? qemu : last;
        *ret_size = strcspn(line, "\n");
        return line;
}

/* Before QEMU's own words stand the time, the program and the option that it choked on. */
static const char *skip_program(const char *line) {
        const char *program = strstr(line, "qemu-system-");
        const char *words = program ? strstr(program, ": ") : NULL, *option_end;

        if (!words)
                return line;
        words += 2;
        if (*words != '-')
                return words;
        option_end = strstr(words, "}: ");
        if (option_end)
                return option_end + 3;
        option_end = strstr(words, ": ");
        return option_end ? option_end + 2 : words;
}

#define REASON_MAX 300

static char *find_reason(const char *text) {
        size_t n;
        const char *found = find_line(text, &n);
        _cleanup_free_ char *line = strndup(found, n);
        char *reason;

        if (!line)
                return NULL;
        reason = strndup(skip_program(line), REASON_MAX);
        for (char *p = reason; p && *p; p++)
                if (iscntrl((unsigned char) *p))
                        *p = ' ';
        return reason;
}

static ErrorCode fallback_code(Act act) {
        return act == ACT_START || act == ACT_RESUME || act == ACT_ATTACH ? ERROR_START_FAILED : ERROR_INTERNAL;
}

static int set_plain(Act act, ErrorCode code, const char *text, Error *error) {
        _cleanup_free_ char *reason = find_reason(text);

        return error_set(error, code, "cannot %s: %s", act_to_string(act),
                         reason ? reason : "out of memory");
}

static int set_case(Act act, const Case *c, const char *text, Error *error) {
        _cleanup_free_ char *message = expand(c->message, text);
        int r;

        r = error_set(error, c->code, "cannot %s: %s", act_to_string(act),
                      message ? message : text);
        if (c->remedy)
                error_set_remedy(error, "%s", c->remedy);
        return r;
}

int translate_error(Act act, int code, const char *text, Error *error) {
        if (!text)
                text = "libvirt gave no reason";

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                if (has_all_words(text, cases[i].words))
                        return set_case(act, &cases[i], text, error);

        for (size_t i = 0; i < ELEMENTSOF(code_cases); i++) {
                if (code_cases[i].number != code)
                        continue;
                if (!code_cases[i].message)
                        return set_plain(act, code_cases[i].code, text, error);
                return error_set(error, code_cases[i].code, "cannot %s: %s", act_to_string(act),
                                 code_cases[i].message);
        }
        return set_plain(act, fallback_code(act), text, error);
}
