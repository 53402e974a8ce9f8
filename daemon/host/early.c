/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The rule by which a device is held before its driver could bind, which is before the device can be asked for
 * its own serial number: address, place in the tree, model and revision are as they were, and the PCI serial
 * number where there is one. A device that does not answer when it is asked for that number is not another one
 * for it, but has not proved anything by it either. Where the disk that the host starts from may be behind a
 * function of this model, that is not proof if there is a second one of the model: then nothing is held, the
 * driver binds, and vmkitd compares the drive's serial number before it takes the device by its ordinary, checked
 * way. */

#include "base/strv.h"
#include "console.h"
#include "early.h"
#include "sysfs.h"

#define VFIO_DRIVER_NAME "vfio-pci"
#define DRIVERS "sys/bus/pci/drivers/"

const char *early_verdict_to_string(EarlyVerdict verdict) {
        static const char *const texts[_EARLY_MAX] = {
                [EARLY_HOLD] = "held for vfio-pci",
                [EARLY_HELD] = "on vfio-pci already",
                [EARLY_ABSENT] = "not there",
                [EARLY_CHANGED] = "not the device that was reserved, or not in its place: left alone",
                [EARLY_AMBIGUOUS] = ("another device of its model is there, so its driver must tell which is "
                                     "which: left to vmkitd"),
                [EARLY_TAKEN] = "on a driver of the host already: left to vmkitd",
                [EARLY_DISPLAY] = "the host's console is on it now: left to the host",
                [EARLY_NO_IOMMU] = "the IOMMU does not cover it: left alone",
        };
        return (unsigned) verdict < _EARLY_MAX ? texts[verdict] : NULL;
}

static EarlyVerdict judge_driver(int root_fd, const PciAddress *address) {
        _cleanup_free_ char *driver = NULL;

        if (!path_exists_at(root_fd, PATH_TEXT("%s/iommu_group", SYSFS_PCI_PATH(address))))
                return EARLY_NO_IOMMU;
        if (read_link_name_at(root_fd, PATH_TEXT("%s/driver", SYSFS_PCI_PATH(address)), &driver) < 0)
                return EARLY_HOLD;
        return streq(driver, VFIO_DRIVER_NAME) ? EARLY_HELD : EARLY_TAKEN;
}

static bool is_other(const PciIdentity *now, const PciIdentity *then) {
        return !pci_identity_same_model(now, then) || !streq_ptr(now->slot_path, then->slot_path) ||
               now->boot_vga != then->boot_vga ||
               (!now->serial_is_unknown && now->serial_number != then->serial_number);
}

EarlyVerdict early_judge(int root_fd, const Reservation *reservation, const ReservedFunction *f) {
        _cleanup_pci_identity_ PciIdentity now = {};

        if (pci_identity_read(root_fd, &f->id.address, &now) < 0)
                return EARLY_ABSENT;
        if (is_other(&now, &f->id))
                return EARLY_CHANGED;
        if (f->alone && (now.serial_is_unknown || now.serial_number == 0) &&
            pci_identity_count_twins(root_fd, &now) != 0)
                return EARLY_AMBIGUOUS;
        if (!strv_contains(reservation->allow, "boot-display") &&
            console_has_firmware_framebuffer(root_fd, &f->id.address))
                return EARLY_DISPLAY;
        return judge_driver(root_fd, &f->id.address);
}

EarlyVerdict early_judge_unit(int root_fd, const Reservation *reservation,
                              const ReservedFunction **ret_function) {
        EarlyVerdict worst = EARLY_HELD;

        *ret_function = &reservation->functions[0];
        for (size_t i = 0; i < reservation->n; i++) {
                EarlyVerdict verdict = early_judge(root_fd, reservation, &reservation->functions[i]);

                if (verdict == EARLY_HELD || (verdict == EARLY_HOLD && worst != EARLY_HELD))
                        continue;
                worst = verdict;
                *ret_function = &reservation->functions[i];
                if (verdict != EARLY_HOLD)
                        return verdict;
        }
        return worst;
}

bool early_vfio_is_loaded(int root_fd) {
        return path_exists_at(root_fd, DRIVERS VFIO_DRIVER_NAME);
}

int early_hold(int root_fd, const Reservation *reservation) {
        int r = 0;

        /* All overrides first: the driver of one may come while another is probed. */
        for (size_t i = 0; i < reservation->n; i++) {
                const PciAddress *address = &reservation->functions[i].id.address;
                int k = write_attribute_at(root_fd, PATH_TEXT("%s/driver_override", SYSFS_PCI_PATH(address)),
                                           VFIO_DRIVER_NAME);
                r = r < 0 ? r : k;
        }

        /* Nothing happens to one that has a driver. */
        for (size_t i = 0; early_vfio_is_loaded(root_fd) && i < reservation->n; i++) {
                int k = write_attribute_at(root_fd, "sys/bus/pci/drivers_probe",
                                           PCI_ADDRESS_TEXT(&reservation->functions[i].id.address));
                r = r < 0 ? r : k;
        }
        return r;
}

int early_record_find(int root_fd, const PciAddress *address, char **ret_driver) {
        _cleanup_free_ char *text = NULL;
        _cleanup_strv_ char **lines = NULL;
        int r;

        r = read_file_at(root_fd, EARLY_RECORD, EARLY_RECORD_SIZE_MAX, &text);
        if (r >= 0)
                r = strv_split(text, "\n", &lines);
        if (r < 0)
                return r;

        STRV_FOREACH(line, lines) {
                const char *driver = str_after(*line, PCI_ADDRESS_TEXT(address));

                if (!driver || *driver != ' ')
                        continue;
                *ret_driver = driver[1] ? strdup(driver + 1) : NULL;
                return driver[1] && !*ret_driver ? -ENOMEM : 0;
        }
        return -ENOENT;
}
