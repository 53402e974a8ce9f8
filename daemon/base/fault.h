/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Places where a test can make something go wrong. All are in the one table below, which vmkit-device lists
 * for tests that want to try each ("vmkit-device faults"). A place is armed by a line of the file STATE/faults:
 *
 *      POINT N ACTION
 *
 * The Nth time that the point is passed, by whatever process, the line goes and the action is taken:
 *
 *      fail            the step fails with an error
 *      kill-daemon     vmkitd is killed by SIGKILL; a helper goes on
 *      kill-helper     the helper is
 *      kill-both       both are
 *
 * Tests can also shorten what lasts long by variables of the environment (FAULT_SECONDS).
 *
 * Built with -Dfault-points=enabled only; without it nothing of all this is there, not even the calls. */

#include <stdint.h>

#include "error.h"

/* X(identifier, name, whether a failure there can be told from one that may happen) */
#define FAULT_POINTS(X)                                                                           \
        /* vmkitd: around each step of each job, and around each undo */                          \
        X(JOB_RUN_BEFORE, "job-run-before", true)                                                 \
        X(JOB_RUN_AFTER, "job-run-after", true)                                                   \
        X(JOB_UNDO_BEFORE, "job-undo-before", false)                                              \
        X(JOB_UNDO_AFTER, "job-undo-after", false)                                                \
        /* vmkit-device bind: once for the unit, then for each function */                        \
        X(BIND_CHECKED, "bind-checked", true)                                                     \
        X(BIND_JOURNALED, "bind-journaled", true)                                                 \
        X(BIND_POWER, "bind-power", true)                                                         \
        X(BIND_OVERRIDE, "bind-override", true)                                                   \
        X(BIND_UNBOUND, "bind-unbound", true)                                                     \
        X(BIND_PROBED, "bind-probed", true)                                                       \
        X(BIND_VERIFIED, "bind-verified", true)                                                   \
        X(BIND_RESET, "bind-reset", true)                                                         \
        X(BIND_RECORDED, "bind-recorded", true)                                                   \
        /* vmkit-device release, and the undo of bind, which takes the same way back */           \
        X(RELEASE_JOURNALED, "release-journaled", true)                                           \
        X(RELEASE_SETTLED, "release-settled", true)                                               \
        X(RELEASE_RESET, "release-reset", true)                                                   \
        X(RELEASE_UNBOUND, "release-unbound", true)                                               \
        X(RELEASE_OVERRIDE, "release-override", true)                                             \
        X(RELEASE_BOUND, "release-bound", true)                                                   \
        X(RELEASE_POWER, "release-power", true)                                                   \
        X(RELEASE_REMOVED, "release-removed", true)

#ifdef VMKIT_FAULT_POINTS

typedef enum FaultPoint {
#define FAULT_ENUM(identifier, name, may_fail) FAULT_##identifier,
        FAULT_POINTS(FAULT_ENUM)
#undef FAULT_ENUM
        _FAULT_MAX,
} FaultPoint;

/* Where the file is. Not called: nothing is ever armed. The descriptor stays the caller's. */
void fault_init(int dir_fd, const char *path);
int fault_hit(FaultPoint point, Error *error);
void fault_list(void);

/* How long something lasts: seconds, unless this variable of the environment shortens it. */
uint64_t fault_seconds(const char *variable, uint64_t seconds);

/* 0, or a negative errno with error set. */
#define FAULT(identifier, error) fault_hit(FAULT_##identifier, (error))
#define FAULT_INIT(dir_fd, path) fault_init((dir_fd), (path))
#define FAULT_SECONDS(variable, seconds) fault_seconds((variable), (seconds))

#else

#define FAULT(identifier, error) (0)
#define FAULT_INIT(dir_fd, path) ((void) 0)
#define FAULT_SECONDS(variable, seconds) (seconds)

#endif
