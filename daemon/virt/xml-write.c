/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A VmSpec as libvirt's domain XML: a q35 machine in which every PCIe device has a root port of
 * its own. The ports are numbered by us, so that what the guest sees at an address stays there
 * when a device is added or taken away: first the machine's own devices, then the slots that are
 * passed through. */

#include <assert.h>
#include <limits.h>

#include "base/strv.h"
#include "metadata.h"
#include "vmspec.h"
#include "xml-write.h"

enum {
        PORT_DISK = 1,
        PORT_SEED,
        PORT_NETWORK,
        PORT_SERIAL,
        PORT_RNG,
        PORT_USB,
        PORT_BALLOON,
        PORT_LAST_OWN = PORT_BALLOON,
};
static_assert(PORT_LAST_OWN + 1 == PORT_FIRST_PASSED, "passed devices come behind the machine's own");

/* More cost memory and interrupts and bring no more speed. */
#define DISK_QUEUES_MAX 16
#define NETWORK_QUEUES_MAX 8

void layout_done(Layout *l) {
        free(l->places);
        *l = (Layout) {};
}

static size_t slot_leader(const VmSpec *spec, size_t i) {
        for (size_t j = 0; j < i; j++)
                if (pci_address_same_slot(&spec->devices[j].address, &spec->devices[i].address))
                        return j;
        return i;
}

static bool port_is_taken(const VmSpec *spec, const Layout *l, size_t i, unsigned port) {
        for (size_t j = 0; j < spec->n_devices; j++) {
                if (j < i && l->places[j].port == port)
                        return true;
                if (j > i && spec->devices[j].guest_port == port &&
                    !pci_address_same_slot(&spec->devices[j].address, &spec->devices[i].address))
                        return true;
        }
        return false;
}

static unsigned choose_port(const VmSpec *spec, const Layout *l, size_t i) {
        unsigned port = spec->devices[i].guest_port;

        if (port >= PORT_FIRST_PASSED && port <= PORT_MAX - N_SPARE_PORTS &&
            !port_is_taken(spec, l, i, port))
                return port;

        for (port = PORT_FIRST_PASSED; port_is_taken(spec, l, i, port);)
                port++;
        return port;
}

/* The functions of a slot keep their numbers, but a guest finds none of them without a function
 * 0. */
static void place_slot(const VmSpec *spec, Layout *l, size_t leader) {
        size_t lowest = leader, n = 0;

        for (size_t i = leader; i < spec->n_devices; i++) {
                if (slot_leader(spec, i) != leader)
                        continue;
                l->places[i].port = l->places[leader].port;
                l->places[i].function = spec->devices[i].address.function;
                if (l->places[i].function < l->places[lowest].function)
                        lowest = i;
                n++;
        }
        l->places[lowest].function = 0;
        l->places[lowest].multifunction = n > 1;
}

/* Its own disk first. An installer comes before a drive that is passed through, which may have
 * something bootable on it that the caller wants to replace; without either, the drive is what
 * there is. */
static void choose_boot_order(const VmSpec *spec, Layout *l) {
        unsigned order = 1;

        if (spec->disk_path)
                l->disk_boot_order = order++;
        if (spec->cdrom_path)
                l->cdrom_boot_order = order++;
        if (spec->disk_path)
                return;
        for (size_t i = 0; i < spec->n_devices; i++)
                if (streq_ptr(spec->devices[i].kind, "nvme"))
                        l->places[i].boot_order = order++;
}

int layout_init(Layout *l, const VmSpec *spec) {
        *l = (Layout) { .n_ports = PORT_FIRST_PASSED - 1 };
        l->places = calloc(spec->n_devices + 1, sizeof(*l->places));
        if (!l->places)
                return -ENOMEM;

        for (size_t i = 0; i < spec->n_devices; i++) {
                if (slot_leader(spec, i) != i)
                        continue;
                l->places[i].port = choose_port(spec, l, i);
                place_slot(spec, l, i);
                l->n_ports = MAX(l->n_ports, l->places[i].port);
        }
        l->n_ports += N_SPARE_PORTS;
        if (l->n_ports > PORT_MAX)
                return -E2BIG;

        choose_boot_order(spec, l);
        return 0;
}

