/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A VM keeps its port, so one of a stopped VM is not given to another. Trying to listen would tell more than
 * reading who does, but this service is not to open any socket of a network. */

#include "base/io.h"
#include "ssh-port.h"

#define PORT_FIRST 22001
#define PORT_LAST 22999
#define TABLE_SIZE_MAX (4 * MIB)

/* By port, counted from PORT_FIRST: whether it is somebody's. */
typedef struct Ports {
        bool taken[PORT_LAST - PORT_FIRST + 1];
} Ports;

static void take(Ports *ports, unsigned port) {
        if (port >= PORT_FIRST && port <= PORT_LAST)
                ports->taken[port - PORT_FIRST] = true;
}

/* A line has the local address as ADDRESS:PORT in hexadecimal, that of the other side, and the state, 0A for a
 * listener. */
static void take_listener(Ports *ports, const char *line) {
        unsigned port, state;

        if (sscanf(line, " %*[0-9]: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x", &port, &state) == 2 && state == 0x0a)
                take(ports, port);
}

/* Anybody can open many sockets, so each line is read once. */
static void take_listeners(const Manager *m, const char *path, Ports *ports) {
        _cleanup_free_ char *table = NULL;
        char *next;

        if (read_file_at(m->root_fd, path, TABLE_SIZE_MAX, &table) < 0)
                return;

        for (char *line = table; line; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = '\0'; /* sscanf() measures the whole of what it is given */
                take_listener(ports, line);
        }
}

unsigned ssh_port_choose(const Manager *m) {
        Ports ports = {};

        for (size_t i = 0; i < m->n_vms; i++)
                take(&ports, m->vms[i]->spec->ssh_port);
        take_listeners(m, "proc/net/tcp", &ports);
        take_listeners(m, "proc/net/tcp6", &ports);

        for (unsigned i = 0; i < ELEMENTSOF(ports.taken); i++)
                if (!ports.taken[i])
                        return PORT_FIRST + i;
        return 0;
}
