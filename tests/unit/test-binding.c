/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Binding against a kernel of the test's own: every write to sysfs comes through a wrapper of
 * write_attribute_at(), which moves the driver links in the tree as the kernel would, keeps a log
 * of what was written in which order, and can be told to misbehave. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "host/binding.h"
#include "tree.h"

#define ADDRESS "0000:01:00.0"
#define DEVICE "sys/bus/pci/devices/" ADDRESS "/"

static struct Kernel {
        Tree *tree;
        char log[2048];
        const char *native; /* the driver that takes the device without an override; NULL: none */
        const char *fails_path;    /* a write to this fails … */
        int fails_with;            /* … with this errno */
        const char *missing;       /* the driver that is not there any more */
        const char *ignores_path;  /* a write to this changes nothing */
        bool probe_binds_nothing;
        bool unbind_does_nothing;
        bool bind_by_name_refused; /* the driver does not know the device */
        bool override_reads_empty; /* instead of "(null)" */
} kernel;

static const PciAddress address = { .bus = 1 };

/* --- the kernel ------------------------------------------------------------------------------- */

static char *current_driver(void) {
        char *driver = NULL;
        return read_link_name_at(kernel.tree->fd, DEVICE "driver", &driver) >= 0 ? driver : NULL;
}

/* vfio-pci lets what it has sleep. */
static void bind(const char *driver) {
        _cleanup_free_ char *now = current_driver();

        if (now || !driver || streq_ptr(driver, kernel.missing))
                return;
        tree_set_driver(kernel.tree, ADDRESS, driver);
        if (streq(driver, "vfio-pci") && tree_exists(kernel.tree, DEVICE "power/control"))
                tree_write(kernel.tree, DEVICE "power/control", "auto\n");
}

static void probe(void) {
        _cleanup_free_ char *override = tree_read(kernel.tree, DEVICE "driver_override");

        override[strcspn(override, "\n")] = '\0';
        if (!kernel.probe_binds_nothing)
                bind(*override && !streq(override, "(null)") ? override : kernel.native);
}

/* Where the file is in the tree: dir_fd may be the root's or the device's. */
static void resolve(int dir_fd, const char *path, char *buffer, size_t size) {
        struct stat here, root;

        assert_int_equal(fstat(dir_fd, &here), 0);
        assert_int_equal(fstat(kernel.tree->fd, &root), 0);
        snprintf(buffer, size, "%s%s", here.st_ino == root.st_ino ? "" : DEVICE, path);
}

static int act(const char *path, const char *value) {
        const char *name = str_after(path, DEVICE);

        if (name && streq(name, "driver/unbind")) {
                assert_string_equal(value, ADDRESS);
                if (!kernel.unbind_does_nothing)
                        tree_set_driver(kernel.tree, ADDRESS, NULL);
        } else if (name && streq(name, "driver_override")) {
                bool clears = streq(value, "\n");
                assert_string_not_equal(value, "");
                tree_write(kernel.tree, path, "%s\n",
                           !clears ? value : kernel.override_reads_empty ? "" : "(null)");
        } else if (name && kernel.ignores_path && streq(name, kernel.ignores_path))
                return 0;
        else if (name)
                tree_write(kernel.tree, path, "%s\n", value);
        else if (streq(path, "sys/bus/pci/drivers_probe"))
                probe();
        else {
                char driver[64];
                assert_int_equal(sscanf(path, "sys/bus/pci/drivers/%63[^/]/bind", driver), 1);
                _cleanup_free_ char *override = tree_read(kernel.tree, DEVICE "driver_override");
                override[strcspn(override, "\n")] = '\0';
                bool other = *override && !streq(override, "(null)") && !streq(override, driver);
                if (kernel.bind_by_name_refused || other)
                        return -ENODEV;
                bind(driver);
        }
        return 0;
}

int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value);

int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value) {
        char where[256];
        size_t n = strlen(kernel.log);

        resolve(dir_fd, path, where, sizeof(where));
        snprintf(kernel.log + n, sizeof(kernel.log) - n, "%s%s=%s", n > 0 ? " " : "", path,
                 streq(value, "\n") ? "-" : value);

        if (faccessat(kernel.tree->fd, where, F_OK, 0) < 0)
                return -ENOENT;
        if (kernel.fails_path && streq(kernel.fails_path, path))
                return -kernel.fails_with;
        return act(where, value);
}

