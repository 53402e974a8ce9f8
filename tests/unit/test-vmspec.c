/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Domain XML both ways. The files under golden/ are what libvirt gets; after a wanted change,
 * run this with VMKIT_UPDATE_GOLDEN=1 and read the difference. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "base/io.h"
#include "base/strv.h"
#include "virt/vmspec.h"

#ifndef GOLDEN_DIR
#define GOLDEN_DIR "golden"
#endif

typedef void (*Configure)(VmSpec *spec);

static void set(char **field, const char *value) {
        free(*field);
        *field = NULL;
        if (value) {
                *field = strdup(value);
                assert_non_null(*field);
        }
}

static VmDevice *add_device(VmSpec *spec, const char *address, const char *kind) {
        VmDevice *d = vm_spec_add_device(spec);

        assert_non_null(d);
        assert_int_equal(pci_address_parse(address, &d->address), 0);
        d->requested = d->address;
        d->requested.function = 0;
        set(&d->kind, kind);
        d->vendor_id = 0x1234;
        d->device_id = 0x1111;
        d->subsystem_vendor_id = 0x1af4;
        d->subsystem_device_id = 0x1100;
        return d;
}

static VmSpec *new_spec(Configure configure) {
        VmSpec *spec = vm_spec_new();

        assert_non_null(spec);
        set(&spec->name, "gaming-vm");
        strcpy(spec->uuid, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
        spec->owner = 1000;
        spec->created_at = 1764000000123456;
        spec->memory = 2 * GIB;
        spec->cpus = 2;
        set(&spec->on_stop, "");
        set(&spec->graphics, "none");
        set(&spec->firmware, "uefi");
        set(&spec->network, "none");
        set(&spec->pin, "none");
        set(&spec->hugepages, "none");
        set(&spec->numa, "none");
        set(&spec->guest_os, "linux");
        set(&spec->domain_type, "kvm");
        if (configure)
                configure(spec);
        return spec;
}

static void with_image(VmSpec *spec) {
        set(&spec->disk_path, "/var/lib/vmkit/images/c7a5fdbd/disk.qcow2");
        set(&spec->disk_format, "qcow2");
        spec->disk_bytes = 10 * GIB;
        set(&spec->seed_path, "/var/lib/vmkit/images/c7a5fdbd/seed.iso");
        set(&spec->image, "@debian");
        set(&spec->network, "user");
}

static void with_gpu(VmSpec *spec) {
        add_device(spec, "0000:01:00.0", "gpu");
        add_device(spec, "0000:01:00.1", "audio");
}

static void bios_empty(VmSpec *spec) {
        set(&spec->firmware, "bios");
        set(&spec->domain_type, "qemu");
        spec->memory = 512 * MIB;
        spec->cpus = 1;
}

static void bios_gpu_nvme(VmSpec *spec) {
        VmDevice *nvme;

        with_image(spec);
        set(&spec->firmware, "bios");
        with_gpu(spec);
        nvme = add_device(spec, "0000:03:00.0", "nvme");
        set(&nvme->serial, "S64DNX0R612345");
        set(&nvme->slot_path, "0000:00:1d.0/00.0");
        assert_int_equal(strv_push(&nvme->allow, "has-data"), 0);
        assert_int_equal(strv_push(&nvme->allow, "fstab"), 0);
}

static void uefi_image(VmSpec *spec) {
        with_image(spec);
        set(&spec->network, "default");
        spec->io_threads = 2;
        spec->autostart = true;
}

static void secure_boot_tpm(VmSpec *spec) {
        with_image(spec);
        spec->secure_boot = spec->tpm = true;
        set(&spec->domain_type, "qemu");
}

static void overlay(VmSpec *spec) {
        with_image(spec);
        set(&spec->base_path, "/var/lib/vmkit/bases/4711.raw");
        set(&spec->base_format, "raw");
}

static void user_passt(VmSpec *spec) {
        with_image(spec);
        spec->ssh_port = 22017;
        set(&spec->user, "alice");
}

static void nvme_boot(VmSpec *spec) {
        add_device(spec, "0000:03:00.0", "nvme");
        add_device(spec, "0000:04:00.0", "nvme");
        set(&spec->on_stop, "hold");
}

static void installer(VmSpec *spec) {
        nvme_boot(spec);
        set(&spec->cdrom_path, "/var/lib/vmkit/images/c7a5fdbd/cdrom.iso");
        set(&spec->graphics, "vnc");
}

static void windows_spice(VmSpec *spec) {
        with_image(spec);
        with_gpu(spec);
        set(&spec->graphics, "spice");
        set(&spec->guest_os, "windows");
        spec->hide_hypervisor = spec->tpm = spec->secure_boot = true;
}

static void huge_pages(VmSpec *spec) {
        with_image(spec);
        set(&spec->hugepages, "1G");
        set(&spec->numa, "0");
        set(&spec->nodes, "0");
        spec->page_size = GIB;
        spec->memory = 16 * GIB;
        spec->cpus = 8;
}

static void small_huge_pages(VmSpec *spec) {
        with_image(spec);
        set(&spec->hugepages, "auto");
        spec->page_size = 2 * MIB;
}

static void shape(VmSpec *spec, unsigned sockets, unsigned dies, unsigned cores, unsigned threads) {
        spec->sockets = sockets;
        spec->dies = dies;
        spec->cores = cores;
        spec->threads = threads;
        spec->cpus = sockets * dies * cores * threads;
}

/* cpus: one for each of the guest's, separated by spaces. */
static void pin(VmSpec *spec, const char *cpus, const char *emulator) {
        set(&spec->pin, "auto");
        assert_int_equal(strv_split(cpus, " ", &spec->cpu_pins), 0);
        set(&spec->emulator_pins, emulator);
}

/* A desktop with one socket: whole cores, the first left to the host. */
static void pinned_desktop(VmSpec *spec) {
        with_image(spec);
        with_gpu(spec);
        shape(spec, 1, 1, 4, 2);
        pin(spec, "1 9 2 10 3 11 4 12", "0,5-8,13-15");
        spec->io_threads = 1;
}

static void pinned_socket(VmSpec *spec) {
        with_image(spec);
        with_gpu(spec);
        shape(spec, 1, 1, 2, 2);
        pin(spec, "8 24 9 25", "10-15,26-31");
        set(&spec->numa, "auto");
        set(&spec->nodes, "1");
        set(&spec->hugepages, "auto");
        spec->page_size = GIB;
        spec->memory = 4 * GIB;
}

/* More than either of two sockets has. */
static void both_sockets(VmSpec *spec) {
        with_image(spec);
        with_gpu(spec);
        shape(spec, 2, 1, 2, 2);
        pin(spec, "8 24 9 25 1 17 2 18", "0,3-7,10-16,19-23,26-31");
        set(&spec->numa, "auto");
        set(&spec->nodes, "0-1");
        spec->memory = 96 * GIB;
        spec->page_size = 2 * MIB;
        set(&spec->hugepages, "2M");
        assert_int_equal(vm_spec_add_cell(spec, &(VmCell) { .cpus = 4, .memory = 48 * GIB, .node = 1 }), 0);
        assert_int_equal(vm_spec_add_cell(spec, &(VmCell) { .cpus = 4, .memory = 48 * GIB, .node = 0 }), 0);
}

/* Memory of two nodes without pins: the CPUs of each cell stay on its node. */
static void cells_without_pins(VmSpec *spec) {
        with_image(spec);
        shape(spec, 2, 1, 1, 1);
        assert_int_equal(strv_split("0-7,16-23 8-15,24-31", " ", &spec->cpu_pins), 0);
        set(&spec->numa, "auto");
        set(&spec->nodes, "0-1");
        spec->memory = 2 * GIB + 3 * MIB;
        assert_int_equal(vm_spec_add_cell(spec, &(VmCell) { .cpus = 1, .memory = GIB + 2 * MIB }), 0);
        assert_int_equal(vm_spec_add_cell(spec, &(VmCell) { .cpus = 1, .memory = GIB + MIB, .node = 1 }), 0);
}

static void chiplets(VmSpec *spec) {
        with_image(spec);
        shape(spec, 1, 2, 4, 2);
        spec->tells_threads = true;
        pin(spec, "4 20 5 21 6 22 7 23 8 24 9 25 10 26 11 27", "0-3,12-19,28-31");
        set(&spec->network, "default");
        spec->io_threads = 4;
}

/* Performance and efficiency cores, which the guest cannot tell apart. */
static void hybrid(VmSpec *spec) {
        with_image(spec);
        spec->cpus = 9;
        pin(spec, "2 4 6 8 10 12 14 16 17", "0-1,3,5,7,9,11,13,15,18-23");
        set(&spec->network, "default");
}

static void cpu_list(VmSpec *spec) {
        with_image(spec);
        pin(spec, "2 3", "0-1");
        set(&spec->pin, "2-3");
        set(&spec->firmware, "bios");
        set(&spec->domain_type, "qemu");
}

static void large_window(VmSpec *spec) {
        with_image(spec);
        add_device(spec, "0000:41:00.0", "gpu");
        spec->window = 512 * GIB;
}

static void vbios(VmSpec *spec) {
        with_gpu(spec);
        set(&spec->devices[0].rom_path, "/var/lib/vmkit/vms/c7a5fdbd/rom-0000_01_00_0.rom");
        set(&spec->cdrom_path, "/var/lib/vmkit/vms/c7a5fdbd/cdrom.iso");
        set(&spec->disk_path, "/var/lib/vmkit/vms/c7a5fdbd/disk.qcow2");
        set(&spec->disk_format, "qcow2");
        spec->disk_bytes = 40 * GIB;
}

static void pinned_windows(VmSpec *spec) {
        windows_spice(spec);
        shape(spec, 1, 1, 4, 2);
        pin(spec, "1 9 2 10 3 11 4 12", "0,5-8,13-15");
        set(&spec->network, "default");
        spec->io_threads = 2;
        spec->window = 64 * GIB;
}

static void many_cpus(VmSpec *spec) {
        with_image(spec);
        set(&spec->network, "default");
        set(&spec->guest_os, "other");
        spec->cpus = 64;
}

/* A drive behind VMD, a virtual function and an odd pair: none has a function 0 of its own. */
static void odd_addresses(VmSpec *spec) {
        VmDevice *d;

        with_image(spec);
        add_device(spec, "10000:e1:00.0", "nvme");
        add_device(spec, "0000:01:10.3", "network");
        add_device(spec, "0000:02:00.6", "usb");
        d = add_device(spec, "0000:02:00.4", "gpu");
        set(&d->rom_path, "/var/lib/vmkit/roms/c7a5fdbd-0000_02_00_4.rom");
}

static void hidden_kvm(VmSpec *spec) {
        with_image(spec);
        with_gpu(spec);
        spec->hide_hypervisor = true;
}

static void hidden_qemu(VmSpec *spec) {
        with_image(spec);
        spec->hide_hypervisor = true;
        set(&spec->domain_type, "qemu");
}

static void kept_ports(VmSpec *spec) {
        with_image(spec);
        add_device(spec, "0000:05:00.0", "network")->guest_port = 9;
        add_device(spec, "0000:03:00.0", "nvme");
        add_device(spec, "0000:04:00.0", "nvme")->guest_port = 7;
}

static const struct {
        const char *name;
        Configure configure;
} configurations[] = {
        { "bios-empty", bios_empty },
        { "bios-gpu-nvme", bios_gpu_nvme },
        { "uefi-image", uefi_image },
        { "secure-boot-tpm", secure_boot_tpm },
        { "overlay", overlay },
        { "user-passt", user_passt },
        { "nvme-boot", nvme_boot },
        { "installer-vnc", installer },
        { "windows-spice", windows_spice },
        { "hugepages-1g", huge_pages },
        { "hugepages-2m", small_huge_pages },
        { "odd-addresses", odd_addresses },
        { "hidden-kvm", hidden_kvm },
        { "hidden-qemu", hidden_qemu },
        { "kept-ports", kept_ports },
        { "pinned-desktop", pinned_desktop },
        { "pinned-socket", pinned_socket },
        { "both-sockets", both_sockets },
        { "cells-without-pins", cells_without_pins },
        { "chiplets", chiplets },
        { "hybrid", hybrid },
        { "cpu-list", cpu_list },
        { "large-window", large_window },
        { "vbios-installer", vbios },
        { "pinned-windows", pinned_windows },
        { "many-cpus", many_cpus },
};

static char *golden_path(const char *name) {
        char *path;

        assert_true(asprintf(&path, "%s/%s.xml", GOLDEN_DIR, name) >= 0);
        return path;
}

static char *to_xml(const VmSpec *spec) {
        char *xml = NULL;

        assert_int_equal(vm_spec_to_xml(spec, &xml), 0);
        assert_non_null(xml);
        return xml;
}

static void write_golden(const char *path, const char *xml) {
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        assert_true(fputs(xml, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static void test_golden(_unused_ void **state) {
        for (size_t i = 0; i < ELEMENTSOF(configurations); i++) {
                _cleanup_free_ char *path = golden_path(configurations[i].name);
                _cleanup_(vm_spec_freep) VmSpec *spec = new_spec(configurations[i].configure);
                _cleanup_free_ char *xml = to_xml(spec), *golden = NULL;

                if (getenv("VMKIT_UPDATE_GOLDEN"))
                        write_golden(path, xml);
                if (read_file_at(AT_FDCWD, path, MIB, &golden) < 0)
                        fail_msg("%s cannot be read", path);
                assert_string_equal(xml, golden);
        }
}

/* Made by the tests of editing, below. */
static const char *const edits[] = { "edit-attach", "edit-detach" };

static void test_golden_is_valid(_unused_ void **state) {
        if (system("command -v virt-xml-validate >/dev/null 2>&1") != 0)
                skip();

        for (size_t i = 0; i < ELEMENTSOF(configurations) + ELEMENTSOF(edits); i++) {
                const char *name = i < ELEMENTSOF(configurations) ? configurations[i].name
                                                                  : edits[i - ELEMENTSOF(configurations)];
                _cleanup_free_ char *path = golden_path(name), *command = NULL;

                assert_true(asprintf(&command, "virt-xml-validate '%s' domain >&2", path) >= 0);
                if (system(command) != 0)
                        fail_msg("%s is not valid", path);
        }
}

/* libvirt itself takes each as a definition, and what it makes of it is still the same VM. */
static void test_golden_is_accepted(_unused_ void **state) {
        virConnectPtr connection = virConnectOpen("test:///default");

        assert_non_null(connection);
        for (size_t i = 0; i < ELEMENTSOF(configurations); i++) {
                _cleanup_(vm_spec_freep) VmSpec *spec = new_spec(configurations[i].configure), *read = NULL;
                _cleanup_free_ char *xml = to_xml(spec), *theirs = NULL, *again = NULL;

                virDomainPtr domain = virDomainDefineXMLFlags(connection, xml, VIR_DOMAIN_DEFINE_VALIDATE);
                /* Debian 12's is built without passt, and there vmkitd asks for none. */
                if (!domain && spec->ssh_port > 0 && strstr(virGetLastErrorMessage(), "passt"))
                        continue;
                if (!domain)
                        fail_msg("%s: %s", configurations[i].name, virGetLastErrorMessage());
                theirs = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE);
                assert_non_null(theirs);
                assert_int_equal(vm_spec_from_xml(theirs, &read), 0);
                again = to_xml(read);
                assert_string_equal(again, xml);
                assert_int_equal(virDomainUndefine(domain), 0);
                (void) virDomainFree(domain);
        }
        (void) virConnectClose(connection);
}

static void assert_text_equal(const char *a, const char *b) {
        if (!a || !b)
                assert_ptr_equal(a, b);
        else
                assert_string_equal(a, b);
}

static void assert_device_equal(const VmDevice *a, const VmDevice *b) {
        assert_true(pci_address_equal(&a->address, &b->address));
        assert_true(pci_address_equal(&a->requested, &b->requested));
        assert_int_equal(a->vendor_id, b->vendor_id);
        assert_int_equal(a->device_id, b->device_id);
        assert_int_equal(a->subsystem_vendor_id, b->subsystem_vendor_id);
        assert_int_equal(a->subsystem_device_id, b->subsystem_device_id);
        assert_text_equal(a->kind, b->kind);
        assert_text_equal(a->serial, b->serial);
        assert_text_equal(a->slot_path, b->slot_path);
        assert_text_equal(a->rom_path, b->rom_path);
        assert_int_equal(strv_length(a->allow), strv_length(b->allow));
        STRV_FOREACH(code, a->allow)
                assert_true(strv_contains(b->allow, *code));
}

static void assert_tuning_equal(const VmSpec *a, const VmSpec *b) {
        assert_int_equal(a->sockets, b->sockets);
        assert_int_equal(a->dies, b->dies);
        assert_int_equal(a->cores, b->cores);
        assert_int_equal(a->threads, b->threads);
        assert_int_equal(a->tells_threads, b->tells_threads);
        assert_int_equal(strv_length(a->cpu_pins), strv_length(b->cpu_pins));
        for (size_t i = 0; i < strv_length(a->cpu_pins); i++)
                assert_string_equal(a->cpu_pins[i], b->cpu_pins[i]);
        assert_text_equal(a->emulator_pins, b->emulator_pins);
        assert_text_equal(a->nodes, b->nodes);
        assert_int_equal(a->n_cells, b->n_cells);
        for (size_t i = 0; i < a->n_cells; i++) {
                assert_int_equal(a->cells[i].cpus, b->cells[i].cpus);
                assert_int_equal(a->cells[i].memory, b->cells[i].memory);
                assert_int_equal(a->cells[i].node, b->cells[i].node);
        }
        assert_int_equal(a->page_size, b->page_size);
        assert_int_equal(a->window, b->window);
}

static void assert_spec_equal(const VmSpec *a, const VmSpec *b) {
        assert_text_equal(a->name, b->name);
        assert_string_equal(a->uuid, b->uuid);
        assert_int_equal(a->owner, b->owner);
        assert_int_equal(a->created_at, b->created_at);
        assert_int_equal(a->memory, b->memory);
        assert_int_equal(a->cpus, b->cpus);
        assert_text_equal(a->disk_path, b->disk_path);
        assert_text_equal(a->disk_format, b->disk_format);
        assert_text_equal(a->base_path, b->base_path);
        assert_text_equal(a->base_format, b->base_format);
        assert_int_equal(a->disk_bytes, b->disk_bytes);
        assert_text_equal(a->seed_path, b->seed_path);
        assert_text_equal(a->cdrom_path, b->cdrom_path);
        assert_text_equal(a->image, b->image);
        assert_text_equal(a->on_stop, b->on_stop);
        assert_text_equal(a->graphics, b->graphics);
        assert_text_equal(a->firmware, b->firmware);
        assert_int_equal(a->secure_boot, b->secure_boot);
        assert_int_equal(a->tpm, b->tpm);
        assert_text_equal(a->network, b->network);
        assert_int_equal(a->ssh_port, b->ssh_port);
        assert_text_equal(a->user, b->user);
        assert_text_equal(a->pin, b->pin);
        assert_text_equal(a->hugepages, b->hugepages);
        assert_text_equal(a->numa, b->numa);
        assert_int_equal(a->io_threads, b->io_threads);
        assert_text_equal(a->guest_os, b->guest_os);
        assert_int_equal(a->hide_hypervisor, b->hide_hypervisor);
        assert_int_equal(a->autostart, b->autostart);
        assert_tuning_equal(a, b);
        assert_text_equal(a->domain_type, b->domain_type);
        assert_int_equal(a->n_devices, b->n_devices);
        for (size_t i = 0; i < a->n_devices; i++)
                assert_device_equal(&a->devices[i], &b->devices[i]);
}

/* What is written is read back, and is written the same again: addresses in the guest stay. */
static void assert_round_trip(const VmSpec *spec) {
        _cleanup_free_ char *xml = to_xml(spec), *again = NULL;
        _cleanup_(vm_spec_freep) VmSpec *read = NULL;

        assert_int_equal(vm_spec_from_xml(xml, &read), 0);
        assert_spec_equal(spec, read);
        again = to_xml(read);
        assert_string_equal(xml, again);
}

static void test_round_trip(_unused_ void **state) {
        for (size_t i = 0; i < ELEMENTSOF(configurations); i++) {
                _cleanup_(vm_spec_freep) VmSpec *spec = new_spec(configurations[i].configure);

                assert_round_trip(spec);
        }
}

/* Taken down while the drive's driver was at work, it is no serial number that a drive could have another one
 * than. */
static void test_serial_that_is_none(_unused_ void **state) {
        static const char *const texts[] = { "(efault)", "(null)", "" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(vm_spec_freep) VmSpec *spec = new_spec(with_image), *read = NULL;
                VmDevice *d = add_device(spec, "0000:03:00.0", "nvme");

                set(&d->serial, texts[i]);
                _cleanup_free_ char *xml = to_xml(spec);
                assert_int_equal(vm_spec_from_xml(xml, &read), 0);
                assert_string_equal(read->devices[0].kind, "nvme");
                assert_null(read->devices[0].serial);
        }
}

/* Taking the first device away leaves the others where they were. */
static void test_guest_ports_stay(_unused_ void **state) {
        _cleanup_(vm_spec_freep) VmSpec *spec = new_spec(bios_gpu_nvme), *read = NULL;
        _cleanup_free_ char *xml = to_xml(spec), *fewer = NULL;
        unsigned port;

        assert_int_equal(vm_spec_from_xml(xml, &read), 0);
        port = read->devices[2].guest_port;
        assert_int_not_equal(port, read->devices[0].guest_port);
        assert_int_equal(read->devices[0].guest_port, read->devices[1].guest_port);

        vm_spec_free(spec);
        spec = new_spec(with_image);
        add_device(spec, "0000:03:00.0", "nvme")->guest_port = port;
        fewer = to_xml(spec);
        vm_spec_free(read);
        assert_int_equal(vm_spec_from_xml(fewer, &read), 0);
        assert_int_equal(read->devices[0].guest_port, port);
}

static const char hostile[] =
        "a'/>\"</source></domain><!-- ]]> & &amp; &#0; {device} \\x41 \\ $(id) \n\t\x01\x7f\xff\xc3\x28 \xf0\x9f\x98\x80";
static const char hostile_xml[] = "/a'/>\"</source></hostdev><!-- ]]> & &amp; &#0; $(id) \n\t \xf0\x9f\x98\x80.img";

static void test_hostile_strings(_unused_ void **state) {
        _cleanup_(vm_spec_freep) VmSpec *spec = new_spec(windows_spice);
        VmDevice *d = &spec->devices[0];

        set(&spec->image, hostile);
        set(&spec->on_stop, hostile);
        set(&spec->pin, hostile);
        set(&d->serial, hostile);
        set(&d->slot_path, hostile);
        set(&d->kind, hostile);
        assert_int_equal(strv_push(&d->allow, hostile), 0);
        set(&d->rom_path, hostile_xml);
        set(&spec->disk_path, hostile_xml);
        set(&spec->seed_path, hostile_xml);
        set(&spec->cdrom_path, hostile_xml);
        set(&spec->network, hostile_xml);
        assert_round_trip(spec);
}

static void assert_refused(void (*spoil)(VmSpec *spec)) {
        _cleanup_(vm_spec_freep) VmSpec *spec = new_spec(uefi_image);
        char *xml = NULL;

        spoil(spec);
        assert_int_equal(vm_spec_to_xml(spec, &xml), -EINVAL);
        assert_null(xml);
}

static void spoil_name(VmSpec *spec) { set(&spec->name, "a<b"); }
static void spoil_name_gone(VmSpec *spec) { set(&spec->name, NULL); }
static void spoil_uuid(VmSpec *spec) { spec->uuid[0] = 'x'; }
static void spoil_memory(VmSpec *spec) { spec->memory = 0; }
static void spoil_cpus(VmSpec *spec) { spec->cpus = 0; }
static void spoil_type(VmSpec *spec) { set(&spec->domain_type, ""); }
static void spoil_shape(VmSpec *spec) { shape(spec, 3, 1, 1, 1), spec->cpus = 2; }
static void spoil_pins(VmSpec *spec) { assert_int_equal(strv_push(&spec->cpu_pins, "1"), 0); }
static void spoil_cells(VmSpec *spec) {
        assert_int_equal(vm_spec_add_cell(spec, &(VmCell) { .cpus = 9, .memory = GIB }), 0);
}
static void spoil_format(VmSpec *spec) { set(&spec->disk_format, NULL); }
static void spoil_path(VmSpec *spec) { set(&spec->disk_path, "/a\x01"); }
static void spoil_utf8(VmSpec *spec) { set(&spec->disk_path, "/a\xff"); }
static void spoil_surrogate(VmSpec *spec) { set(&spec->network, "\xed\xa0\x80"); }
static void spoil_escape(VmSpec *spec) { set(&spec->seed_path, "/\x1b[2J"); }

static void test_refused(_unused_ void **state) {
        assert_refused(spoil_name);
        assert_refused(spoil_name_gone);
        assert_refused(spoil_uuid);
        assert_refused(spoil_memory);
        assert_refused(spoil_cpus);
        assert_refused(spoil_type);
        assert_refused(spoil_shape);
        assert_refused(spoil_pins);
        assert_refused(spoil_cells);
        assert_refused(spoil_format);
        assert_refused(spoil_path);
        assert_refused(spoil_utf8);
        assert_refused(spoil_surrogate);
        assert_refused(spoil_escape);
}

static void test_metadata(_unused_ void **state) {
        _cleanup_(vm_spec_freep) VmSpec *spec = new_spec(bios_gpu_nvme);
        _cleanup_free_ char *metadata = NULL;

        assert_int_equal(vm_spec_to_metadata(spec, &metadata), 0);
        assert_ptr_equal(strstr(metadata, "<vm>"), metadata);
        assert_non_null(strstr(metadata, "<owner>1000</owner>"));
        assert_null(strstr(metadata, "xmlns"));
}

#define HEAD                                                      \
        "<domain type='kvm'><name>a</name>"                       \
        "<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>"       \
        "<memory unit='KiB'>1024</memory><vcpu>1</vcpu>"
#define OURS(content)                                                               \
        "<metadata><k:vm xmlns:k='" VMKIT_METADATA_URI "'>" content "</k:vm></metadata>"


static void test_foreign(_unused_ void **state) {
        static const char *const foreign[] = {
                HEAD "</domain>",
                HEAD "<metadata/></domain>",
                HEAD "<metadata><vm><owner>1</owner></vm></metadata></domain>",
                HEAD "<metadata><vmkit:vm xmlns:vmkit='https://example.org/'/></metadata></domain>",
                "<network>" OURS("<k:owner>1</k:owner>") "</network>",
                HEAD "<devices>" OURS("<k:owner>1</k:owner>") "</devices></domain>",
        };

        for (size_t i = 0; i < ELEMENTSOF(foreign); i++) {
                VmSpec *spec = NULL;

                assert_int_equal(vm_spec_from_xml(foreign[i], &spec), -ENODATA);
                assert_null(spec);
        }
}

static void test_broken(_unused_ void **state) {
        static const char *const broken[] = {
                "",
                "text",
                "<domain",
                "<!DOCTYPE domain [<!ENTITY a 'b'>]>" HEAD OURS("<k:owner>&a;</k:owner>") "</domain>",
                "<!DOCTYPE domain SYSTEM 'file:///etc/passwd'>" HEAD OURS("<k:owner>1</k:owner>") "</domain>",
                HEAD OURS("") "</domain>",
                HEAD OURS("<k:owner>-1</k:owner>") "</domain>",
                HEAD OURS("<k:owner>4294967295</k:owner>") "</domain>",
                HEAD OURS("<k:owner>1</k:owner><k:image>\\xzz</k:image>") "</domain>",
                HEAD OURS("<k:owner>1</k:owner><k:image>\\x00</k:image>") "</domain>",
                HEAD OURS("<k:owner>1</k:owner><k:image>\\</k:image>") "</domain>",
                "<domain>" OURS("<k:owner>1</k:owner>") "</domain>",
                HEAD OURS("<k:owner>1</k:owner>") "<devices><hostdev type='pci'/></devices></domain>",
                HEAD OURS("<k:owner>1</k:owner>")
                        "<devices><hostdev type='pci'><source><address bus='0x100' slot='0' function='0'/>"
                        "</source></hostdev></devices></domain>",
        };

        for (size_t i = 0; i < ELEMENTSOF(broken); i++) {
                VmSpec *spec = NULL;

                assert_int_equal(vm_spec_from_xml(broken[i], &spec), -EBADMSG);
                assert_null(spec);
        }
}

/* What an administrator did with virsh counts, also where our metadata does not know of it. */
static void test_foreign_changes(_unused_ void **state) {
        static const char xml[] =
                HEAD OURS("<k:owner>5</k:owner>"
                          "<k:device address='0000:07:00.0' requested='0000:07:00.0' kind='gpu'/>")
                "<devices><hostdev mode='subsystem' type='pci'><source>"
                "<address domain='0x0000' bus='0x02' slot='0x1f' function='0x7'/></source></hostdev>"
                "<hostdev mode='subsystem' type='usb'/>"
                "<interface type='bridge'><source bridge='br0'/></interface>"
                "<graphics type='vnc'/></devices></domain>";
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;

        assert_int_equal(vm_spec_from_xml(xml, &spec), 0);
        assert_int_equal(spec->owner, 5);
        assert_int_equal(spec->memory, MIB);
        assert_string_equal(spec->graphics, "vnc");
        assert_string_equal(spec->network, "bridge");
        assert_string_equal(spec->firmware, "bios");
        assert_int_equal(spec->n_devices, 1);
        assert_string_equal(PCI_ADDRESS_TEXT(&spec->devices[0].address), "0000:02:1f.7");
        assert_null(spec->devices[0].kind);
}

/* Cut off anywhere, and with bytes changed: an error or a spec, never anything else. */
static void test_damaged(_unused_ void **state) {
        _cleanup_(vm_spec_freep) VmSpec *spec = new_spec(bios_gpu_nvme);
        _cleanup_free_ char *xml = to_xml(spec);
        size_t n = strlen(xml);
        unsigned seed = 1;

        /* The last line end is nobody's loss. */
        for (size_t cut = 0; cut < n - 1; cut += 7) {
                _cleanup_free_ char *copy = strndup(xml, cut);
                _cleanup_(vm_spec_freep) VmSpec *read = NULL;

                assert_non_null(copy);
                assert_true(vm_spec_from_xml(copy, &read) < 0);
        }

        for (size_t i = 0; i < 3000; i++) {
                _cleanup_free_ char *copy = strdup(xml);
                _cleanup_(vm_spec_freep) VmSpec *read = NULL;

                assert_non_null(copy);
                for (int k = rand_r(&seed) % 3; k >= 0; k--)
                        copy[(size_t) rand_r(&seed) % n] = (char) (rand_r(&seed) % 255 + 1);
                if (vm_spec_from_xml(copy, &read) < 0)
                        assert_null(read);
        }
}

/* --- changing the devices of a domain that is there -------------------------------------------------------- */

/* gcc 12 at -O3, if it has this in line, takes what is found in the text for a pointer to the variable here. */
__attribute__((noinline)) static char *read_golden(const char *name) {
        _cleanup_free_ char *path = golden_path(name);
        char *xml = NULL;

        assert_int_equal(read_file_at(AT_FDCWD, path, MIB, &xml), 0);
        return xml;
}

/* Edits and reads back: ret is what the next reader sees. */
static char *edit(const char *xml, VmSpec *spec, VmSpec **ret) {
        char *edited = NULL;

        assert_int_equal(vm_spec_edit_xml(xml, spec, &edited), 0);
        assert_int_equal(vm_spec_from_xml(edited, ret), 0);
        return edited;
}

static VmSpec *spec_of(const char *xml) {
        VmSpec *spec = NULL;

        assert_int_equal(vm_spec_from_xml(xml, &spec), 0);
        return spec;
}

static void assert_golden(const char *name, const char *xml) {
        _cleanup_free_ char *path = golden_path(name), *golden = NULL;

        if (getenv("VMKIT_UPDATE_GOLDEN"))
                write_golden(path, xml);
        golden = read_golden(name);
        assert_string_equal(xml, golden);
}

/* An unchanged spec changes nothing but the room that libvirt leaves. */
static void test_edit_nothing(_unused_ void **state) {
        for (size_t i = 0; i < ELEMENTSOF(configurations); i++) {
                _cleanup_free_ char *xml = read_golden(configurations[i].name), *edited = NULL;
                _cleanup_(vm_spec_freep) VmSpec *spec = spec_of(xml), *again = NULL;

                edited = edit(xml, spec, &again);
                assert_spec_equal(spec, again);
                for (size_t k = 0; k < spec->n_devices; k++)
                        assert_int_equal(again->devices[k].guest_port, spec->devices[k].guest_port);
        }
}

static void test_edit_attach(_unused_ void **state) {
        _cleanup_free_ char *xml = read_golden("bios-gpu-nvme"), *edited = NULL;
        _cleanup_(vm_spec_freep) VmSpec *spec = spec_of(xml), *again = NULL;
        VmDevice *d = add_device(spec, "0000:05:00.0", "nvme");

        set(&d->serial, "S5H9NS0N000003");
        add_device(spec, "0000:06:00.0", "gpu");
        add_device(spec, "0000:06:00.1", "audio");
        edited = edit(xml, spec, &again);
        assert_spec_equal(spec, again);
        assert_int_equal(again->devices[3].guest_port, 10);
        assert_int_equal(again->devices[4].guest_port, 11);
        assert_int_equal(again->devices[5].guest_port, 11);
        assert_golden("edit-attach", edited);
}

static void test_edit_detach(_unused_ void **state) {
        _cleanup_free_ char *xml = read_golden("bios-gpu-nvme"), *edited = NULL;
        _cleanup_(vm_spec_freep) VmSpec *spec = spec_of(xml), *again = NULL;
        unsigned port = spec->devices[2].guest_port;

        vm_spec_remove_device(spec, 0);
        vm_spec_remove_device(spec, 0);
        edited = edit(xml, spec, &again);
        assert_spec_equal(spec, again);
        assert_int_equal(again->devices[0].guest_port, port);
        assert_golden("edit-detach", edited);
}

/* The guest does not see that its device is at another address of the host. */
static void test_edit_move(_unused_ void **state) {
        _cleanup_free_ char *xml = read_golden("bios-gpu-nvme"), *edited = NULL;
        _cleanup_(vm_spec_freep) VmSpec *spec = spec_of(xml), *again = NULL;
        unsigned port = spec->devices[2].guest_port;

        assert_int_equal(pci_address_parse("0000:04:00.0", &spec->devices[2].address), 0);
        spec->devices[2].requested = spec->devices[2].address;
        edited = edit(xml, spec, &again);
        assert_spec_equal(spec, again);
        assert_int_equal(again->devices[2].guest_port, port);
        assert_null(strstr(edited, "0000:03:00.0"));
}

static void test_edit_exchange(_unused_ void **state) {
        _cleanup_free_ char *xml = read_golden("nvme-boot"), *edited = NULL;
        _cleanup_(vm_spec_freep) VmSpec *spec = spec_of(xml), *again = NULL;
        const PciAddress first = spec->devices[0].address, second = spec->devices[1].address;
        unsigned port = spec->devices[0].guest_port;

        spec->devices[0].address = spec->devices[0].requested = second;
        spec->devices[1].address = spec->devices[1].requested = first;
        edited = edit(xml, spec, &again);
        assert_int_equal(again->n_devices, 2);
        assert_int_equal(vm_spec_find_device(again, &second)->guest_port, port);
}

/* The order of booting is that of the devices, without a gap or a double. */
static void test_edit_boot_order(_unused_ void **state) {
        _cleanup_free_ char *xml = read_golden("nvme-boot"), *edited = NULL;
        _cleanup_(vm_spec_freep) VmSpec *spec = spec_of(xml), *again = NULL;

        vm_spec_remove_device(spec, 0);
        add_device(spec, "0000:05:00.0", "nvme");
        edited = edit(xml, spec, &again);
        assert_non_null(strstr(edited, "<boot order=\"1\"/>"));
        assert_non_null(strstr(edited, "<boot order=\"2\"/>"));
        assert_null(strstr(edited, "<boot order=\"3\"/>"));
        assert_int_equal(again->n_devices, 2);
}

/* What libvirt says of a domain that boots from nothing stands in the way of a boot order; what an
 * administrator says does not give way. */
static void test_edit_os_boot(_unused_ void **state) {
        static const char *const boots[] = { "<boot dev=\"hd\"/>", "<boot dev=\"network\"/>" };

        for (size_t i = 0; i < ELEMENTSOF(boots); i++) {
                _cleanup_free_ char *xml = read_golden("bios-empty"), *with = NULL, *edited = NULL;
                _cleanup_(vm_spec_freep) VmSpec *spec = spec_of(xml), *again = NULL;
                char *end = strstr(xml, "</os>");

                assert_non_null(end);
                assert_true(asprintf(&with, "%.*s%s%s", (int) (end - xml), xml, boots[i], end) >= 0);
                add_device(spec, "0000:05:00.0", "nvme");
                edited = edit(with, spec, &again);
                assert_int_equal(strstr(edited, "<boot dev=") != NULL, i == 1);
                assert_int_equal(strstr(edited, "<boot order=") != NULL, i == 0);
        }
}

/* All that is not a passed PCI device or ours stays, and a port that something else has is not given away. */
static void test_edit_keeps_the_rest(_unused_ void **state) {
        static const char more[] =
                "<hostdev mode=\"subsystem\" type=\"usb\"><source><vendor id=\"0x1234\"/></source></hostdev>"
                "<disk type=\"file\" device=\"disk\"><source file=\"/x\"/><target dev=\"vdz\"/>"
                "<address type=\"pci\" domain=\"0x0000\" bus=\"0x08\" slot=\"0x00\" function=\"0x0\"/>"
                "</disk></devices><seclabel type=\"none\"/>";
        _cleanup_free_ char *xml = read_golden("bios-empty"), *with = NULL, *edited = NULL;
        _cleanup_(vm_spec_freep) VmSpec *spec = spec_of(xml), *again = NULL;
        char *end = strstr(xml, "</devices>");

        assert_non_null(end);
        assert_true(asprintf(&with, "%.*s%s%s", (int) (end - xml), xml, more, end + strlen("</devices>")) >= 0);
        add_device(spec, "0000:05:00.0", "nvme");
        edited = edit(with, spec, &again);
        assert_non_null(strstr(edited, "<vendor id=\"0x1234\"/>"));
        assert_non_null(strstr(edited, "vdz"));
        assert_non_null(strstr(edited, "<seclabel type=\"none\"/>"));
        assert_int_equal(again->devices[0].guest_port, 9);
}

static void test_spare_ports(_unused_ void **state) {
        _cleanup_free_ char *live = read_golden("bios-gpu-nvme"), *definition = NULL;
        _cleanup_(vm_spec_freep) VmSpec *spec = spec_of(live), *again = NULL;
        unsigned port = 0;

        assert_int_equal(vm_spec_find_spare_port(live, live, &port), 0);
        assert_int_equal(port, 10);

        /* What is only in one of the two is taken in both; what is only in one is not there for both. */
        for (unsigned i = 0; i < 4; i++) {
                char address[PCI_ADDRESS_TEXT_MAX];

                (void) snprintf(address, sizeof(address), "0000:1%u:00.0", i);
                add_device(spec, address, "nvme");
                free(definition);
                vm_spec_free(again);
                definition = edit(live, spec, &again);
                if (i < 3) {
                        assert_int_equal(vm_spec_find_spare_port(live, definition, &port), 0);
                        assert_int_equal(port, 11 + i);
                }
        }
        assert_int_equal(vm_spec_find_spare_port(live, definition, &port), -ENOSPC);
        assert_int_equal(vm_spec_find_spare_port(definition, live, &port), -ENOSPC);
        assert_int_equal(vm_spec_find_spare_port(definition, definition, &port), 0);
}

static void test_no_port_left(_unused_ void **state) {
        _cleanup_free_ char *xml = read_golden("bios-empty");
        _cleanup_(vm_spec_freep) VmSpec *spec = spec_of(xml);
        char *edited = NULL;

        for (unsigned i = 0; i < 255; i++) {
                char address[PCI_ADDRESS_TEXT_MAX];

                (void) snprintf(address, sizeof(address), "0000:%02x:00.0", i);
                add_device(spec, address, "network");
        }
        assert_int_equal(vm_spec_edit_xml(xml, spec, &edited), -E2BIG);
        assert_null(edited);
}

static void test_one_device(_unused_ void **state) {
        _cleanup_(vm_spec_freep) VmSpec *spec = new_spec(nvme_boot);
        _cleanup_free_ char *xml = NULL;

        spec->devices[1].guest_port = 12;
        assert_int_equal(vm_device_to_xml(&spec->devices[1], &xml), 0);
        assert_golden("one-device", xml);
}

static void assert_copies(Configure configure) {
        _cleanup_(vm_spec_freep) VmSpec *spec = new_spec(configure), *copy = NULL;
        _cleanup_free_ char *before = to_xml(spec), *after = NULL;

        assert_int_equal(vm_spec_copy(spec, &copy), 0);
        assert_spec_equal(spec, copy);
        spec = vm_spec_free(spec);
        after = to_xml(copy);
        assert_string_equal(before, after);
}

static void test_copy(_unused_ void **state) {
        for (size_t i = 0; i < ELEMENTSOF(configurations); i++)
                assert_copies(configurations[i].configure);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_golden),
                cmocka_unit_test(test_golden_is_valid),
                cmocka_unit_test(test_golden_is_accepted),
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_serial_that_is_none),
                cmocka_unit_test(test_guest_ports_stay),
                cmocka_unit_test(test_hostile_strings),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_metadata),
                cmocka_unit_test(test_foreign),
                cmocka_unit_test(test_broken),
                cmocka_unit_test(test_foreign_changes),
                cmocka_unit_test(test_damaged),
                cmocka_unit_test(test_edit_nothing),
                cmocka_unit_test(test_edit_attach),
                cmocka_unit_test(test_edit_detach),
                cmocka_unit_test(test_edit_move),
                cmocka_unit_test(test_edit_exchange),
                cmocka_unit_test(test_edit_boot_order),
                cmocka_unit_test(test_edit_os_boot),
                cmocka_unit_test(test_edit_keeps_the_rest),
                cmocka_unit_test(test_spare_ports),
                cmocka_unit_test(test_no_port_left),
                cmocka_unit_test(test_one_device),
                cmocka_unit_test(test_copy),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
