/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Texts here may come from hardware (serial numbers) and must come back as they were, so
 * everything that is not printable ASCII is written as \xNN. */

#include "base/parse.h"
#include "base/strv.h"
#include "metadata.h"

#define PREFIX VMKIT_METADATA_PREFIX ":"
#define VM_PATH "/domain/metadata/" PREFIX "vm"

static char *escape(const char *s) {
        static const char hex[] = "0123456789abcdef";
        char *escaped = malloc(4 * strlen(s) + 1), *p = escaped;

        if (!escaped)
                return NULL;

        for (; *s; s++) {
                unsigned char c = (unsigned char) *s;

                if (c < ' ' || c > '~' || c == '\\') {
                        *p++ = '\\';
                        *p++ = 'x';
                        *p++ = hex[c >> 4];
                        *p++ = hex[c & 15];
                } else
                        *p++ = *s;
        }
        *p = '\0';
        return escaped;
}

static int hex_digit(char c) {
        const char *digits = "0123456789abcdef", *found = c ? strchr(digits, c) : NULL;

        return found ? (int) (found - digits) : -1;
}

static int unescape(char *s) {
        char *to = s;

        for (; *s; s++) {
                int high, low;

                if (*s != '\\') {
                        *to++ = *s;
                        continue;
                }
                high = s[1] == 'x' ? hex_digit(s[2]) : -1;
                low = high >= 0 ? hex_digit(s[3]) : -1;
                if (low < 0 || (high == 0 && low == 0))
                        return -EBADMSG;
                *to++ = (char) (high << 4 | low);
                s += 3;
        }
        *to = '\0';
        return 0;
}

typedef void (*PutText)(XmlWriter *w, const char *name, const char *value);

/* Nothing for NULL, so that it comes back as NULL. */
static void write_escaped(XmlWriter *w, PutText put, const char *name, const char *value) {
        _cleanup_free_ char *escaped = NULL;

        if (!value || w->r < 0)
                return;

        escaped = escape(value);
        if (escaped)
                put(w, name, escaped);
        else
                w->r = -ENOMEM;
}

static void write_text(XmlWriter *w, const char *name, const char *value) {
        write_escaped(w, xml_text, name, value);
}

static void write_attribute(XmlWriter *w, const char *name, const char *value) {
        write_escaped(w, xml_attribute, name, value);
}

#define NAME(local) (with_namespace ? PREFIX local : local)

static void write_device(XmlWriter *w, const VmDevice *d, bool with_namespace) {
        xml_open(w, NAME("device"));
        xml_attribute(w, "address", PCI_ADDRESS_TEXT(&d->address));
        xml_attribute(w, "requested", PCI_ADDRESS_TEXT(&d->requested));
        xml_attributef(w, "vendor", "0x%04x", d->vendor_id);
        xml_attributef(w, "device", "0x%04x", d->device_id);
        xml_attributef(w, "subsystem-vendor", "0x%04x", d->subsystem_vendor_id);
        xml_attributef(w, "subsystem-device", "0x%04x", d->subsystem_device_id);
        write_attribute(w, "kind", d->kind);
        write_attribute(w, "serial", d->serial);
        write_attribute(w, "slot-path", d->slot_path);
        STRV_FOREACH(code, d->allow)
                write_text(w, NAME("allow"), *code);
        xml_close(w);
}

void metadata_write(XmlWriter *w, const VmSpec *spec, bool with_namespace) {
        xml_open(w, NAME("vm"));
        if (with_namespace)
                xml_attribute(w, "xmlns:" VMKIT_METADATA_PREFIX, VMKIT_METADATA_URI);

        xml_textf(w, NAME("owner"), "%u", spec->owner);
        xml_textf(w, NAME("created"), "%llu", (unsigned long long) spec->created_at);
        xml_text(w, NAME("autostart"), spec->autostart ? "yes" : "no");
        xml_textf(w, NAME("disk-bytes"), "%llu", (unsigned long long) spec->disk_bytes);
        write_text(w, NAME("image"), spec->image);
        write_text(w, NAME("user"), spec->user);
        write_text(w, NAME("on-stop"), spec->on_stop);
        write_text(w, NAME("pin"), spec->pin);
        write_text(w, NAME("hugepages"), spec->hugepages);
        write_text(w, NAME("numa"), spec->numa);
        write_text(w, NAME("guest-os"), spec->guest_os);
        xml_text(w, NAME("hide-hypervisor"), spec->hide_hypervisor ? "yes" : "no");
        for (size_t i = 0; i < spec->n_devices; i++)
                write_device(w, &spec->devices[i], with_namespace);
        xml_close(w);
}

int vm_spec_to_metadata(const VmSpec *spec, char **ret) {
        _cleanup_xml_writer_ XmlWriter w = {};
        int r;

        r = xml_writer_init(&w);
        if (r < 0)
                return r;

        metadata_write(&w, spec, false);
        return xml_writer_finish(&w, ret);
}

