/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A method call on its way through the trampoline: arguments read, caller known, devices looked at,
 * authorised, and only then carried out. Exactly one reply leaves. */

#include "bus.h"
#include "callers.h"
#include "polkit.h"

typedef struct MethodRow MethodRow;

struct Call {
        Bus *bus;
        const MethodRow *row;
        sd_bus_message *message;
        Charge charge;           /* what it holds, counted */
        uid_t caller;            /* valid for all rows that are not public, or ask for it */
        bool awaits_caller;      /* its uid is being asked for */
        bool replied;

        /* The row's own: what read() made of the arguments. */
        void *data;
        void (*free_data)(void *data);

        /* Where many may ask the same at a time and the answer takes long: one asks, and tells the others. */
        enum { SHARES_NOTHING, SHARES_ITS_ANSWER, WAITS_FOR_ANOTHERS } sharing;

        Auth auth;               /* what details() asks for */
        PolkitCheck *check;      /* under way */

        Call *next, *previous;
        Call *next_waiting;      /* while those of one connection are gone through */
};

/* The trampoline: the handler of every method in every vtable. */
int call_dispatch(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* A CallerIdentified, for the calls of a connection that have waited for it. userdata: the Bus. */
void call_on_identified(Caller *caller, int r, void *userdata);

/* The object that the call is for; looked up anew each time, since it may go while the caller is asked for
 * a password. NoSuchVM, NoSuchDevice, NoSuchJob if it is gone. */
int call_vm(const Call *call, Vm **ret, Error *error);
int call_device(const Call *call, Device **ret, Error *error);
int call_job(const Call *call, Job **ret, Error *error);

/* The one reply. call_reply() takes the signature and values of sd_bus_reply_method_return(). A handler
 * that answers later keeps the Call by returning CALL_PENDING, and ends it with one of these. */
enum { CALL_ANSWERED = 0, CALL_PENDING = 1 };
#define call_reply(call, ...) call_replied((call), sd_bus_reply_method_return((call)->message, __VA_ARGS__))
int call_replied(Call *call, int r);
int call_reply_message(Call *call, sd_bus_message *reply);
int call_reply_error(Call *call, int r, const Error *error);
/* After an answer that was given later. */
void call_finish(Call *call);

/* "The job of …", for the many methods that return one. */
int call_reply_job(Call *call, const Job *job);

void calls_drop_all(Bus *b);
