/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The transactions of the device helper, step by step in this process, against a kernel of the test's own: a
 * card of two functions that share an IOMMU group, in a tree of files in which writes to sysfs have the effect
 * that the kernel would give them. What counts is where the functions and their records are afterwards. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/wait.h>

#include "base/io.h"
#include "tree.h"

#define main helper_main
int helper_main(int argc, char *argv[]);
#include "core/device-helper.c"
#undef main

#define CARD "0000:03:00.0"
#define AUDIO "0000:03:00.1"
#define DRIVE "0000:04:00.0"
#define DRIVE_PATH "pci0000:00/0000:00:14.0/" DRIVE
#define PCI "sys/bus/pci/devices/"
#define VM "41e1d301-60ba-482f-95ac-c60ad74578a5"

static const char *const unit[] = { CARD, AUDIO };
static const char *const native[] = { "bochs-drm", "snd_hda_intel" };
static const char *const drive[] = { DRIVE };

static struct Kernel {
        Tree *tree;
        char log[4096];            /* "card:reset audio:bind …" */
        const char *reset_fails;   /* the function whose reset fails */
        const char *reset_kills;   /* the function that is dead after its reset */
        const char *driver_fails;  /* the driver that binds nothing any more */
        const char *driver_kills;  /* the driver whose device is dead afterwards */
} kernel;

/* --- the kernel ------------------------------------------------------------------------------------------- */

static char *driver_of(const char *address) {
        char path[128], *driver = NULL;

        snprintf(path, sizeof(path), PCI "%s/driver", address);
        return read_link_name_at(kernel.tree->fd, path, &driver) >= 0 ? driver : NULL;
}

static char *attribute_of(const char *address, const char *name) {
        char path[128], *value;

        snprintf(path, sizeof(path), PCI "%s/%s", address, name);
        value = tree_read(kernel.tree, path);
        assert_non_null(value);
        value[strcspn(value, "\n")] = '\0';
        return value;
}

static void set_attribute(const char *address, const char *name, const char *value) {
        char path[128];

        snprintf(path, sizeof(path), PCI "%s/%s", address, name);
        tree_write(kernel.tree, path, "%s\n", value);
}

static void kill_function(const char *address) {
        char path[128];
        unsigned char ones[64];

        memset(ones, 0xff, sizeof(ones));
        snprintf(path, sizeof(path), PCI "%s/config", address);
        tree_write_bytes(kernel.tree, path, ones, sizeof(ones));
}

static int take(const char *address, const char *driver) {
        _cleanup_free_ char *now = driver_of(address);

        if (now || streq_ptr(driver, kernel.driver_fails))
                return -ENODEV;
        tree_set_driver(kernel.tree, address, driver);
        if (streq_ptr(driver, kernel.driver_kills))
                kill_function(address);
        if (streq(driver, VFIO_DRIVER))
                set_attribute(address, "power/control", "auto");
        return 0;
}

static int probe(const char *address) {
        _cleanup_free_ char *override = attribute_of(address, "driver_override");
        bool none = streq(override, "(null)");

        (void) take(address, !none                   ? override
                             : streq(address, DRIVE) ? NVME_DRIVER
                                                     : native[streq(address, AUDIO)]);
        return 0;
}

static int reset(const char *address) {
        if (streq_ptr(address, kernel.reset_kills))
                kill_function(address);
        return streq_ptr(address, kernel.reset_fails) ? -ENOTTY : 0;
}

static int write_to_function(const char *address, const char *name, const char *value) {
        if (streq(name, "reset"))
                return reset(address);
        if (streq(name, "driver/unbind")) {
                _cleanup_free_ char *now = driver_of(address);

                if (!now)
                        return -ENOENT;
                tree_set_driver(kernel.tree, address, NULL);
                return 0;
        }
        set_attribute(address, name, streq(value, "\n") ? "(null)" : value);
        return 0;
}

static void note(const char *address, const char *what) {
        size_t n = strlen(kernel.log);

        snprintf(kernel.log + n, sizeof(kernel.log) - n, "%s:%s ",
                 streq(address, CARD) ? "card" : streq(address, DRIVE) ? "drive" : "audio", what);
}