static bool is_kvm(const VmSpec *spec) {
        return streq_ptr(spec->domain_type, "kvm");
}

static bool is_windows(const VmSpec *spec) {
        return streq_ptr(spec->guest_os, "windows");
}

static bool has_graphics(const VmSpec *spec) {
        return spec->graphics && !streq(spec->graphics, "none");
}

static void write_guest_address(XmlWriter *w, unsigned port, unsigned function,
                                bool multifunction) {
        xml_open(w, "address");
        xml_attribute(w, "type", "pci");
        xml_attribute(w, "domain", "0x0000");
        xml_attributef(w, "bus", "0x%02x", port);
        xml_attribute(w, "slot", "0x00");
        xml_attributef(w, "function", "0x%x", function);
        if (multifunction)
                xml_attribute(w, "multifunction", "on");
        xml_close(w);
}

static void write_identity(XmlWriter *w, const VmSpec *spec) {
        xml_text(w, "name", spec->name);
        xml_text(w, "uuid", spec->uuid);
        xml_open(w, "metadata");
        metadata_write(w, spec, true);
        xml_close(w);
}

static void write_kib(XmlWriter *w, const char *element, uint64_t bytes) {
        xml_open(w, element);
        xml_attribute(w, "unit", "KiB");
        if (w->r == 0)
                (void) xmlTextWriterWriteFormatString(w->writer, "%llu",
                                                      (unsigned long long) ((bytes + KIB - 1) / KIB));
        xml_close(w);
}

static void write_hugepages(XmlWriter *w, const VmSpec *spec) {
        if (spec->page_size == 0)
                return;
        xml_open(w, "memoryBacking");
        xml_open(w, "hugepages");
        xml_open(w, "page");
        xml_attributef(w, "size", "%llu", (unsigned long long) (spec->page_size / KIB));
        xml_attribute(w, "unit", "KiB");
        xml_close(w);
        xml_close(w);
        xml_close(w);
}

static void write_pin(XmlWriter *w, const char *element, const char *what, unsigned number, const char *cpus) {
        xml_open(w, element);
        if (what)
                xml_attributef(w, what, "%u", number);
        xml_attribute(w, "cpuset", cpus);
        xml_close(w);
}

static void write_cputune(XmlWriter *w, const VmSpec *spec) {
        if (!spec->cpu_pins && !spec->emulator_pins)
                return;

        xml_open(w, "cputune");
        for (unsigned i = 0; spec->cpu_pins && spec->cpu_pins[i]; i++)
                write_pin(w, "vcpupin", "vcpu", i, spec->cpu_pins[i]);
        if (spec->emulator_pins) {
                write_pin(w, "emulatorpin", NULL, 0, spec->emulator_pins);
                for (unsigned i = 1; i <= spec->io_threads; i++)
                        write_pin(w, "iothreadpin", "iothread", i, spec->emulator_pins);
        }
        xml_close(w);
}

/* Strict: memory that cannot be had on its node is an error at start, never memory from elsewhere. */
static void write_numatune(XmlWriter *w, const VmSpec *spec) {
        if (!spec->nodes)
                return;

        xml_open(w, "numatune");
        xml_leaf(w, "memory", "mode", "strict", "nodeset", spec->nodes);
        for (size_t i = 0; i < spec->n_cells; i++) {
                xml_open(w, "memnode");
                xml_attributef(w, "cellid", "%zu", i);
                xml_attribute(w, "mode", "strict");
                xml_attributef(w, "nodeset", "%u", spec->cells[i].node);
                xml_close(w);
        }
        xml_close(w);
}

