/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "base/strv.h"
#include "identity.h"
#include "manager.h"
#include "select.h"

/* --- what a device is ------------------------------------------------------------------------------------- */

/* "0000:03:00.0" is at 00.0 of its bus. */
static const char *place_on_bus(const char *component) {
        const char *colon = strrchr(component, ':');

        return colon ? colon + 1 : component;
}

int identity_slot_path(const char *sysfs_path, char **ret) {
        _cleanup_strv_ char **components = NULL;
        size_t n = 0;
        char *path;
        int r;

        r = strv_split(sysfs_path, "/", &components);
        if (r < 0)
                return r;
        path = malloc(strlen(sysfs_path) + 1);
        if (!path)
                return -ENOMEM;

        path[0] = '\0';
        STRV_FOREACH(component, components)
                n += (size_t) sprintf(path + n, "%s%s", n > 0 ? "/" : "",
                                      n > 0 ? place_on_bus(*component) : *component);
        *ret = path;
        return 0;
}

static int copy_text(const char *from, char **to) {
        *to = from ? strdup(from) : NULL;
        return from && !*to ? -ENOMEM : 0;
}

int identity_describe(VmDevice *ret, const PciDevice *pci) {
        int r;

        ret->vendor_id = pci->vendor_id;
        ret->device_id = pci->device_id;
        ret->subsystem_vendor_id = pci->subsystem_vendor_id;
        ret->subsystem_device_id = pci->subsystem_device_id;
        r = copy_text(device_kind_to_string(pci->kind), &ret->kind);
        if (r >= 0)
                r = copy_text(pci->serial, &ret->serial);
        if (r >= 0 && pci->slot_path)
                r = identity_slot_path(pci->slot_path, &ret->slot_path);
        return r;
}

/* Of a device that an administrator has put into the domain nothing but the address is known. */
static bool is_known(const VmDevice *wanted) {
        return wanted->vendor_id != 0;
}

bool identity_matches(const VmDevice *wanted, const PciDevice *found) {
        if (!is_known(wanted))
                return pci_address_equal(&wanted->address, &found->address);
        return wanted->vendor_id == found->vendor_id && wanted->device_id == found->device_id &&
               wanted->subsystem_vendor_id == found->subsystem_vendor_id &&
               wanted->subsystem_device_id == found->subsystem_device_id &&
               !serials_differ(wanted->serial, found->serial);
}

/* Also of what was written down with the bus numbers in it. */
static bool is_in_its_slot(const VmDevice *wanted, const PciDevice *found) {
        _cleanup_free_ char *then = NULL, *now = NULL;

        return wanted->slot_path && found->slot_path && identity_slot_path(wanted->slot_path, &then) >= 0 &&
               identity_slot_path(found->slot_path, &now) >= 0 && streq(then, now);
}

/* --- where it is now -------------------------------------------------------------------------------------- */

/* How sure it is, the surest first. A serial number names one device in the world; what has none, or does not
 * say it because it is on vfio-pci, is known by its slot; in another slot only if it is the one of its kind
 * that nobody else has been given or uses, and never a drive: it might be one with another's data. */
typedef enum Ground {
        BY_SERIAL,
        BY_SLOT,
        BY_KIND,
        _GROUND_MAX,
} Ground;

static bool is_drive(const VmDevice *wanted) {
        return streq_ptr(wanted->kind, "nvme") || streq_ptr(wanted->kind, "storage");
}

/* What may be overridden was judged of the device that the caller saw. */
static bool is_idle(const Vm *vm, const VmDevice *wanted, Device *d) {
        return !d->lease && !vm_is_assigned(vm, &d->pci->address) && !device_assigned_elsewhere(d, vm) &&
               !reasons_blocking(device_in_use(d), wanted->allow);
}

static bool is_candidate(const Vm *vm, const VmDevice *wanted, Device *d, Ground ground) {
        if (!is_known(wanted) || !identity_matches(wanted, d->pci) ||
            pci_address_equal(&wanted->address, &d->pci->address))
                return false;
        if (ground == BY_SERIAL)
                return wanted->serial && d->pci->serial;
        if (ground == BY_SLOT)
                return is_in_its_slot(wanted, d->pci);
        return !wanted->serial && !is_drive(wanted) && is_idle(vm, wanted, d);
}

