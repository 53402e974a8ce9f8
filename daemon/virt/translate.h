/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libvirt's error codes are coarse: what QEMU said arrives as an "internal error" with its
 * stderr inside. So the cause is found in the text first, and in the code only where the text is
 * not known. */

#include "base/error.h"

/* What was being done, for the sentence and for what an unknown failure is called. */
typedef enum Act {
        ACT_CONNECT,
        ACT_DEFINE,
        ACT_UNDEFINE,
        ACT_START,
        ACT_SHUTDOWN,
        ACT_DESTROY,
        ACT_REBOOT,
        ACT_SUSPEND,
        ACT_RESUME,
        ACT_SET_METADATA,
        ACT_OPEN_CONSOLE,
        ACT_OPEN_DISPLAY,
        ACT_GET_ADDRESSES,
        ACT_CHANGE_DEVICES,
        ACT_ATTACH,
        ACT_DETACH,
        ACT_READ,
        _ACT_MAX,
} Act;

/* "start the VM", … */
const char *act_to_string(Act act);

/* code is a virErrorNumber, text libvirt's message. Sets error and returns its negative errno. */
int translate_error(Act act, int code, const char *text, Error *error);