static void write_size(XmlWriter *w, const VmSpec *spec) {
        write_kib(w, "memory", spec->memory);
        write_hugepages(w, spec);
        xml_textf(w, "vcpu", "%u", spec->cpus);
        if (spec->io_threads > 0)
                xml_textf(w, "iothreads", "%u", spec->io_threads);
        write_cputune(w, spec);
        write_numatune(w, spec);
}

/* libvirt picks the firmware from what is installed. Both features are always said: left open,
 * it would take whichever descriptor comes first. */
static void write_os(XmlWriter *w, const VmSpec *spec) {
        bool efi = streq_ptr(spec->firmware, "uefi");
        const char *secure = spec->secure_boot ? "yes" : "no";

        xml_open(w, "os");
        if (efi)
                xml_attribute(w, "firmware", "efi");
        xml_open(w, "type");
        xml_attribute(w, "arch", "x86_64");
        xml_attribute(w, "machine", "q35");
        if (w->r == 0)
                (void) xmlTextWriterWriteString(w->writer, BAD_CAST "hvm");
        xml_close(w);
        if (efi) {
                xml_open(w, "firmware");
                xml_leaf(w, "feature", "enabled", secure, "name", "enrolled-keys");
                xml_leaf(w, "feature", "enabled", secure, "name", "secure-boot");
                xml_close(w);
        }
        xml_close(w);
}

static void write_hyperv(XmlWriter *w, const VmSpec *spec) {
        static const char *const on[] = { "relaxed", "vapic", "vpindex",     "runtime",  "synic",
                                          "stimer",  "reset", "frequencies", "tlbflush", "ipi" };

        xml_open(w, "hyperv");
        xml_attribute(w, "mode", "custom");
        for (size_t i = 0; i < ELEMENTSOF(on); i++)
                xml_leaf(w, on[i], "state", "on", NULL, NULL);
        xml_leaf(w, "spinlocks", "state", "on", "retries", "8191");
        if (spec->hide_hypervisor)
                xml_leaf(w, "vendor_id", "state", "on", "value", "vmkit");
        xml_close(w);
}

static void write_features(XmlWriter *w, const VmSpec *spec) {
        xml_open(w, "features");
        xml_leaf(w, "acpi", NULL, NULL, NULL, NULL);
        xml_leaf(w, "apic", NULL, NULL, NULL, NULL);
        if (is_kvm(spec) && is_windows(spec))
                write_hyperv(w, spec);
        if (is_kvm(spec) && spec->hide_hypervisor) {
                xml_open(w, "kvm");
                xml_leaf(w, "hidden", "state", "on", NULL, NULL);
                xml_close(w);
        }
        xml_leaf(w, "vmport", "state", "off", NULL, NULL);
        if (spec->secure_boot)
                xml_leaf(w, "smm", "state", "on", NULL, NULL);
        xml_close(w);
}

static void write_topology(XmlWriter *w, const VmSpec *spec) {
        bool given = spec->sockets > 0;

        xml_open(w, "topology");
        xml_attributef(w, "sockets", "%u", given ? spec->sockets : 1);
        xml_attributef(w, "dies", "%u", given ? spec->dies : 1);
        xml_attributef(w, "cores", "%u", given ? spec->cores : spec->cpus);
        xml_attributef(w, "threads", "%u", given ? spec->threads : 1);
        xml_close(w);
}

static void write_cells(XmlWriter *w, const VmSpec *spec) {
        unsigned first = 0;

        if (spec->n_cells == 0)
                return;

        xml_open(w, "numa");
        for (size_t i = 0; i < spec->n_cells; i++) {
                const VmCell *cell = &spec->cells[i];

                xml_open(w, "cell");
                xml_attributef(w, "id", "%zu", i);
                xml_attributef(w, "cpus", "%u-%u", first, first + cell->cpus - 1);
                xml_attributef(w, "memory", "%llu", (unsigned long long) (cell->memory / KIB));
                xml_attribute(w, "unit", "KiB");
                xml_close(w);
                first += cell->cpus;
        }
        xml_close(w);
}

