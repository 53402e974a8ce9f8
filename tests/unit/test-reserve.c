/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reservations: the records, the rule by which a device is held before its driver, and the program that does
 * it, on hosts made of files. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <err.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/strv.h"
#include "core/helper-reserve.h"
#include "host/early.h"
#include "tree.h"

#define DRIVE "0000:01:00.0"
#define DRIVE_DIRECTORY "sys/bus/pci/devices/" DRIVE
#define OTHER "0000:02:00.0"
#define GPU "0000:03:00.0"
#define AUDIO "0000:03:00.1"
#define RECORD "etc/vmkit/reserved.d/" DRIVE
#define OVERRIDE(address) "sys/bus/pci/devices/" address "/driver_override"

static PciAddress at(const char *text) {
        PciAddress address;

        assert_int_equal(pci_address_parse(text, &address), 0);
        return address;
}

static void add(Tree *t, const char *address, unsigned vendor, unsigned class, int group) {
        _cleanup_free_ char *path = tree_add_function(
                t, &(TreeFunction) { .address = address, .vendor = vendor, .device = 0x10, .class = class,
                                     .group = group });
        char file[128];

        snprintf(file, sizeof(file), "sys/devices/%s/revision", path);
        tree_write(t, file, "0x02\n");
}

/* A drive, a graphics card with its sound, nothing bound. */
static Tree *host(void) {
        Tree *t = tree_new();

        add(t, DRIVE, 0x144d, 0x010802, 1);
        add(t, GPU, 0x10de, 0x038000, 3);
        add(t, AUDIO, 0x10de, 0x040300, 3);
        return t;
}

static Reservation *reserve(Tree *t, const char *address, bool alone) {
        Reservation *reservation = calloc(1, sizeof(Reservation));
        ReservedFunction *f = reservation_add(reservation);
        const PciAddress a = at(address);

        assert_int_equal(pci_identity_read(t->fd, &a, &f->id), 0);
        f->alone = alone;
        f->driver = strdup("nvme");
        return reservation;
}

static void reserve_more(Tree *t, Reservation *reservation, const char *address) {
        const PciAddress a = at(address);

        assert_int_equal(pci_identity_read(t->fd, &a, &reservation_add(reservation)->id), 0);
}

static EarlyVerdict judge(Tree *t, const Reservation *reservation) {
        const ReservedFunction *which;

        return early_judge_unit(t->fd, reservation, &which);
}

static PciDevice *inventory_device(const Inventory *inventory, const char *address) {
        const PciAddress a = at(address);

        return inventory_find(inventory, &a);
}

/* --- records --------------------------------------------------------------------------------------------- */

static void test_record_comes_back_as_it_was(void **state) {
        _cleanup_tree_ Tree *t = host();
        _cleanup_(reservation_freep) Reservation *written = reserve(t, GPU, false);
        _cleanup_reservations_ Reservations read = {};

        reserve_more(t, written, AUDIO);
        written->functions[0].id.serial_number = 0xfedcba9876543210;
        written->functions[0].id.boot_vga = true;
        written->functions[1].serial = strdup("S 1");
        written->functions[1].alone = true;
        assert_int_equal(strv_push(&written->allow, "has-data"), 0);
        assert_int_equal(reservation_write(t->fd, written), 0);

        assert_int_equal(reservations_read(t->fd, &read, NULL), 0);
        assert_int_equal(read.n, 1);
        const Reservation *found = read.items[0];
        assert_int_equal(found->n, 2);
        for (size_t i = 0; i < 2; i++) {
                const ReservedFunction *a = &written->functions[i], *b = &found->functions[i];

                assert_true(pci_address_equal(&a->id.address, &b->id.address));
                assert_true(pci_identity_same_model(&a->id, &b->id));
                assert_string_equal(a->id.slot_path, b->id.slot_path);
                assert_true(a->id.serial_number == b->id.serial_number);
                assert_int_equal(a->id.boot_vga, b->id.boot_vga);
                assert_int_equal(a->alone, b->alone);
                assert_true(streq_ptr(a->serial, b->serial));
                assert_true(streq_ptr(a->driver, b->driver));
        }
        assert_true(strv_contains(found->allow, "has-data"));
}