static int setup(void **state) {
        kernel = (struct Kernel) { .tree = tree_new(), .native = "nvme" };

        tree_add_driver(kernel.tree, "vfio-pci");
        tree_add_driver(kernel.tree, "nvme");
        free(tree_add_function(kernel.tree, &(TreeFunction) { .below = "pci0000:00/0000:00:01.0",
                                                             .address = ADDRESS,
                                                             .vendor = 0x1b36,
                                                             .device = 0x10,
                                                             .class = 0x010802,
                                                             .driver = "nvme",
                                                             .group = 3,
                                                             .reset_method = "flr" }));
        return 0;
}

static int teardown(void **state) {
        tree_free(kernel.tree);
        return 0;
}

/* --- helpers ---------------------------------------------------------------------------------- */

static void assert_driver(const char *expected) {
        _cleanup_free_ char *driver = current_driver();

        if (expected)
                assert_string_equal(driver, expected);
        else
                assert_null(driver);
}

static void assert_attribute(const char *name, const char *expected) {
        _cleanup_free_ char *path = NULL, *value = NULL;

        assert_true(asprintf(&path, DEVICE "%s", name) > 0);
        value = tree_read(kernel.tree, path);
        value[strcspn(value, "\n")] = '\0';
        assert_string_equal(value, expected);
}

static void take(DeviceState *original) {
        _cleanup_error_ Error error = ERROR_INIT;

        assert_int_equal(device_state_read(kernel.tree->fd, &address, original), 0);
        assert_int_equal(binding_to_vfio(kernel.tree->fd, &address, NULL, NULL, &error), 0);
        assert_driver("vfio-pci");
        kernel.log[0] = '\0';
}

#define assert_fails_with(call, error_code, words)                      \
        ({                                                              \
                _cleanup_error_ Error error = ERROR_INIT;               \
                assert_true((call) < 0);                                \
                assert_int_equal(error.code, error_code);               \
                assert_non_null(strstr(error.message, words));          \
        })

/* --- tests ------------------------------------------------------------------------------------ */

static void test_order(void **state) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_device_state_ DeviceState original = {};

        assert_int_equal(device_state_read(kernel.tree->fd, &address, &original), 0);
        assert_string_equal(original.driver, "nvme");
        assert_null(original.driver_override);
        assert_string_equal(original.power_control, "auto");
        assert_string_equal(original.d3cold_allowed, "1");
        assert_string_equal(original.reset_method, "flr");

        assert_int_equal(binding_to_vfio(kernel.tree->fd, &address, NULL, NULL, &error), 0);
        assert_string_equal(kernel.log,
                            "d3cold_allowed=0 power/control=on driver_override=vfio-pci "
                            "driver/unbind=" ADDRESS " sys/bus/pci/drivers_probe=" ADDRESS
                            " d3cold_allowed=0 power/control=on");
        assert_driver("vfio-pci");
        assert_attribute("power/control", "on");
        assert_attribute("d3cold_allowed", "0");

        /* Done already is success, and changes no driver. */
        kernel.log[0] = '\0';
        assert_int_equal(binding_to_vfio(kernel.tree->fd, &address, NULL, NULL, &error), 0);
        assert_null(strstr(kernel.log, "unbind"));
        assert_null(strstr(kernel.log, "probe"));

        kernel.log[0] = '\0';
        assert_int_equal(binding_restore(kernel.tree->fd, &address, &original, &error), 0);
        assert_string_equal(kernel.log, "driver/unbind=" ADDRESS " driver_override=- "
                                        "sys/bus/pci/drivers/nvme/bind=" ADDRESS
                                        " d3cold_allowed=1 power/control=auto");
        assert_driver("nvme");
        assert_attribute("driver_override", "(null)");
        assert_attribute("power/control", "auto");
        assert_attribute("d3cold_allowed", "1");
        assert_attribute("reset_method", "flr");
}

/* What was written is read back, on the way there and on the way home. */
static void test_power_lies(void **state) {
        _cleanup_error_ Error ok = ERROR_INIT;
        _cleanup_device_state_ DeviceState original = {};

        take(&original);
        kernel.ignores_path = "d3cold_allowed";
        assert_fails_with(binding_restore(kernel.tree->fd, &address, &original, &error), ERROR_BIND_FAILED,
                          "setting d3cold_allowed to 1 failed");
        assert_driver("nvme");
        assert_attribute("power/control", "auto");

        kernel.ignores_path = NULL;
        assert_int_equal(binding_restore(kernel.tree->fd, &address, &original, &ok), 0);
        kernel.ignores_path = "power/control";
        assert_fails_with(binding_to_vfio(kernel.tree->fd, &address, NULL, NULL, &error), ERROR_BIND_FAILED,
                          "setting power/control to on failed");
}

