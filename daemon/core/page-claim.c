/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kernel makes as many pages as it finds room for and says nothing if these are fewer, so the number is
 * read back. What else changes it meanwhile, an administrator for one, is kept: only differences are
 * applied. */

#include <fcntl.h>

#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/strv.h"
#include "host/topology.h"
#include "page-claim.h"

#define RECORD_SIZE_MAX 65536
#define NEEDS_MAX 256
#define STEP_BYTES (8 * GIB) /* made at a time, so that a cancelled start does not wait for all of them */

/* What was made for a VM in one pool. */
typedef struct PageClaim {
        unsigned node;
        uint64_t size;
        uint64_t before;        /* pages in the pool when we came */
        uint64_t made;          /* by us */
} PageClaim;

typedef struct PageClaims {
        PageClaim items[NEEDS_MAX];
        size_t n;
        bool complete;          /* all have been made; else, made is what was wanted */
} PageClaims;

/* --- pools -------------------------------------------------------------------------------------------- */

typedef struct PoolPath {
        char text[POOL_PATH_MAX + 16];
} PoolPath;

static const char *attribute_path(const PageHost *host, const PageClaim *claim, const char *attribute,
                                  PoolPath *ret) {
        char pool[POOL_PATH_MAX];

        snprintf(ret->text, sizeof(ret->text), "%s/%s",
                 page_pool_path(host->has_numa, claim->node, claim->size, pool), attribute);
        return ret->text;
}

static int read_pool(const PageHost *host, const PageClaim *claim, const char *attribute, uint64_t *ret) {
        return read_uint_at(host->root_fd, attribute_path(host, claim, attribute, &(PoolPath) {}), ret);
}

static int resize_pool(const PageHost *host, const PageClaim *claim, uint64_t pages) {
        char text[24];

        snprintf(text, sizeof(text), "%llu\n", (unsigned long long) pages);
        return write_attribute_at(host->root_fd, attribute_path(host, claim, "nr_hugepages", &(PoolPath) {}),
                                  text);
}

/* --- records ------------------------------------------------------------------------------------------ */

static struct json_object *claims_to_json(const PageHost *host, const PageClaims *claims) {
        struct json_object *o = json_object_new_object(), *pools = json_object_new_array();

        json_object_object_add(o, "version", json_object_new_int(1));
        json_add_string(o, "boot_id", host->boot_id);
        json_object_object_add(o, "complete", json_object_new_boolean(claims->complete));
        json_object_object_add(o, "has_numa", json_object_new_boolean(host->has_numa));
        for (size_t i = 0; i < claims->n; i++) {
                const PageClaim *claim = &claims->items[i];
                struct json_object *pool = json_object_new_object();

                json_object_object_add(pool, "node", json_object_new_int64(claim->node));
                json_object_object_add(pool, "size", json_object_new_uint64(claim->size));
                json_object_object_add(pool, "before", json_object_new_uint64(claim->before));
                json_object_object_add(pool, "made", json_object_new_uint64(claim->made));
                json_object_array_add(pools, pool);
        }
        json_object_object_add(o, "pools", pools);
        return o;
}

static int claim_from_json(struct json_object *o, PageClaim *ret) {
        int64_t node = json_number(o, "node", -1), size = json_number(o, "size", -1);
        int64_t before = json_number(o, "before", -1), made = json_number(o, "made", -1);

        if (node < 0 || node >= CPU_SET_MAX || size < (int64_t) KIB || before < 0 || made < 0)
                return -EBADMSG;

        *ret = (PageClaim) { .node = (unsigned) node, .size = (uint64_t) size, .before = (uint64_t) before,
                             .made = (uint64_t) made };
        return 0;
}

static int claims_write(const PageHost *host, const char *uuid, const PageClaims *claims) {
        _cleanup_json_ struct json_object *o = claims_to_json(host, claims);

        return write_file_atomic_at(host->records_fd, uuid, json_object_to_json_string(o), 0600);
}

static bool json_flag(struct json_object *o, const char *key) {
        struct json_object *value;

        return json_object_object_get_ex(o, key, &value) && json_object_get_boolean(value);
}

/* 1: read; 0: it is of an earlier boot, whose pages have gone with it. */
static int claims_read(const PageHost *host, const char *uuid, bool *ret_has_numa, PageClaims *ret) {
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ struct json_object *o = NULL;
        struct json_object *pools;
        int r;

        r = read_file_at(host->records_fd, uuid, RECORD_SIZE_MAX, &text);
        if (r < 0)
                return r;

        o = json_tokener_parse(text);
        pools = o ? json_array(o, "pools") : NULL;
        if (!pools || json_number(o, "version", 0) != 1 || json_object_array_length(pools) > NEEDS_MAX)
                return -EBADMSG;
        if (!streq_ptr(json_string(o, "boot_id"), host->boot_id))
                return 0;

        *ret = (PageClaims) { .complete = json_flag(o, "complete") };
        *ret_has_numa = json_flag(o, "has_numa");
        for (size_t i = 0; i < json_object_array_length(pools); i++) {
                r = claim_from_json(json_object_array_get_idx(pools, i), &ret->items[ret->n++]);
                if (r < 0)
                        return r;
        }
        return 1;
}

/* --- giving back -------------------------------------------------------------------------------------- */

/* A record that was never completed says what was wanted: how much of that was made shows in the pool. */
static uint64_t pages_made(const PageClaims *claims, const PageClaim *claim, uint64_t now) {
        if (claims->complete)
                return MIN(claim->made, now);
        return now > claim->before ? MIN(claim->made, now - claim->before) : 0;
}