/* A device says what its serial number is, and must not be able to say more. */
static void test_serial_cannot_add_lines(void **state) {
        _cleanup_tree_ Tree *t = host();
        _cleanup_(reservation_freep) Reservation *reservation = reserve(t, DRIVE, true);
        _cleanup_free_ char *text = NULL;

        reservation->functions[0].serial = strdup("S1\nalone=no");
        assert_int_equal(reservation_format(reservation, &text), 0);
        assert_null(strstr(text, "alone=no"));
}

/* Of an earlier version, which took it down while the driver was at work. */
static void test_serial_that_is_none(void **state) {
        _cleanup_(reservation_freep) Reservation *unknown = NULL, *known = NULL;

        assert_int_equal(reservation_parse("version=1\n[" DRIVE "]\npath=x\nserial=(efault)\n", &unknown), 0);
        assert_null(unknown->functions[0].serial);
        assert_int_equal(reservation_parse("version=1\n[" DRIVE "]\npath=x\nserial=S1\n", &known), 0);
        assert_string_equal(known->functions[0].serial, "S1");
}

static void test_last_record_takes_the_directory_along(void **state) {
        _cleanup_tree_ Tree *t = host();
        _cleanup_(reservation_freep) Reservation *drive = reserve(t, DRIVE, true), *gpu = reserve(t, GPU, false);
        const PciAddress first = at(DRIVE), second = at(GPU);

        assert_int_equal(reservation_write(t->fd, drive), 0);
        assert_int_equal(reservation_write(t->fd, gpu), 0);
        assert_int_equal(reservation_remove(t->fd, &first), 0);
        assert_true(tree_exists(t, "etc/vmkit/reserved.d/" GPU));
        assert_int_equal(reservation_remove(t->fd, &second), 0);
        assert_false(tree_exists(t, "etc/vmkit/reserved.d"));
        assert_int_equal(reservation_remove(t->fd, &second), 0);
}

static void test_what_is_not_understood_holds_nothing(void **state) {
        static const char *const texts[] = {
                "",
                "version=1\n",
                "[" DRIVE "]\npath=x\n",
                "version=2\n[" DRIVE "]\npath=x\n",
                "version=1\n[" DRIVE "]\nvendor=144d\n",
                "version=1\n[" DRIVE "]\npath=x\nvendor=1144d\n",
                "version=1\n[" DRIVE "]\npath=x\nfuture=1\n",
                "version=1\n[" DRIVE "]\npath=x\nalone=perhaps\n",
                "version=1\n[" DRIVE "]\npath=x\n[" DRIVE "]\npath=x\n",
                "version=1\n[" OTHER "]\npath=x\n",
                "version=1\n[" DRIVE "\npath=x\n",
                "version=1\n[" DRIVE "]\npath=\x01\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_tree_ Tree *t = host();
                _cleanup_reservations_ Reservations read = {};
                _cleanup_strv_ char **bad = NULL;

                tree_write(t, RECORD, "%s", texts[i]);
                assert_int_equal(reservations_read(t->fd, &read, &bad), 0);
                assert_int_equal(read.n, 0);
                assert_true(strv_contains(bad, DRIVE));
        }
}

static void test_serial_number_of_pci(void **state) {
        _cleanup_tree_ Tree *t = host();
        _cleanup_pci_identity_ PciIdentity id = {};
        unsigned char config[4096] = {
                [0x100] = 0x01, [0x102] = 0x01, [0x103] = 0x15, /* some capability, the next at 150 */
                [0x150] = 0x03, [0x152] = 0x01,
                [0x154] = 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
        };
        const PciAddress address = at(DRIVE);

        tree_write_bytes(t, DRIVE_DIRECTORY "/config", config, sizeof(config));
        assert_int_equal(pci_identity_read(t->fd, &address, &id), 0);
        assert_true(id.serial_number == 0x8877665544332211);
        pci_identity_clear(&id);

        /* A list that leads back to itself ends. */
        config[0x152] = 0x01, config[0x150] = 0x02, config[0x153] = 0x15;
        tree_write_bytes(t, DRIVE_DIRECTORY "/config", config, sizeof(config));
        assert_int_equal(pci_identity_read(t->fd, &address, &id), 0);
        assert_true(id.serial_number == 0);
}

