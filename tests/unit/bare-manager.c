/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bare-manager.h"

void bare_job_told(_unused_ Job *job, _unused_ void *userdata) {
}

void bare_vm_told(_unused_ Vm *vm, _unused_ void *userdata) {
}

void bare_manager_init(Manager *m, Tree *tree, const Observer *observer, void *userdata) {
        *m = (Manager) { .observer = observer, .observer_data = userdata };
        assert_true(sd_event_new(&m->event) >= 0);
        if (!tree)
                return;
        tree_mkdir(tree, "jobs");
        m->root_fd = m->state_fd = tree->fd;
}

void bare_manager_clear(Manager *m) {
        m->observer = NULL;
        while (m->n_jobs > 0)
                job_free(m->jobs[0]);
        while (m->n_vms > 0)
                vm_free(m->vms[0]);
        free(m->jobs);
        free(m->vms);
        sd_event_unref(m->event);
}

Vm *bare_vm_new(Manager *m, const char *name, const char *uuid, DomainState state) {
        VmSpec *spec = vm_spec_new();
        Vm *vm;

        assert_non_null(spec);
        spec->name = strdup(name);
        assert_non_null(spec->name);
        spec->memory = GIB;
        (void) snprintf(spec->uuid, sizeof(spec->uuid), "%s", uuid);
        assert_true(vm_new(m, spec, &vm) >= 0);
        vm->state = state;
        return vm;
}

void bare_answer(VirtDone *asked, void *userdata, ErrorCode code) {
        VirtDone done = *asked;
        _cleanup_error_ Error error = ERROR_INIT;
        int r = code == ERROR_NONE ? 0 : error_set(&error, code, "libvirt says so");

        assert_non_null(done);
        *asked = NULL;
        done(r, r < 0 ? &error : NULL, userdata);
}