int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value);

int __wrap_write_attribute_at(int dir_fd, const char *path, const char *value) {
        char directory[4096], name[64], link[64], driver[64];

        if (sscanf(path, "sys/bus/pci/drivers/%63[^/]/bind", driver) == 1) {
                note(value, driver);
                return take(value, driver);
        }
        if (streq(path, "sys/bus/pci/drivers_probe")) {
                note(value, "probe");
                return probe(value);
        }
        if (sscanf(path, PCI "%12[^/]/%63s", directory, name) == 2) {
                note(directory, name);
                return write_to_function(directory, name, value);
        }

        /* Relative to the directory of the function itself. */
        snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
        ssize_t n = readlink(link, directory, sizeof(directory) - 1);
        assert_true(n > 0);
        directory[n] = '\0';
        note(strrchr(directory, '/') + 1, path);
        return write_to_function(strrchr(directory, '/') + 1, path, value);
}

static int setup(void **state) {
        kernel = (struct Kernel) { .tree = tree_new() };

        tree_add_driver(kernel.tree, VFIO_DRIVER);
        for (size_t i = 0; i < ELEMENTSOF(unit); i++)
                free(tree_add_function(kernel.tree, &(TreeFunction) { .below = "pci0000:00/0000:00:13.0",
                                                                     .address = unit[i],
                                                                     .vendor = 0x1234,
                                                                     .device = 0x1111 + (unsigned) i,
                                                                     .class = i == 0 ? 0x038000 : 0x040300,
                                                                     .driver = native[i],
                                                                     .group = 11,
                                                                     .reset_method = "flr" }));
        tree_mkdir(kernel.tree, "claims");

        _cleanup_close_ int claims_fd = open_dir_at(kernel.tree->fd, "claims");
        assert_int_equal(dup2(kernel.tree->fd, ROOT_FD), ROOT_FD);
        assert_int_equal(dup2(claims_fd, CLAIMS_FD), CLAIMS_FD);
        return 0;
}

static int teardown(void **state) {
        tree_free(kernel.tree);
        return 0;
}

/* --- helpers ---------------------------------------------------------------------------------------------- */

static int run_verb_on(const char *const *addresses, size_t n, pid_t daemon, const char *name, const char *vm,
                       struct json_object *result, Error *error) {
        _cleanup_json_ struct json_object *request = json_object_new_object();
        struct json_object *functions = json_object_new_array();
        _cleanup_(transaction_clear) Transaction t = {};

        const Verb *verb = verb_find(name);

        kernel.log[0] = '\0';
        json_add_string(request, "vm", vm);
        json_object_object_add(request, "functions", functions);
        json_object_object_add(request, "daemon", json_object_new_int64(daemon));
        for (size_t i = 0; i < n; i++)
                json_object_array_add(functions, json_object_new_string(addresses[i]));

        return run_request(verb, &t, request, result, error);
}

static int run_verb_for(pid_t daemon, const char *name, const char *vm, Error *error) {
        _cleanup_json_ struct json_object *result = json_object_new_object();

        return run_verb_on(unit, ELEMENTSOF(unit), daemon, name, vm, result, error);
}

static int run_verb(const char *name, const char *vm, Error *error) {
        return run_verb_for(getppid(), name, vm, error);
}

static void succeed(const char *name, const char *vm) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = run_verb(name, vm, &error);

        if (r < 0)
                fail_msg("%s: %s", name, error.message);
}

#define assert_fails(name, error_code, words, remedy)                                                     \
        ({                                                                                                \
                _cleanup_error_ Error error = ERROR_INIT;                                                 \
                assert_true(run_verb(name, VM, &error) < 0);                                              \
                assert_int_equal(error.code, error_code);                                                 \
                assert_non_null(strstr(error.message, words));                                            \
                assert_non_null(strstr(error_remedy(&error), remedy));                                    \
        })

static void assert_on(const char *address, const char *driver) {
        _cleanup_free_ char *now = driver_of(address);

        assert_string_equal(str_na(now), driver);
}

