/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/inotify.h>

#include "base/idle.h"
#include "base/log.h"
#include "rest.h"

/* What happened before the directories were watched has been told by then. */
#define SETTLE_USEC USEC_PER_SEC

static const char *const watched[REST_WATCHES] = {
        "/etc/libvirt/qemu", /* what is defined */
        "/run/libvirt/qemu", /* what runs */
};

static void watch_end(Rest *rest) {
        for (size_t i = 0; i < ELEMENTSOF(rest->watches); i++)
                rest->watches[i] = sd_event_source_disable_unref(rest->watches[i]);
}

/* A domain's file there is NAME.xml. Others are libvirtd's own, which comes and goes as it is needed. What has no
 * name is of the directory itself, or says that something may have been missed. */
static bool concerns_domain(const struct inotify_event *event) {
        const char *suffix = event->len > 0 ? strrchr(event->name, '.') : NULL;

        return event->len == 0 || (suffix && streq(suffix, ".xml"));
}

static int on_change(_unused_ sd_event_source *source, const struct inotify_event *event, void *userdata) {
        if (!concerns_domain(event))
                return 0;

        rest_end(userdata);
        rest_put_off(userdata);
        return 0;
}

static int watch_begin(Virt *virt) {
        const uint32_t changes = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE |
                                 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

        for (size_t i = 0; i < ELEMENTSOF(watched); i++) {
                int r = sd_event_add_inotify(virt->event, &virt->rest.watches[i], watched[i], changes, on_change,
                                             virt);
                if (r < 0) {
                        log_debug("%s cannot be watched: %s", watched[i], strerror(-r));
                        watch_end(&virt->rest);
                        return r;
                }
        }
        return 0;
}

static bool is_watched(const Virt *virt) {
        return virt->rest.watches[0];
}

static bool can_rest(const Virt *virt) {
        return virt->adopted && virt->handler.may_rest && streq(virt->uri, "qemu:///system");
}

static void set_timer(Virt *virt, uint64_t usec);

static int on_quiet(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata) {
        Virt *virt = userdata;

        connection_pool_flush(virt->pool, virt->workers);
        if (!can_rest(virt))
                return 0;

        if (!virt->handler.may_rest(virt->userdata)) {
                watch_end(&virt->rest);
                set_timer(virt, idle_usec());
        } else if (is_watched(virt)) {
                log_debug("no VM runs: the connection to libvirt rests");
                connection_give_up(virt);
        } else
                set_timer(virt, watch_begin(virt) < 0 ? idle_usec() : SETTLE_USEC);
        return 0;
}

static void set_timer(Virt *virt, uint64_t usec) {
        Rest *rest = &virt->rest;
        int r;

        if (rest->timer)
                r = sd_event_source_set_time_relative(rest->timer, usec);
        else
                r = sd_event_add_time_relative(virt->event, &rest->timer, CLOCK_MONOTONIC, usec, USEC_PER_SEC,
                                               on_quiet, virt);
        if (r >= 0)
                r = sd_event_source_set_enabled(rest->timer, SD_EVENT_ONESHOT);
        if (r < 0)
                log_errno(r, "cannot wait until libvirt is quiet");
}

void rest_put_off(Virt *virt) {
        watch_end(&virt->rest);
        set_timer(virt, idle_usec());
}

void rest_end(Virt *virt) {
        watch_end(&virt->rest);
        connection_take_up(virt);
}

void rest_clear(Virt *virt) {
        watch_end(&virt->rest);
        virt->rest.timer = sd_event_source_disable_unref(virt->rest.timer);
}
