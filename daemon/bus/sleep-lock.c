/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The host cannot suspend a device that a guest drives: the guest knows nothing of it, and after the resume the
 * device has lost what the guest's driver had set up. So while any device is leased, logind is asked to refuse
 * sleep: its inhibitor lock, a descriptor that holds as long as it is open. Closing a lid would sleep in spite of
 * the lock for "sleep" as logind is configured by default, so the lid's own is taken too. A VM without devices
 * sleeps and wakes with the host. */

#include <fcntl.h>

#include "base/log.h"
#include "sleep-lock.h"

#define LOCKED_WHAT "sleep:handle-lid-switch"
#define LOCKED_WHY "A virtual machine uses devices of the host, which cannot sleep meanwhile"

/* The message owns the descriptor that came with it. */
static int read_lock(sd_bus_message *reply, int *ret) {
        int fd, r;

        r = sd_bus_message_read(reply, "h", &fd);
        if (r < 0)
                return r;

        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return -errno;
        *ret = fd;
        return 0;
}

static int on_locked(sd_bus_message *reply, void *userdata, sd_bus_error *unused) {
        Bus *b = userdata;
        SleepLock *lock = &b->sleep_lock;
        int r;

        lock->slot = sd_bus_slot_unref(lock->slot);
        if (sd_bus_message_is_method_error(reply, NULL)) {
                log_warning("logind does not keep the host from sleeping while devices are leased: %s",
                            str_na(sd_bus_message_get_error(reply)->message));
                return 0;
        }

        r = read_lock(reply, &lock->fd);
        if (r < 0)
                log_errno(r, "logind's answer cannot be understood");
        else
                log_info("The host does not sleep while its devices are leased");

        /* The last lease may have ended meanwhile. */
        sleep_lock_update(b);
        return 0;
}

static void take(Bus *b) {
        SleepLock *lock = &b->sleep_lock;
        int r;

        r = sd_bus_call_method_async(b->bus, &lock->slot, "org.freedesktop.login1", "/org/freedesktop/login1",
                                     "org.freedesktop.login1.Manager", "Inhibit", on_locked, b, "ssss",
                                     LOCKED_WHAT, "vmkitd", LOCKED_WHY, "block");
        if (r < 0)
                log_errno(r, "Could not ask logind to keep the host from sleeping");
}

/* A refusal is not argued with: the next first lease asks again. */
void sleep_lock_update(Bus *b) {
        SleepLock *lock = &b->sleep_lock;
        bool wanted = b->manager->devices.n_leases > 0;

        if (wanted && !lock->wanted && !lock->slot && lock->fd < 0)
                take(b);
        lock->wanted = wanted;

        if (!wanted && lock->fd >= 0) {
                lock->fd = close_fd(lock->fd);
                log_info("The host may sleep again");
        }
}

void sleep_lock_clear(SleepLock *lock) {
        lock->slot = sd_bus_slot_unref(lock->slot);
        lock->fd = close_fd(lock->fd);
}
