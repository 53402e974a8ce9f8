/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* While none of our domains runs, nobody has to be told at once what becomes of one, and libvirtd, which asks
 * every few seconds whether we are still there, would wake this process for nothing. So the connection for events
 * is given up then, and the directories are watched in which libvirt keeps what is defined and what runs: whatever
 * happens there brings it back, and so does every call. Only for the QEMU driver of this host: of others it is not
 * known where they keep that. */

#include "connection.h"

/* Something was heard of a domain, or asked: the rest begins when that has been a while ago. */
void rest_put_off(Virt *virt);

/* Connects, if the connection is at rest. */
void rest_end(Virt *virt);

void rest_clear(Virt *virt);
