/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How to get the rights that a refusal names: what to tell the user, and the polkit rule for the
 * administrator. Returns NULL when the refusal names no action, or when memory is short. */
char *permission_remedy(const char *refusal);