/* The host's processor as it is: a VM with passed devices cannot migrate anyway. Without KVM,
 * everything that QEMU can emulate. */
static void write_cpu(XmlWriter *w, const VmSpec *spec) {
        xml_open(w, "cpu");
        xml_attribute(w, "mode", is_kvm(spec) ? "host-passthrough" : "maximum");
        xml_attribute(w, "check", "none");
        xml_attribute(w, "migratable", "off");
        write_topology(w, spec);
        write_cells(w, spec);
        if (is_kvm(spec))
                xml_leaf(w, "cache", "mode", "passthrough", NULL, NULL);
        /* UEFI makes the room for large devices as wide as the address it is told of lets it. */
        if (is_kvm(spec) && spec->window > 0)
                xml_leaf(w, "maxphysaddr", "mode", "passthrough", NULL, NULL);
        if (is_kvm(spec) && spec->tells_threads)
                xml_leaf(w, "feature", "policy", "require", "name", "topoext");
        if (!is_kvm(spec) && spec->hide_hypervisor)
                xml_leaf(w, "feature", "policy", "disable", "name", "hypervisor");
        xml_close(w);
}

static void write_clock(XmlWriter *w, const VmSpec *spec) {
        xml_open(w, "clock");
        xml_attribute(w, "offset", is_windows(spec) ? "localtime" : "utc");
        if (is_kvm(spec)) {
                xml_leaf(w, "timer", "name", "rtc", "tickpolicy", "catchup");
                xml_leaf(w, "timer", "name", "pit", "tickpolicy", "delay");
                xml_leaf(w, "timer", "name", "hpet", "present", "no");
                if (is_windows(spec))
                        xml_leaf(w, "timer", "name", "hypervclock", "present", "yes");
        }
        xml_close(w);
        xml_text(w, "on_poweroff", "destroy");
        xml_text(w, "on_reboot", "restart");
        xml_text(w, "on_crash", "destroy");
}

static void write_boot_order(XmlWriter *w, unsigned order) {
        if (order == 0)
                return;
        xml_open(w, "boot");
        xml_attributef(w, "order", "%u", order);
        xml_close(w);
}

/* A queue for each of the guest's CPUs, so that none waits for another's requests. */
static void write_queues(XmlWriter *w, const VmSpec *spec, unsigned max) {
        if (spec->cpus > 1)
                xml_attributef(w, "queues", "%u", MIN(spec->cpus, max));
}

/* Stated to its end, so that nobody looks for more in the files. */
static void write_base(XmlWriter *w, const VmSpec *spec) {
        if (!spec->base_path)
                return;

        xml_open(w, "backingStore");
        xml_attribute(w, "type", "file");
        xml_leaf(w, "format", "type", spec->base_format, NULL, NULL);
        xml_leaf(w, "source", "file", spec->base_path, NULL, NULL);
        xml_leaf(w, "backingStore", NULL, NULL, NULL, NULL);
        xml_close(w);
}

/* Caching stays libvirt's default: 'none' wants O_DIRECT, which not every file system under the
 * image directory has, and a guest's flushes are honoured either way. */
static void write_disk(XmlWriter *w, const VmSpec *spec, const Layout *l) {
        if (!spec->disk_path)
                return;

        xml_open(w, "disk");
        xml_attribute(w, "type", "file");
        xml_attribute(w, "device", "disk");
        xml_open(w, "driver");
        xml_attribute(w, "name", "qemu");
        xml_attribute(w, "type", spec->disk_format);
        xml_attribute(w, "discard", "unmap");
        write_queues(w, spec, DISK_QUEUES_MAX);
        if (spec->io_threads > 0)
                xml_attribute(w, "iothread", "1");
        xml_close(w);
        xml_leaf(w, "source", "file", spec->disk_path, NULL, NULL);
        write_base(w, spec);
        xml_leaf(w, "target", "dev", DISK_TARGET, "bus", "virtio");
        write_boot_order(w, l->disk_boot_order);
        write_guest_address(w, PORT_DISK, 0, false);
        xml_close(w);
}

