/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The states of a controller, in the words of the kernel (6.1 and 6.12), and what may be believed in each:
 *
 *   new, connecting      The driver has not identified it, or has not finished. Its serial number, model, firmware
 *                        and subsystem read as "(efault)" until the kernel has them.
 *   resetting            The same at the first start; later they are right, but nothing tells the two apart.
 *   live                 All is known, and its namespaces appear.
 *   deleting,            It is being taken down. Some of what it has is gone.
 *   deleting (no IO)
 *   dead                 The driver could not make it work.
 *   any other word       Another kernel's; it is not "live".
 *   no controller, or    The driver has the function, and the controller is not there yet, or for a moment
 *   one without files    nothing of it but its directory.
 *   no file of a state   An older kernel: what it says is believed unless it is no text.
 */

#include "base/clock.h"
#include "base/io.h"
#include "base/parse.h"
#include "base/strv.h"
#include "nvme.h"
#include "sysfs.h"

#define WAIT_STEP_USEC (20 * USEC_PER_MSEC)

static NvmePhase phase_of(const char *state) {
        if (streq(state, "live"))
                return NVME_LIVE;
        return streq(state, "dead") ? NVME_DEAD : NVME_AT_WORK;
}

void nvme_controller_clear(NvmeController *c) {
        free(c->name);
        free(c->state);
        *c = (NvmeController) {};
}

static int read_unpadded(int function_fd, const NvmeController *c, const char *name, char **ret) {
        int r;

        r = read_line_at(function_fd, PATH_TEXT("nvme/%s/%s", c->name, name), ret);
        if (r < 0)
                return r;
        for (size_t n = strlen(*ret); n > 0 && (*ret)[n - 1] == ' '; n--)
                (*ret)[n - 1] = '\0';
        return 0;
}

int nvme_read_text(int function_fd, const NvmeController *c, const char *name, char **ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = c->name ? read_unpadded(function_fd, c, name, &text) : -ENOENT;
        if (r == -ENOMEM)
                return r;
        *ret = text_is_known(text) ? TAKE_PTR(text) : NULL;
        return 0;
}

int nvme_read_serial(int function_fd, const NvmeController *c, char **ret) {
        if (c->phase == NVME_LIVE)
                return nvme_read_text(function_fd, c, "serial", ret);
        *ret = NULL;
        return 0;
}

/* Where the kernel does not tell the state, the serial number tells it: it is not there yet, or is no text. */
static bool seems_live(int function_fd, const NvmeController *c) {
        _cleanup_free_ char *serial = NULL;

        return read_unpadded(function_fd, c, "serial", &serial) >= 0 &&
               (str_empty(serial) || text_is_known(serial));
}

static int read_phase(int function_fd, NvmeController *c) {
        int r;

        c->phase = NVME_AT_WORK;
        r = read_line_at(function_fd, PATH_TEXT("nvme/%s/state", c->name), &c->state);
        if (r == -ENOMEM)
                return r;
        if (r >= 0)
                c->phase = phase_of(c->state);
        else if (r == -ENOENT && seems_live(function_fd, c))
                c->phase = NVME_LIVE;
        return 0;
}

/* While one is taken down the next may be there already: a live one is the one that counts. What there is on
 * another driver is on its way out. */
int nvme_controller_read(int function_fd, NvmeController *ret) {
        _cleanup_nvme_controller_ NvmeController found = {};
        _cleanup_strv_ char **names = NULL;
        _cleanup_free_ char *driver = NULL;
        int r;

        r = read_link_name_at(function_fd, "driver", &driver);
        if (r == -ENOMEM)
                return r;
        bool is_driven = streq_ptr(driver, NVME_DRIVER);
        found.phase = is_driven ? NVME_AT_WORK : NVME_NONE;

        r = list_dir_if_exists_at(function_fd, "nvme", &names);
        if (r == -ENOMEM)
                return r;

        STRV_FOREACH(name, names) {
                _cleanup_nvme_controller_ NvmeController c = { .name = strdup(*name) };

                r = !c.name ? -ENOMEM : is_driven ? read_phase(function_fd, &c) : 0;
                if (r < 0)
                        return r;
                if (found.name && c.phase != NVME_LIVE)
                        continue;
                nvme_controller_clear(&found);
                found = c;
                c = (NvmeController) {};
        }

        *ret = found;
        found = (NvmeController) {};
        return 0;
}

static NvmePhase read_phase_of(int root_fd, const PciAddress *address) {
        _cleanup_close_ int function_fd = open_dir_at(root_fd, SYSFS_PCI_PATH(address));
        _cleanup_nvme_controller_ NvmeController c = {};

        return function_fd >= 0 && nvme_controller_read(function_fd, &c) >= 0 ? c.phase : NVME_NONE;
}

NvmePhase nvme_wait_for_driver(int root_fd, const PciAddress *address, uint64_t usec) {
        uint64_t end = now_usec() + usec;
        NvmePhase phase;

        while ((phase = read_phase_of(root_fd, address)) == NVME_AT_WORK && now_usec() < end)
                (void) usleep(WAIT_STEP_USEC);
        return phase;
}
