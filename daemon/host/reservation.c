/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/parse.h"
#include "base/strv.h"
#include "host-use.h"
#include "reservation.h"
#include "sysfs.h"

#define RESERVATION_SIZE_MAX (256 * KIB)
#define VERSION "1"

/* --- objects -------------------------------------------------------------------------------------------- */

Reservation *reservation_free(Reservation *reservation) {
        if (!reservation)
                return NULL;

        for (size_t i = 0; i < reservation->n; i++) {
                pci_identity_clear(&reservation->functions[i].id);
                free(reservation->functions[i].serial);
                free(reservation->functions[i].driver);
        }
        free(reservation->functions);
        strv_free(reservation->allow);
        free(reservation);
        return NULL;
}

void reservations_clear(Reservations *reservations) {
        for (size_t i = 0; i < reservations->n; i++)
                reservation_free(reservations->items[i]);
        free(reservations->items);
        *reservations = (Reservations) {};
}

ReservedFunction *reservation_add(Reservation *reservation) {
        ReservedFunction *grown =
                reallocarray(reservation->functions, reservation->n + 1, sizeof(ReservedFunction));

        if (!grown)
                return NULL;
        reservation->functions = grown;
        grown[reservation->n] = (ReservedFunction) {};
        return &grown[reservation->n++];
}

const PciAddress *reservation_address(const Reservation *reservation) {
        return &reservation->functions[0].id.address;
}

const ReservedFunction *reservation_find(const Reservation *reservation, const PciAddress *address) {
        for (size_t i = 0; i < reservation->n; i++)
                if (pci_address_equal(&reservation->functions[i].id.address, address))
                        return &reservation->functions[i];
        return NULL;
}

/* --- text ------------------------------------------------------------------------------------------------ */

/* What a value may consist of: a serial number comes from a device. */
static bool is_plain(const char *s) {
        for (; *s; s++)
                if (*s < 0x20 || *s > 0x7e)
                        return false;
        return true;
}

static int set_text(char **field, const char *value) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return 0;
}

#define SET_NUMBER(field, max)                                     \
        ({                                                         \
                uint64_t _value;                                   \
                int _r = parse_uint(value, 16, max, &_value);      \
                if (_r >= 0)                                       \
                        (field) = (typeof(field)) _value;          \
                _r;                                                \
        })

static int set_subsystem(PciIdentity *id, char *value) {
        char *colon = strchr(value, ':');
        int r;

        if (!colon)
                return -EBADMSG;
        *colon = '\0';
        r = SET_NUMBER(id->subsystem_vendor_id, UINT16_MAX);
        value = colon + 1;
        return r < 0 ? r : SET_NUMBER(id->subsystem_device_id, UINT16_MAX);
}

static int set_flag(bool *field, const char *value) {
        *field = streq(value, "yes");
        return *field || streq(value, "no") ? 0 : -EBADMSG;
}

static int function_set(ReservedFunction *f, const char *key, char *value) {
        if (streq(key, "path"))
                return set_text(&f->id.slot_path, value);
        if (streq(key, "vendor"))
                return SET_NUMBER(f->id.vendor_id, UINT16_MAX);
        if (streq(key, "device"))
                return SET_NUMBER(f->id.device_id, UINT16_MAX);
        if (streq(key, "subsystem"))
                return set_subsystem(&f->id, value);
        if (streq(key, "class"))
                return SET_NUMBER(f->id.class, 0xffffff);
        if (streq(key, "revision"))
                return SET_NUMBER(f->id.revision, UINT8_MAX);
        if (streq(key, "pci-serial"))
                return SET_NUMBER(f->id.serial_number, UINT64_MAX);
        if (streq(key, "boot-vga"))
                return set_flag(&f->id.boot_vga, value);
        if (streq(key, "serial"))
                return text_is_known(value) ? set_text(&f->serial, value) : 0;
        if (streq(key, "driver"))
                return set_text(&f->driver, value);
        if (streq(key, "alone"))
                return set_flag(&f->alone, value);
        return -EBADMSG;
}

static int begin_function(Reservation *reservation, char *line) {
        size_t n = strlen(line);
        PciAddress address;

        if (line[n - 1] != ']')
                return -EBADMSG;
        line[n - 1] = '\0';
        if (pci_address_parse(line + 1, &address) < 0)
                return -EBADMSG;
        if (reservation->n > 0 &&
            pci_address_compare(&reservation->functions[reservation->n - 1].id.address, &address) >= 0)
                return -EBADMSG;

        ReservedFunction *f = reservation_add(reservation);
        if (!f)
                return -ENOMEM;
        f->id.address = address;
        return 0;
}

