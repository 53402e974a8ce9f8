/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Consoles that are open, each with a connection and a thread of its own. */

typedef struct Call Call;
typedef struct ConsoleList ConsoleList;

int console_list_new(ConsoleList **ret);
ConsoleList *console_list_ref(ConsoleList *l);
ConsoleList *console_list_unref(ConsoleList *l);

/* The connection to libvirt was lost: their streams say nothing of it by themselves. */
void console_list_end_all(ConsoleList *l);

/* Ends all, and waits a moment for it. None is opened after that. */
void console_list_close_all(ConsoleList *l);

/* On a worker: opens the console of the call's domain and puts the viewer's descriptor into the
 * call. */
int console_open(Call *call);