typedef struct Matches {
        Device **items;
        size_t n;
} Matches;

static void matches_clear(Matches *matches) {
        free(matches->items);
}

static int collect(const Vm *vm, const VmDevice *wanted, Ground ground, Matches *ret) {
        const Manager *m = vm->manager;

        ret->n = 0;
        if (!ret->items)
                ret->items = calloc(devices_count(m) + 1, sizeof(Device *));
        if (!ret->items)
                return -ENOMEM;

        for (size_t i = 0; i < devices_count(m); i++)
                if (is_candidate(vm, wanted, m->devices.items[i], ground))
                        ret->items[ret->n++] = m->devices.items[i];
        return 0;
}

/* "0000:01:00.0 is 8086:1533 now" */
static int describe_place(const Vm *vm, const VmDevice *wanted, char **ret) {
        const Device *d = devices_find(vm->manager, &wanted->address);
        const char *address = PCI_ADDRESS_TEXT(&wanted->address);
        int r;

        if (!d)
                r = asprintf(ret, "The device %s of the VM %s is gone", address, vm->spec->name);
        else
                r = asprintf(ret, "%s is %04x:%04x%s%s now", address, d->pci->vendor_id, d->pci->device_id,
                             d->pci->serial ? " serial " : "", d->pci->serial ? d->pci->serial : "");
        return r < 0 ? -ENOMEM : 0;
}

static int list_addresses(const Matches *matches, char **ret) {
        _cleanup_strv_ char **words = NULL;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < matches->n; i++)
                r = strv_push(&words, PCI_ADDRESS_TEXT(&matches->items[i]->pci->address));
        if (r < 0)
                return r;

        *ret = strv_join(words, ", ");
        return *ret ? 0 : -ENOMEM;
}

static int refuse(const Vm *vm, const VmDevice *wanted, const Matches *matches, Error *error) {
        const Device *there = devices_find(vm->manager, &wanted->address);
        _cleanup_free_ char *place = NULL, *names = NULL;
        char identity[128];

        if (describe_place(vm, wanted, &place) < 0 || list_addresses(matches, &names) < 0)
                return -ENOMEM;
        (void) snprintf(identity, sizeof(identity), "%04x:%04x%s%.60s", wanted->vendor_id, wanted->device_id,
                        wanted->serial ? " serial " : "", wanted->serial ? wanted->serial : "");

        if (there && identity_matches(wanted, there->pci))
                return error_set(error, ERROR_IDENTITY_CHANGED,
                                 "%s, but in another slot than the %s that the VM was given, and without a "
                                 "serial number it cannot be told whether that is it", place, identity);
        if (matches->n > 1)
                return error_set(error, ERROR_IDENTITY_CHANGED,
                                 "%s; the VM was given %s, and it cannot be told which of %s that is", place,
                                 identity, names);
        if (!there)
                return error_set(error, ERROR_NO_SUCH_DEVICE, "%s: there is no %s in this host", place,
                                 identity);
        return error_set(error, ERROR_IDENTITY_CHANGED,
                         "%s, but the VM was given %s, which is nowhere in this host", place, identity);
}

/* Without a doubt: by serial number, by its slot, or because it has been held for this VM since it last ran. */
static bool is_surely(const Vm *vm, const VmDevice *wanted, const Device *d) {
        return (wanted->serial && d->pci->serial) || !is_known(wanted) || is_in_its_slot(wanted, d->pci) ||
               (d->claim && streq_ptr(d->claim->vm, vm->spec->uuid));
}

static int find_device(const Vm *vm, const VmDevice *wanted, Device **ret, Error *error) {
        _cleanup_(matches_clear) Matches matches = {};
        Device *d = devices_find(vm->manager, &wanted->address);
        bool may_be = d && identity_matches(wanted, d->pci);

        if (may_be && is_surely(vm, wanted, d)) {
                *ret = d;
                return 0;
        }

        for (Ground ground = BY_SERIAL; ground < _GROUND_MAX; ground++) {
                int r;

                /* One of its kind where it was is more likely it than one elsewhere. */
                if (ground == BY_KIND && may_be && !wanted->serial && !is_drive(wanted)) {
                        *ret = d;
                        return 0;
                }

                r = collect(vm, wanted, ground, &matches);
                if (r < 0)
                        return r;
                if (matches.n == 1)
                        *ret = matches.items[0];
                if (matches.n > 0)
                        return matches.n == 1 ? 0 : refuse(vm, wanted, &matches, error);
        }
        return refuse(vm, wanted, &matches, error);
}

