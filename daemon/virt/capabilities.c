/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What this libvirt, its QEMU and the firmware that is installed can do. */

#include <libvirt/virterror.h>

#include "base/strv.h"
#include "capabilities.h"
#include "xml.h"

void capabilities_parse(const char *text, VirtCapabilities *c) {
        _cleanup_xml_reader_ XmlReader r = {};

        if (xml_reader_init(&r, text) < 0)
                return;

        c->uefi = xml_exists(&r, NULL,
                             "/domainCapabilities/os/enum[@name = 'firmware']/value[. = 'efi']");
        c->secure_boot = c->uefi && xml_exists(&r, NULL,
                                               "/domainCapabilities/os/loader[@supported = 'yes']"
                                               "/enum[@name = 'secure']/value[. = 'yes']");
        c->tpm = xml_exists(&r, NULL, "/domainCapabilities/devices/tpm[@supported = 'yes']"
                                      "[enum[@name = 'backendModel']/value = 'emulator']"
                                      "[not(enum[@name = 'backendVersion'])"
                                      " or enum[@name = 'backendVersion']/value = '2.0']");
        c->spice = xml_exists(&r, NULL,
                              "/domainCapabilities/devices/graphics/enum/value[. = 'spice']");
        c->passt = xml_exists(&r, NULL, "/domainCapabilities/devices/interface[@supported = 'yes']"
                                        "/enum[@name = 'backendType']/value[. = 'passt']");
        c->vnc = xml_exists(&r, NULL, "/domainCapabilities/devices/graphics/enum/value[. = 'vnc']");
}

static bool read_domain_type(virConnectPtr connection, const char *type, VirtCapabilities *c) {
        _cleanup_free_ char *text = NULL;

        text = virConnectGetDomainCapabilities(connection, NULL, "x86_64", "q35", type, 0);
        if (text)
                capabilities_parse(text, c);
        return text;
}

/* Whether a firmware with keys in it is installed does not stand in the capabilities: libvirt has to look for it,
 * which it does when it translates a domain that wants one. Any other failure is not about that. */
static bool has_enrolled_keys(virConnectPtr connection, const char *type) {
        _cleanup_free_ char *domain = NULL, *command = NULL;
        const char *message;

        if (asprintf(&domain,
                     "<domain type='%s'><name>secure-boot</name><memory unit='MiB'>64</memory>"
                     "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type><firmware>"
                     "<feature enabled='yes' name='enrolled-keys'/>"
                     "<feature enabled='yes' name='secure-boot'/></firmware></os>"
                     "<features><acpi/><smm state='on'/></features></domain>", type) < 0) {
                domain = NULL;
                return true;
        }

        command = virConnectDomainXMLToNative(connection, "qemu-argv", domain, 0);
        message = command ? NULL : virGetLastErrorMessage();
        return !message || !strcasestr(message, "firmware");
}

static int read_networks(virConnectPtr connection, char ***ret) {
        _cleanup_strv_ char **names = NULL;
        virNetworkPtr *networks = NULL;
        int n, r = 0;

        n = virConnectListAllNetworks(connection, &networks, VIR_CONNECT_LIST_NETWORKS_ACTIVE);
        for (int i = 0; i < n; i++) {
                if (r >= 0)
                        r = strv_push(&names, virNetworkGetName(networks[i]));
                (void) virNetworkFree(networks[i]);
        }
        free(networks);
        if (r >= 0)
                *ret = TAKE_PTR(names);
        return r;
}

int capabilities_read(virConnectPtr connection, VirtCapabilities *ret) {
        const char *driver = virConnectGetType(connection);
        VirtCapabilities c = {};
        int r;

        (void) virConnectGetLibVersion(connection, &c.version);

        if (driver && strcasecmp(driver, "test") == 0)
                /* libvirt's test driver takes every definition and has no answer here. */
                c.kvm = c.uefi = c.secure_boot = c.tpm = c.spice = c.vnc = true;
        else {
                c.kvm = read_domain_type(connection, "kvm", &c);
                if (!c.kvm)
                        (void) read_domain_type(connection, "qemu", &c);
                c.secure_boot = c.secure_boot && has_enrolled_keys(connection, c.kvm ? "kvm" : "qemu");
        }

        r = read_networks(connection, &c.networks);
        if (r < 0)
                return r;

        *ret = c;
        return 0;
}

void capabilities_clear(VirtCapabilities *c) {
        c->networks = strv_free(c->networks);
        *c = (VirtCapabilities) {};
}
