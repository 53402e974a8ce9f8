/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Resets against a kernel of the test's own: writes to sysfs and the calls to VFIO come through wrappers,
 * which keep a log of what was asked for and can be told to fail. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/vfio.h>

#include "base/io.h"
#include "host/reset.h"
#include "tree.h"

#define CARD "0000:03:00.0"
#define AUDIO "0000:03:00.1"
#define DRIVE "0000:01:00.0"
#define CHIPSET "0000:00:1f.2"
#define PCI "sys/bus/pci/devices/"

static struct Kernel {
        Tree *tree;
        Inventory *inventory;
        char log[1024];
        int reset_fails_with;     /* errno of a write to "reset" */
        int hot_reset_fails_with; /* errno of the reset by VFIO */
} kernel;

/* --- the kernel ------------------------------------------------------------------------------- */

_printf_(1, 2) static void note(const char *format, ...) {
        size_t n = strlen(kernel.log);
        va_list ap;

        va_start(ap, format);
        vsnprintf(kernel.log + n, sizeof(kernel.log) - n, format, ap);
        va_end(ap);
}

int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value);

int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value) {
        const char *rest = str_after(path, PCI);

        assert_non_null(rest);
        note("%s=%s ", rest, value);
        return -kernel.reset_fails_with;
}

static int fill_reset_set(struct vfio_pci_hot_reset_info *info) {
        info->count = 2;
        assert_true(info->argsz >= sizeof(*info) + info->count * sizeof(info->devices[0]));
        for (uint8_t i = 0; i < info->count; i++)
                info->devices[i] = (struct vfio_pci_dependent_device) { .group_id = 11, .bus = 3, .devfn = i };
        return 0;
}

static int hot_reset(const struct vfio_pci_hot_reset *request) {
        assert_int_equal(request->argsz, sizeof(*request) + request->count * sizeof(request->group_fds[0]));
        note("hot-reset(%u groups) ", request->count);
        errno = kernel.hot_reset_fails_with;
        return errno ? -1 : 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...) {
        va_list ap;

        va_start(ap, request);
        void *argument = va_arg(ap, void *);
        va_end(ap);

        switch (request) {
        case VFIO_GROUP_GET_DEVICE_FD:
                note("open(%s) ", (const char *) argument);
                return open("/dev/null", O_RDWR | O_CLOEXEC);
        case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
                return fill_reset_set(argument);
        case VFIO_DEVICE_PCI_HOT_RESET:
                return hot_reset(argument);
        case VFIO_GROUP_SET_CONTAINER:
        case VFIO_GROUP_UNSET_CONTAINER:
        case VFIO_SET_IOMMU:
                return 0;
        default:
                fail_msg("an unknown request %lx", request);
                return -1;
        }
}

/* A card that is reset with its bus, its audio without a reset of its own, a drive with one, and a function
 * of the chipset that has none. */
static int setup(void **state) {
        kernel = (struct Kernel) { .tree = tree_new() };
        const TreeFunction functions[] = {
                { .address = DRIVE, .below = "pci0000:00/0000:00:11.0", .vendor = 0x1b36, .device = 0x10,
                  .class = 0x010802, .driver = "vfio-pci", .group = 9, .reset_method = "flr bus" },
                { .address = CARD, .below = "pci0000:00/0000:00:13.0", .vendor = 0x1234, .device = 0x1111,
                  .class = 0x030000, .driver = "vfio-pci", .group = 11, .reset_method = "bus" },
                { .address = AUDIO, .below = "pci0000:00/0000:00:13.0", .vendor = 0x8086, .device = 0x2668,
                  .class = 0x040300, .driver = "vfio-pci", .group = 11 },
                { .address = CHIPSET, .vendor = 0x8086, .device = 0x2922, .class = 0x010601,
                  .driver = "vfio-pci", .group = 8 },
        };

        for (size_t i = 0; i < ELEMENTSOF(functions); i++)
                free(tree_add_function(kernel.tree, &functions[i]));
        for (unsigned group = 8; group <= 11; group++) {
                char path[32];
                snprintf(path, sizeof(path), "dev/vfio/%u", group);
                tree_write(kernel.tree, path, "%s", "");
        }
        tree_write(kernel.tree, "dev/vfio/vfio", "%s", "");
        return 0;
}

static int teardown(void **state) {
        inventory_free(kernel.inventory);
        tree_free(kernel.tree);
        return 0;
}

static int reset(const char *const addresses[], size_t n, Error *error) {
        PciDevice *devices[4];

        inventory_free(kernel.inventory);
        assert_int_equal(inventory_read(kernel.tree->fd, &kernel.inventory), 0);
        for (size_t i = 0; i < n; i++) {
                PciAddress address;
                assert_int_equal(pci_address_parse(addresses[i], &address), 0);
                devices[i] = inventory_find(kernel.inventory, &address);
                assert_non_null(devices[i]);
        }
        _cleanup_vfio_groups_ VfioGroups groups = {};

        return reset_functions(kernel.tree->fd, devices, n, &groups, error);
}

