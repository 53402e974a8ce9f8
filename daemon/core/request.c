/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/reason.h"
#include "placement.h"
#include "request.h"

#define MEMORY_MIN (64 * MIB)
#define MEMORY_MAX (64 * TIB)
#define CPUS_MAX 1024
#define IO_THREADS_MAX 64
#define DEVICES_MAX 32
#define DISK_MAX (1024 * TIB)

VmRequest *vm_request_new(void) {
        VmRequest *request = calloc(1, sizeof(VmRequest));

        if (!request)
                return NULL;

        *request = (VmRequest) {
                .memory = 2 * GIB,
                .cpus = 2,
                .image = -EBADF,
                .cdrom = -EBADF,
                .on_stop = strdup(""),
                .graphics = strdup("none"),
                .firmware = strdup("uefi"),
                .pin = strdup("none"),
                .hugepages = strdup("none"),
                .numa = strdup("none"),
                .guest_os = strdup("linux"),
                .cloud_init.user_data_fd = -EBADF,
        };

        if (!request->on_stop || !request->graphics || !request->firmware || !request->pin ||
            !request->hugepages || !request->numa || !request->guest_os)
                return vm_request_free(request);
        return request;
}

VmRequest *vm_request_free(VmRequest *request) {
        if (!request)
                return NULL;

        free(request->name);
        close_fd(request->image);
        free(request->image_name);
        close_fd(request->cdrom);
        strv_free(request->gpu);
        strv_free(request->nvme);
        strv_free(request->passthrough);
        strv_free(request->chosen);
        free(request->on_stop);
        strv_free(request->allow);
        free(request->graphics);
        free(request->firmware);
        strv_free(request->cloud_init.ssh_keys);
        free(request->cloud_init.hostname);
        free(request->cloud_init.user);
        close_fd(request->cloud_init.user_data_fd);
        free(request->cloud_init.instance_id);
        free(request->network);
        free(request->pin);
        free(request->hugepages);
        free(request->numa);
        free(request->guest_os);
        for (size_t i = 0; i < request->n_roms; i++)
                close_fd(request->roms[i].fd);
        free(request->roms);
        free(request);
        return NULL;
}

int vm_request_add_rom(VmRequest *request, const char *address, int fd, Error *error) {
        _cleanup_close_ int owned = fd;
        PciAddress parsed;
        VmRom *grown;
        int r;

        if (pci_address_parse(address, &parsed) < 0)
                return error_set(error, ERROR_INVALID_ADDRESS, "rom: '%.40s' is not a PCI address", address);
        for (size_t i = 0; i < request->n_roms; i++)
                if (pci_address_equal(&request->roms[i].address, &parsed))
                        return error_set(error, ERROR_INVALID_OPTION, "rom names %s twice", address);
        if (request->n_roms >= DEVICES_MAX)
                return error_set(error, ERROR_INVALID_OPTION, "rom names more than %d devices", DEVICES_MAX);

        r = image_descriptor_check(fd, "rom", error);
        if (r < 0)
                return r;

        grown = reallocarray(request->roms, request->n_roms + 1, sizeof(VmRom));
        if (!grown)
                return -ENOMEM;
        request->roms = grown;
        request->roms[request->n_roms++] = (VmRom) { .address = parsed, .fd = TAKE_FD(owned) };
        return 0;
}

static int check_range(const char *option, uint64_t value, uint64_t min, uint64_t max, Error *error) {
        if (value >= min && value <= max)
                return 0;
        return error_set(error, ERROR_INVALID_OPTION, "%s is %llu, but must be from %llu to %llu", option,
                         (unsigned long long) value, (unsigned long long) min, (unsigned long long) max);
}

static int check_size(const char *option, uint64_t value, uint64_t min, uint64_t max, Error *error) {
        char is[SIZE_TEXT_MAX], from[SIZE_TEXT_MAX], to[SIZE_TEXT_MAX];

        if (value >= min && value <= max)
                return 0;
        return error_set(error, ERROR_INVALID_OPTION, "%s is %s, but must be from %s to %s", option,
                         format_size(value, is), format_size(min, from), format_size(max, to));
}

static int check_choice(const char *option, const char *value, const char *choices, Error *error) {
        _cleanup_strv_ char **known = NULL;
        int r;

        r = strv_split(choices, " ", &known);
        if (r < 0)
                return r;
        if (strv_contains(known, value))
                return 0;
        return error_set(error, ERROR_INVALID_OPTION, "%s is '%.40s', but must be one of: %s", option, value,
                         choices);
}

static int check_numbers(const VmRequest *request, Error *error) {
        int r;

        r = check_size("memory", request->memory, MEMORY_MIN, MEMORY_MAX, error);
        if (r >= 0)
                r = check_range("cpus", request->cpus, 1, CPUS_MAX, error);
        if (r >= 0)
                r = check_size("disk-size", request->disk_size, 0, DISK_MAX, error);
        if (r >= 0)
                r = check_range("io-threads", request->io_threads, 0, IO_THREADS_MAX, error);
        if (r >= 0 && request->memory % MIB != 0)
                r = error_set(error, ERROR_INVALID_OPTION, "memory is not a multiple of 1 MiB");
        return r;
}