/* --- the rule -------------------------------------------------------------------------------------------- */

static void test_held_as_long_as_no_driver_has_it(void **state) {
        _cleanup_tree_ Tree *t = host();
        _cleanup_(reservation_freep) Reservation *reservation = reserve(t, DRIVE, true);

        assert_int_equal(judge(t, reservation), EARLY_HOLD);
        tree_set_driver(t, DRIVE, "vfio-pci");
        assert_int_equal(judge(t, reservation), EARLY_HELD);
        tree_remove(t, DRIVE_DIRECTORY "/driver");
        tree_set_driver(t, DRIVE, "nvme");
        assert_int_equal(judge(t, reservation), EARLY_TAKEN);
}

static void test_another_device_is_left_alone(void **state) {
        static const struct {
                const char *attribute, *value;
        } changes[] = {
                { "vendor", "0x1234" },         { "device", "0x11" },           { "class", "0x010601" },
                { "revision", "0x03" },         { "subsystem_vendor", "0x1" },  { "subsystem_device", "0x1" },
                { "boot_vga", "1" },
        };

        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                _cleanup_tree_ Tree *t = host();
                _cleanup_(reservation_freep) Reservation *reservation = reserve(t, DRIVE, true);
                char path[128];

                snprintf(path, sizeof(path), DRIVE_DIRECTORY "/%s", changes[i].attribute);
                tree_write(t, path, "%s\n", changes[i].value);
                assert_int_equal(judge(t, reservation), EARLY_CHANGED);
        }
}

static void test_another_place_is_left_alone(void **state) {
        _cleanup_tree_ Tree *t = host();
        _cleanup_(reservation_freep) Reservation *reservation = reserve(t, DRIVE, true);

        free(reservation->functions[0].id.slot_path);
        reservation->functions[0].id.slot_path = strdup("pci0000:00/0000:00:1c.0/" DRIVE);
        assert_int_equal(judge(t, reservation), EARLY_CHANGED);

        reservation->functions[0].id.address = at(OTHER);
        assert_int_equal(judge(t, reservation), EARLY_ABSENT);
}

static void give_serial_number(Tree *t, const char *path, unsigned char number) {
        const unsigned char config[4096] = { [0x100] = 0x03, [0x102] = 0x01, [0x104] = number };

        tree_write_bytes(t, path, config, sizeof(config));
}

/* The host's own drive is of the same model, and may be the one that sits there now. */
static void test_twin_of_a_drive_makes_it_ambiguous(void **state) {
        _cleanup_tree_ Tree *t = host();
        _cleanup_(reservation_freep) Reservation *reservation = reserve(t, DRIVE, true);

        add(t, OTHER, 0x144d, 0x010802, 2);
        assert_int_equal(judge(t, reservation), EARLY_AMBIGUOUS);

        /* It does not matter where nothing of the host can be behind it. */
        reservation->functions[0].alone = false;
        assert_int_equal(judge(t, reservation), EARLY_HOLD);
}

static void test_pci_serial_number_tells_twins_apart(void **state) {
        _cleanup_tree_ Tree *t = host();

        give_serial_number(t, DRIVE_DIRECTORY "/config", 7);
        _cleanup_(reservation_freep) Reservation *reservation = reserve(t, DRIVE, true);
        add(t, OTHER, 0x144d, 0x010802, 2);
        assert_int_equal(judge(t, reservation), EARLY_HOLD);

        give_serial_number(t, DRIVE_DIRECTORY "/config", 8);
        assert_int_equal(judge(t, reservation), EARLY_CHANGED);
}

static void do_not_answer(Tree *t, const char *path, size_t from) {
        unsigned char config[4096] = { [0x100] = 0x03, [0x102] = 0x01, [0x104] = 7 };

        memset(config + from, 0xff, sizeof(config) - from);
        tree_write_bytes(t, path, config, sizeof(config));
}