static int set_header(Reservation *reservation, const char *key, const char *value, bool *versioned) {
        if (streq(key, "version")) {
                *versioned = streq(value, VERSION);
                return *versioned ? 0 : -EBADMSG;
        }
        if (streq(key, "allow"))
                return strv_push(&reservation->allow, value);
        return -EBADMSG;
}

static int parse_line(Reservation *reservation, char *line, bool *versioned) {
        if (!is_plain(line))
                return -EBADMSG;
        if (*line == '#')
                return 0;
        if (*line == '[')
                return *versioned ? begin_function(reservation, line) : -EBADMSG;

        char *equals = strchr(line, '=');
        if (!equals)
                return -EBADMSG;
        *equals = '\0';
        if (reservation->n == 0)
                return set_header(reservation, line, equals + 1, versioned);
        return function_set(&reservation->functions[reservation->n - 1], line, equals + 1);
}

int reservation_parse(const char *text, Reservation **ret) {
        _cleanup_(reservation_freep) Reservation *reservation = calloc(1, sizeof(Reservation));
        _cleanup_strv_ char **lines = NULL;
        bool versioned = false;
        int r;

        if (!reservation)
                return -ENOMEM;

        r = strv_split(text, "\n", &lines);
        if (r < 0)
                return r;
        STRV_FOREACH(line, lines) {
                r = parse_line(reservation, *line, &versioned);
                if (r < 0)
                        return r == -ENOMEM ? r : -EBADMSG;
        }

        if (reservation->n == 0)
                return -EBADMSG;
        for (size_t i = 0; i < reservation->n; i++)
                if (!reservation->functions[i].id.slot_path)
                        return -EBADMSG;
        *ret = TAKE_PTR(reservation);
        return 0;
}

static void print_function(FILE *f, const ReservedFunction *function) {
        const PciIdentity *id = &function->id;

        fprintf(f, "\n[%s]\n", PCI_ADDRESS_TEXT(&id->address));
        fprintf(f, "path=%s\n", id->slot_path);
        fprintf(f, "vendor=%04x\ndevice=%04x\n", id->vendor_id, id->device_id);
        fprintf(f, "subsystem=%04x:%04x\n", id->subsystem_vendor_id, id->subsystem_device_id);
        fprintf(f, "class=%06x\nrevision=%02x\n", id->class, id->revision);
        if (id->serial_number)
                fprintf(f, "pci-serial=%016" PRIx64 "\n", id->serial_number);
        fprintf(f, "boot-vga=%s\n", id->boot_vga ? "yes" : "no");
        if (function->serial && is_plain(function->serial))
                fprintf(f, "serial=%s\n", function->serial);
        if (function->driver)
                fprintf(f, "driver=%s\n", function->driver);
        fprintf(f, "alone=%s\n", function->alone ? "yes" : "no");
}

int reservation_format(const Reservation *reservation, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return -errno;

        fprintf(f,
                "# Held on vfio-pci from boot on. Written by vmkitd; 'vmkitctl unreserve %s' removes it.\n"
                "version=" VERSION "\n",
                PCI_ADDRESS_TEXT(reservation_address(reservation)));
        STRV_FOREACH(code, reservation->allow)
                fprintf(f, "allow=%s\n", *code);
        for (size_t i = 0; i < reservation->n; i++)
                print_function(f, &reservation->functions[i]);

        bool failed = ferror(f);
        if (fclose(f) != 0 || failed)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        return 0;
}

/* --- files ----------------------------------------------------------------------------------------------- */

static int read_one(int dir_fd, const char *name, Reservation **ret) {
        _cleanup_(reservation_freep) Reservation *reservation = NULL;
        _cleanup_free_ char *text = NULL;
        PciAddress address;
        int r;

        if (pci_address_parse(name, &address) < 0)
                return -EBADMSG;
        r = read_file_at(dir_fd, name, RESERVATION_SIZE_MAX, &text);
        if (r >= 0)
                r = reservation_parse(text, &reservation);
        if (r < 0)
                return r;
        if (!pci_address_equal(reservation_address(reservation), &address))
                return -EBADMSG;

        *ret = TAKE_PTR(reservation);
        return 0;
}

