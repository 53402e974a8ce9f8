/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>

#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/strv.h"
#include "claim.h"

#define CLAIM_SIZE_MAX 16384

static const char *const state_names[_CLAIM_STATE_MAX] = {
        [CLAIM_BINDING] = "binding",
        [CLAIM_BOUND] = "bound",
        [CLAIM_RELEASING] = "releasing",
        [CLAIM_QUARANTINED] = "quarantined",
};

static int state_from_string(const char *s, ClaimState *ret) {
        for (ClaimState state = 0; s && state < _CLAIM_STATE_MAX; state++)
                if (streq(state_names[state], s)) {
                        *ret = state;
                        return 0;
                }
        return -EBADMSG;
}

Claim *claim_free(Claim *claim) {
        if (!claim)
                return NULL;

        free(claim->serial);
        free(claim->vm);
        free(claim->boot_id);
        free(claim->reason);
        device_state_clear(&claim->original);
        free(claim);
        return NULL;
}

void claims_clear(Claims *claims) {
        for (size_t i = 0; i < claims->n; i++)
                claim_free(claims->items[i]);
        free(claims->items);
        *claims = (Claims) {};
}

static struct json_object *claim_to_json(const Claim *claim) {
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, "version", json_object_new_int(1));
        json_add_string(o, "address", PCI_ADDRESS_TEXT(&claim->address));
        json_object_object_add(o, "vendor_id", json_object_new_int(claim->vendor_id));
        json_object_object_add(o, "device_id", json_object_new_int(claim->device_id));
        json_object_object_add(o, "subsystem_vendor_id", json_object_new_int(claim->subsystem_vendor_id));
        json_object_object_add(o, "subsystem_device_id", json_object_new_int(claim->subsystem_device_id));
        json_add_string(o, "serial", claim->serial);
        json_add_string(o, "vm", claim->vm);
        json_add_string(o, "boot_id", claim->boot_id);
        json_add_string(o, "state", state_names[claim->state]);
        json_add_string(o, "driver", claim->original.driver);
        json_add_string(o, "driver_override", claim->original.driver_override);
        json_add_string(o, "power_control", claim->original.power_control);
        json_add_string(o, "d3cold_allowed", claim->original.d3cold_allowed);
        json_add_string(o, "console", claim->original.console);
        json_add_string(o, "firmware_framebuffer", claim->original.firmware_framebuffer);
        json_add_string(o, "reset_method", claim->original.reset_method);
        json_object_object_add(o, "used", json_object_new_boolean(claim->used));
        json_add_string(o, "reason", claim->reason);
        json_object_object_add(o, "needs_reboot", json_object_new_boolean(claim->needs_reboot));
        json_object_object_add(o, "helper", json_object_new_int64(claim->helper));
        json_object_object_add(o, "helper_start", json_object_new_int64((int64_t) claim->helper_start));
        return o;
}

static int copy_member(struct json_object *o, const char *key, char **ret) {
        const char *value = json_string(o, key);

        *ret = value ? strdup(value) : NULL;
        return value && !*ret ? -ENOMEM : 0;
}

static int claim_copy_strings(struct json_object *o, Claim *claim) {
        const struct {
                const char *key;
                char **value;
        } members[] = {
                { "serial", &claim->serial },
                { "vm", &claim->vm },
                { "boot_id", &claim->boot_id },
                { "driver", &claim->original.driver },
                { "driver_override", &claim->original.driver_override },
                { "power_control", &claim->original.power_control },
                { "d3cold_allowed", &claim->original.d3cold_allowed },
                { "console", &claim->original.console },
                { "firmware_framebuffer", &claim->original.firmware_framebuffer },
                { "reset_method", &claim->original.reset_method },
                { "reason", &claim->reason },
        };

        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                int r = copy_member(o, members[i].key, members[i].value);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int claim_from_json(struct json_object *o, Claim **ret) {
        _cleanup_(claim_freep) Claim *claim = calloc(1, sizeof(Claim));
        int r;

        if (!claim)
                return -ENOMEM;
        if (json_number(o, "version", 0) != 1 ||
            pci_address_parse(json_string(o, "address"), &claim->address) < 0 ||
            state_from_string(json_string(o, "state"), &claim->state) < 0)
                return -EBADMSG;

        r = claim_copy_strings(o, claim);
        if (r < 0)
                return r;

        claim->vendor_id = (uint16_t) json_number(o, "vendor_id", 0);
        claim->device_id = (uint16_t) json_number(o, "device_id", 0);
        claim->subsystem_vendor_id = (uint16_t) json_number(o, "subsystem_vendor_id", 0);
        claim->subsystem_device_id = (uint16_t) json_number(o, "subsystem_device_id", 0);
        claim->used = json_object_get_boolean(json_object_object_get(o, "used"));
        claim->needs_reboot = json_object_get_boolean(json_object_object_get(o, "needs_reboot"));
        claim->helper = (pid_t) json_number(o, "helper", 0);
        claim->helper_start = (uint64_t) json_number(o, "helper_start", 0);
        *ret = TAKE_PTR(claim);
        return 0;
}

int claim_write(int claims_fd, const Claim *claim) {
        _cleanup_json_ struct json_object *o = claim_to_json(claim);

        return write_file_atomic_at(claims_fd, PCI_ADDRESS_TEXT(&claim->address),
                                    json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY), 0600);
}

