/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one table of methods. A method that is not in it does not exist; a row without an action is public,
 * and says so. */

#include "call.h"
#include "host/pci.h"

struct MethodRow {
        const char *interface, *member;
        const char *in, *in_names;   /* names: each ended by a NUL */
        const char *out, *out_names;

        /* The action that guards it. One of own/any becomes the other by who owns the target. */
        Action action;
        bool takes_descriptors;      /* the bus policy lets such messages pass to no other row */
        bool needs_caller;           /* of a public row: the answer depends on who asks, or it takes so long
                                      * that calls are counted by user */

        /* Reads the arguments into call->data and judges them by themselves. NULL: options only, and none
         * is known. */
        int (*read)(Call *call, Error *error);

        /* The devices whose users should be looked at closely before the call goes on. NULL: none. */
        int (*inspect)(Call *call, DeviceList *ret);
        bool inspects_afresh;        /* what was seen a moment ago will not do */

        /* Adds to call->auth what is asked for: actions, with the details that rules and prompts need. NULL: the
         * row's action alone, about the target. Asked twice: before polkit is, and before the call is carried
         * out, which it is only if the answer is the same. */
        int (*details)(Call *call, Error *error);

        int (*handle)(Call *call, Error *error);
};

extern const MethodRow method_table[];
extern const size_t n_methods;

const MethodRow *method_find(const char *interface, const char *member);

/* Handlers, by object. */
int manager_read_request(Call *call, Error *error);
int manager_inspect_request(Call *call, DeviceList *ret);
int manager_create_details(Call *call, Error *error);
int manager_create_vm(Call *call, Error *error);
int manager_plan_vm(Call *call, Error *error);
int manager_get_vm(Call *call, Error *error);
int manager_list_vms(Call *call, Error *error);
int manager_list_devices(Call *call, Error *error);
int manager_get_device(Call *call, Error *error);
int manager_read_find_device(Call *call, Error *error);
int manager_inspect_find_device(Call *call, DeviceList *ret);
int manager_find_device(Call *call, Error *error);
int manager_check_host(Call *call, Error *error);
int manager_read_stop_all(Call *call, Error *error);
int manager_stop_all_details(Call *call, Error *error);
int manager_stop_all(Call *call, Error *error);
int manager_read_import(Call *call, Error *error);
int manager_import_details(Call *call, Error *error);
int manager_import_image(Call *call, Error *error);
int manager_list_images(Call *call, Error *error);
int manager_read_remove(Call *call, Error *error);
int manager_remove_details(Call *call, Error *error);
int manager_remove_image(Call *call, Error *error);

/* For several of them. */
int method_read_any(Call *call, Error *error); /* arguments that the handler reads */
int read_stop_options(Call *call, uint64_t timeout, Error *error); /* a StopOptions; timeout: the default */

int vm_details(Call *call, Error *error);
int vm_handle_start(Call *call, Error *error);
int vm_read_stop(Call *call, Error *error);
int vm_handle_stop(Call *call, Error *error);
int vm_handle_reboot(Call *call, Error *error);
int vm_handle_pause(Call *call, Error *error);
int vm_handle_resume(Call *call, Error *error);
int vm_read_destroy(Call *call, Error *error);
int vm_handle_destroy(Call *call, Error *error);
int vm_read_attach(Call *call, Error *error);
int vm_inspect_attach(Call *call, DeviceList *ret);
int vm_attach_details(Call *call, Error *error);
int vm_read_detach(Call *call, Error *error);
int vm_handle_attach(Call *call, Error *error);
int vm_handle_detach(Call *call, Error *error);
int vm_read_autostart(Call *call, Error *error);
int vm_handle_autostart(Call *call, Error *error);
int vm_handle_console(Call *call, Error *error);
int vm_handle_display(Call *call, Error *error);
int vm_handle_addresses(Call *call, Error *error);

int device_details(Call *call, Error *error);
int device_read_bind(Call *call, Error *error);
int device_inspect_self(Call *call, DeviceList *ret);
int device_handle_bind(Call *call, Error *error);
int device_handle_release(Call *call, Error *error);
int device_handle_reset(Call *call, Error *error);
int device_handle_reserve(Call *call, Error *error);
int device_handle_unreserve(Call *call, Error *error);
int device_read_vfs(Call *call, Error *error);
int device_handle_vfs(Call *call, Error *error);
int device_handle_clear_quarantine(Call *call, Error *error);
int device_handle_inspect(Call *call, Error *error);

int job_details(Call *call, Error *error);
int job_handle_cancel(Call *call, Error *error);
