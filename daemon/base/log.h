/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Messages to the journal: on stderr with a priority prefix that systemd understands, or plain on a
 * terminal. */

#include <syslog.h>

#include "util.h"

void log_set_max_level(int level);

/* "error", "warning", "notice", "info", "debug"; -EINVAL otherwise. */
int log_level_from_string(const char *s);

void log_message(int level, const char *format, ...) _printf_(2, 3);

#define log_error(...) log_message(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_message(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_DEBUG, __VA_ARGS__)

/* Logs an error with r (a negative errno) in words, and returns r. */
int log_errno(int r, const char *format, ...) _printf_(2, 3);
