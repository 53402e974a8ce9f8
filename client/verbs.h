/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The functions behind the rows of the table in main.c, and the tables of their options. */

#include "fleet.h"

/* verbs-host.c */
extern const Fleet check_fleet;
int verb_check(Client *c, Failure *failure);

/* verbs-device.c */
extern const OptionSpec devices_options[], allow_options[];
extern const Fleet devices_fleet;
int verb_devices(Client *c, Failure *failure);
int verb_device_change(Client *c, Failure *failure);

/* verbs-explain.c */
int verb_explain(Client *c, Failure *failure);

/* verbs-create.c */
extern const OptionSpec create_options[];
int verb_create(Client *c, Failure *failure);

/* verbs-vm.c */
extern const OptionSpec stop_options[], detach_options[], destroy_options[];
extern const Fleet list_fleet;
int verb_list(Client *c, Failure *failure);
int verb_info(Client *c, Failure *failure);
int verb_vm_change(Client *c, Failure *failure);
int verb_stop(Client *c, Failure *failure);
int verb_autostart(Client *c, Failure *failure);
int verb_destroy(Client *c, Failure *failure);

/* verbs-console.c */
int verb_console(Client *c, Failure *failure);
extern const OptionSpec display_options[];
int verb_display(Client *c, Failure *failure);

/* verbs-image.c */
int verb_image_import(Client *c, Failure *failure);
int verb_image_list(Client *c, Failure *failure);
int verb_image_remove(Client *c, Failure *failure);

/* verbs-job.c */
int verb_jobs(Client *c, Failure *failure);
int verb_cancel(Client *c, Failure *failure);

/* verbs-monitor.c */
int verb_monitor(Client *c, Failure *failure);