static void assert_attribute(const char *address, const char *name, const char *expected) {
        _cleanup_free_ char *value = attribute_of(address, name);

        assert_string_equal(value, expected);
}

static Claim *record_of(const char *address) {
        PciAddress parsed;
        Claim *claim = NULL;

        assert_int_equal(pci_address_parse(address, &parsed), 0);
        int r = claim_read(CLAIMS_FD, &parsed, &claim);
        assert_true(r >= 0 || r == -ENOENT);
        return claim;
}

static void assert_no_record(const char *address) {
        _cleanup_(claim_freep) Claim *claim = record_of(address);

        assert_null(claim);
}

static void assert_home(void) {
        for (size_t i = 0; i < ELEMENTSOF(unit); i++) {
                assert_on(unit[i], native[i]);
                assert_attribute(unit[i], "driver_override", "(null)");
                assert_attribute(unit[i], "power/control", "auto");
                assert_attribute(unit[i], "d3cold_allowed", "1");
        }
}

static void assert_held(const char *vm) {
        for (size_t i = 0; i < ELEMENTSOF(unit); i++) {
                _cleanup_(claim_freep) Claim *claim = record_of(unit[i]);

                assert_on(unit[i], VFIO_DRIVER);
                assert_attribute(unit[i], "power/control", "on");
                assert_attribute(unit[i], "d3cold_allowed", "0");
                assert_non_null(claim);
                assert_int_equal(claim->state, CLAIM_BOUND);
                assert_int_equal(claim->helper, 0);
                assert_true(streq_ptr(claim->vm, vm));
                assert_string_equal(claim->original.driver, native[i]);
        }
}

static void assert_quarantined(const char *address, const char *words, bool needs_reboot) {
        _cleanup_(claim_freep) Claim *claim = record_of(address);

        assert_non_null(claim);
        assert_int_equal(claim->state, CLAIM_QUARANTINED);
        assert_non_null(strstr(str_na(claim->reason), words));
        assert_int_equal(claim->needs_reboot, needs_reboot);
        assert_int_equal(claim->helper, 0);
}

static void assert_all_quarantined(const char *words, bool needs_reboot) {
        for (size_t i = 0; i < ELEMENTSOF(unit); i++)
                assert_quarantined(unit[i], words, needs_reboot);
}

static void assert_all_on_vfio(void) {
        for (size_t i = 0; i < ELEMENTSOF(unit); i++)
                assert_on(unit[i], VFIO_DRIVER);
}

static bool was_written(const char *what) {
        return strstr(kernel.log, what);
}

/* --- giving and taking back ------------------------------------------------------------------------------- */

static void test_there_and_back(void **state) {
        succeed("bind", VM);
        assert_held(VM);
        assert_true(was_written("card:reset") && was_written("audio:reset"));

        /* It waited on vfio-pci since it was reset. */
        succeed("settle", VM);
        assert_true(was_written("card:reset") && was_written("audio:reset"));
        assert_held(VM);
        succeed("bind", VM);
        assert_false(was_written("reset"));
        assert_held(VM);

        succeed("release", VM);
        assert_true(was_written("card:reset") && was_written("audio:reset"));
        assert_home();
        assert_no_record(CARD);
        assert_no_record(AUDIO);
}

/* The helper that was to take it back was ended by somebody, say. */
static void test_not_taken_back(void **state) {
        succeed("bind", VM);
        succeed("bind", VM);
        assert_true(was_written("card:reset") && was_written("audio:reset"));
        assert_held(VM);
}

/* Who asked has ended before there was a record: nobody would know of what is done now. */
static void test_asked_for_by_nobody(void **state) {
        _cleanup_error_ Error error = ERROR_INIT;

        assert_true(run_verb_for(getpid(), "bind", VM, &error) < 0);
        assert_int_equal(error.code, ERROR_INTERRUPTED);
        assert_string_equal(kernel.log, "");
        assert_home();
        assert_no_record(CARD);
        assert_no_record(AUDIO);

        succeed("bind", VM);
        error_clear(&error);
        assert_true(run_verb_for(getpid(), "release", VM, &error) < 0);
        assert_int_equal(error.code, ERROR_INTERRUPTED);
        assert_string_equal(kernel.log, "");
        assert_held(VM);
}