static void write_cdrom(XmlWriter *w, const char *path, const char *target, unsigned boot_order) {
        if (!path)
                return;

        xml_open(w, "disk");
        xml_attribute(w, "type", "file");
        xml_attribute(w, "device", "cdrom");
        xml_leaf(w, "driver", "name", "qemu", "type", "raw");
        xml_leaf(w, "source", "file", path, NULL, NULL);
        xml_leaf(w, "target", "dev", target, "bus", "sata");
        xml_leaf(w, "readonly", NULL, NULL, NULL, NULL);
        write_boot_order(w, boot_order);
        xml_close(w);
}

/* Kernels made for clouds, Debian's among them, have no driver for SATA, but every Linux guest that starts from
 * a virtio disk can read another one. Installers and other systems find a CD-ROM more easily. */
static void write_seed(XmlWriter *w, const VmSpec *spec) {
        if (!spec->seed_path)
                return;
        if (!streq_ptr(spec->guest_os, "linux")) {
                write_cdrom(w, spec->seed_path, SEED_CDROM_TARGET, 0);
                return;
        }

        xml_open(w, "disk");
        xml_attribute(w, "type", "file");
        xml_attribute(w, "device", "disk");
        xml_open(w, "driver");
        xml_attribute(w, "name", "qemu");
        xml_attribute(w, "type", "raw");
        if (spec->io_threads > 1)
                xml_attribute(w, "iothread", "2");
        xml_close(w);
        xml_leaf(w, "source", "file", spec->seed_path, NULL, NULL);
        xml_leaf(w, "target", "dev", SEED_DISK_TARGET, "bus", "virtio");
        xml_leaf(w, "readonly", NULL, NULL, NULL, NULL);
        write_guest_address(w, PORT_SEED, 0, false);
        xml_close(w);
}

void root_port_write(XmlWriter *w, unsigned port) {
        xml_open(w, "controller");
        xml_attribute(w, "type", "pci");
        xml_attributef(w, "index", "%u", port);
        xml_attribute(w, "model", "pcie-root-port");
        xml_close(w);
}

static void write_root(XmlWriter *w, const VmSpec *spec) {
        xml_open(w, "controller");
        xml_attribute(w, "type", "pci");
        xml_attribute(w, "model", "pcie-root");
        if (spec->window > 0)
                write_kib(w, "pcihole64", spec->window);
        xml_close(w);
}

static void write_controllers(XmlWriter *w, const VmSpec *spec, const Layout *l) {
        write_root(w, spec);
        for (unsigned i = 1; i <= l->n_ports; i++)
                root_port_write(w, i);

        xml_open(w, "controller");
        xml_attribute(w, "type", "virtio-serial");
        write_guest_address(w, PORT_SERIAL, 0, false);
        xml_close(w);

        xml_open(w, "controller");
        xml_attribute(w, "type", "usb");
        xml_attribute(w, "model", "qemu-xhci");
        write_guest_address(w, PORT_USB, 0, false);
        xml_close(w);
}

/* libvirt would choose a new one at each definition; this one stays the VM's. */
static void write_mac(XmlWriter *w, const VmSpec *spec) {
        uint32_t hash = UINT32_C(2166136261);

        for (const char *s = spec->uuid; *s; s++)
                hash = (hash ^ (unsigned char) *s) * UINT32_C(16777619);

        xml_open(w, "mac");
        xml_attributef(w, "address", "52:54:00:%02x:%02x:%02x", hash >> 16 & 0xff, hash >> 8 & 0xff,
                       hash & 0xff);
        xml_close(w);
}

/* QEMU's own user networking cannot be told by libvirt to forward a port; passt can. */
static void write_ssh_forward(XmlWriter *w, const VmSpec *spec) {
        if (spec->ssh_port == 0)
                return;

        xml_leaf(w, "backend", "type", "passt", NULL, NULL);
        xml_open(w, "portForward");
        xml_attribute(w, "proto", "tcp");
        xml_attribute(w, "address", "127.0.0.1");
        xml_open(w, "range");
        xml_attributef(w, "start", "%u", spec->ssh_port);
        xml_attribute(w, "to", "22");
        xml_close(w);
        xml_close(w);
}