/* --- the whole VM ----------------------------------------------------------------------------------------- */

typedef struct Move {
        VmSpec *spec;
        char **words; /* of the note */
} Move;

static void move_clear(Move *move) {
        vm_spec_free(move->spec);
        strv_free(move->words);
}

static int add_words(Move *move, const VmDevice *from, const PciAddress *to) {
        char *words;

        if (asprintf(&words, "%s has moved to %s", PCI_ADDRESS_TEXT(&from->address), PCI_ADDRESS_TEXT(to)) < 0)
                return -ENOMEM;
        return strv_consume(&move->words, words);
}

static int set_place(VmDevice *device, const PciDevice *pci, const PciAddress *requested) {
        _cleanup_free_ char *path = NULL;
        int r = pci->slot_path ? identity_slot_path(pci->slot_path, &path) : 0;

        if (r < 0)
                return r;
        device->address = pci->address;
        device->requested = *requested;
        free(device->slot_path);
        device->slot_path = TAKE_PTR(path);
        return 0;
}

/* Its siblings are in the slot of the one that was asked for, at their old function numbers. */
static int find_sibling(const Vm *vm, const VmDevice *wanted, const Device *leader, Device **ret,
                        Error *error) {
        const Matches none = {};
        PciAddress address = leader->pci->address;
        Device *d;

        address.function = wanted->address.function;
        d = devices_find(vm->manager, &address);
        if (!d || !identity_matches(wanted, d->pci))
                return refuse(vm, wanted, &none, error);

        *ret = d;
        return 0;
}

static int follow_unit(const Vm *vm, const VmDevice *requested, Move *move, Error *error) {
        const VmSpec *old = vm->spec;
        Device *leader = NULL, *d;
        int r;

        r = find_device(vm, requested, &leader, error);
        if (r >= 0 && !pci_address_equal(&leader->pci->address, &requested->address))
                r = add_words(move, requested, &leader->pci->address);

        for (size_t i = 0; r >= 0 && i < old->n_devices; i++) {
                if (vm_requested_device(old, &old->devices[i]) != requested)
                        continue;

                d = leader;
                if (&old->devices[i] != requested)
                        r = find_sibling(vm, &old->devices[i], leader, &d, error);
                if (r >= 0)
                        r = set_place(&move->spec->devices[i], d->pci, &leader->pci->address);
        }
        return r;
}

/* Two that cannot be told apart may both seem to be the same one. */
static int check_distinct(const VmSpec *spec, Error *error) {
        for (size_t i = 0; i < spec->n_devices; i++)
                for (size_t k = 0; k < i; k++)
                        if (pci_address_equal(&spec->devices[i].address, &spec->devices[k].address))
                                return error_set(error, ERROR_IDENTITY_CHANGED,
                                                 "Devices of the VM %s have moved, and two of them may be %s",
                                                 spec->name, PCI_ADDRESS_TEXT(&spec->devices[i].address));
        return 0;
}

int identity_follow(const Vm *vm, VmSpec **ret, char **ret_note, Error *error) {
        _cleanup_(move_clear) Move move = {};
        int r;

        r = vm_spec_copy(vm->spec, &move.spec);
        for (size_t i = 0; r >= 0 && i < vm->spec->n_devices; i++) {
                const VmDevice *device = &vm->spec->devices[i];

                if (vm_requested_device(vm->spec, device) == device)
                        r = follow_unit(vm, device, &move, error);
        }
        if (r < 0 || !move.words)
                return r < 0 ? r : 0;

        r = check_distinct(move.spec, error);
        if (r < 0)
                return r;

        *ret_note = strv_join(move.words, "; ");
        if (!*ret_note)
                return -ENOMEM;
        *ret = TAKE_PTR(move.spec);
        return 1;
}
