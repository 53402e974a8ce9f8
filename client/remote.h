/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* -H: the same command on another host, over ssh; its exit code is returned. */

#include "args.h"

int remote_run(const Args *args, Failure *failure);