/* Asleep in D3cold or off the bus it reads as ones, which is no serial number and not the lack of one. */
static void test_a_device_that_does_not_answer(void **state) {
        static const size_t from[] = { 0, 0x100, 0x104 };

        for (size_t i = 0; i < ELEMENTSOF(from); i++) {
                _cleanup_tree_ Tree *t = host();
                const PciAddress a = at(DRIVE);

                give_serial_number(t, DRIVE_DIRECTORY "/config", 7);
                _cleanup_(reservation_freep) Reservation *reservation = reserve(t, DRIVE, true);
                assert_false(reservation->functions[0].id.serial_is_unknown);

                do_not_answer(t, DRIVE_DIRECTORY "/config", from[i]);
                _cleanup_pci_identity_ PciIdentity now = {};
                assert_int_equal(pci_identity_read(t->fd, &a, &now), 0);
                assert_true(now.serial_is_unknown);
                assert_true(now.serial_number == 0);

                assert_int_equal(judge(t, reservation), EARLY_HOLD);
                add(t, OTHER, 0x144d, 0x010802, 2);
                assert_int_equal(judge(t, reservation), EARLY_AMBIGUOUS);
        }
}

/* One that answers and has no number, or has no such space at all, is not one that had a number. */
static void test_a_device_without_serial_number(void **state) {
        const unsigned char config[4096] = {};
        _cleanup_tree_ Tree *t = host();

        give_serial_number(t, DRIVE_DIRECTORY "/config", 7);
        _cleanup_(reservation_freep) Reservation *reservation = reserve(t, DRIVE, true);
        tree_write_bytes(t, DRIVE_DIRECTORY "/config", config, sizeof(config));
        assert_int_equal(judge(t, reservation), EARLY_CHANGED);
        tree_write_bytes(t, DRIVE_DIRECTORY "/config", config, 256);
        assert_int_equal(judge(t, reservation), EARLY_CHANGED);
}

static void test_without_iommu_it_is_left_alone(void **state) {
        _cleanup_tree_ Tree *t = host();
        _cleanup_(reservation_freep) Reservation *reservation = reserve(t, DRIVE, true);

        tree_remove(t, DRIVE_DIRECTORY "/iommu_group");
        assert_int_equal(judge(t, reservation), EARLY_NO_IOMMU);
}

/* Only the firmware's framebuffer tells that of a display that is no VGA device. */
static void test_display_of_the_firmware_takes_consent(void **state) {
        _cleanup_tree_ Tree *t = host();
        _cleanup_(reservation_freep) Reservation *reservation = reserve(t, GPU, false);

        tree_write(t, "proc/iomem", "c0000000-cfffffff : " GPU "\n  c0000000-c02fffff : BOOTFB\n");
        assert_int_equal(judge(t, reservation), EARLY_DISPLAY);
        assert_int_equal(strv_push(&reservation->allow, "boot-display"), 0);
        assert_int_equal(judge(t, reservation), EARLY_HOLD);
}

static void test_unit_is_held_whole_or_not_at_all(void **state) {
        _cleanup_tree_ Tree *t = host();
        _cleanup_(reservation_freep) Reservation *reservation = reserve(t, GPU, false);
        const ReservedFunction *which;

        reserve_more(t, reservation, AUDIO);
        assert_int_equal(judge(t, reservation), EARLY_HOLD);
        tree_set_driver(t, GPU, "vfio-pci");
        assert_int_equal(judge(t, reservation), EARLY_HOLD);

        tree_set_driver(t, AUDIO, "snd_hda_intel");
        assert_int_equal(early_judge_unit(t->fd, reservation, &which), EARLY_TAKEN);
        assert_int_equal(which->id.address.function, 1);
}

/* --- the program ----------------------------------------------------------------------------------------- */

/* What it printed. */
static char *run_tool(const Tree *t, const char *address) {
        char command[512], output[64] = "";

        snprintf(command, sizeof(command), "%s --root %s %s", getenv("VMKIT_RESERVE_TOOL"), t->path,
                 address ? address : "");
        FILE *f = popen(command, "re");
        assert_non_null(f);
        if (!fgets(output, sizeof(output), f))
                *output = '\0';
        assert_int_equal(pclose(f), 0);
        return strdup(output);
}