static int refuse(void *userdata, Error *error) {
        ++*(unsigned *) userdata;
        assert_driver("nvme");
        assert_attribute("driver_override", "vfio-pci");
        return error_set(error, ERROR_DEVICE_IN_USE, "somebody came");
}

/* The check is the last thing before the unbind, and its refusal leaves the device where it is. */
static void test_check(void **state) {
        _cleanup_device_state_ DeviceState original = {};
        unsigned n_asked = 0;

        assert_int_equal(device_state_read(kernel.tree->fd, &address, &original), 0);
        assert_fails_with(binding_to_vfio(kernel.tree->fd, &address, refuse, &n_asked, &error),
                          ERROR_DEVICE_IN_USE, "somebody came");
        assert_int_equal(n_asked, 1);
        assert_null(strstr(kernel.log, "unbind"));

        assert_int_equal(binding_restore(kernel.tree->fd, &address, &original, NULL), 0);
        assert_driver("nvme");
        assert_attribute("driver_override", "(null)");
        assert_null(strstr(kernel.log, "unbind"));
}

static void test_without_driver(void **state) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_device_state_ DeviceState original = {};

        tree_set_driver(kernel.tree, ADDRESS, NULL);
        take(&original);
        assert_null(original.driver);

        /* A probe would let any driver have it. */
        assert_int_equal(binding_restore(kernel.tree->fd, &address, &original, &error), 0);
        assert_null(strstr(kernel.log, "probe"));
        assert_driver(NULL);
}

static void test_override_of_before(void **state) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_device_state_ DeviceState original = {};

        kernel.override_reads_empty = true;
        tree_write(kernel.tree, DEVICE "driver_override", "nvme\n");
        take(&original);
        assert_string_equal(original.driver_override, "nvme");
        assert_int_equal(binding_restore(kernel.tree->fd, &address, &original, &error), 0);
        assert_attribute("driver_override", "nvme");
        assert_driver("nvme");
}

/* Prepared for another driver, which it had not been bound to yet. */
static void test_override_of_another_driver(void **state) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_device_state_ DeviceState original = {};

        tree_write(kernel.tree, DEVICE "driver_override", "vfio-pci\n");
        take(&original);
        assert_string_equal(original.driver, "nvme");
        assert_string_equal(original.driver_override, "vfio-pci");
        assert_int_equal(binding_restore(kernel.tree->fd, &address, &original, &error), 0);
        assert_driver("nvme");
        assert_attribute("driver_override", "vfio-pci");
}

static void test_override_reads_empty(void **state) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_device_state_ DeviceState original = {};

        kernel.override_reads_empty = true;
        tree_write(kernel.tree, DEVICE "driver_override", "\n");
        take(&original);
        assert_null(original.driver_override);
        assert_int_equal(binding_restore(kernel.tree->fd, &address, &original, &error), 0);
        assert_driver("nvme");
}

/* It was on vfio-pci before: reserved by an administrator. */
static void test_vfio_before(void **state) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_device_state_ DeviceState original = {};

        tree_set_driver(kernel.tree, ADDRESS, "vfio-pci");
        take(&original);
        assert_string_equal(original.driver, "vfio-pci");
        assert_int_equal(binding_restore(kernel.tree->fd, &address, &original, &error), 0);
        assert_driver("vfio-pci");
        assert_attribute("driver_override", "(null)");
        assert_attribute("power/control", "auto");
}

static void test_no_module(void **state) {
        tree_remove(kernel.tree, "sys/bus/pci/drivers/vfio-pci/bind");
        tree_remove(kernel.tree, "sys/bus/pci/drivers/vfio-pci/unbind");
        tree_remove(kernel.tree, "sys/bus/pci/drivers/vfio-pci");

        assert_fails_with(binding_to_vfio(kernel.tree->fd, &address, NULL, NULL, &error), ERROR_BIND_FAILED,
                          "vfio-pci is not loaded");
        assert_string_equal(kernel.log, "");
        assert_driver("nvme");
}

static void test_unbind_fails(void **state) {
        kernel.fails_path = "driver/unbind";
        kernel.fails_with = EPERM;
        assert_fails_with(binding_to_vfio(kernel.tree->fd, &address, NULL, NULL, &error), ERROR_BIND_FAILED,
                          "unbinding from its driver failed: Operation not permitted; it is on the "
                          "driver nvme");
}

static void test_unbind_lies(void **state) {
        kernel.unbind_does_nothing = true;
        assert_fails_with(binding_to_vfio(kernel.tree->fd, &address, NULL, NULL, &error), ERROR_BIND_FAILED,
                          "it is on the driver nvme");
}

