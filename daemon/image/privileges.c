/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "helper.h"

/* Without this, execve() would give root all capabilities back. */
static int keep_dropped(void) {
        unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0 &&
            errno != EPERM) /* EPERM: none to regain */
                return -errno;
        return 0;
}

int drop_capabilities(bool may_read) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct left[_LINUX_CAPABILITY_U32S_3] = {};
        int r;

        r = keep_dropped();
        if (r < 0)
                return r;
        if (may_read)
                left[0].effective = left[0].permitted = left[0].inheritable = 1U << CAP_DAC_READ_SEARCH;
        if (syscall(SYS_capset, &header, left) < 0)
                return -errno;
        if (may_read && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0) < 0)
                return -errno;
        return 0;
}