static void assert_override(Tree *t, const char *path, const char *expected) {
        _cleanup_free_ char *override = tree_read(t, path);

        override[strcspn(override, "\n")] = '\0';
        assert_string_equal(override, expected);
}

static Tree *host_with_reservations(void) {
        Tree *t = host();
        _cleanup_(reservation_freep) Reservation *drive = reserve(t, DRIVE, true), *gpu = reserve(t, GPU, false);

        reserve_more(t, gpu, AUDIO);
        tree_mkdir(t, "run");
        tree_write(t, "dev/kmsg", "%s", "");
        assert_int_equal(reservation_write(t->fd, drive), 0);
        assert_int_equal(reservation_write(t->fd, gpu), 0);
        return t;
}

/* udev looks at many devices at once: whichever comes first must not load a driver before all is held. */
static void test_first_event_holds_all(void **state) {
        _cleanup_tree_ Tree *t = host_with_reservations();
        _cleanup_free_ char *output = run_tool(t, "0000:00:1f.0"), *driver = NULL;
        const PciAddress address = at(DRIVE);

        assert_string_equal(output, "load\n");
        assert_override(t, OVERRIDE(DRIVE), "vfio-pci");
        assert_override(t, OVERRIDE(GPU), "vfio-pci");
        assert_override(t, OVERRIDE(AUDIO), "vfio-pci");
        assert_int_equal(early_record_find(t->fd, &address, &driver), 0);
        assert_string_equal(driver, "nvme");

        _cleanup_free_ char *said = tree_read(t, "dev/kmsg");
        assert_non_null(strstr(said, DRIVE ": held for vfio-pci"));
        assert_non_null(strstr(said, GPU ": held for vfio-pci"));
}

static void test_later_events_are_about_one(void **state) {
        _cleanup_tree_ Tree *t = host_with_reservations();

        tree_write(t, "run/vmkit-reserve", "# somebody was first\n");
        free(run_tool(t, AUDIO));
        assert_override(t, OVERRIDE(DRIVE), "(null)");
        assert_override(t, OVERRIDE(GPU), "vfio-pci");
        assert_override(t, OVERRIDE(AUDIO), "vfio-pci");
}

static void test_vfio_that_is_loaded_is_made_to_bind(void **state) {
        _cleanup_tree_ Tree *t = host_with_reservations();

        tree_add_driver(t, "vfio-pci");
        _cleanup_free_ char *output = run_tool(t, NULL), *probed = tree_read(t, "sys/bus/pci/drivers_probe");
        assert_string_equal(output, "");
        assert_string_equal(probed, AUDIO); /* the last of them */
}

static void test_command_line_switches_off(void **state) {
        _cleanup_tree_ Tree *t = host_with_reservations();

        tree_write(t, "proc/cmdline", "root=/dev/vda1 vmkit.reserve=0 quiet\n");
        _cleanup_free_ char *output = run_tool(t, NULL);
        assert_string_equal(output, "");
        assert_override(t, OVERRIDE(DRIVE), "(null)");
        assert_true(reservations_are_switched_off(t->fd));
}

static void test_a_driver_is_never_unbound(void **state) {
        _cleanup_tree_ Tree *t = host_with_reservations();

        tree_set_driver(t, DRIVE, "nvme");
        free(run_tool(t, NULL));
        assert_override(t, OVERRIDE(DRIVE), "(null)");
        assert_override(t, OVERRIDE(GPU), "vfio-pci");
}

/* It goes into initramfs, where a library more is a library that may be missing. */
static void test_program_needs_libc_alone(void **state) {
        char command[512], line[256];
        unsigned n = 0;

        snprintf(command, sizeof(command), "readelf -d %s", getenv("VMKIT_RESERVE_TOOL"));
        FILE *f = popen(command, "re");
        assert_non_null(f);
        while (fgets(line, sizeof(line), f))
                if (strstr(line, "(NEEDED)")) {
                        /* A sanitizer brings its own. */
                        assert_non_null(strstr(line, "[libc.so") ?: strstr(line, "san.so"));
                        n++;
                }
        assert_int_equal(pclose(f), 0);
        assert_true(n > 0);
}

