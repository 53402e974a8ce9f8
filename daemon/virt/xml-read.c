/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A domain as libvirt describes it, back into a VmSpec. What libvirt has an element for is taken
 * from there and not from our metadata, so that what an administrator did with virsh counts. */

#include <limits.h>

#include "base/cpu-set.h"
#include "base/strv.h"
#include "metadata.h"
#include "vmspec.h"
#include "xml-write.h"

static int read_or(XmlReader *r, xmlNodePtr node, const char *path, const char *fallback,
                   char **ret) {
        _cleanup_free_ char *text = NULL;
        int k;

        k = xml_string(r, node, path, &text);
        if (k < 0)
                return k;
        if (!text && fallback) {
                text = strdup(fallback);
                if (!text)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(text);
        return 0;
}

static int read_identity(XmlReader *r, VmSpec *spec) {
        _cleanup_free_ char *uuid = NULL;
        int k;

        k = read_or(r, NULL, "/domain/uuid", NULL, &uuid);
        if (k < 0)
                return k;
        if (!uuid || !uuid_is_valid(uuid))
                return -EBADMSG;
        memcpy(spec->uuid, uuid, UUID_TEXT_MAX);

        k = read_or(r, NULL, "/domain/name", NULL, &spec->name);
        if (k < 0)
                return k;
        return spec->name ? 0 : -EBADMSG;
}

static int read_size(XmlReader *r, VmSpec *spec) {
        uint64_t kib, number;
        int k;

        /* libvirt always answers in KiB. */
        if (!xml_exists(r, NULL, "/domain/memory[not(@unit) or @unit = 'KiB']"))
                return -EBADMSG;
        k = xml_uint(r, NULL, "/domain/memory", UINT64_MAX / KIB, &kib);
        if (k <= 0)
                return k < 0 ? k : -EBADMSG;
        spec->memory = kib * KIB;

        k = xml_uint(r, NULL, "/domain/vcpu", UINT_MAX, &number);
        if (k <= 0)
                return k < 0 ? k : -EBADMSG;
        k = xml_uint(r, NULL, "/domain/vcpu/@current", UINT_MAX, &number);
        if (k < 0)
                return k;
        spec->cpus = (unsigned) number;

        number = 0;
        k = xml_uint(r, NULL, "/domain/iothreads", UINT_MAX, &number);
        if (k < 0)
                return k;
        spec->io_threads = (unsigned) number;
        return 0;
}

static int read_unsigned(XmlReader *r, xmlNodePtr node, const char *path, unsigned *ret) {
        uint64_t number = 0;
        int k;

        k = xml_uint(r, node, path, UINT_MAX, &number);
        if (k >= 0)
                *ret = (unsigned) number;
        return k;
}

/* Left out where it says no more than the number of CPUs, or does not fit it: libvirt decides then. */
static int read_topology(XmlReader *r, VmSpec *spec) {
        unsigned sockets = 0, dies = 1, cores = 0, threads = 0;
        int k;

        k = read_unsigned(r, NULL, "/domain/cpu/topology/@sockets", &sockets);
        if (k >= 0)
                k = read_unsigned(r, NULL, "/domain/cpu/topology/@cores", &cores);
        if (k >= 0)
                k = read_unsigned(r, NULL, "/domain/cpu/topology/@threads", &threads);
        if (k >= 0 && xml_exists(r, NULL, "/domain/cpu/topology/@dies"))
                k = read_unsigned(r, NULL, "/domain/cpu/topology/@dies", &dies);
        if (k < 0)
                return k;

        if ((unsigned long long) sockets * dies * cores * threads == spec->cpus && cores != spec->cpus) {
                spec->sockets = sockets;
                spec->dies = dies;
                spec->cores = cores;
                spec->threads = threads;
        }
        return 0;
}

/* All or none: a list with holes would be written back as something else. */
static int read_cpu_pins(XmlReader *r, VmSpec *spec) {
        _cleanup_strv_ char **pins = NULL;

        for (unsigned i = 0; i < spec->cpus; i++) {
                _cleanup_free_ char *path = NULL, *cpus = NULL;
                int k;

                if (asprintf(&path, "/domain/cputune/vcpupin[@vcpu = '%u']/@cpuset", i) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                k = xml_string(r, NULL, path, &cpus);
                if (k < 0)
                        return k;
                if (!cpus)
                        return 0;
                k = strv_consume(&pins, TAKE_PTR(cpus));
                if (k < 0)
                        return k;
        }
        spec->cpu_pins = TAKE_PTR(pins);
        return 0;
}

/* A guest has as many cells as memnodes; the CPUs of a cell are one range, in order, as we write them. */
static int read_cell(XmlReader *r, xmlNodePtr node, unsigned index, VmSpec *spec) {
        _cleanup_free_ char *path = NULL, *cpus = NULL;
        VmCell cell = {};
        uint64_t kib = 0;
        CpuSet set;
        int k;

        if (asprintf(&path, "/domain/numatune/memnode[@cellid = '%u']/@nodeset", index) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        k = read_unsigned(r, NULL, path, &cell.node);
        if (k >= 0)
                k = xml_uint(r, node, "@memory", UINT64_MAX / KIB, &kib);
        if (k >= 0)
                k = xml_string(r, node, "@cpus", &cpus);
        if (k < 0)
                return k;

        cell.memory = kib * KIB;
        cell.cpus = cpus && cpu_set_parse(cpus, &set) >= 0 ? cpu_set_count(&set) : 0;
        return vm_spec_add_cell(spec, &cell);
}

static int read_cells(XmlReader *r, VmSpec *spec) {
        xmlXPathObjectPtr nodes = xml_nodes(r, NULL, "/domain/cpu/numa/cell");
        int k = nodes ? 0 : -ENOMEM;

        for (int i = 0; k >= 0 && nodes->nodesetval && i < nodes->nodesetval->nodeNr; i++)
                k = read_cell(r, nodes->nodesetval->nodeTab[i], (unsigned) i, spec);
        xmlXPathFreeObject(nodes);
        return k;
}

static int read_tuning(XmlReader *r, VmSpec *spec) {
        uint64_t page = 0, window = 0;
        int k;

        k = read_topology(r, spec);
        if (k >= 0)
                k = read_cpu_pins(r, spec);
        if (k >= 0)
                k = read_or(r, NULL, "/domain/cputune/emulatorpin/@cpuset", NULL, &spec->emulator_pins);
        if (k >= 0)
                k = read_or(r, NULL, "/domain/numatune/memory/@nodeset", NULL, &spec->nodes);
        if (k >= 0)
                k = read_cells(r, spec);
        if (k >= 0)
                k = xml_uint(r, NULL, "/domain/memoryBacking/hugepages/page[@unit = 'KiB'][1]/@size",
                             UINT64_MAX / KIB, &page);
        if (k >= 0)
                k = xml_uint(r, NULL,
                             "/domain/devices/controller[@model = 'pcie-root']/pcihole64[@unit = 'KiB']",
                             UINT64_MAX / KIB, &window);
        if (k < 0)
                return k;

        spec->tells_threads = xml_exists(
                r, NULL, "/domain/cpu/feature[@name = 'topoext' and @policy = 'require']");
        spec->page_size = page * KIB;
        spec->window = window * KIB;
        return 0;
}

static int read_firmware(XmlReader *r, VmSpec *spec) {
        bool efi = xml_exists(r, NULL, "/domain/os[@firmware = 'efi' or loader/@type = 'pflash']");

        spec->secure_boot = xml_exists(
                r, NULL, "/domain/os/firmware/feature[@name = 'secure-boot' and @enabled = 'yes']"
                         " | /domain/os/loader[@secure = 'yes']");
        spec->tpm = xml_exists(r, NULL, "/domain/devices/tpm");
        spec->firmware = strdup(efi ? "uefi" : "bios");
        return spec->firmware ? 0 : -ENOMEM;
}

static int read_disks(XmlReader *r, VmSpec *spec) {
        int k;

        k = read_or(r, NULL, "/domain/devices/disk[target/@dev = '" DISK_TARGET "']/source/@file",
                    NULL, &spec->disk_path);
        if (k < 0)
                return k;
        k = read_or(r, NULL, "/domain/devices/disk[target/@dev = '" DISK_TARGET "']/driver/@type",
                    NULL, &spec->disk_format);
        if (k < 0)
                return k;
        k = read_or(r, NULL, "/domain/devices/disk[target/@dev = '" DISK_TARGET
                    "']/backingStore/source/@file", NULL, &spec->base_path);
        if (k < 0)
                return k;
        k = read_or(r, NULL, "/domain/devices/disk[target/@dev = '" DISK_TARGET
                    "']/backingStore[source]/format/@type", NULL, &spec->base_format);
        if (k < 0)
                return k;
        k = read_or(r, NULL, "/domain/devices/disk[target/@dev = '" SEED_DISK_TARGET
                    "' or target/@dev = '" SEED_CDROM_TARGET "']/source/@file",
                    NULL, &spec->seed_path);
        if (k < 0)
                return k;
        return read_or(r, NULL,
                       "/domain/devices/disk[target/@dev = '" CDROM_TARGET "']/source/@file", NULL,
                       &spec->cdrom_path);
}

static int read_ssh_port(XmlReader *r, VmSpec *spec) {
        uint64_t port = 0;
        int k;

        k = xml_uint(r, NULL, "/domain/devices/interface[1][@type = 'user']"
                              "/portForward[@proto = 'tcp' and @address = '127.0.0.1']"
                              "/range[@to = '22']/@start", UINT16_MAX, &port);
        spec->ssh_port = (unsigned) port;
        return k < 0 ? k : 0;
}

static int read_network(XmlReader *r, VmSpec *spec) {
        int k = read_ssh_port(r, spec);

        if (k < 0)
                return k;
        if (xml_exists(r, NULL, "/domain/devices/interface[1][@type = 'network']"))
                return read_or(r, NULL, "/domain/devices/interface[1]/source/@network", "none",
                               &spec->network);
        return read_or(r, NULL, "/domain/devices/interface[1]/@type", "none", &spec->network);
}

static int read_address(XmlReader *r, xmlNodePtr hostdev, PciAddress *ret) {
        uint64_t domain = 0, bus, slot, function;
        int k;

        k = xml_uint(r, hostdev, "source/address/@domain", UINT32_MAX, &domain);
        if (k < 0)
                return k;
        if (xml_uint(r, hostdev, "source/address/@bus", UINT8_MAX, &bus) <= 0 ||
            xml_uint(r, hostdev, "source/address/@slot", 31, &slot) <= 0 ||
            xml_uint(r, hostdev, "source/address/@function", 7, &function) <= 0)
                return -EBADMSG;

        *ret = (PciAddress) {
                .domain = (uint32_t) domain,
                .bus = (uint8_t) bus,
                .slot = (uint8_t) slot,
                .function = (uint8_t) function,
        };
        return 0;
}

static int read_hostdev(XmlReader *r, xmlNodePtr hostdev, VmSpec *spec) {
        PciAddress address;
        uint64_t port = 0;
        VmDevice *d;
        int k;

        k = read_address(r, hostdev, &address);
        if (k < 0)
                return k;

        d = vm_spec_add_device(spec);
        if (!d)
                return -ENOMEM;
        d->address = d->requested = address;

        k = xml_uint(r, hostdev, "address[@type = 'pci']/@bus", UINT8_MAX, &port);
        if (k < 0)
                return k;
        d->guest_port = (unsigned) port;

        k = read_or(r, hostdev, "rom/@file", NULL, &d->rom_path);
        if (k < 0)
                return k;
        return metadata_read_device(r, d);
}

static int read_hostdevs(XmlReader *r, VmSpec *spec) {
        xmlXPathObjectPtr nodes = xml_nodes(r, NULL, "/domain/devices/hostdev[@type = 'pci']");
        int k = nodes ? 0 : -ENOMEM;

        for (int i = 0; k >= 0 && nodes->nodesetval && i < nodes->nodesetval->nodeNr; i++)
                k = read_hostdev(r, nodes->nodesetval->nodeTab[i], spec);
        xmlXPathFreeObject(nodes);
        return k;
}

typedef int (*ReadPart)(XmlReader *r, VmSpec *spec);

int vm_spec_from_xml(const char *xml, VmSpec **ret) {
        static const ReadPart parts[] = {
                metadata_read, read_identity, read_size,     read_tuning,
                read_firmware, read_disks,    read_network,  read_hostdevs,
        };
        _cleanup_xml_reader_ XmlReader r = {};
        _cleanup_(vm_spec_freep) VmSpec *spec = NULL;
        int k;

        k = xml_reader_init(&r, xml);
        if (k < 0)
                return k;

        spec = vm_spec_new();
        if (!spec)
                return -ENOMEM;

        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                k = parts[i](&r, spec);
                if (k < 0)
                        return k;
        }

        k = read_or(&r, NULL, "/domain/devices/graphics[1]/@type", "none", &spec->graphics);
        if (k < 0)
                return k;
        k = read_or(&r, NULL, "/domain/@type", NULL, &spec->domain_type);
        if (k < 0)
                return k;

        *ret = TAKE_PTR(spec);
        return 0;
}
