/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A function is moved by its driver override, which holds for it alone: "new_id" would take
 * every card of the same kind. The kernel reports success for a probe that bound nothing, so
 * only the driver link counts. While a function is on vfio-pci its power stays on: some never
 * wake up again. "reset_method" is read for the record only; vmkit does not write it. */

#include <fcntl.h>

#include "base/clock.h"
#include "base/fault.h"
#include "binding.h"
#include "sysfs.h"

#define IDLE_STEP_USEC (50 * USEC_PER_MSEC)

/* One function, its directory open. */
typedef struct Function {
        int root_fd, dir_fd;
        char address[PCI_ADDRESS_TEXT_MAX];
} Function;

static void function_close(Function *f) {
        f->dir_fd = close_fd(f->dir_fd);
}

static int function_open(int root_fd, const PciAddress *address, Function *f) {
        f->root_fd = root_fd;
        pci_address_format(address, f->address);
        f->dir_fd = open_dir_at(root_fd, SYSFS_PCI_PATH(address));
        return f->dir_fd < 0 ? f->dir_fd : 0;
}

static int function_open_or_fail(int root_fd, const PciAddress *address, Function *f,
                                 Error *error) {
        int r;

        r = function_open(root_fd, address, f);
        if (r < 0)
                return error_set(error, ERROR_BIND_FAILED, "%s cannot be reached in sysfs: %s",
                                 f->address, strerror(-r));
        return 0;
}

/* An attribute in which nothing may be meant by several texts. NULL: nothing, or no such
 * attribute. */
static int read_optional(int dir_fd, const char *name, char **ret) {
        _cleanup_free_ char *value = NULL;
        int r;

        r = read_line_at(dir_fd, name, &value);
        if (r == -ENOENT || (r >= 0 && (!*value || streq(value, "(null)")))) {
                *ret = NULL;
                return 0;
        }
        if (r < 0)
                return r;

        *ret = TAKE_PTR(value);
        return 0;
}

static int read_driver(const Function *f, char **ret) {
        int r;

        r = read_link_name_at(f->dir_fd, "driver", ret);
        if (r == -ENOENT) {
                *ret = NULL;
                return 0;
        }
        return r;
}

static bool driver_is(const Function *f, const char *driver) {
        _cleanup_free_ char *current = NULL;
        return read_driver(f, &current) >= 0 && streq_ptr(current, driver);
}

/* For messages: the driver that sysfs shows now. */
static char *driver_in_words(const Function *f) {
        _cleanup_free_ char *current = NULL;
        char *text;

        if (read_driver(f, &current) < 0)
                return strdup("sysfs does not show it any more");
        if (!current)
                return strdup("it is on no driver");
        return asprintf(&text, "it is on the driver %s", current) < 0 ? NULL : text;
}

static int fail(const Function *f, int r, const char *step, Error *error) {
        _cleanup_free_ char *state = driver_in_words(f);

        return error_set(error, ERROR_BIND_FAILED, "%s: %s failed%s%s; %s", f->address, step,
                         r < 0 ? ": " : "", r < 0 ? strerror(-r) : "",
                         state ? state : "out of memory");
}

/* --- the state to restore --------------------------------------------------------------------- */

int device_state_read(int root_fd, const PciAddress *address, DeviceState *ret) {
        _cleanup_(function_close) Function f = { .dir_fd = -EBADF };
        _cleanup_device_state_ DeviceState state = {};
        int r;

        if ((r = function_open(root_fd, address, &f)) < 0 ||
            (r = read_driver(&f, &state.driver)) < 0 ||
            (r = read_optional(f.dir_fd, "driver_override", &state.driver_override)) < 0 ||
            (r = read_optional(f.dir_fd, "power/control", &state.power_control)) < 0 ||
            (r = read_optional(f.dir_fd, "d3cold_allowed", &state.d3cold_allowed)) < 0 ||
            (r = read_optional(f.dir_fd, "reset_method", &state.reset_method)) < 0)
                return r;

        *ret = state;
        state = (DeviceState) {};
        return 0;
}

