/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Changing the passed devices of a domain that is there. The definition is libvirt's, and an administrator
 * may have changed it with virsh: so it is not written anew from a VmSpec, but edited, and only where
 * the devices differ. */

#include <limits.h>

#include "metadata.h"
#include "xml-write.h"

#define HOSTDEVS "/domain/devices/hostdev[@mode = 'subsystem' and @type = 'pci']"
#define ROOT_PORTS "/domain/devices/controller[@type = 'pci' and @model = 'pcie-root-port']"

/* --- what is there ---------------------------------------------------------------------------------------- */

/* The ports that something sits behind, whatever it is. */
static int read_taken_ports(XmlReader *r, bool taken[PORT_MAX + 1]) {
        xmlXPathObjectPtr nodes = xml_nodes(r, NULL, "/domain/devices/*/address[@type = 'pci']");
        int k = nodes ? 0 : -ENOMEM;

        for (int i = 0; k >= 0 && nodes->nodesetval && i < nodes->nodesetval->nodeNr; i++) {
                uint64_t bus = 0;

                k = xml_uint(r, nodes->nodesetval->nodeTab[i], "@bus", PORT_MAX, &bus);
                if (k > 0)
                        taken[bus] = true;
        }
        xmlXPathFreeObject(nodes);
        return k < 0 ? k : 0;
}

static int read_root_ports(XmlReader *r, bool there[PORT_MAX + 1], unsigned *ret_highest) {
        xmlXPathObjectPtr nodes = xml_nodes(r, NULL, ROOT_PORTS);
        int k = nodes ? 0 : -ENOMEM;

        for (int i = 0; k >= 0 && nodes->nodesetval && i < nodes->nodesetval->nodeNr; i++) {
                uint64_t index;

                k = xml_uint(r, nodes->nodesetval->nodeTab[i], "@index", PORT_MAX, &index);
                if (k <= 0)
                        continue;
                there[index] = true;
                *ret_highest = MAX(*ret_highest, (unsigned) index);
        }
        xmlXPathFreeObject(nodes);
        return k < 0 ? k : 0;
}

static xmlNodePtr find_node(XmlReader *r, const char *path) {
        xmlXPathObjectPtr nodes = xml_nodes(r, NULL, path);
        xmlNodePtr found = nodes && nodes->nodesetval && nodes->nodesetval->nodeNr > 0
                                   ? nodes->nodesetval->nodeTab[0]
                                   : NULL;

        xmlXPathFreeObject(nodes);
        return found;
}

/* libvirt writes the numbers of an address with as many digits as here. */
static xmlNodePtr find_hostdev(XmlReader *r, const PciAddress *a) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path,
                     HOSTDEVS "[source/address[(not(@domain) and %u = 0 or @domain = '0x%04x') and "
                              "@bus = '0x%02x' and @slot = '0x%02x' and @function = '0x%x']]",
                     a->domain, a->domain, a->bus, a->slot, a->function) < 0) {
                path = NULL;
                return NULL;
        }
        return find_node(r, path);
}

int vm_spec_find_spare_port(const char *live_xml, const char *definition_xml, unsigned *ret) {
        const char *const texts[] = { live_xml, definition_xml };
        bool taken[PORT_MAX + 1] = {}, there[2][PORT_MAX + 1] = {};
        unsigned highest = 0;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_xml_reader_ XmlReader r = {};
                int k = xml_reader_init(&r, texts[i]);

                if (k >= 0)
                        k = read_taken_ports(&r, taken);
                if (k >= 0)
                        k = read_root_ports(&r, there[i], &highest);
                if (k < 0)
                        return k;
        }

        for (unsigned port = PORT_FIRST_PASSED; port <= highest; port++)
                if (there[0][port] && there[1][port] && !taken[port]) {
                        *ret = port;
                        return 0;
                }
        return -ENOSPC;
}

/* --- ports ------------------------------------------------------------------------------------------------ */

static int port_of_hostdev(XmlReader *r, xmlNodePtr hostdev, unsigned *ret) {
        uint64_t port = 0;
        int k = xml_uint(r, hostdev, "address[@type = 'pci']/@bus", PORT_MAX, &port);

        *ret = (unsigned) port;
        return k < 0 ? k : 0;
}

/* A device that was there keeps its port, and one that has moved on the host its old one: the guest sees no
 * difference. For the others the first free one is chosen, also behind the last that there is. */