/* Another device sits there now than the one that was recorded: it has been nobody's. */
static void test_record_of_another_device(void **state) {
        _cleanup_(claim_freep) Claim *claim = NULL;

        succeed("bind", VM);
        claim = record_of(AUDIO);
        claim->device_id = 0x9999;
        assert_int_equal(claim_write(CLAIMS_FD, claim), 0);
        tree_set_driver(kernel.tree, AUDIO, "other");
        succeed("release", VM);
        assert_on(CARD, native[0]);
        assert_on(AUDIO, "other");
}

/* The host has it again, but no VM will get it. */
static void test_no_reset_before_handing_out(void **state) {
        kernel.reset_fails = AUDIO;
        assert_fails("bind", ERROR_RESET_FAILED, AUDIO " did not come through", "clear-quarantine " CARD);
        assert_home();
        assert_all_quarantined(AUDIO " did not come through", false);

        kernel.reset_fails = NULL;
        assert_fails("bind", ERROR_QUARANTINED, CARD " is quarantined", "clear-quarantine");
        assert_string_equal(kernel.log, "");
        assert_all_quarantined(AUDIO " did not come through", false);
}

static void test_dead_after_reset(void **state) {
        kernel.reset_kills = CARD;
        assert_fails("bind", ERROR_RESET_FAILED, CARD " does not answer", "clear-quarantine");
        assert_quarantined(CARD, "does not answer", false);
        assert_on(CARD, native[0]);
        assert_on(AUDIO, native[1]);
}

/* What a guest had and could not be reset is no driver's of the host. */
static void test_no_reset_after_taking_back(void **state) {
        succeed("bind", VM);
        kernel.reset_fails = CARD;
        assert_fails("release", ERROR_RESET_FAILED, CARD, "clear-quarantine");
        assert_all_on_vfio();
        assert_all_quarantined(CARD " did not come through", false);

        kernel.reset_fails = NULL;
        assert_fails("release", ERROR_QUARANTINED, "is quarantined", "clear-quarantine");
        assert_string_equal(kernel.log, "");
        assert_all_quarantined(CARD " did not come through", false);
}

static void test_no_reset_while_it_waits(void **state) {
        succeed("bind", VM);
        kernel.reset_fails = CARD;
        assert_fails("settle", ERROR_RESET_FAILED, CARD, "clear-quarantine");
        assert_all_on_vfio();
        assert_all_quarantined(CARD, false);
}

static void test_died_while_it_waited(void **state) {
        succeed("bind", VM);
        succeed("settle", VM);
        kill_function(AUDIO);
        assert_fails("bind", ERROR_RESET_FAILED, AUDIO " does not answer", "clear-quarantine");
        assert_all_on_vfio();
        assert_all_quarantined(AUDIO " does not answer", false);
}

/* The kernel would wait for it, a minute for each way to reset it. */
static void test_died_in_the_guest(void **state) {
        succeed("bind", VM);
        kill_function(CARD);
        assert_fails("settle", ERROR_RESET_FAILED, CARD " does not answer", "clear-quarantine");
        assert_false(was_written("reset"));
        assert_all_on_vfio();
        assert_all_quarantined(CARD " does not answer", false);
}

/* Each is quarantined for what happened to it; the other is home. */
static void test_driver_does_not_take_it_back(void **state) {
        succeed("bind", VM);
        kernel.driver_fails = native[1];
        assert_fails("release", ERROR_BIND_FAILED, "binding back to snd_hda_intel", "");
        assert_on(CARD, native[0]);
        assert_no_record(CARD);
        assert_quarantined(AUDIO, "binding back to snd_hda_intel", false);
}

static void test_dead_at_home(void **state) {
        succeed("bind", VM);
        kernel.driver_kills = native[1];
        assert_fails("release", ERROR_RESET_FAILED, AUDIO " does not answer", "");
        assert_quarantined(AUDIO, "does not answer", false);
        assert_on(AUDIO, native[1]);
        assert_on(CARD, native[0]);
        assert_no_record(CARD);
}

