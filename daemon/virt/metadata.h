/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* vmkit's own element in a domain: what libvirt has no place for. */

#include "vmspec.h"
#include "xml.h"

/* Writes the <vm> element: with the namespace for a domain's definition, without for
 * virDomainSetMetadata(), which puts it in by itself. */
void metadata_write(XmlWriter *w, const VmSpec *spec, bool with_namespace);

/* Reads what stands only in the metadata into spec. -ENODATA: there is none of ours. */
int metadata_read(XmlReader *r, VmSpec *spec);

/* Completes a device, whose address is set, with what the metadata says about it, if anything. */
int metadata_read_device(XmlReader *r, VmDevice *device);