static int give_back_all(const PageHost *host, const PageClaims *claims) {
        int result = 0;

        for (size_t i = 0; i < claims->n; i++) {
                const PageClaim *claim = &claims->items[i];
                uint64_t now, made;
                int r = read_pool(host, claim, "nr_hugepages", &now);

                made = r >= 0 ? pages_made(claims, claim, now) : 0;
                if (made > 0)
                        r = resize_pool(host, claim, now - made);
                if (r < 0 && result == 0)
                        result = r;
        }
        return result;
}

int pages_give_back(const PageHost *host, const char *uuid) {
        PageHost as_then = *host;
        PageClaims claims;
        int r;

        r = claims_read(host, uuid, &as_then.has_numa, &claims);
        if (r == -ENOENT)
                return 0;
        if (r == -EBADMSG)
                log_warning("The record of the huge pages of the VM %s cannot be read; it is dropped", uuid);
        else if (r < 0)
                return r;
        else if (r > 0) {
                r = give_back_all(&as_then, &claims);
                if (r < 0)
                        return r;
        }
        return remove_file_at(host->records_fd, uuid);
}

/* --- taking ------------------------------------------------------------------------------------------- */

static int refuse_shortage(const PageClaim *claim, uint64_t there, uint64_t got, Error *error) {
        const char *size = claim->size == GIB ? "1G" : "2M";

        (void) error_set(error, ERROR_INSUFFICIENT_MEMORY,
                         "The kernel made only %llu of %llu more huge pages of %s that the VM needs on node "
                         "%u (%llu were free): its memory is full or scattered",
                         (unsigned long long) got, (unsigned long long) claim->made, size, claim->node,
                         (unsigned long long) there);
        error_set_remedy(error, "Stop other VMs or programs, give the VM less memory, or set pages aside at boot "
                                "with hugepagesz=%s hugepages=N on the kernel's command line.", size);
        return -error_code_errno(ERROR_INSUFFICIENT_MEMORY);
}

/* How many are missing. The kernel counts as free what a VM that is being started has not touched yet. */
static int count_missing(const PageHost *host, const PageNeed *need, PageClaim *ret, uint64_t *ret_there,
                         Error *error) {
        PageClaim claim = { .node = need->node, .size = need->size };
        uint64_t unused;
        int r;

        r = read_pool(host, &claim, "nr_hugepages", &claim.before);
        if (r >= 0)
                r = read_pool(host, &claim, "free_hugepages", &unused);
        if (r < 0)
                return error_set_errno(error, r, "Could not look at the huge pages of node %u", need->node);

        *ret_there = unused > need->promised ? unused - need->promised : 0;
        claim.made = need->pages > *ret_there ? need->pages - *ret_there : 0;
        *ret = claim;
        return 0;
}

static int make_pages(const PageHost *host, const PageClaim *claim, uint64_t there, const bool *cancel,
                      Error *error) {
        uint64_t step = MAX(STEP_BYTES / claim->size, UINT64_C(1)), now;

        for (uint64_t made = 0; made < claim->made;) {
                int r;

                if (__atomic_load_n(cancel, __ATOMIC_RELAXED))
                        return error_set(error, ERROR_CANCELLED, "The start was cancelled");

                uint64_t next = MIN(made + step, claim->made);
                r = resize_pool(host, claim, claim->before + next);
                if (r >= 0)
                        r = read_pool(host, claim, "nr_hugepages", &now);
                if (r < 0)
                        return error_set_errno(error, r, "Could not make huge pages on node %u", claim->node);
                if (now < claim->before + next)
                        return refuse_shortage(claim, there, now > claim->before ? now - claim->before : 0,
                                               error);
                made = next;
        }
        return 0;
}

static int take_all(const PageHost *host, const char *uuid, PageClaims *claims, const uint64_t *there,
                    const bool *cancel, Error *error) {
        int r;

        r = claims_write(host, uuid, claims);
        if (r < 0)
                return error_set_errno(error, r, "Could not write down which huge pages are made");

        for (size_t i = 0; i < claims->n; i++) {
                r = make_pages(host, &claims->items[i], there[i], cancel, error);
                if (r < 0)
                        return r;
        }

        claims->complete = true;
        r = claims_write(host, uuid, claims);
        return r < 0 ? error_set_errno(error, r, "Could not write down which huge pages were made") : 0;
}

int pages_take(const PageHost *host, const char *uuid, const PageNeed *needs, size_t n, const bool *cancel,
               bool *ret_made, Error *error) {
        PageClaims claims = {};
        uint64_t there[NEEDS_MAX];
        int r;

        if (n > NEEDS_MAX)
                return error_set(error, ERROR_NOT_SUPPORTED, "The VM has more nodes than can be served");

        /* What an earlier start may have left behind. */
        r = pages_give_back(host, uuid);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                r = count_missing(host, &needs[i], &claims.items[claims.n], &there[claims.n], error);
                if (r >= 0 && claims.items[claims.n].made > 0)
                        claims.n++;
        }
        if (r < 0)
                return r;

        *ret_made = claims.n > 0;
        if (claims.n == 0)
                return 0;

        r = take_all(host, uuid, &claims, there, cancel, error);
        if (r < 0) {
                int k = pages_give_back(host, uuid);
                if (k < 0)
                        log_errno(k, "Could not give back the huge pages made for the VM %s", uuid);
                *ret_made = k < 0;
        }
        return r;
}

int pages_list(int records_fd, char ***ret_uuids) {
        _cleanup_strv_ char **names = NULL, **uuids = NULL;
        int r;

        r = list_dir_at(records_fd, ".", &names);
        STRV_FOREACH(name, names)
                if (r >= 0 && uuid_is_valid(*name))
                        r = strv_push(&uuids, *name);
        if (r < 0)
                return r;

        *ret_uuids = TAKE_PTR(uuids);
        return 0;
}
