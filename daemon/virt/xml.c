/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <libxml/parserInternals.h>
#include <libxml/xpathInternals.h>
#include <limits.h>
#include <stdarg.h>

#include "base/parse.h"
#include "vmspec.h"
#include "xml.h"

int xml_writer_init(XmlWriter *w) {
        *w = (XmlWriter) {};
        w->buffer = xmlBufferCreate();
        if (!w->buffer)
                return -ENOMEM;
        w->writer = xmlNewTextWriterMemory(w->buffer, 0);
        if (!w->writer)
                return -ENOMEM;
        (void) xmlTextWriterSetIndent(w->writer, 1);
        (void) xmlTextWriterSetIndentString(w->writer, BAD_CAST "  ");
        return 0;
}

static void check(XmlWriter *w, int written) {
        if (written < 0 && w->r == 0)
                w->r = -ENOMEM;
}

int xml_writer_finish(XmlWriter *w, char **ret) {
        char *text;

        check(w, xmlTextWriterFlush(w->writer));
        if (w->r < 0)
                return w->r;

        text = strdup((const char *) xmlBufferContent(w->buffer));
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

void xml_writer_done(XmlWriter *w) {
        if (w->writer)
                xmlFreeTextWriter(w->writer);
        if (w->buffer)
                xmlBufferFree(w->buffer);
        *w = (XmlWriter) {};
}

/* libxml2 escapes markup, but writes what no XML document may contain as it is. */
static bool text_is_valid(const char *s) {
        if (!xmlCheckUTF8(BAD_CAST s))
                return false;

        while (*s) {
                int size = 4, c = xmlGetUTF8Char(BAD_CAST s, &size);

                if (c < 0 || !xmlIsCharQ((unsigned) c))
                        return false;
                s += size;
        }
        return true;
}

static bool take_text(XmlWriter *w, const char *value) {
        if (w->r < 0)
                return false;
        if (!value || !text_is_valid(value))
                w->r = -EINVAL;
        return w->r == 0;
}

void xml_open(XmlWriter *w, const char *name) {
        if (w->r == 0)
                check(w, xmlTextWriterStartElement(w->writer, BAD_CAST name));
}

void xml_close(XmlWriter *w) {
        if (w->r == 0)
                check(w, xmlTextWriterEndElement(w->writer));
}

void xml_attribute(XmlWriter *w, const char *name, const char *value) {
        if (take_text(w, value))
                check(w, xmlTextWriterWriteAttribute(w->writer, BAD_CAST name, BAD_CAST value));
}

void xml_text(XmlWriter *w, const char *name, const char *value) {
        if (take_text(w, value))
                check(w, xmlTextWriterWriteElement(w->writer, BAD_CAST name, BAD_CAST value));
}

_printf_(4, 0) static void write_formatted(XmlWriter *w, const char *name,
                                           void (*put)(XmlWriter *, const char *, const char *),
                                           const char *format, va_list ap) {
        _cleanup_free_ char *value = NULL;

        if (vasprintf(&value, format, ap) < 0) {
                value = NULL;
                check(w, -1);
                return;
        }
        put(w, name, value);
}

void xml_attributef(XmlWriter *w, const char *name, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        write_formatted(w, name, xml_attribute, format, ap);
        va_end(ap);
}

void xml_textf(XmlWriter *w, const char *name, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        write_formatted(w, name, xml_text, format, ap);
        va_end(ap);
}

void xml_leaf(XmlWriter *w, const char *name, const char *attribute1, const char *value1,
              const char *attribute2, const char *value2) {
        xml_open(w, name);
        if (attribute1)
                xml_attribute(w, attribute1, value1);
        if (attribute2)
                xml_attribute(w, attribute2, value2);
        xml_close(w);
}


int xml_reader_init(XmlReader *r, const char *text) {
        const int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
        size_t size = strlen(text);

        *r = (XmlReader) {};
        if (size > INT_MAX)
                return -EBADMSG;

        r->doc = xmlReadMemory(text, (int) size, NULL, NULL, options);
        if (!r->doc || r->doc->intSubset || !xmlDocGetRootElement(r->doc))
                return -EBADMSG;

        r->context = xmlXPathNewContext(r->doc);
        if (!r->context)
                return -ENOMEM;
        if (xmlXPathRegisterNs(r->context, BAD_CAST VMKIT_METADATA_PREFIX,
                               BAD_CAST VMKIT_METADATA_URI) < 0)
                return -ENOMEM;
        return 0;
}

void xml_reader_done(XmlReader *r) {
        if (r->context)
                xmlXPathFreeContext(r->context);
        if (r->doc)
                xmlFreeDoc(r->doc);
        *r = (XmlReader) {};
}

xmlXPathObjectPtr xml_nodes(XmlReader *r, xmlNodePtr node, const char *path) {
        r->context->node = node ? node : xmlDocGetRootElement(r->doc);
        return xmlXPathEvalExpression(BAD_CAST path, r->context);
}

static xmlNodePtr first_node(xmlXPathObjectPtr nodes) {
        if (!nodes || nodes->type != XPATH_NODESET || !nodes->nodesetval ||
            nodes->nodesetval->nodeNr < 1)
                return NULL;
        return nodes->nodesetval->nodeTab[0];
}

bool xml_exists(XmlReader *r, xmlNodePtr node, const char *path) {
        xmlXPathObjectPtr nodes = xml_nodes(r, node, path);
        bool found = first_node(nodes);

        xmlXPathFreeObject(nodes);
        return found;
}

int xml_string(XmlReader *r, xmlNodePtr node, const char *path, char **ret) {
        xmlXPathObjectPtr nodes = xml_nodes(r, node, path);
        xmlNodePtr found = first_node(nodes);
        xmlChar *content = NULL;
        char *copy = NULL;

        if (found) {
                content = xmlNodeGetContent(found);
                copy = content ? strdup((const char *) content) : NULL;
                xmlFree(content);
        }
        xmlXPathFreeObject(nodes);

        if (!nodes || (found && !copy))
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int xml_uint(XmlReader *r, xmlNodePtr node, const char *path, uint64_t max, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        const char *digits;
        int k;

        k = xml_string(r, node, path, &text);
        if (k < 0)
                return k;
        if (!text)
                return 0;

        digits = str_after(text, "0x");
        k = parse_uint(digits ? digits : text, digits ? 16 : 10, max, ret);
        return k < 0 ? -EBADMSG : 1;
}
