/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* vmkitd.conf and its drop-ins, overridden by the command line. */

#include "base/error.h"
#include "core/config.h"

/* With every default. */
int config_new(Config **ret);
Config *config_free(Config *config);
DEFINE_CLEANUP(Config *, config_free);

/* directory/vmkitd.conf, then directory/vmkitd.conf.d/NAME.conf in the order of their names; later ones win. A
 * missing file is none. An unknown key or a wrong value is an error that names file and line. */
int config_read(Config *config, const char *directory, Error *error);

/* One setting by its name in the file, for the command line too. -EINVAL: the value; -ENOENT: the name. */
int config_set(Config *config, const char *section, const char *key, const char *value);