void device_state_clear(DeviceState *state) {
        free(state->driver);
        free(state->driver_override);
        free(state->power_control);
        free(state->d3cold_allowed);
        free(state->console);
        free(state->firmware_framebuffer);
        free(state->reset_method);
        *state = (DeviceState) {};
}

/* --- steps ------------------------------------------------------------------------------------ */

/* One that the kernel does not have for this function is nothing to write. */
static int write_optional(const Function *f, const char *name, const char *value, Error *error) {
        _cleanup_free_ char *now = NULL;
        int r;

        r = write_attribute_at(f->dir_fd, name, value);
        if (r == -ENOENT)
                return 0;
        if (r >= 0)
                r = read_optional(f->dir_fd, name, &now);
        if (r < 0 || !streq_ptr(now, value))
                return fail(f, r, PATH_TEXT("setting %s to %s", name, value), error);
        return 0;
}

static int pin_power(const Function *f, Error *error) {
        int r;

        r = write_optional(f, "d3cold_allowed", "0", error);
        return r < 0 ? r : write_optional(f, "power/control", "on", error);
}

static int restore_power(const Function *f, const DeviceState *original, Error *error) {
        int r = 0;

        if (original->d3cold_allowed)
                r = write_optional(f, "d3cold_allowed", original->d3cold_allowed, error);
        if (original->power_control) {
                int k = write_optional(f, "power/control", original->power_control, error);
                r = r < 0 ? r : k;
        }
        return r;
}

/* An empty write would do nothing; a newline clears it. */
static int set_override(const Function *f, const char *driver, Error *error) {
        _cleanup_free_ char *now = NULL;
        int r;

        r = write_attribute_at(f->dir_fd, "driver_override", driver ? driver : "\n");
        if (r >= 0)
                r = read_optional(f->dir_fd, "driver_override", &now);
        if (r < 0)
                return fail(f, r, "writing driver_override", error);
        if (!streq_ptr(now, driver))
                return fail(f, 0, driver ? "setting driver_override" : "clearing driver_override",
                            error);
        return 0;
}

static int unbind(const Function *f, Error *error) {
        int r;

        r = write_attribute_at(f->dir_fd, "driver/unbind", f->address);
        /* Without a driver there is no such file; somebody else may also have been faster. */
        if (r < 0 && !driver_is(f, NULL))
                return fail(f, r, "unbinding from its driver", error);
        if (!driver_is(f, NULL))
                return fail(f, 0, "unbinding from its driver", error);
        return 0;
}

static int probe(const Function *f) {
        return write_attribute_at(f->root_fd, "sys/bus/pci/drivers_probe", f->address);
}

/* --- there ------------------------------------------------------------------------------------ */

static int require_vfio(const Function *f, Error *error) {
        if (path_exists_at(f->root_fd, "sys/bus/pci/drivers/" VFIO_DRIVER))
                return 0;

        int r = error_set(error, ERROR_BIND_FAILED,
                          "%s was left alone: the module vfio-pci is not loaded", f->address);
        error_set_remedy(error, "Load it with 'modprobe vfio-pci'.");
        return r;
}

int binding_to_vfio(int root_fd, const PciAddress *address, BindingCheck check, void *userdata,
                    Error *error) {
        _cleanup_(function_close) Function f = { .dir_fd = -EBADF };
        int r;

        if ((r = function_open_or_fail(root_fd, address, &f, error)) < 0 ||
            (r = require_vfio(&f, error)) < 0 ||
            (r = pin_power(&f, error)) < 0 ||
            (r = FAULT(BIND_POWER, error)) < 0 ||
            (r = set_override(&f, VFIO_DRIVER, error)) < 0 ||
            (r = FAULT(BIND_OVERRIDE, error)) < 0)
                return r;

        if (driver_is(&f, VFIO_DRIVER))
                return 0;

        r = check ? check(userdata, error) : 0;
        if (r >= 0)
                r = unbind(&f, error);
        if (r >= 0)
                r = FAULT(BIND_UNBOUND, error);
        if (r < 0)
                return r;

        int k = probe(&f);
        r = FAULT(BIND_PROBED, error);
        if (r < 0)
                return r;
        if (k < 0 || !driver_is(&f, VFIO_DRIVER))
                return fail(&f, k, "binding to vfio-pci", error);

        /* Once more: vfio-pci sets power/control to "auto" as soon as it has the function. */
        r = pin_power(&f, error);
        return r < 0 ? r : FAULT(BIND_VERIFIED, error);
}

