/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "methods.h"

#define M MANAGER_INTERFACE
#define V VM_INTERFACE
#define D DEVICE_INTERFACE
#define J JOB_INTERFACE

#define IN(signature, names) .in = signature, .in_names = names
#define OUT(signature, names) .out = signature, .out_names = names
#define OPTIONS IN("a{sv}", "options\0")
#define NOTHING_IN IN("", "")
#define NOTHING_OUT OUT("", "")
#define JOB_OUT OUT("o", "job\0")

const MethodRow method_table[] = {
        { M, "CreateVM", IN("sa{sv}", "name\0options\0"), OUT("oo", "vm\0job\0"), ACTION_CREATE_VM,
          .takes_descriptors = true, .read = manager_read_request, .inspect = manager_inspect_request, .inspects_afresh = true,
          .details = manager_create_details, .handle = manager_create_vm },
        { M, "PlanVM", IN("sa{sv}", "name\0options\0"), OUT("baa{sv}a{sv}", "ready\0findings\0plan\0"),
          ACTION_PUBLIC, .takes_descriptors = true, .needs_caller = true, .read = manager_read_request,
          .inspect = manager_inspect_request, .handle = manager_plan_vm },
        { M, "GetVM", IN("s", "name\0"), OUT("o", "vm\0"), ACTION_PUBLIC, .read = method_read_any,
          .handle = manager_get_vm },
        { M, "ListVMs", NOTHING_IN, OUT("a(sosu)", "vms\0"), ACTION_PUBLIC, .read = method_read_any,
          .handle = manager_list_vms },
        { M, "ListDevices", IN("a{sv}", "filter\0"), OUT("a(sossi)", "devices\0"), ACTION_PUBLIC,
          .read = method_read_any, .handle = manager_list_devices },
        { M, "GetDevice", IN("s", "address\0"), OUT("o", "device\0"), ACTION_PUBLIC,
          .read = method_read_any, .handle = manager_get_device },
        { M, "FindDevice", IN("sa{sv}", "kind\0options\0"), OUT("oaa{sv}", "device\0candidates\0"),
          ACTION_PUBLIC, .needs_caller = true, .read = manager_read_find_device, .inspect = manager_inspect_find_device,
          .handle = manager_find_device },
        { M, "CheckHost", NOTHING_IN, OUT("ba(ssss)", "ready\0checks\0"), ACTION_PUBLIC,
          .read = method_read_any, .handle = manager_check_host },
        { M, "StopAllVMs", OPTIONS, JOB_OUT, ACTION_CONTROL_ANY_VM, .read = manager_read_stop_all,
          .details = manager_stop_all_details, .handle = manager_stop_all },
        { M, "ImportImage", IN("sha{sv}", "name\0image\0options\0"), JOB_OUT, ACTION_CREATE_VM,
          .takes_descriptors = true, .read = manager_read_import, .details = manager_import_details,
          .handle = manager_import_image },
        { M, "ListImages", NOTHING_IN, OUT("a(ssttu)", "images\0"), ACTION_PUBLIC, .needs_caller = true,
          .read = method_read_any, .handle = manager_list_images },
        { M, "RemoveImage", IN("sa{sv}", "name\0options\0"), NOTHING_OUT, ACTION_DESTROY_OWN_VM,
          .read = manager_read_remove, .details = manager_remove_details, .handle = manager_remove_image },

        { V, "Start", OPTIONS, JOB_OUT, ACTION_CONTROL_OWN_VM, .details = vm_details,
          .handle = vm_handle_start },
        { V, "Stop", OPTIONS, JOB_OUT, ACTION_CONTROL_OWN_VM, .read = vm_read_stop, .details = vm_details,
          .handle = vm_handle_stop },
        { V, "Reboot", OPTIONS, JOB_OUT, ACTION_CONTROL_OWN_VM, .details = vm_details,
          .handle = vm_handle_reboot },
        { V, "Pause", OPTIONS, JOB_OUT, ACTION_CONTROL_OWN_VM, .details = vm_details,
          .handle = vm_handle_pause },
        { V, "Resume", OPTIONS, JOB_OUT, ACTION_CONTROL_OWN_VM, .details = vm_details,
          .handle = vm_handle_resume },
        { V, "Destroy", OPTIONS, JOB_OUT, ACTION_DESTROY_OWN_VM, .read = vm_read_destroy,
          .details = vm_details, .handle = vm_handle_destroy },
        { V, "AttachDevice", IN("sa{sv}", "address\0options\0"), JOB_OUT, ACTION_CONTROL_OWN_VM,
          .read = vm_read_attach, .inspect = vm_inspect_attach, .details = vm_attach_details,
          .handle = vm_handle_attach },
        { V, "DetachDevice", IN("sa{sv}", "address\0options\0"), JOB_OUT, ACTION_CONTROL_OWN_VM,
          .read = vm_read_detach, .details = vm_details, .handle = vm_handle_detach },
        { V, "SetAutostart", IN("ba{sv}", "autostart\0options\0"), NOTHING_OUT, ACTION_CONTROL_OWN_VM,
          .read = vm_read_autostart, .details = vm_details, .handle = vm_handle_autostart },
        { V, "OpenConsole", OPTIONS, OUT("h", "console\0"), ACTION_CONTROL_OWN_VM, .details = vm_details,
          .handle = vm_handle_console },
        { V, "OpenDisplay", OPTIONS, OUT("sh", "type\0display\0"), ACTION_CONTROL_OWN_VM,
          .details = vm_details, .handle = vm_handle_display },
        { V, "GetAddresses", NOTHING_IN, OUT("a(ss)", "addresses\0"), ACTION_PUBLIC, .needs_caller = true,
          .read = method_read_any, .handle = vm_handle_addresses },

        { D, "Bind", OPTIONS, JOB_OUT, ACTION_MANAGE_DEVICE, .read = device_read_bind,
          .inspect = device_inspect_self, .inspects_afresh = true, .details = device_details,
          .handle = device_handle_bind },
        { D, "Release", OPTIONS, JOB_OUT, ACTION_MANAGE_DEVICE, .details = device_details,
          .handle = device_handle_release },
        { D, "Reset", OPTIONS, JOB_OUT, ACTION_MANAGE_DEVICE, .details = device_details,
          .handle = device_handle_reset },
        { D, "Reserve", OPTIONS, JOB_OUT, ACTION_MANAGE_DEVICE, .read = device_read_bind,
          .inspect = device_inspect_self, .details = device_details, .handle = device_handle_reserve },
        { D, "Unreserve", OPTIONS, JOB_OUT, ACTION_MANAGE_DEVICE, .details = device_details,
          .handle = device_handle_unreserve },
        { D, "SetVirtualFunctions", IN("ua{sv}", "count\0options\0"), JOB_OUT, ACTION_MANAGE_DEVICE,
          .read = device_read_vfs, .details = device_details, .handle = device_handle_vfs },
        { D, "ClearQuarantine", OPTIONS, JOB_OUT, ACTION_MANAGE_DEVICE, .details = device_details,
          .handle = device_handle_clear_quarantine },
        { D, "Inspect", NOTHING_IN, OUT("a{sv}", "properties\0"), ACTION_PUBLIC, .needs_caller = true,
          .read = method_read_any, .inspect = device_inspect_self, .inspects_afresh = true,
          .handle = device_handle_inspect },

        { J, "Cancel", OPTIONS, NOTHING_OUT, ACTION_CONTROL_OWN_VM, .details = job_details,
          .handle = job_handle_cancel },
};

const size_t n_methods = ELEMENTSOF(method_table);

const MethodRow *method_find(const char *interface, const char *member) {
        for (size_t i = 0; i < n_methods; i++)
                if (streq(method_table[i].interface, interface) && streq(method_table[i].member, member))
                        return &method_table[i];
        return NULL;
}