#define RESET(error, ...)                                                                         \
        reset((const char *const[]) { __VA_ARGS__ }, ELEMENTSOF(((const char *[]) { __VA_ARGS__ })), error)

#define assert_fails(words, ...)                                          \
        ({                                                                \
                _cleanup_error_ Error error = ERROR_INIT;                 \
                assert_true(RESET(&error, __VA_ARGS__) < 0);              \
                assert_int_equal(error.code, ERROR_RESET_FAILED);         \
                assert_non_null(strstr(error.message, words));            \
        })

/* --- tests ------------------------------------------------------------------------------------ */

static void test_by_itself(void **state) {
        assert_int_equal(RESET(NULL, DRIVE), 0);
        assert_string_equal(kernel.log, DRIVE "/reset=1 ");
}

/* One reset of the bus does for all on it. */
static void test_with_its_bus(void **state) {
        assert_int_equal(RESET(NULL, CARD, AUDIO), 0);
        assert_string_equal(kernel.log, "open(" AUDIO ") hot-reset(1 groups) ");
}

/* The kernel does not take a group that has nothing to do with the reset. */
static void test_beside_others(void **state) {
        assert_int_equal(RESET(NULL, DRIVE, CARD, AUDIO), 0);
        assert_string_equal(kernel.log, "open(" AUDIO ") hot-reset(1 groups) " DRIVE "/reset=1 ");
}

/* The kernel refuses the reset of a bus by way of one function where there are several. */
static void test_bus_after_refusal(void **state) {
        kernel.reset_fails_with = ENOTTY;
        assert_int_equal(RESET(NULL, CARD), 0);
        assert_string_equal(kernel.log, CARD "/reset=1 open(" CARD ") hot-reset(1 groups) ");
}

/* Neither is a device opened that must not be reset with its bus: closing it would reset the bus. */
static void test_bus_is_forbidden(void **state) {
        tree_write(kernel.tree, PCI DRIVE "/reset_method", "flr\n");
        kernel.reset_fails_with = ENOTTY;
        assert_fails("forbids to reset its bus", DRIVE);
        assert_string_equal(kernel.log, DRIVE "/reset=1 ");
}

/* No methods at all is what an administrator gets by writing nothing to "reset_method". */
static void test_all_is_forbidden(void **state) {
        tree_write(kernel.tree, PCI DRIVE "/reset_method", "\n");
        kernel.reset_fails_with = ENOTTY;
        assert_fails(DRIVE " did not come through", DRIVE);
        assert_null(strstr(kernel.log, "open"));
}

/* A sibling's reset must not go around what was forbidden for the other. */
static void test_bus_is_forbidden_for_sibling(void **state) {
        tree_write(kernel.tree, PCI CARD "/reset_method", "pm\n");
        assert_int_equal(RESET(NULL, CARD, AUDIO), 0);
        assert_string_equal(kernel.log, "open(" AUDIO ") " CARD "/reset=1 ");
}

/* The kernel lists the reset of the bus for the first function only; that the second lacks it is no wish. */
static void test_second_function(void **state) {
        tree_write(kernel.tree, PCI AUDIO "/reset_method", "pm\n");
        tree_write(kernel.tree, PCI AUDIO "/reset", "%s", "");
        kernel.reset_fails_with = ENOTTY;
        assert_int_equal(RESET(NULL, CARD, AUDIO), 0);
        assert_string_equal(kernel.log, CARD "/reset=1 open(" CARD ") hot-reset(1 groups) ");
}

static void test_failures(void **state) {
        kernel.hot_reset_fails_with = EINVAL;
        kernel.reset_fails_with = ENOTTY;
        assert_fails("not all functions on it are with vfio-pci", CARD, AUDIO);

        kernel.hot_reset_fails_with = ENOTTY;
        assert_fails("none of the ways", CARD, AUDIO);

        kernel.reset_fails_with = EIO;
        assert_fails("Input/output error", DRIVE);
}

/* Whoever gave it away without a reset took the responsibility for that. */
static void test_without_any(void **state) {
        tree_remove(kernel.tree, "dev/vfio/vfio");
        assert_int_equal(RESET(NULL, CHIPSET), 0);
        assert_string_equal(kernel.log, "");
}

static void test_without_vfio(void **state) {
        tree_remove(kernel.tree, "dev/vfio/9");
        assert_int_equal(RESET(NULL, DRIVE), 0);
        kernel.reset_fails_with = ENOTTY;
        assert_fails("none of the ways", DRIVE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_by_itself),        TEST(test_with_its_bus),
                TEST(test_beside_others),   TEST(test_bus_after_refusal),
                TEST(test_bus_is_forbidden), TEST(test_all_is_forbidden),
                TEST(test_bus_is_forbidden_for_sibling), TEST(test_failures), TEST(test_second_function),
                TEST(test_without_any),      TEST(test_without_vfio),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