/* The kernel says yes to a probe that bound nothing; and the caller can put it back. */
static void test_probe_lies(void **state) {
        _cleanup_error_ Error restore_error = ERROR_INIT;
        _cleanup_device_state_ DeviceState original = {};

        assert_int_equal(device_state_read(kernel.tree->fd, &address, &original), 0);
        kernel.probe_binds_nothing = true;
        assert_fails_with(binding_to_vfio(kernel.tree->fd, &address, NULL, NULL, &error), ERROR_BIND_FAILED,
                          "binding to vfio-pci failed; it is on no driver");

        assert_int_equal(binding_restore(kernel.tree->fd, &address, &original, &restore_error), 0);
        assert_driver("nvme");
        assert_attribute("power/control", "auto");
}

static void test_restore_by_probe(void **state) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_device_state_ DeviceState original = {};

        take(&original);
        kernel.bind_by_name_refused = true;
        assert_int_equal(binding_restore(kernel.tree->fd, &address, &original, &error), 0);
        assert_driver("nvme");
}

static void test_restore_fails(void **state) {
        _cleanup_device_state_ DeviceState original = {};

        take(&original);
        kernel.bind_by_name_refused = kernel.probe_binds_nothing = true;
        assert_fails_with(binding_restore(kernel.tree->fd, &address, &original, &error),
                          ERROR_BIND_FAILED,
                          "binding back to nvme failed: No such device; it is on no driver");
        /* The rest is back. */
        assert_attribute("power/control", "auto");
        assert_attribute("driver_override", "(null)");
}

/* Nobody but the driver that had it gets it by a probe, and no override is left of that. */
static void test_restore_by_no_other(void **state) {
        _cleanup_device_state_ DeviceState original = {};

        take(&original);
        kernel.bind_by_name_refused = true;
        kernel.native = "other";
        tree_add_driver(kernel.tree, "other");
        tree_remove(kernel.tree, "sys/bus/pci/drivers/nvme/bind");
        kernel.missing = "nvme";
        assert_fails_with(binding_restore(kernel.tree->fd, &address, &original, &error),
                          ERROR_BIND_FAILED, "it is on no driver");
        assert_attribute("driver_override", "(null)");
        assert_attribute("power/control", "auto");
}

/* A host driver that took the device meanwhile is not pulled away. */
static void test_restore_elsewhere(void **state) {
        _cleanup_device_state_ DeviceState original = {};

        take(&original);
        tree_set_driver(kernel.tree, ADDRESS, "other");
        assert_fails_with(binding_restore(kernel.tree->fd, &address, &original, &error),
                          ERROR_BIND_FAILED, "it is on the driver other");
        assert_driver("other");
        assert_null(strstr(kernel.log, "unbind"));
}

static void test_no_power_attributes(void **state) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_device_state_ DeviceState original = {};

        tree_remove(kernel.tree, DEVICE "d3cold_allowed");
        tree_remove(kernel.tree, DEVICE "power/control");
        take(&original);
        assert_null(original.power_control);
        assert_null(original.d3cold_allowed);
        assert_int_equal(binding_restore(kernel.tree->fd, &address, &original, &error), 0);
        assert_driver("nvme");
}

static void test_gone(void **state) {
        const PciAddress nobody = { .bus = 9 };
        DeviceState unread = {};

        assert_int_equal(device_state_read(kernel.tree->fd, &nobody, &unread), -ENOENT);
        assert_fails_with(binding_to_vfio(kernel.tree->fd, &nobody, NULL, NULL, &error), ERROR_BIND_FAILED,
                          "0000:09:00.0 cannot be reached");
}

static void test_wait_idle(void **state) {
        assert_int_equal(binding_wait_idle(kernel.tree->fd, -1, 0), 0);
        assert_int_equal(binding_wait_idle(kernel.tree->fd, 3, 0), 0);
        tree_write(kernel.tree, "dev/vfio/3", "%s", "");
        assert_int_equal(binding_wait_idle(kernel.tree->fd, 3, 0), 0);
}

#define binding_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                binding_test(test_order),           binding_test(test_without_driver),
                binding_test(test_override_of_before), binding_test(test_override_reads_empty),
                binding_test(test_vfio_before),     binding_test(test_no_module),
                binding_test(test_unbind_fails),    binding_test(test_unbind_lies),
                binding_test(test_probe_lies),      binding_test(test_restore_by_probe),
                binding_test(test_restore_fails),   binding_test(test_restore_elsewhere),
                binding_test(test_no_power_attributes), binding_test(test_gone),
                binding_test(test_override_of_another_driver),
                binding_test(test_restore_by_no_other),
                binding_test(test_power_lies),      binding_test(test_wait_idle),
                binding_test(test_check),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
