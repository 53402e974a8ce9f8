/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* --help and --version, from the tables of verbs and options. */

#include "args.h"

int print_version(void);

/* The help of one verb, or of vmkitctl when it is NULL. */
int print_help(const Verb *verbs, const Verb *verb);

/* The help of a verb by its name, or of vmkitctl when that is NULL. */
int print_help_for(const Verb *verbs, const char *name, Failure *failure);
