/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The a{sv} options of a method, from the options of the command line. */

#include "client.h"

int dict_open(sd_bus_message *m);
int dict_close(sd_bus_message *m);

/* Every option given that has a key of its own. */
int dict_add_given(sd_bus_message *m, const Args *args, Failure *failure);

/* The options of cloud-init as one dictionary, if there are any. hostname stands in for --hostname.
 */
int dict_add_cloud_init(sd_bus_message *m, const Args *args, const char *hostname,
                        Failure *failure);

int dict_add_string(sd_bus_message *m, const char *key, const char *value);
int dict_add_fd(sd_bus_message *m, const char *key, int fd);

/* The whole dictionary, for methods that need nothing but what was given. */
int dict_append(sd_bus_message *m, const Args *args, Failure *failure);
