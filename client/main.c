/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmkitctl: the ordinary user's hand on vmkitd. This file is the table of its commands. */

#include <locale.h>

#include "client.h"
#include "complete.h"
#include "help.h"
#include "remote.h"
#include "verbs.h"

static const Verb verbs[] = {
        { "check", "", verb_check, NULL,
          "is this host ready? what to do if not", NULL, &check_fleet },
        { "devices", "", verb_devices, devices_options,
          "PCI functions, their groups, drivers, users", NULL, &devices_fleet },
        { "explain", "gpu|nvme|ADDRESS", verb_explain, NULL,
          "what `auto` would choose, and why not the others", NULL },
        { "create", "NAME [IMAGE]", verb_create, create_options,
          "make a VM from an image: a file, or @NAME", NULL },
        { "list", "", verb_list, NULL,
          "the VMs", NULL, &list_fleet },
        { "info", "NAME", verb_info, NULL,
          "everything about a VM", NULL },
        { "start", "NAME", verb_vm_change, NULL,
          "start a VM", "Start" },
        { "stop", "[NAME]", verb_stop, stop_options,
          "ask its guest to shut down", "Stop" },
        { "reboot", "NAME", verb_vm_change, NULL,
          "ask its guest to boot again", "Reboot" },
        { "pause", "NAME", verb_vm_change, NULL,
          "halt its CPUs", "Pause" },
        { "resume", "NAME", verb_vm_change, NULL,
          "let them go on", "Resume" },
        { "autostart", "NAME on|off", verb_autostart, NULL,
          "start it when the host boots", NULL },
        { "console", "NAME", verb_console, NULL,
          "its serial console; Ctrl-] leaves", NULL },
        { "display", "NAME", verb_display, display_options,
          "its screen, in an installed viewer", NULL },
        { "destroy", "NAME", verb_destroy, destroy_options,
          "remove a VM and its disk", "Destroy" },
        { "attach", "NAME ADDRESS", verb_vm_change, allow_options,
          "give a VM a device", "AttachDevice" },
        { "detach", "NAME ADDRESS", verb_vm_change, detach_options,
          "take it back", "DetachDevice" },
        { "image import", "NAME FILE", verb_image_import, NULL,
          "put a disk image into the store", NULL },
        { "image list", "", verb_image_list, NULL,
          "the images in it", NULL },
        { "image remove", "NAME", verb_image_remove, NULL,
          "remove one", NULL },
        { "bind", "ADDRESS", verb_device_change, allow_options,
          "put a device on vfio-pci", "Bind" },
        { "release", "ADDRESS", verb_device_change, NULL,
          "put it back on its driver", "Release" },
        { "reset", "ADDRESS", verb_device_change, NULL,
          "reset it", "Reset" },
        { "reserve", "ADDRESS", verb_device_change, allow_options,
          "keep it on vfio-pci from boot on", "Reserve" },
        { "unreserve", "ADDRESS", verb_device_change, NULL,
          "no longer", "Unreserve" },
        { "vfs", "ADDRESS N", verb_device_change, NULL,
          "set its number of virtual functions", "SetVirtualFunctions" },
        { "clear-quarantine", "ADDRESS", verb_device_change, NULL,
          "trust it again", "ClearQuarantine" },
        { "jobs", "", verb_jobs, NULL,
          "long operations", NULL },
        { "cancel", "JOB", verb_cancel, NULL,
          "end one", NULL },
        { "monitor", "", verb_monitor, NULL,
          "follow what happens, until Ctrl-C", NULL },
        { "help", "[COMMAND]", NULL, NULL,
          "show this help, or a command's", NULL },
        { 0 },
};

static int run_verb(const Args *args, Failure *failure) {
        Client c = { 0 };
        int r;

        r = client_open(&c, args, failure);
        if (r >= 0)
                r = args->verb->run(&c, failure);

        client_close(&c);
        return r;
}

static int run(const Args *args, Failure *failure) {
        if (args_has(args, "version"))
                return print_version();
        if (args_has(args, "help"))
                return print_help(verbs, args->verb);
        if (!args->verb->run)
                return print_help_for(verbs, args_operand(args, 0), failure);
        if (args_has(args, "host"))
                return remote_run(args, failure);

        return run_verb(args, failure);
}

int main(int argc, char **argv) {
        const char *const *words = (const char *const *) argv;
        _cleanup_(args_done) Args args = { 0 };
        _cleanup_failure_ Failure failure = { 0 };
        int r;

        setlocale(LC_ALL, "");
        if (argc > 1 && streq(argv[1], COMPLETE_OPTION))
                return complete_words(verbs, (size_t) argc - 2, words + 2);

        r = args_parse(&args, verbs, argc, words, &failure);
        if (r >= 0)
                r = run(&args, &failure);
        if (r >= 0)
                return r;

        if (!failure.message)
                (void) failure_from_bus(&failure, r, NULL);
        return failure_report(&failure, args_wants_json(argc, words));
}