static int check_choices(const VmRequest *request, Error *error) {
        int r = 0;

        if (!str_empty(request->on_stop))
                r = check_choice("on-stop", request->on_stop, "hold host", error);
        if (r >= 0)
                r = check_choice("graphics", request->graphics, "none spice vnc", error);
        if (r >= 0)
                r = check_choice("firmware", request->firmware, "uefi bios", error);
        if (r >= 0)
                r = check_choice("guest-os", request->guest_os, "linux windows other", error);
        return r;
}

static int check_device_word(const char *option, const char *word, bool may_be_auto, Error *error) {
        PciAddress address;

        if (may_be_auto && (streq(word, "auto") || streq(word, "auto:nvidia") || streq(word, "auto:amd") ||
                            streq(word, "auto:intel")))
                return 0;
        if (pci_address_parse(word, &address) >= 0)
                return 0;
        return error_set(error, ERROR_INVALID_ADDRESS, "%s: '%.40s' is not a PCI address%s", option, word,
                         may_be_auto ? " and not 'auto'" : "");
}

static int check_devices(const VmRequest *request, Error *error) {
        const struct {
                const char *option;
                char *const *words;
                bool may_be_auto;
        } lists[] = {
                { "gpu", request->gpu, true },
                { "nvme", request->nvme, true },
                { "passthrough", request->passthrough, false },
        };
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
                n += strv_length(lists[i].words);
                STRV_FOREACH(word, lists[i].words) {
                        int r = check_device_word(lists[i].option, *word, lists[i].may_be_auto, error);
                        if (r < 0)
                                return r;
                }
        }

        if (n > DEVICES_MAX)
                return error_set(error, ERROR_INVALID_OPTION, "%zu devices are asked for; the most is %d", n,
                                 DEVICES_MAX);
        return 0;
}

int allow_check(char *const *allow, Error *error) {
        STRV_FOREACH(word, allow) {
                int code = reason_code_from_string(*word);

                if (code < 0)
                        return error_set(error, ERROR_INVALID_OPTION, "allow: '%.40s' is not a reason code",
                                         *word);
                if (!reason_code_is_overridable((ReasonCode) code))
                        return error_set(error, ERROR_INVALID_OPTION,
                                         "allow: '%s' is never overridden: what uses the device must end first",
                                         *word);
        }
        return 0;
}

static int check_allow(const VmRequest *request, Error *error) {
        return allow_check(request->allow, error);
}

static int check_images(const VmRequest *request, Error *error) {
        int r = 0;

        if (request->image >= 0 && request->image_name)
                return error_set(error, ERROR_INVALID_OPTION, "image and image-name exclude each other");
        if (request->image_name && !name_is_valid(request->image_name))
                return error_set(error, ERROR_INVALID_NAME, "'%.70s' is not a name of an image",
                                 request->image_name);

        if (request->image >= 0)
                r = image_descriptor_check(request->image, "image", error);
        if (r >= 0 && request->cdrom >= 0)
                r = image_descriptor_check(request->cdrom, "cdrom", error);
        if (r >= 0 && request->cloud_init.user_data_fd >= 0)
                r = image_descriptor_check(request->cloud_init.user_data_fd, "user-data", error);
        return r;
}

static int check_network(const VmRequest *request, Error *error) {
        if (!request->network || name_is_valid(request->network))
                return 0;
        return error_set(error, ERROR_INVALID_OPTION, "network: '%.70s' is not a name of a network",
                         request->network);
}

static int check_tuning(const VmRequest *request, Error *error) {
        int r;

        r = pin_check(request->pin, error);
        if (r >= 0)
                r = check_choice("hugepages", request->hugepages, "none auto 2M 1G", error);
        return r < 0 ? r : numa_check(request->numa, error);
}

int vm_request_check(const VmRequest *request, Error *error) {
        int (*const checks[])(const VmRequest *, Error *) = {
                check_numbers, check_choices, check_devices,   check_allow,
                check_images,  check_network, check_tuning,
        };

        if (!name_is_valid(request->name))
                return error_set(error, ERROR_INVALID_NAME, "'%.70s' is not a name of a VM", request->name);

        for (size_t i = 0; i < ELEMENTSOF(checks); i++) {
                int r = checks[i](request, error);
                if (r < 0)
                        return r;
        }

        if (request->secure_boot && !streq(request->firmware, "uefi"))
                return error_set(error, ERROR_INVALID_OPTION, "secure-boot needs the firmware uefi");
        return request->has_cloud_init ? cloud_init_check(&request->cloud_init, error) : 0;
}