static void test_stays_asleep(void **state) {
        set_attribute(CARD, "power_state", "D3cold");
        assert_fails("bind", ERROR_RESET_FAILED, "power state D3cold", "clear-quarantine");
        assert_home();
        assert_all_quarantined("D3cold", false);
}

/* Pulled out while a VM had it. */
static void test_one_is_gone(void **state) {
        succeed("bind", VM);
        tree_remove(kernel.tree, PCI AUDIO);
        succeed("settle", VM);
        succeed("release", VM);
        assert_on(CARD, native[0]);
        assert_no_record(CARD);
        assert_fails("bind", ERROR_NO_SUCH_DEVICE, AUDIO, "");
}

/* --- out of quarantine ------------------------------------------------------------------------------------ */

static void test_clear(void **state) {
        succeed("bind", VM);
        kernel.reset_fails = CARD;
        assert_fails("release", ERROR_RESET_FAILED, CARD, "");

        assert_fails("clear", ERROR_RESET_FAILED, CARD, "switch it off and on");
        assert_all_on_vfio();
        assert_all_quarantined(CARD, true);

        kernel.reset_fails = NULL;
        succeed("clear", NULL);
        assert_true(was_written("card:reset") && was_written("audio:reset"));
        assert_home();
        assert_no_record(CARD);
        assert_no_record(AUDIO);
}

static void test_clear_at_home(void **state) {
        kernel.reset_fails = CARD;
        assert_fails("bind", ERROR_RESET_FAILED, CARD, "");
        assert_fails("clear", ERROR_RESET_FAILED, CARD, "switch it off and on");
        assert_home();
        assert_all_quarantined(CARD, true);

        kernel.reset_fails = NULL;
        succeed("clear", NULL);
        assert_home();
        assert_no_record(CARD);
        assert_no_record(AUDIO);
}

/* The other function went home, and is reset with it all the same. */
static void test_clear_one_of_two(void **state) {
        succeed("bind", VM);
        kernel.driver_fails = native[1];
        assert_fails("release", ERROR_BIND_FAILED, "snd_hda_intel", "");
        assert_fails("clear", ERROR_BIND_FAILED, "snd_hda_intel", "");
        assert_on(CARD, native[0]);
        assert_no_record(CARD);
        assert_quarantined(AUDIO, "snd_hda_intel", true);

        kernel.driver_fails = NULL;
        succeed("clear", NULL);
        assert_home();
        assert_no_record(CARD);
        assert_no_record(AUDIO);
}

/* Nothing is cleared that could not even be tried. */
static void test_clear_cannot_begin(void **state) {
        kernel.reset_fails = CARD;
        assert_fails("bind", ERROR_RESET_FAILED, CARD, "");
        kernel.reset_fails = NULL;
        kernel.driver_fails = VFIO_DRIVER;
        assert_fails("clear", ERROR_BIND_FAILED, "vfio-pci", "");
        assert_home();
        assert_all_quarantined(CARD " did not come through", false);
}

static void test_clear_unreadable_record(void **state) {
        tree_write(kernel.tree, "claims/" CARD, "{");
        succeed("clear", NULL);
        assert_home();
        assert_no_record(CARD);

        /* What it was on is not known to anybody. */
        succeed("bind", VM);
        tree_write(kernel.tree, "claims/" CARD, "{");
        assert_fails("clear", ERROR_BIND_FAILED, "cannot be read", "by hand");
        assert_all_on_vfio();
}

/* --- by hand ---------------------------------------------------------------------------------------------- */

static void test_reset(void **state) {
        succeed("reset", NULL);
        assert_true(was_written("card:reset") && was_written("audio:reset"));
        assert_home();
        assert_no_record(CARD);
        assert_no_record(AUDIO);
}

static void test_reset_of_what_waits(void **state) {
        succeed("bind", VM);
        succeed("reset", NULL);
        assert_true(was_written("card:reset") && was_written("audio:reset"));
        assert_false(was_written("unbind"));
        assert_held(VM);
}