/* --- and back --------------------------------------------------------------------------------- */

/* By name, since a probe takes whatever driver comes first; by probing for no other, where the driver
 * does not know the device by itself any more. */
static int bind_original(const Function *f, const char *driver, Error *error) {
        int r;

        if (driver_is(f, driver))
                return 0;

        r = write_attribute_at(f->root_fd, PATH_TEXT("sys/bus/pci/drivers/%s/bind", driver),
                               f->address);
        if (driver_is(f, NULL) && set_override(f, driver, NULL) >= 0)
                (void) probe(f);
        if (!driver_is(f, driver))
                return fail(f, r, PATH_TEXT("binding back to %s", driver), error);
        return 0;
}

/* An override that names another driver than the one it was on would keep that from taking it back. Until it
 * has, the override names itself. */
static const char *override_for_binding(const DeviceState *original) {
        return original->driver && original->driver_override ? original->driver : original->driver_override;
}

/* What the binding needed may be in it. */
static int restore_override(const Function *f, const char *original, Error *error) {
        _cleanup_free_ char *now = NULL;

        if (read_optional(f->dir_fd, "driver_override", &now) >= 0 && streq_ptr(now, original))
                return 0;
        return set_override(f, original, error);
}

static int restore_driver(const Function *f, const DeviceState *original, Error *error) {
        int r, k;

        if (streq_ptr(original->driver, VFIO_DRIVER) && driver_is(f, VFIO_DRIVER))
                return set_override(f, original->driver_override, error);

        /* Off vfio-pci before the override goes, so that nothing binds in between. A host driver
         * that has it meanwhile is not disturbed: if it is the wrong one, that is reported. */
        if (driver_is(f, VFIO_DRIVER)) {
                r = unbind(f, error);
                if (r >= 0)
                        r = FAULT(RELEASE_UNBOUND, error);
                if (r < 0)
                        return r;
        }

        r = set_override(f, override_for_binding(original), error);
        if (r >= 0)
                r = FAULT(RELEASE_OVERRIDE, error);
        if (r < 0)
                return r;

        if (original->driver) {
                r = bind_original(f, original->driver, error);
                k = restore_override(f, original->driver_override, error);
                r = r < 0 ? r : k;
                return r < 0 ? r : FAULT(RELEASE_BOUND, error);
        }
        return driver_is(f, NULL) ? 0
                                  : fail(f, 0, "leaving it without a driver, as it was,", error);
}

int binding_restore(int root_fd, const PciAddress *address, const DeviceState *original,
                    Error *error) {
        _cleanup_(function_close) Function f = { .dir_fd = -EBADF };
        int r, k;

        r = function_open_or_fail(root_fd, address, &f, error);
        if (r < 0)
                return r;

        /* The power comes back even where the driver does not. */
        r = restore_driver(&f, original, error);
        k = restore_power(&f, original, error);
        if (r >= 0 && k >= 0)
                k = FAULT(RELEASE_POWER, error);
        return r < 0 ? r : k;
}

/* --- VFIO ------------------------------------------------------------------------------------- */

/* The kernel lets one user open a group; holding it does not keep its functions from being
 * unbound. */
int binding_wait_idle(int root_fd, int iommu_group, uint64_t usec) {
        uint64_t end = now_usec() + usec;

        if (iommu_group < 0)
                return 0;

        for (;;) {
                _cleanup_close_ int fd = openat(root_fd, PATH_TEXT("dev/vfio/%d", iommu_group),
                                                O_RDWR | O_CLOEXEC | O_NOCTTY);
                if (fd >= 0 || errno == ENOENT)
                        return 0;
                if (errno != EBUSY)
                        return -errno;
                if (now_usec() >= end)
                        return -ETIMEDOUT;
                (void) usleep(IDLE_STEP_USEC);
        }
}