/* --- the way back ---------------------------------------------------------------------------------------- */

static void assert_original(Tree *t, const char *driver, const char *override) {
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        _cleanup_device_state_ DeviceState original = { .driver = strdup("vfio-pci"),
                                                        .driver_override = strdup("vfio-pci") };

        assert_int_equal(inventory_read(t->fd, &inventory), 0);
        assert_int_equal(reserved_original(t->fd, inventory_device(inventory, DRIVE), &original), 0);
        assert_true(streq_ptr(original.driver, driver));
        assert_true(streq_ptr(original.driver_override, override));
}

static void test_way_back_of_what_was_held_early(void **state) {
        _cleanup_tree_ Tree *t = host_with_reservations();
        const PciAddress address = at(DRIVE);

        tree_set_driver(t, DRIVE, "vfio-pci");
        assert_original(t, "nvme", NULL);

        /* Unreserved since, but the initramfs did not know. */
        assert_int_equal(reservation_remove(t->fd, &address), 0);
        assert_original(t, "vfio-pci", "vfio-pci");
        tree_write(t, "run/vmkit-reserve", "# \n" DRIVE " nvme\n" GPU " \n");
        assert_original(t, "nvme", NULL);
}

static void test_held_for_good_is_about_this_device(void **state) {
        _cleanup_tree_ Tree *t = host_with_reservations();
        _cleanup_(inventory_freep) Inventory *inventory = NULL;

        assert_int_equal(inventory_read(t->fd, &inventory), 0);
        PciDevice *drive = inventory_device(inventory, DRIVE);
        assert_true(device_is_held_for_good(t->fd, drive));
        drive->device_id++;
        assert_false(device_is_held_for_good(t->fd, drive));
}

static void test_drive_with_another_serial_is_not_it(void **state) {
        _cleanup_tree_ Tree *t = host();
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        _cleanup_(reservation_freep) Reservation *reservation = reserve(t, DRIVE, true);

        assert_int_equal(inventory_read(t->fd, &inventory), 0);
        PciDevice *drive = inventory_device(inventory, DRIVE);
        reservation->functions[0].serial = strdup("S1");
        assert_true(reserved_function_is(&reservation->functions[0], drive));
        drive->serial = strdup("S2");
        assert_false(reserved_function_is(&reservation->functions[0], drive));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_record_comes_back_as_it_was),
                cmocka_unit_test(test_serial_cannot_add_lines),
                cmocka_unit_test(test_serial_that_is_none),
                cmocka_unit_test(test_last_record_takes_the_directory_along),
                cmocka_unit_test(test_what_is_not_understood_holds_nothing),
                cmocka_unit_test(test_serial_number_of_pci),
                cmocka_unit_test(test_held_as_long_as_no_driver_has_it),
                cmocka_unit_test(test_another_device_is_left_alone),
                cmocka_unit_test(test_another_place_is_left_alone),
                cmocka_unit_test(test_twin_of_a_drive_makes_it_ambiguous),
                cmocka_unit_test(test_pci_serial_number_tells_twins_apart),
                cmocka_unit_test(test_a_device_that_does_not_answer),
                cmocka_unit_test(test_a_device_without_serial_number),
                cmocka_unit_test(test_without_iommu_it_is_left_alone),
                cmocka_unit_test(test_display_of_the_firmware_takes_consent),
                cmocka_unit_test(test_unit_is_held_whole_or_not_at_all),
                cmocka_unit_test(test_first_event_holds_all),
                cmocka_unit_test(test_later_events_are_about_one),
                cmocka_unit_test(test_vfio_that_is_loaded_is_made_to_bind),
                cmocka_unit_test(test_command_line_switches_off),
                cmocka_unit_test(test_a_driver_is_never_unbound),
                cmocka_unit_test(test_program_needs_libc_alone),
                cmocka_unit_test(test_way_back_of_what_was_held_early),
                cmocka_unit_test(test_held_for_good_is_about_this_device),
                cmocka_unit_test(test_drive_with_another_serial_is_not_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
