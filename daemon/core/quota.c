/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "image/image.h"
#include "job.h"
#include "quota.h"

/* A file that is being copied fills the disk before it is an image. */
static uint64_t bytes_under_way(const Manager *m, uid_t uid) {
        uint64_t bytes = 0;

        for (size_t i = 0; i < m->n_jobs; i++)
                if (m->jobs[i]->state == JOB_RUNNING && m->jobs[i]->started_by == uid)
                        bytes += m->jobs[i]->bytes;
        return bytes;
}

int quota_used(const Manager *m, uid_t uid, Quota *ret) {
        _cleanup_(stored_images_clear) StoredImages images = {};
        Quota used = {};
        int r;

        for (size_t i = 0; i < m->n_vms; i++) {
                const VmSpec *spec = m->vms[i]->spec;

                if (spec->owner != uid)
                        continue;
                used.vms++;
                used.cpus += spec->cpus;
                used.memory += spec->memory;
                used.devices += m->vms[i]->wanted ? MAX(spec->n_devices, m->vms[i]->wanted->n_devices)
                                                  : spec->n_devices;
                used.image_bytes += spec->disk_bytes;
        }

        r = image_store_list(m->state_fd, uid, &images);
        if (r < 0)
                return r;
        for (size_t i = 0; i < images.n; i++)
                if (images.items[i].owner == uid)
                        used.image_bytes += MAX(images.items[i].info.virtual_size, images.items[i].info.used);

        used.image_bytes += bytes_under_way(m, uid);
        *ret = used;
        return 0;
}

int quota_image_bytes_left(const Manager *m, uid_t uid, uint64_t *ret) {
        const uint64_t limit = m->config->limits.image_bytes;
        Quota used;
        int r;

        if (uid == 0 || limit == 0) {
                *ret = UINT64_MAX;
                return 0;
        }

        r = quota_used(m, uid, &used);
        if (r < 0)
                return r;
        *ret = limit - MIN(limit, used.image_bytes);
        return 0;
}

static int complain(Error *error, const char *what, uint64_t after, uint64_t limit, bool bytes) {
        char after_text[SIZE_TEXT_MAX], limit_text[SIZE_TEXT_MAX];

        if (bytes)
                (void) error_set(error, ERROR_LIMIT_EXCEEDED, "You would have %s of %s; the limit is %s",
                                 format_size(after, after_text), what, format_size(limit, limit_text));
        else
                (void) error_set(error, ERROR_LIMIT_EXCEEDED, "You would have %llu %s; the limit is %llu",
                                 (unsigned long long) after, what, (unsigned long long) limit);
        return 1;
}

int quota_check(const Manager *m, uid_t uid, const Quota *extra, const char **ret_code, Error *error) {
        const Limits *limits = &m->config->limits;
        Quota used;
        int r;

        if (uid == 0)
                return 0;

        r = quota_used(m, uid, &used);
        if (r < 0)
                return r;

        const struct {
                const char *code, *what;
                uint64_t before, extra, limit;
                bool bytes;
        } checks[] = {
                { "limit-vms", "VMs", used.vms, extra->vms, limits->vms, false },
                { "limit-cpus", "virtual CPUs", used.cpus, extra->cpus, limits->cpus, false },
                { "limit-memory", "memory", used.memory, extra->memory, limits->memory, true },
                { "limit-devices", "devices", used.devices, extra->devices, limits->devices, false },
                { "limit-image-bytes", "disks and images", used.image_bytes, extra->image_bytes,
                  limits->image_bytes, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(checks); i++) {
                if (checks[i].limit == 0 || checks[i].extra == 0 ||
                    checks[i].before + checks[i].extra <= checks[i].limit)
                        continue;
                if (ret_code)
                        *ret_code = checks[i].code;
                return complain(error, checks[i].what, checks[i].before + checks[i].extra, checks[i].limit,
                                checks[i].bytes);
        }
        return 0;
}