int claim_remove(int claims_fd, const PciAddress *address) {
        return remove_file_at(claims_fd, PCI_ADDRESS_TEXT(address));
}

int claim_read(int claims_fd, const PciAddress *address, Claim **ret) {
        _cleanup_free_ char *content = NULL;
        _cleanup_json_ struct json_object *o = NULL;
        int r;

        r = read_file_at(claims_fd, PCI_ADDRESS_TEXT(address), CLAIM_SIZE_MAX, &content);
        if (r < 0)
                return r;

        o = json_tokener_parse(content);
        if (!json_object_is_type(o, json_type_object))
                return -EBADMSG;
        return claim_from_json(o, ret);
}

static int claims_append(Claims *claims, Claim *claim) {
        Claim **grown = reallocarray(claims->items, claims->n + 1, sizeof(Claim *));
        if (!grown)
                return -ENOMEM;

        claims->items = grown;
        claims->items[claims->n++] = claim;
        return 0;
}

int claims_read_all(int claims_fd, Claims *ret) {
        _cleanup_strv_ char **names = NULL;
        _cleanup_claims_ Claims claims = {};
        int r;

        r = list_dir_at(claims_fd, ".", &names);
        if (r < 0)
                return r;

        STRV_FOREACH(name, names) {
                _cleanup_(claim_freep) Claim *claim = NULL;
                PciAddress address;

                r = pci_address_parse(*name, &address);
                if (r >= 0)
                        r = claim_read(claims_fd, &address, &claim);
                if (r < 0) {
                        log_warning("The claim record %s cannot be understood (%s); it is left alone", *name,
                                    strerror(-r));
                        continue;
                }

                r = claims_append(&claims, claim);
                if (r < 0)
                        return r;
                TAKE_PTR(claim);
        }

        *ret = claims;
        claims = (Claims) {};
        return 0;
}

/* A record of an earlier version does not have it. */
static bool subsystems_differ(const Claim *claim, const PciDevice *device) {
        if (claim->subsystem_vendor_id == 0 && claim->subsystem_device_id == 0)
                return false;
        return claim->subsystem_vendor_id != device->subsystem_vendor_id ||
               claim->subsystem_device_id != device->subsystem_device_id;
}

bool claim_is_about(const Claim *claim, const char *boot_id, const PciDevice *device) {
        return streq_ptr(claim->boot_id, boot_id) && claim->vendor_id == device->vendor_id &&
               claim->device_id == device->device_id && !subsystems_differ(claim, device) &&
               !serials_differ(claim->serial, device->serial);
}

int claim_set_device(Claim *claim, const PciDevice *device) {
        char *serial = device->serial ? strdup(device->serial) : NULL;

        if (device->serial && !serial)
                return -ENOMEM;
        free(claim->serial);
        claim->serial = serial;
        claim->address = device->address;
        claim->vendor_id = device->vendor_id;
        claim->device_id = device->device_id;
        claim->subsystem_vendor_id = device->subsystem_vendor_id;
        claim->subsystem_device_id = device->subsystem_device_id;
        return 0;
}

int process_start_time(pid_t pid, uint64_t *ret) {
        _cleanup_free_ char *stat = NULL;
        char path[32];
        int r;

        snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
        r = read_file_at(AT_FDCWD, path, 4096, &stat);
        if (r < 0)
                return r;

        /* The command may contain anything; what follows its last ')' does not. Field 22 is the start. */
        char *p = strrchr(stat, ')');
        if (p && (p[1] != ' ' || p[2] == 'Z' || p[2] == 'X'))
                return -ESRCH; /* dead, and only not yet waited for */
        for (unsigned field = 2; p && field < 22; field++)
                p = strchr(p + 1, ' ');
        if (!p)
                return -EBADMSG;

        *ret = strtoull(p + 1, NULL, 10);
        return 0;
}

bool claim_helper_is_alive(const Claim *claim) {
        uint64_t start;

        return claim->helper > 0 && process_start_time(claim->helper, &start) >= 0 &&
               start == claim->helper_start;
}

/* The kernel's function it sleeps in, which is the driver's own more often than not; "" where that is not to be
 * known. */
static void read_wait_channel(pid_t pid, char buffer[128]) {
        _cleanup_free_ char *channel = NULL;
        char path[32];

        snprintf(path, sizeof(path), "/proc/%d/wchan", (int) pid);
        if (read_line_at(AT_FDCWD, path, &channel) < 0 || streq(channel, "0") || !*channel)
                buffer[0] = '\0';
        else
                snprintf(buffer, 128, ", in the kernel's %.64s", channel);
}

char *claim_describe_helper(const Claim *claim) {
        const char *driver = claim->original.driver;
        char channel[128], *text;
        int r;

        read_wait_channel(claim->helper, channel);
        if (claim->state == CLAIM_BINDING)
                r = asprintf(&text, "the driver %s has not let go of it; process %d waits for that%s",
                             str_na(driver), (int) claim->helper, channel);
        else
                r = asprintf(&text, "it has not come back to the driver %s; process %d waits for that%s",
                             str_na(driver), (int) claim->helper, channel);
        return r < 0 ? NULL : text;
}

int boot_id_read(char **ret) {
        return read_line_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", ret);
}
