/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "observer.h"
#include "manager.h"

#define DEFINE_NOTIFIER(type, event)                                             \
        void observer_##event(type *subject) {                                   \
                const Manager *m = subject->manager;                             \
                                                                                 \
                if (m && m->observer)                                            \
                        m->observer->event(subject, m->observer_data);           \
        }

DEFINE_NOTIFIER(Vm, vm_added)
DEFINE_NOTIFIER(Vm, vm_removed)
DEFINE_NOTIFIER(Vm, vm_changed)
DEFINE_NOTIFIER(Device, device_added)
DEFINE_NOTIFIER(Device, device_removed)
DEFINE_NOTIFIER(Device, device_changed)
void observer_devices_listed(const Manager *m) {
        if (m->observer)
                m->observer->devices_listed(m->observer_data);
}

DEFINE_NOTIFIER(Job, job_added)
DEFINE_NOTIFIER(Job, job_removed)
DEFINE_NOTIFIER(Job, job_changed)
DEFINE_NOTIFIER(Job, job_ended)
