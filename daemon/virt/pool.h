/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The connections that calls are made on. libvirtd serves a connection's requests in order and
 * only five at once, so each call that is under way has one of its own; a few wait for the next. */

#include <libvirt/libvirt.h>

#include "base/worker.h"

typedef struct ConnectionPool ConnectionPool;

int connection_pool_new(const char *uri, ConnectionPool **ret);
ConnectionPool *connection_pool_ref(ConnectionPool *p);
ConnectionPool *connection_pool_unref(ConnectionPool *p);

/* On workers. NULL: libvirt's last error says why. */
virConnectPtr connection_pool_take(ConnectionPool *p);
/* Keeps it for the next, unless it is broken or enough wait already. */
void connection_pool_give(ConnectionPool *p, virConnectPtr connection);
const char *connection_pool_uri(const ConnectionPool *p);

/* On the loop: closes, on a worker, those that wait. */
void connection_pool_flush(ConnectionPool *p, WorkerPool *workers);

/* Opens a connection that notices a dead peer. */
virConnectPtr connection_open(const char *uri);