static void test_reset_fails(void **state) {
        kernel.reset_fails = AUDIO;
        assert_fails("reset", ERROR_RESET_FAILED, AUDIO, "clear-quarantine");
        assert_home();
        assert_all_quarantined(AUDIO, false);
}

/* Nothing is written to a device that somebody uses: here a node of it, which is /dev/null's number. */
static void test_reset_in_use(void **state) {
        tree_write(kernel.tree, "sys/devices/pci0000:00/0000:00:13.0/" CARD "/drm/card0/uevent",
                   "DEVNAME=dri/card0\n");
        tree_link(kernel.tree, "sys/dev/char/1:3", "sys/devices/pci0000:00/0000:00:13.0/" CARD "/drm/card0");
        tree_add_process(kernel.tree, 4001, "painter", "/system.slice/painter.service", "mnt:[4026531841]");
        tree_open(kernel.tree, 4001, 3, "/dev/null", O_RDWR);

        assert_fails("reset", ERROR_DEVICE_IN_USE, "painter", "");
        assert_string_equal(kernel.log, "");
        assert_home();
        assert_no_record(CARD);
}

/* A helper that came to no end left a record; one that cannot begin does not throw it away. */
static void test_record_of_another_helper(void **state) {
        _cleanup_(claim_freep) Claim *claim = NULL;

        succeed("bind", VM);
        claim = record_of(CARD);
        claim->state = CLAIM_RELEASING;
        assert_int_equal(claim_write(CLAIMS_FD, claim), 0);
        tree_set_driver(kernel.tree, CARD, NULL);
        tree_write(kernel.tree, "claims/" AUDIO, "{");

        assert_fails("bind", ERROR_INTERNAL, "claim record of " AUDIO, "");
        assert_on(CARD, native[0]);
}

/* --- drives whose driver is at work ------------------------------------------------------------------------ */

static int run_on_drive(const char *name, struct json_object *result, Error *error) {
        return run_verb_on(drive, 1, getppid(), name, VM, result, error);
}

static void succeed_on_drive(const char *name) {
        _cleanup_json_ struct json_object *result = json_object_new_object();
        _cleanup_error_ Error error = ERROR_INIT;

        if (run_on_drive(name, result, &error) < 0)
                fail_msg("%s: %s", name, error.message);
}

static void set_controller(const char *state, const char *serial) {
        tree_set_controller(kernel.tree, DRIVE_PATH, "nvme0", state, serial);
}

static void add_drive(const char *state, const char *serial) {
        free(tree_add_function(kernel.tree, &(TreeFunction) { .below = "pci0000:00/0000:00:14.0", .address = DRIVE,
                                                             .vendor = 0x144d, .device = 0xa808,
                                                             .subsystem_vendor = 0x144d, .class = 0x010802,
                                                             .driver = NVME_DRIVER, .group = 12,
                                                             .reset_method = "flr" }));
        tree_add_controller(kernel.tree, DRIVE_PATH, "nvme0", "nqn.test");
        set_controller(state, serial);
}

/* A driver that is done after a while. What it exits with says whether there was a record until then. */
static pid_t begin_probe(void) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid > 0)
                return pid;
        (void) usleep(300 * USEC_PER_MSEC);
        bool recorded = tree_exists(kernel.tree, "claims/" DRIVE);
        set_controller("live", "S1");
        _exit(recorded);
}

static bool end_probe(pid_t pid) {
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status) == 1;
}

/* Which one it is goes into the record, also where that was not known when the helper began. */
static void test_drive_is_known_before_it_is_taken(void **state) {
        add_drive("connecting", "(efault)");
        pid_t pid = begin_probe();
        succeed_on_drive("bind");
        assert_false(end_probe(pid));

        _cleanup_(claim_freep) Claim *claim = record_of(DRIVE);
        assert_on(DRIVE, VFIO_DRIVER);
        assert_string_equal(str_na(claim->serial), "S1");
        assert_int_equal(claim->subsystem_vendor_id, 0x144d);
}