static int choose_ports(XmlReader *r, VmSpec *spec) {
        bool taken[PORT_MAX + 1] = {};
        int k;

        k = read_taken_ports(r, taken);
        for (size_t i = 0; k >= 0 && i < spec->n_devices; i++) {
                xmlNodePtr hostdev = find_hostdev(r, &spec->devices[i].address);

                if (hostdev && spec->devices[i].guest_port == 0)
                        k = port_of_hostdev(r, hostdev, &spec->devices[i].guest_port);
        }
        if (k < 0)
                return k;

        for (size_t i = 0; i < spec->n_devices; i++) {
                VmDevice *d = &spec->devices[i];

                for (size_t j = 0; j < i && d->guest_port == 0; j++)
                        if (pci_address_same_slot(&spec->devices[j].address, &d->address))
                                d->guest_port = spec->devices[j].guest_port;
                for (unsigned port = PORT_FIRST_PASSED; d->guest_port == 0 && port <= PORT_MAX; port++)
                        if (!taken[port])
                                d->guest_port = port;
                if (d->guest_port == 0)
                        return -E2BIG;
                taken[d->guest_port] = true;
        }
        return 0;
}

/* --- editing ---------------------------------------------------------------------------------------------- */

static void remove_node(xmlNodePtr node) {
        xmlUnlinkNode(node);
        xmlFreeNode(node);
}

/* The root element of text, as a node of the document that is edited. */
static xmlNodePtr parse_element(XmlReader *r, const char *text) {
        _cleanup_xml_reader_ XmlReader part = {};

        if (xml_reader_init(&part, text) < 0)
                return NULL;
        return xmlDocCopyNode(xmlDocGetRootElement(part.doc), r->doc, 1);
}

/* Takes what the writer has. */
static int append_written(XmlReader *r, xmlNodePtr parent, XmlWriter *w) {
        _cleanup_free_ char *text = NULL;
        xmlNodePtr node;
        int k;

        k = xml_writer_finish(w, &text);
        if (k < 0)
                return k;

        node = parse_element(r, text);
        if (!node || !xmlAddChild(parent, node)) {
                xmlFreeNode(node);
                return -ENOMEM;
        }
        return 0;
}

/* Two that have changed places are in the definition by their addresses, but each at the other's port. */
static bool is_hostdev_of(XmlReader *r, xmlNodePtr node, const VmDevice *d) {
        unsigned port;

        return find_hostdev(r, &d->address) == node && port_of_hostdev(r, node, &port) >= 0 &&
               port == d->guest_port;
}

static int remove_hostdevs(XmlReader *r, const VmSpec *spec) {
        xmlXPathObjectPtr nodes = xml_nodes(r, NULL, HOSTDEVS);
        int n = nodes && nodes->nodesetval ? nodes->nodesetval->nodeNr : 0;

        if (!nodes)
                return -ENOMEM;

        for (int i = 0; i < n; i++) {
                xmlNodePtr node = nodes->nodesetval->nodeTab[i];
                bool stays = false;

                for (size_t k = 0; !stays && k < spec->n_devices; k++)
                        stays = is_hostdev_of(r, node, &spec->devices[k]);
                if (!stays) {
                        /* The set looks at its nodes once more when it is freed. */
                        nodes->nodesetval->nodeTab[i] = NULL;
                        remove_node(node);
                }
        }
        xmlXPathFreeObject(nodes);
        return 0;
}

/* The order among those that are left may be another, and libvirt takes none that occurs twice. */
static int set_boot_order(xmlNodePtr hostdev, unsigned order) {
        char text[16];

        for (xmlNodePtr child = hostdev->children, next; child; child = next) {
                next = child->next;
                if (child->type == XML_ELEMENT_NODE && streq((const char *) child->name, "boot"))
                        remove_node(child);
        }
        if (order == 0)
                return 0;

        (void) snprintf(text, sizeof(text), "%u", order);
        xmlNodePtr boot = xmlNewChild(hostdev, NULL, BAD_CAST "boot", NULL);
        return boot && xmlNewProp(boot, BAD_CAST "order", BAD_CAST text) ? 0 : -ENOMEM;
}

/* libvirt gives a domain that says nothing of booting <boot dev='hd'/>, and takes no order of devices beside
 * it. Whatever else stands there is an administrator's will: then passed devices are in no order. */