static void write_network(XmlWriter *w, const VmSpec *spec) {
        bool user = streq_ptr(spec->network, "user");

        if (!spec->network || streq(spec->network, "none"))
                return;

        xml_open(w, "interface");
        xml_attribute(w, "type", user ? "user" : "network");
        write_mac(w, spec);
        if (!user)
                xml_leaf(w, "source", "network", spec->network, NULL, NULL);
        else
                write_ssh_forward(w, spec);
        xml_leaf(w, "model", "type", "virtio", NULL, NULL);
        /* User networking is one queue. */
        if (!user && spec->cpus > 1) {
                xml_open(w, "driver");
                write_queues(w, spec, NETWORK_QUEUES_MAX);
                xml_close(w);
        }
        write_guest_address(w, PORT_NETWORK, 0, false);
        xml_close(w);
}

static void write_channel(XmlWriter *w, const char *type, const char *name) {
        xml_open(w, "channel");
        xml_attribute(w, "type", type);
        xml_leaf(w, "target", "type", "virtio", "name", name);
        xml_close(w);
}

static void write_serial(XmlWriter *w) {
        xml_open(w, "serial");
        xml_attribute(w, "type", "pty");
        xml_leaf(w, "target", "type", "isa-serial", "port", "0");
        xml_close(w);
        xml_open(w, "console");
        xml_attribute(w, "type", "pty");
        xml_leaf(w, "target", "type", "serial", "port", "0");
        xml_close(w);
        write_channel(w, "unix", "org.qemu.guest_agent.0");
}

/* The display listens nowhere: viewers get descriptors from us (virDomainOpenGraphicsFD). */
static void write_graphics(XmlWriter *w, const VmSpec *spec) {
        if (has_graphics(spec)) {
                xml_leaf(w, "input", "type", "tablet", "bus", "usb");
                xml_open(w, "graphics");
                xml_attribute(w, "type", spec->graphics);
                xml_leaf(w, "listen", "type", "none", NULL, NULL);
                xml_close(w);
                if (streq(spec->graphics, "spice"))
                        write_channel(w, "spicevmc", "com.redhat.spice.0");
        }
        xml_open(w, "video");
        xml_leaf(w, "model", "type", has_graphics(spec) ? "virtio" : "none", NULL, NULL);
        xml_close(w);
}

static void write_tpm(XmlWriter *w, const VmSpec *spec) {
        if (!spec->tpm)
                return;
        xml_open(w, "tpm");
        xml_attribute(w, "model", "tpm-crb");
        xml_leaf(w, "backend", "type", "emulator", "version", "2.0");
        xml_close(w);
}

static void write_rng(XmlWriter *w) {
        xml_open(w, "rng");
        xml_attribute(w, "model", "virtio");
        xml_open(w, "backend");
        xml_attribute(w, "model", "random");
        if (w->r == 0)
                (void) xmlTextWriterWriteString(w->writer, BAD_CAST "/dev/urandom");
        xml_close(w);
        write_guest_address(w, PORT_RNG, 0, false);
        xml_close(w);
}

/* VFIO pins the guest's memory, so there is nothing that a balloon could give back. */
static void write_balloon(XmlWriter *w, const VmSpec *spec) {
        bool pinned = spec->n_devices > 0;

        xml_open(w, "memballoon");
        xml_attribute(w, "model", pinned ? "none" : "virtio");
        if (!pinned)
                write_guest_address(w, PORT_BALLOON, 0, false);
        xml_close(w);
}