/* It is home when its driver says so, and recorded until then. */
static void test_drive_is_home_when_it_is_live(void **state) {
        add_drive("live", "S1");
        succeed_on_drive("bind");
        set_controller("connecting", "(efault)");
        pid_t pid = begin_probe();
        succeed_on_drive("release");
        assert_true(end_probe(pid));
        assert_on(DRIVE, NVME_DRIVER);
        assert_no_record(DRIVE);
}

static void test_dead_drive_is_left_alone(void **state) {
        _cleanup_json_ struct json_object *result = json_object_new_object();
        _cleanup_error_ Error error = ERROR_INIT;

        add_drive("dead", "S1");
        assert_true(run_on_drive("bind", result, &error) < 0);
        assert_int_equal(error.code, ERROR_WEDGED);
        assert_non_null(strstr(error.message, "nvme0 is dead"));
        assert_string_equal(kernel.log, "");
        assert_on(DRIVE, NVME_DRIVER);
        assert_no_record(DRIVE);
}

/* Where a reset is asked for by name it is what may help. */
static void test_dead_drive_is_reset(void **state) {
        add_drive("dead", "S1");
        succeed_on_drive("reset");
        assert_true(was_written("drive:reset"));
        assert_on(DRIVE, NVME_DRIVER);
        assert_no_record(DRIVE);
}

/* Its namespaces are not there yet: that nothing is seen on them is not told as having seen nothing. */
static void test_inspection_before_it_is_live(void **state) {
        _cleanup_json_ struct json_object *early = json_object_new_object(), *late = json_object_new_object();
        _cleanup_error_ Error error = ERROR_INIT;

        add_drive("connecting", "(efault)");
        assert_int_equal(run_on_drive("inspect", early, &error), 0);
        assert_null(json_object_object_get(early, DRIVE));
        set_controller("live", "S1");
        assert_int_equal(run_on_drive("inspect", late, &error), 0);
        assert_non_null(json_object_object_get(late, DRIVE));
}

/* A drive of the same model in its place is not moved by the record of the one before. */
static void test_record_of_another_drive(void **state) {
        add_drive("live", "S1");
        succeed_on_drive("bind");
        tree_set_driver(kernel.tree, DRIVE, NVME_DRIVER);
        set_controller("live", "S2");
        succeed_on_drive("release");
        assert_string_equal(kernel.log, "");
        assert_on(DRIVE, NVME_DRIVER);

        set_controller("live", "S1");
        succeed_on_drive("release");
        assert_no_record(DRIVE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_there_and_back),
                TEST(test_not_taken_back),
                TEST(test_asked_for_by_nobody),
                TEST(test_record_of_another_device),
                TEST(test_no_reset_before_handing_out),
                TEST(test_dead_after_reset),
                TEST(test_no_reset_after_taking_back),
                TEST(test_no_reset_while_it_waits),
                TEST(test_died_while_it_waited),
                TEST(test_died_in_the_guest),
                TEST(test_driver_does_not_take_it_back),
                TEST(test_dead_at_home),
                TEST(test_stays_asleep),
                TEST(test_one_is_gone),
                TEST(test_clear),
                TEST(test_clear_at_home),
                TEST(test_clear_one_of_two),
                TEST(test_clear_cannot_begin),
                TEST(test_clear_unreadable_record),
                TEST(test_reset),
                TEST(test_reset_of_what_waits),
                TEST(test_reset_fails),
                TEST(test_reset_in_use),
                TEST(test_record_of_another_helper),
                TEST(test_drive_is_known_before_it_is_taken),
                TEST(test_drive_is_home_when_it_is_live),
                TEST(test_dead_drive_is_left_alone),
                TEST(test_dead_drive_is_reset),
                TEST(test_inspection_before_it_is_live),
                TEST(test_record_of_another_drive),
        };

        /* The helper's own numbers are not to be had by chance. */
        if (dup2(STDERR_FILENO, ROOT_FD) < 0 || dup2(STDERR_FILENO, CLAIMS_FD) < 0)
                return EXIT_FAILURE;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