static int read_text(XmlReader *r, xmlNodePtr node, const char *path, char **ret) {
        _cleanup_free_ char *text = NULL;
        int k;

        k = xml_string(r, node, path, &text);
        if (k < 0)
                return k;
        if (text && unescape(text) < 0)
                return -EBADMSG;

        *ret = TAKE_PTR(text);
        return 0;
}

static int read_vm_texts(XmlReader *r, VmSpec *spec) {
        const struct {
                const char *path;
                char **ret;
        } texts[] = {
                { VM_PATH "/" PREFIX "image", &spec->image },
                { VM_PATH "/" PREFIX "user", &spec->user },
                { VM_PATH "/" PREFIX "on-stop", &spec->on_stop },
                { VM_PATH "/" PREFIX "pin", &spec->pin },
                { VM_PATH "/" PREFIX "hugepages", &spec->hugepages },
                { VM_PATH "/" PREFIX "numa", &spec->numa },
                { VM_PATH "/" PREFIX "guest-os", &spec->guest_os },
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                int k = read_text(r, NULL, texts[i].path, texts[i].ret);
                if (k < 0)
                        return k;
        }
        return 0;
}

int metadata_read(XmlReader *r, VmSpec *spec) {
        uint64_t owner;
        int k;

        if (!xml_exists(r, NULL, VM_PATH))
                return -ENODATA;

        k = xml_uint(r, NULL, VM_PATH "/" PREFIX "owner", UINT32_MAX - 1, &owner);
        if (k <= 0)
                return k < 0 ? k : -EBADMSG;
        spec->owner = (uid_t) owner;

        k = xml_uint(r, NULL, VM_PATH "/" PREFIX "created", UINT64_MAX, &spec->created_at);
        if (k >= 0)
                k = xml_uint(r, NULL, VM_PATH "/" PREFIX "disk-bytes", UINT64_MAX,
                             &spec->disk_bytes);
        if (k < 0)
                return k;

        spec->autostart = xml_exists(r, NULL, VM_PATH "/" PREFIX "autostart[. = 'yes']");
        spec->hide_hypervisor =
                xml_exists(r, NULL, VM_PATH "/" PREFIX "hide-hypervisor[. = 'yes']");
        return read_vm_texts(r, spec);
}

static int read_allow(XmlReader *r, xmlNodePtr node, VmDevice *device) {
        xmlXPathObjectPtr nodes = xml_nodes(r, node, PREFIX "allow");
        int k = nodes ? 0 : -ENOMEM;

        for (int i = 0; k >= 0 && nodes->nodesetval && i < nodes->nodesetval->nodeNr; i++) {
                _cleanup_free_ char *code = NULL;

                k = read_text(r, nodes->nodesetval->nodeTab[i], ".", &code);
                if (k >= 0)
                        k = strv_consume(&device->allow, TAKE_PTR(code));
        }
        xmlXPathFreeObject(nodes);
        return k < 0 ? k : 0;
}

static int read_id(XmlReader *r, xmlNodePtr node, const char *path, uint16_t *ret) {
        uint64_t value = 0;
        int k;

        k = xml_uint(r, node, path, UINT16_MAX, &value);
        if (k < 0)
                return k;
        *ret = (uint16_t) value;
        return 0;
}

static int read_device(XmlReader *r, xmlNodePtr node, VmDevice *device) {
        const struct {
                const char *path;
                uint16_t *ret;
        } ids[] = {
                { "@vendor", &device->vendor_id },
                { "@device", &device->device_id },
                { "@subsystem-vendor", &device->subsystem_vendor_id },
                { "@subsystem-device", &device->subsystem_device_id },
        };
        const struct {
                const char *path;
                char **ret;
        } texts[] = {
                { "@kind", &device->kind },
                { "@serial", &device->serial },
                { "@slot-path", &device->slot_path },
        };
        _cleanup_free_ char *requested = NULL;
        int k;

        k = read_text(r, node, "@requested", &requested);
        if (k < 0)
                return k;
        if (requested && pci_address_parse(requested, &device->requested) < 0)
                return -EBADMSG;

        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                k = read_id(r, node, ids[i].path, ids[i].ret);
                if (k < 0)
                        return k;
        }
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                k = read_text(r, node, texts[i].path, texts[i].ret);
                if (k < 0)
                        return k;
        }
        /* Taken down by an earlier version while the drive's driver was at work. */
        if (!text_is_known(device->serial)) {
                free(device->serial);
                device->serial = NULL;
        }
        return read_allow(r, node, device);
}

int metadata_read_device(XmlReader *r, VmDevice *device) {
        _cleanup_free_ char *path = NULL;
        xmlXPathObjectPtr nodes;
        int k = 0;

        if (asprintf(&path, VM_PATH "/" PREFIX "device[@address = '%s']",
                     PCI_ADDRESS_TEXT(&device->address)) < 0) {
                path = NULL;
                return -ENOMEM;
        }

        nodes = xml_nodes(r, NULL, path);
        if (!nodes)
                return -ENOMEM;
        if (nodes->nodesetval && nodes->nodesetval->nodeNr > 0)
                k = read_device(r, nodes->nodesetval->nodeTab[0], device);
        xmlXPathFreeObject(nodes);
        return k;
}
