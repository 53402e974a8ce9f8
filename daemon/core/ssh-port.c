/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A VM keeps its port, so one of a stopped VM is not given to another. Trying to listen would tell more than
 * reading who does, but this service is not to open any socket of a network. */

#include "base/io.h"
#include "ssh-port.h"

#define PORT_FIRST 22001
#define PORT_LAST 22999
#define TABLE_SIZE_MAX (4 * MIB)

static bool belongs_to_vm(const Manager *m, unsigned port) {
        for (size_t i = 0; i < m->n_vms; i++)
                if (m->vms[i]->spec->ssh_port == port)
                        return true;
        return false;
}

/* A line has the local address as ADDRESS:PORT in hexadecimal, and the state, 0A for a listener. */
static bool is_listened_on(const char *table, unsigned port) {
        char wanted[8];

        (void) snprintf(wanted, sizeof(wanted), ":%04X ", port);
        for (const char *line = strchr(table, '\n'); line; line = strchr(line + 1, '\n')) {
                const char *end = strchrnul(line + 1, '\n');
                const char *local = strchr(line + 1, ':');   /* behind the number of the line */
                const char *found = local ? strstr(local + 1, wanted) : NULL;
                unsigned state = 0;

                /* The first address of the line is the local one. */
                if (found && found < end && found == strchr(local + 1, ':') &&
                    sscanf(found + strlen(wanted), "%*s %x", &state) == 1 && state == 0x0a)
                        return true;
        }
        return false;
}

static char *read_table(const Manager *m, const char *path) {
        char *text = NULL;

        return read_file_at(m->root_fd, path, TABLE_SIZE_MAX, &text) < 0 ? NULL : text;
}

unsigned ssh_port_choose(const Manager *m) {
        _cleanup_free_ char *tcp = read_table(m, "proc/net/tcp"), *tcp6 = read_table(m, "proc/net/tcp6");

        for (unsigned port = PORT_FIRST; port <= PORT_LAST; port++)
                if (!belongs_to_vm(m, port) && !(tcp && is_listened_on(tcp, port)) &&
                    !(tcp6 && is_listened_on(tcp6, port)))
                        return port;
        return 0;
}
