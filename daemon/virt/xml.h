/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Thin layers over libxml2: a writer whose first error sticks, so that a document is written as
 * one plain sequence of calls, and a reader that asks by XPath. */

#include <libxml/xmlwriter.h>
#include <libxml/xpath.h>
#include <stdint.h>

#include "base/util.h"

typedef struct XmlWriter {
        xmlBufferPtr buffer;
        xmlTextWriterPtr writer;
        int r; /* the first error */
} XmlWriter;

int xml_writer_init(XmlWriter *w);
/* The text, or the first error of all calls since xml_writer_init(). */
int xml_writer_finish(XmlWriter *w, char **ret);
void xml_writer_done(XmlWriter *w);
#define _cleanup_xml_writer_ _cleanup_(xml_writer_done)

void xml_open(XmlWriter *w, const char *name);
void xml_close(XmlWriter *w);
/* -EINVAL where value is not UTF-8 or has a character that XML cannot carry. */
void xml_attribute(XmlWriter *w, const char *name, const char *value);
void xml_attributef(XmlWriter *w, const char *name, const char *format, ...) _printf_(3, 4);
void xml_text(XmlWriter *w, const char *name, const char *value);
void xml_textf(XmlWriter *w, const char *name, const char *format, ...) _printf_(3, 4);
/* An element with up to two attributes; a NULL name ends the list. */
void xml_leaf(XmlWriter *w, const char *name, const char *attribute1, const char *value1,
              const char *attribute2, const char *value2);

typedef struct XmlReader {
        xmlDocPtr doc;
        xmlXPathContextPtr context;
} XmlReader;

/* -EBADMSG: not well-formed, or with a document type (and so entities). */
int xml_reader_init(XmlReader *r, const char *text);
void xml_reader_done(XmlReader *r);
#define _cleanup_xml_reader_ _cleanup_(xml_reader_done)

/* All of these look from node, or from the root where it is NULL. */
bool xml_exists(XmlReader *r, xmlNodePtr node, const char *path);
/* The text of the first match; 0 with NULL where there is none. */
int xml_string(XmlReader *r, xmlNodePtr node, const char *path, char **ret);
/* Decimal, or hexadecimal behind "0x". 1: read; 0: no match, ret is unchanged; -EBADMSG: no
 * number. */
int xml_uint(XmlReader *r, xmlNodePtr node, const char *path, uint64_t max, uint64_t *ret);
/* The nodes that match, to be freed with xmlXPathFreeObject(); NULL: out of memory. */
xmlXPathObjectPtr xml_nodes(XmlReader *r, xmlNodePtr node, const char *path);
