/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <stddef.h>

#include "options.h"
#include "request-message.h"

static int read_cloud_init(sd_bus_message *m, void *target, Error *error) {
        static const OptionSpec specs[] = {
                { "ssh-keys", "as", offsetof(CloudInit, ssh_keys) },
                { "hostname", "s", offsetof(CloudInit, hostname) },
                { "user", "s", offsetof(CloudInit, user) },
                { "user-data", "h", offsetof(CloudInit, user_data_fd) },
        };
        VmRequest *request = target;

        request->has_cloud_init = true;
        return options_read(m, specs, ELEMENTSOF(specs), &request->cloud_init, error);
}

/* The message keeps its own descriptor; ours outlives it. */
static int read_rom_entry(sd_bus_message *m, VmRequest *request, Error *error) {
        const char *address;
        int fd, r;

        r = sd_bus_message_read(m, "sh", &address, &fd);
        if (r < 0)
                return r;

        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return copy < 0 ? -errno : vm_request_add_rom(request, address, copy, error);
}

static int read_rom(sd_bus_message *m, void *target, Error *error) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sh}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(m, 'e', "sh")) > 0) {
                r = read_rom_entry(m, target, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

#define FIELD(key, type, field) { key, type, offsetof(VmRequest, field) }

static const OptionSpec specs[] = {
        FIELD("memory", "t", memory),
        FIELD("cpus", "u", cpus),
        FIELD("image", "h", image),
        FIELD("image-name", "s", image_name),
        FIELD("cdrom", "h", cdrom),
        FIELD("disk-size", "t", disk_size),
        FIELD("gpu", "as", gpu),
        FIELD("nvme", "as", nvme),
        FIELD("passthrough", "as", passthrough),
        FIELD("on-stop", "s", on_stop),
        FIELD("allow", "as", allow),
        FIELD("graphics", "s", graphics),
        FIELD("firmware", "s", firmware),
        FIELD("secure-boot", "b", secure_boot),
        FIELD("tpm", "b", tpm),
        { "cloud-init", "a{sv}", 0, read_cloud_init },
        FIELD("network", "s", network),
        FIELD("pin", "s", pin),
        FIELD("hugepages", "s", hugepages),
        FIELD("numa", "s", numa),
        FIELD("io-threads", "u", io_threads),
        FIELD("guest-os", "s", guest_os),
        FIELD("hide-hypervisor", "b", hide_hypervisor),
        { "rom", "a{sh}", 0, read_rom },
        FIELD("autostart", "b", autostart),
        FIELD("start", "b", start),
};

/* A name that is not one of the contract's is refused here, before anything else looks at it. */
int request_read(sd_bus_message *m, uid_t caller, VmRequest **ret, Error *error) {
        _cleanup_(vm_request_freep) VmRequest *request = vm_request_new();
        const char *name;
        int r;

        if (!request)
                return -ENOMEM;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;

        request->caller = caller;
        request->name = strdup(name);
        if (!request->name)
                return -ENOMEM;

        r = options_read(m, specs, ELEMENTSOF(specs), request, error);
        if (r >= 0)
                r = vm_request_check(request, error);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(request);
        return 0;
}