static void make_way_for_boot_order(XmlReader *r, const VmSpec *spec, Layout *layout) {
        bool wanted = false;

        for (size_t i = 0; i < spec->n_devices; i++)
                wanted = wanted || layout->places[i].boot_order > 0;
        if (!wanted || !xml_exists(r, NULL, "/domain/os/boot"))
                return;

        if (!xml_exists(r, NULL, "/domain/os/boot[@dev != 'hd']")) {
                remove_node(find_node(r, "/domain/os/boot"));
                return;
        }
        for (size_t i = 0; i < spec->n_devices; i++)
                layout->places[i].boot_order = 0;
}

static int add_hostdev(XmlReader *r, xmlNodePtr devices, const VmDevice *d, const Place *place) {
        _cleanup_xml_writer_ XmlWriter w = {};
        int k = xml_writer_init(&w);

        if (k < 0)
                return k;
        hostdev_write(&w, d, place);
        return append_written(r, devices, &w);
}

static int set_hostdevs(XmlReader *r, xmlNodePtr devices, const VmSpec *spec, const Layout *layout) {
        int k = remove_hostdevs(r, spec);

        for (size_t i = 0; k >= 0 && i < spec->n_devices; i++) {
                xmlNodePtr hostdev = find_hostdev(r, &spec->devices[i].address);

                k = hostdev ? set_boot_order(hostdev, layout->places[i].boot_order)
                            : add_hostdev(r, devices, &spec->devices[i], &layout->places[i]);
        }
        return k;
}

/* Ports are numbered without a gap. */
static int add_spare_ports(XmlReader *r, xmlNodePtr devices, const Layout *layout) {
        bool there[PORT_MAX + 1] = {};
        unsigned highest = 0;
        int k;

        k = read_root_ports(r, there, &highest);
        for (unsigned port = highest + 1; k >= 0 && highest > 0 && port <= layout->n_ports; port++) {
                _cleanup_xml_writer_ XmlWriter w = {};

                k = xml_writer_init(&w);
                if (k < 0)
                        return k;
                root_port_write(&w, port);
                k = append_written(r, devices, &w);
        }
        return k;
}

static int set_metadata(XmlReader *r, const VmSpec *spec) {
        _cleanup_xml_writer_ XmlWriter w = {};
        xmlNodePtr metadata = find_node(r, "/domain/metadata"),
                   old = find_node(r, "/domain/metadata/" VMKIT_METADATA_PREFIX ":vm");
        int k;

        if (!metadata || !old)
                return -ENODATA;
        remove_node(old);

        k = xml_writer_init(&w);
        if (k < 0)
                return k;
        metadata_write(&w, spec, true);
        return append_written(r, metadata, &w);
}

static int dump(XmlReader *r, char **ret) {
        xmlBufferPtr buffer = xmlBufferCreate();
        char *text = NULL;

        if (buffer && xmlNodeDump(buffer, r->doc, xmlDocGetRootElement(r->doc), 0, 1) >= 0)
                text = strdup((const char *) xmlBufferContent(buffer));
        xmlBufferFree(buffer);
        if (!text)
                return -ENOMEM;

        *ret = text;
        return 0;
}

int vm_spec_edit_xml(const char *xml, VmSpec *spec, char **ret) {
        _cleanup_xml_reader_ XmlReader r = {};
        _cleanup_(layout_done) Layout layout = {};
        xmlNodePtr devices;
        int k;

        k = xml_reader_init(&r, xml);
        if (k < 0)
                return k;
        devices = find_node(&r, "/domain/devices");
        if (!devices)
                return -EBADMSG;

        k = choose_ports(&r, spec);
        if (k >= 0)
                k = layout_init(&layout, spec);
        if (k >= 0)
                make_way_for_boot_order(&r, spec, &layout);
        if (k >= 0)
                k = set_hostdevs(&r, devices, spec, &layout);
        if (k >= 0)
                k = add_spare_ports(&r, devices, &layout);
        if (k >= 0)
                k = set_metadata(&r, spec);
        return k < 0 ? k : dump(&r, ret);
}

int vm_device_to_xml(const VmDevice *device, char **ret) {
        const Place place = { .port = device->guest_port };
        _cleanup_xml_writer_ XmlWriter w = {};
        int r;

        r = xml_writer_init(&w);
        if (r < 0)
                return r;
        hostdev_write(&w, device, &place);
        return xml_writer_finish(&w, ret);
}