static int append(Reservations *reservations, Reservation *reservation) {
        Reservation **grown =
                reallocarray(reservations->items, reservations->n + 1, sizeof(Reservation *));

        if (!grown)
                return -ENOMEM;
        reservations->items = grown;
        grown[reservations->n++] = reservation;
        return 0;
}

static int read_all(int dir_fd, char *const *names, Reservations *reservations, char ***ret_bad) {
        _cleanup_strv_ char **bad = NULL;
        int r;

        STRV_FOREACH(name, names) {
                _cleanup_(reservation_freep) Reservation *reservation = NULL;

                r = read_one(dir_fd, *name, &reservation);
                if (r == -ENOMEM)
                        return r;
                if (r >= 0) {
                        r = append(reservations, reservation);
                        if (r >= 0)
                                TAKE_PTR(reservation);
                } else
                        r = strv_push(&bad, *name);
                if (r < 0)
                        return r;
        }

        if (ret_bad)
                *ret_bad = TAKE_PTR(bad);
        return 0;
}

int reservations_read(int root_fd, Reservations *ret, char ***ret_bad) {
        _cleanup_reservations_ Reservations reservations = {};
        _cleanup_strv_ char **names = NULL;
        _cleanup_close_ int dir_fd = open_dir_at(root_fd, RESERVED_DIRECTORY);
        int r = 0;

        if (dir_fd < 0 && dir_fd != -ENOENT)
                return dir_fd;
        if (dir_fd >= 0)
                r = list_dir_at(dir_fd, ".", &names);
        if (r >= 0)
                r = read_all(dir_fd, names, &reservations, ret_bad);
        if (r < 0)
                return r;

        *ret = reservations;
        reservations = (Reservations) {};
        return 0;
}

static int make_directories(int root_fd) {
        _cleanup_free_ char *path = strdup(RESERVED_DIRECTORY);

        if (!path)
                return -ENOMEM;
        for (char *slash = path; (slash = strchr(slash, '/')); slash++) {
                *slash = '\0';
                if (mkdirat(root_fd, path, 0755) < 0 && errno != EEXIST)
                        return -errno;
                *slash = '/';
        }
        return mkdirat(root_fd, path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

int reservation_write(int root_fd, const Reservation *reservation) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int dir_fd = -EBADF;
        int r;

        r = reservation_format(reservation, &text);
        if (r >= 0)
                r = make_directories(root_fd);
        if (r < 0)
                return r;

        dir_fd = open_dir_at(root_fd, RESERVED_DIRECTORY);
        if (dir_fd < 0)
                return dir_fd;
        return write_file_atomic_at(dir_fd, PCI_ADDRESS_TEXT(reservation_address(reservation)), text, 0644);
}

int reservation_remove(int root_fd, const PciAddress *address) {
        _cleanup_close_ int dir_fd = open_dir_at(root_fd, RESERVED_DIRECTORY);
        int r;

        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : dir_fd;

        r = remove_file_at(dir_fd, PCI_ADDRESS_TEXT(address));
        if (r >= 0)
                (void) unlinkat(root_fd, RESERVED_DIRECTORY, AT_REMOVEDIR);
        return r;
}

/* --- matching -------------------------------------------------------------------------------------------- */

bool reserved_function_is(const ReservedFunction *f, const PciDevice *device) {
        return pci_address_equal(&f->id.address, &device->address) &&
               streq_ptr(f->id.slot_path, device->slot_path) && f->id.vendor_id == device->vendor_id &&
               f->id.device_id == device->device_id &&
               f->id.subsystem_vendor_id == device->subsystem_vendor_id &&
               f->id.subsystem_device_id == device->subsystem_device_id && f->id.class == device->class &&
               !serials_differ(f->serial, device->serial);
}

const ReservedFunction *reservations_find(const Reservations *reservations, const PciDevice *device,
                                          const Reservation **ret_reservation) {
        for (size_t i = 0; i < reservations->n; i++) {
                const ReservedFunction *f = reservation_find(reservations->items[i], &device->address);

                if (!f || !reserved_function_is(f, device))
                        continue;
                if (ret_reservation)
                        *ret_reservation = reservations->items[i];
                return f;
        }
        return NULL;
}

bool reservations_are_switched_off(int root_fd) {
        _cleanup_free_ char *value = NULL;

        return kernel_parameter_read(root_fd, "vmkit.reserve", &value) >= 0 && value &&
               (streq(value, "0") || streq(value, "no") || streq(value, "off"));
}
