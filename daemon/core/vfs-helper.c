/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A change of their number removes every virtual function there is, so each must be as idle as if it were to
 * be given away. What is merely against giving one away (a reset it lacks, namespaces it shares with its
 * siblings) is not use. */

#include "base/log.h"
#include "claim.h"
#include "host/sriov.h"
#include "host/usage.h"
#include "vfs-helper.h"

static bool is_use(ReasonCode code) {
        switch (code) {
        case REASON_NOT_ENDPOINT:
        case REASON_NO_IOMMU:
        case REASON_GROUP_NOT_VIABLE:
        case REASON_SHARED_RESET:
        case REASON_SHARED_NAMESPACE:
                return false;
        default:
                return !reason_code_is_overridable(code);
        }
}

static int refuse(const PciDevice *vf, const char *words, Error *error) {
        return error_set(error, ERROR_DEVICE_IN_USE, "The virtual function %s is in use: %s (has-vfs)",
                         PCI_ADDRESS_TEXT(&vf->address), words);
}

static int check_unused(const VfsChange *change, const PciDevice *vf, Error *error) {
        _cleanup_reasons_ Reasons reasons = {};
        int r;

        r = usage_inspect(change->root_fd, change->inventory, vf, &reasons);
        if (r >= 0)
                r = usage_inspect_deep(change->root_fd, change->inventory, vf, &reasons);
        if (r < 0)
                return error_set_errno(error, r, "Could not find out who uses %s",
                                       PCI_ADDRESS_TEXT(&vf->address));

        for (size_t i = 0; i < reasons.n; i++)
                if (is_use(reasons.items[i].code))
                        return refuse(vf, reasons.items[i].detail, error);
        return 0;
}

static int check_vf(const VfsChange *change, const PciDevice *vf, DiskLocks *locks, Error *error) {
        _cleanup_(claim_freep) Claim *claim = NULL;
        int r;

        if (!device_list_contains(&change->known, &vf->address))
                return error_set(error, ERROR_BUSY, "The virtual functions of %s are changing",
                                 PCI_ADDRESS_TEXT(&change->physical->address));

        r = claim_read(change->claims_fd, &vf->address, &claim);
        if (r >= 0 && streq_ptr(claim->boot_id, change->boot_id))
                return refuse(vf, "vmkit holds it", error);
        if (streq_ptr(vf->driver, VFIO_DRIVER) && binding_wait_idle(change->root_fd, vf->iommu_group, 0) < 0)
                return refuse(vf, "a user of VFIO has it open", error);

        r = check_unused(change, vf, error);
        return r < 0 ? r : disk_locks_acquire(change->root_fd, vf, locks, error);
}

static int check_physical(const VfsChange *change, Error *error) {
        const PciDevice *physical = change->physical;

        if (!physical->driver || streq(physical->driver, VFIO_DRIVER))
                return error_set(error, ERROR_NOT_SUPPORTED,
                                 "%s is not on its driver, which makes the virtual functions",
                                 PCI_ADDRESS_TEXT(&physical->address));
        return 0;
}

/* Nothing is to be restored; it says who is at work on the device. */
static int record(const VfsChange *change, Claim **ret) {
        _cleanup_(claim_freep) Claim *claim = calloc(1, sizeof(Claim));
        int r;

        if (!claim)
                return -ENOMEM;

        claim->state = CLAIM_RELEASING;
        claim->helper = getpid();
        (void) process_start_time(claim->helper, &claim->helper_start);
        claim->boot_id = strdup(change->boot_id);
        if (!claim->boot_id)
                return -ENOMEM;

        r = claim_set_device(claim, change->physical);
        if (r >= 0)
                r = device_state_read(change->root_fd, &claim->address, &claim->original);
        if (r >= 0)
                r = claim_write(change->claims_fd, claim);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(claim);
        return 0;
}

static int set_recorded(const VfsChange *change, Error *error) {
        _cleanup_(claim_freep) Claim *claim = NULL;
        int r;

        r = record(change, &claim);
        if (r < 0)
                return error_set_errno(error, r, "Could not write the claim record of %s",
                                       PCI_ADDRESS_TEXT(&change->physical->address));

        r = sriov_set_count(change->root_fd, &change->physical->address, change->count, error);
        if (claim_remove(change->claims_fd, &change->physical->address) < 0)
                log_error("Could not remove the claim record of %s",
                          PCI_ADDRESS_TEXT(&change->physical->address));
        return r;
}

int vfs_change(const VfsChange *change, Error *error) {
        DiskLocks locks = {};
        int r;

        r = check_physical(change, error);
        for (size_t i = 0; r >= 0 && i < change->inventory->n_devices; i++) {
                const PciDevice *vf = change->inventory->devices[i];

                if (vf->is_vf && pci_address_equal(&vf->physical_function, &change->physical->address))
                        r = check_vf(change, vf, &locks, error);
        }
        if (r >= 0)
                r = set_recorded(change, error);

        disk_locks_release(&locks);
        return r;
}
