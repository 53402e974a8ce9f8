/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.vmkit.Job */

#include "methods.h"
#include "paths.h"

/* Who started it, and who owns the VM, may cancel; anyone else needs the right over others' VMs. */
int job_details(Call *call, Error *error) {
        Job *job;
        int r;

        r = call_job(call, &job, error);
        if (r >= 0)
                r = auth_describe(&call->auth, "cancel the job %llu (%s)", (unsigned long long) job->id,
                                  job->operation);
        if (r < 0)
                return r;

        bool own = job->started_by == call->caller || (job->vm && job->vm->spec->owner == call->caller);
        return auth_add_vm(&call->auth, own ? ACTION_CONTROL_OWN_VM : ACTION_CONTROL_ANY_VM,
                           job->vm ? job->vm->spec->name : NULL);
}

int job_handle_cancel(Call *call, Error *error) {
        Job *job;
        int r;

        r = call_job(call, &job, error);
        if (r >= 0)
                r = job_cancel(job, error);
        return r < 0 ? r : call_reply(call, "");
}

#define GETTER(name)                                                                                      \
        static int name(sd_bus *bus, const char *path, const char *interface, const char *property,       \
                        sd_bus_message *reply, void *userdata, sd_bus_error *error)

GETTER(get_operation) {
        return sd_bus_message_append(reply, "s", ((Job *) userdata)->operation);
}

GETTER(get_target) {
        const Job *job = userdata;

        if (job->has_device)
                return sd_bus_message_append(reply, "o", DEVICE_PATH(&job->device));
        if (job->vm_uuid[0])
                return sd_bus_message_append(reply, "o", vm_path(job->vm_uuid, (char[PATH_TEXT_MAX]) {}));
        return sd_bus_message_append(reply, "o", MANAGER_PATH);
}

GETTER(get_progress) {
        return sd_bus_message_append(reply, "d", ((Job *) userdata)->progress);
}

GETTER(get_progress_known) {
        return sd_bus_message_append(reply, "b", ((Job *) userdata)->progress_known);
}

GETTER(get_phase) {
        return sd_bus_message_append(reply, "s", ((Job *) userdata)->phase);
}

GETTER(get_bytes) {
        return sd_bus_message_append(reply, "t", ((Job *) userdata)->bytes);
}

GETTER(get_note) {
        const char *note = ((Job *) userdata)->note;

        return sd_bus_message_append(reply, "s", note ? note : "");
}

GETTER(get_started_by) {
        return sd_bus_message_append(reply, "u", (uint32_t) ((Job *) userdata)->started_by);
}

GETTER(get_started_at) {
        return sd_bus_message_append(reply, "t", ((Job *) userdata)->started_at);
}

GETTER(get_cancelable) {
        return sd_bus_message_append(reply, "b", job_is_cancelable(userdata));
}

GETTER(get_state) {
        return sd_bus_message_append(reply, "s", job_state_to_string(((Job *) userdata)->state));
}

GETTER(get_error) {
        const Error *e = &((Job *) userdata)->error;
        const char *name = error_code_name(e->code);

        return sd_bus_message_append(reply, "(ss)", name ? name : "", e->message ? e->message : "");
}

GETTER(get_remedy) {
        return sd_bus_message_append(reply, "s", error_remedy(&((Job *) userdata)->error));
}

#define CONSTANT SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

const sd_bus_vtable job_properties[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Operation", "s", get_operation, 0, CONSTANT),
        SD_BUS_PROPERTY("Target", "o", get_target, 0, CONSTANT),
        SD_BUS_PROPERTY("Progress", "d", get_progress, 0, CHANGES),
        SD_BUS_PROPERTY("ProgressKnown", "b", get_progress_known, 0, CHANGES),
        SD_BUS_PROPERTY("Phase", "s", get_phase, 0, CHANGES),
        SD_BUS_PROPERTY("Bytes", "t", get_bytes, 0, CHANGES),
        SD_BUS_PROPERTY("Note", "s", get_note, 0, CHANGES),
        SD_BUS_PROPERTY("StartedBy", "u", get_started_by, 0, CONSTANT),
        SD_BUS_PROPERTY("StartedAt", "t", get_started_at, 0, CONSTANT),
        SD_BUS_PROPERTY("Cancelable", "b", get_cancelable, 0, CHANGES),
        SD_BUS_PROPERTY("State", "s", get_state, 0, CHANGES),
        SD_BUS_PROPERTY("Error", "(ss)", get_error, 0, CHANGES),
        SD_BUS_PROPERTY("Remedy", "s", get_remedy, 0, CHANGES),
        SD_BUS_SIGNAL_WITH_NAMES("Completed", "bss",
                                 SD_BUS_PARAM(success) SD_BUS_PARAM(error_name) SD_BUS_PARAM(message), 0),
        SD_BUS_VTABLE_END,
};
