/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Looks at a domain again after an event that does not say everything. One look at a time for
 * each domain; what happens meanwhile makes it look once more, so that the last word is never an
 * old one. */

#include "base/log.h"
#include "connection.h"
#include "state.h"

struct Refresh {
        Virt *virt;
        char uuid[UUID_TEXT_MAX];
        bool want_spec;
        bool again;
        bool stale; /* the connection was lost meanwhile: connected() will tell everything */
        bool saw_state;
        DomainState state; /* of the last event meanwhile */
        Refresh *next;
};

static Refresh *find(Virt *virt, const char *uuid) {
        for (Refresh *f = virt->refreshes; f; f = f->next)
                if (!f->stale && streq(f->uuid, uuid))
                        return f;
        return NULL;
}

static void refresh_free(Refresh *f) {
        for (Refresh **p = &f->virt->refreshes; *p; p = &(*p)->next)
                if (*p == f) {
                        *p = f->next;
                        break;
                }
        free(f);
}

static int refresh_run(Call *call) {
        _cleanup_free_ char *xml = NULL;
        int state, reason, r;

        xml = virDomainGetXMLDesc(call->domain, 0);
        if (!xml || virDomainGetState(call->domain, &state, &reason, 0) < 0)
                return call_fail(call);

        call->state = domain_state_from_libvirt(state, reason);
        r = vm_spec_from_xml(xml, &call->spec);
        if (r < 0 && r != -ENODATA)
                log_warning("the definition of domain %s cannot be read", call->uuid);
        return r;
}

static void submit(Refresh *f);

/* Without our metadata a domain is no longer ours, but while its QEMU runs it has our devices. */
static bool is_gone(const Call *call) {
        return call->error.code == ERROR_NO_SUCH_VM ||
               (call->r == -ENODATA && call->state == DOMAIN_STOPPED);
}

static void refresh_answer(Call *call) {
        Refresh f = *(Refresh *) call->userdata;
        Virt *virt = f.virt;

        if (f.again && !f.stale) {
                Refresh *again = call->userdata;

                again->again = again->saw_state = false;
                submit(again);
                return;
        }

        refresh_free(call->userdata);
        if (f.stale)
                return;
        if (is_gone(call))
                virt->handler.changed(f.uuid, DOMAIN_STOPPED, &call->spec, true, NULL,
                                      virt->userdata);
        else if (call->r >= 0 && f.want_spec)
                virt->handler.changed(f.uuid, f.saw_state ? f.state : call->state, &call->spec,
                                      false, NULL, virt->userdata);
}

static void submit(Refresh *f) {
        Call *call;

        call = call_new(f->virt, ACT_READ, refresh_run, f->uuid, NULL, NULL);
        if (call) {
                call->answer = refresh_answer;
                call->userdata = f;
        }
        if (!call || call_submit(call, NULL) < 0) {
                log_debug("domain %s cannot be looked at now", f->uuid);
                refresh_free(f);
        }
}

void virt_refresh(Virt *virt, const char *uuid, bool want_spec) {
        Refresh *f = find(virt, uuid);

        if (f) {
                f->again = true;
                f->want_spec = f->want_spec || want_spec;
                return;
        }

        f = calloc(1, sizeof(*f));
        if (!f) {
                log_error("out of memory: a change of domain %s is not seen", uuid);
                return;
        }
        f->virt = virt;
        f->want_spec = want_spec;
        (void) snprintf(f->uuid, sizeof(f->uuid), "%s", uuid);
        f->next = virt->refreshes;
        virt->refreshes = f;
        submit(f);
}

void virt_look_again(Virt *virt, const char *uuid) {
        virt_refresh(virt, uuid, true);
}

void virt_refresh_saw_state(Virt *virt, const char *uuid, DomainState state) {
        Refresh *f = find(virt, uuid);

        if (f) {
                f->saw_state = true;
                f->state = state;
        }
}

void virt_refresh_all_stale(Virt *virt) {
        for (Refresh *f = virt->refreshes; f; f = f->next)
                f->stale = true;
}

void virt_refresh_free_all(Virt *virt) {
        while (virt->refreshes)
                refresh_free(virt->refreshes);
}
