/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the completions of all shells ask: `vmkitctl --complete WORD…` prints what the last word could become, one
 * a line, with a description behind a tab. Commands, options and their values are those of the tables; names are
 * the running service's. ":files" and ":hosts" stand for what shells know themselves. */

#include "args.h"

#define COMPLETE_OPTION "--complete"

/* Always succeeds: what cannot be asked is not offered. */
int complete_words(const Verb *verbs, size_t n, const char *const *words);
