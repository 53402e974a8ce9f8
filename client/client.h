/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One run of vmkitctl: its command line, its connection and its event loop. Calls are made on the
 * loop, so that signals of jobs and Ctrl-C are seen while a reply is awaited. */

#include <signal.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "agent.h"
#include "args.h"
#include "failure.h"
#include "json.h"

#define VMKIT_SERVICE "org.vmkit.Manager"
#define VMKIT_ROOT "/org/vmkit"
#define VMKIT_MANAGER_PATH VMKIT_ROOT "/Manager"
#define VMKIT_MANAGER "org.vmkit.Manager"
#define VMKIT_DEVICE "org.vmkit.Device"
#define VMKIT_VM "org.vmkit.VM"
#define VMKIT_JOB "org.vmkit.Job"

/* The service came, or went: the names of its connection, "" for none. */
typedef void (*OwnerFunction)(void *userdata, const char *before, const char *after);

struct Client {
        const Args *args;
        bool json;
        bool quiet;
        sd_event *event;
        sd_bus *bus;
        Agent agent;
        char *service; /* the connection of the service, while it is followed */
        OwnerFunction owner_changed;
        void *owner_userdata;
        unsigned interrupts; /* how often Ctrl-C was pressed */
};

int client_open(Client *c, const Args *args, Failure *failure);
void client_close(Client *c);

/* A new method call. */
int client_message(Client *c, const char *path, const char *interface, const char *member,
                   sd_bus_message **ret, Failure *failure);

/* Sends the call and runs the loop until its reply is here. */
int client_call(Client *c, sd_bus_message *m, sd_bus_message **ret, Failure *failure);

/* The same for a call that may ask for a password. */
int client_change(Client *c, sd_bus_message *m, sd_bus_message **ret, Failure *failure);

/* A call that only reads: its arguments by signature, its results as an array. */
int client_read(Client *c, const char *path, const char *interface, const char *member,
                json_object **ret, Failure *failure, const char *types, ...);

/* Like client_read() of the manager, for the first result alone. */
int client_ask(Client *c, const char *member, json_object **ret, Failure *failure,
               const char *types, ...);

/* All properties of an object. */
int client_properties(Client *c, const char *path, const char *interface, json_object **ret,
                      Failure *failure);

/* From now on it is known which connection is the service's, as long as the slot lives. */
int client_follow_service(Client *c, OwnerFunction changed, void *userdata, sd_bus_slot **ret, Failure *failure);

/* The message is from the service that is followed. A match does not see to that: anybody can send a signal to us
 * alone, which the bus passes without regard to matches, and sd-bus cannot tell a name from the connection that has it. */
bool client_is_from_service(const Client *c, sd_bus_message *m);

/* Asks a VM for a descriptor, which is the caller's then, and for the word that may come before it (ret_word may
 * be NULL). */
int client_descriptor(Client *c, const char *path, const char *member, char **ret_word, int *ret,
                      Failure *failure);

/* The object paths of a VM and of a device. Names and addresses near by are suggested. */
int client_find_vm(Client *c, const char *name, char **ret, Failure *failure);
int client_find_device(Client *c, const char *address, char **ret, Failure *failure);

/* The image in the store that may have been meant, if the failure is that there is none of this name. */
void client_suggest_image(Client *c, const char *name, Failure *failure);

/* Fails with exit code 130 if Ctrl-C was pressed. */
int client_check_interrupt(Client *c, Failure *failure);

/* While a hold is in scope Ctrl-C is counted by the loop; at other times it ends the process as
 * usual. */
typedef struct InterruptHold {
        sigset_t before;
} InterruptHold;

InterruptHold interrupt_hold(void);
void interrupt_release(InterruptHold *hold);

#define _cleanup_hold_ _cleanup_(interrupt_release)