static void write_host_address(XmlWriter *w, const PciAddress *a) {
        xml_open(w, "source");
        xml_open(w, "address");
        xml_attributef(w, "domain", "0x%04x", a->domain);
        xml_attributef(w, "bus", "0x%02x", a->bus);
        xml_attributef(w, "slot", "0x%02x", a->slot);
        xml_attributef(w, "function", "0x%x", a->function);
        xml_close(w);
        xml_close(w);
}

/* managed='no': vmkitd alone binds and restores. */
void hostdev_write(XmlWriter *w, const VmDevice *d, const Place *place) {
        xml_open(w, "hostdev");
        xml_attribute(w, "mode", "subsystem");
        xml_attribute(w, "type", "pci");
        xml_attribute(w, "managed", "no");
        xml_leaf(w, "driver", "name", "vfio", NULL, NULL);
        write_host_address(w, &d->address);
        write_boot_order(w, place->boot_order);
        if (d->rom_path)
                xml_leaf(w, "rom", "file", d->rom_path, NULL, NULL);
        write_guest_address(w, place->port, place->function, place->multifunction);
        xml_close(w);
}

static void write_devices(XmlWriter *w, const VmSpec *spec, const Layout *l) {
        xml_open(w, "devices");
        write_disk(w, spec, l);
        write_seed(w, spec);
        write_cdrom(w, spec->cdrom_path, CDROM_TARGET, l->cdrom_boot_order);
        write_controllers(w, spec, l);
        write_network(w, spec);
        write_serial(w);
        write_tpm(w, spec);
        write_graphics(w, spec);
        for (size_t i = 0; i < spec->n_devices; i++)
                hostdev_write(w, &spec->devices[i], &l->places[i]);
        write_balloon(w, spec);
        write_rng(w);
        xml_close(w);
}

int vm_spec_place_devices(VmSpec *spec) {
        _cleanup_(layout_done) Layout layout = {};
        int r;

        r = layout_init(&layout, spec);
        for (size_t i = 0; r >= 0 && i < spec->n_devices; i++)
                spec->devices[i].guest_port = layout.places[i].port;
        return r;
}

/* What was counted out for the guest's processors comes to as many as it has. */
static bool tuning_is_consistent(const VmSpec *spec) {
        unsigned long long product = 1ULL * spec->sockets * spec->dies * spec->cores * spec->threads;
        unsigned in_cells = 0;

        for (size_t i = 0; i < spec->n_cells; i++) {
                if (spec->cells[i].cpus == 0 || spec->cells[i].memory == 0)
                        return false;
                in_cells += spec->cells[i].cpus;
        }
        return (spec->sockets == 0 || product == spec->cpus) &&
               (!spec->cpu_pins || strv_length(spec->cpu_pins) == spec->cpus) &&
               (spec->n_cells == 0 || (in_cells == spec->cpus && spec->nodes));
}

static bool spec_is_complete(const VmSpec *spec) {
        return name_is_valid(spec->name) && uuid_is_valid(spec->uuid) && spec->memory > 0 &&
               spec->memory <= UINT64_MAX - KIB && spec->cpus > 0 &&
               !str_empty(spec->domain_type) && (!spec->disk_path || !str_empty(spec->disk_format)) &&
               (!spec->base_path || !str_empty(spec->base_format)) && tuning_is_consistent(spec);
}

int vm_spec_to_xml(const VmSpec *spec, char **ret) {
        _cleanup_(layout_done) Layout layout = {};
        _cleanup_xml_writer_ XmlWriter w = {};
        int r;

        if (!spec_is_complete(spec))
                return -EINVAL;

        r = layout_init(&layout, spec);
        if (r < 0)
                return r;
        r = xml_writer_init(&w);
        if (r < 0)
                return r;

        xml_open(&w, "domain");
        xml_attribute(&w, "type", spec->domain_type);
        write_identity(&w, spec);
        write_size(&w, spec);
        write_os(&w, spec);
        write_features(&w, spec);
        write_cpu(&w, spec);
        write_clock(&w, spec);
        write_devices(&w, spec, &layout);
        xml_close(&w);
        return xml_writer_finish(&w, ret);
}
