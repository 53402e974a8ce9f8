/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The asynchronous interface on a real loop, with libvirt's test driver behind it: each request
 * is answered exactly once, and what happens to a domain is told. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "base/log.h"
#include "virt/call.h"
#include "virt/virt.h"

#define UUID "c7a5fdbd-edaf-9455-926a-d65c16db1809"
#define OTHER_UUID "00000000-edaf-9455-926a-d65c16db1809"

typedef struct Fixture {
        sd_event *event;
        WorkerPool *workers;
        Virt *virt;

        unsigned n_connected, n_disconnected, n_changed;
        size_t n_domains; /* at the last connect */
        DomainState state; /* of UUID, as last told */
        char stopped_for[32];
        VmSpec *spec; /* of UUID, as last told */
        bool gone;
} Fixture;

typedef struct Answer {
        unsigned n;
        int r, fd;
        ErrorCode code;
        size_t n_addresses;
} Answer;

static void on_connected(DomainInfo *domains, size_t n, void *userdata) {
        Fixture *f = userdata;

        f->n_connected++;
        f->n_domains = n;
        for (size_t i = 0; i < n; i++)
                if (streq(domains[i].spec->uuid, UUID)) {
                        vm_spec_free(f->spec);
                        f->spec = TAKE_PTR(domains[i].spec);
                        f->state = domains[i].state;
                }
}

static void on_disconnected(void *userdata) {
        Fixture *f = userdata;

        f->n_disconnected++;
}

static void on_changed(const char *uuid, DomainState state, VmSpec **spec, bool gone,
                       const char *stopped_for, void *userdata) {
        Fixture *f = userdata;

        f->n_changed++;
        if (!streq(uuid, UUID))
                return;
        f->state = state;
        f->gone = gone;
        if (stopped_for)
                (void) snprintf(f->stopped_for, sizeof(f->stopped_for), "%s", stopped_for);
        if (*spec) {
                vm_spec_free(f->spec);
                f->spec = TAKE_PTR(*spec);
        }
}

static void on_done(int r, const Error *error, void *userdata) {
        Answer *a = userdata;

        assert_int_equal(r < 0, error != NULL);
        a->n++;
        a->r = r;
        a->code = error ? error->code : ERROR_NONE;
        if (error)
                assert_non_null(error->message);
}

static void on_fd_done(int r, int fd, const Error *error, void *userdata) {
        Answer *a = userdata;

        on_done(r, error, a);
        a->fd = fd;
}

static void on_addresses(int r, const GuestAddress *addresses, size_t n, const Error *error,
                         void *userdata) {
        Answer *a = userdata;

        on_done(r, error, a);
        a->n_addresses = n;
        for (size_t i = 0; i < n; i++) {
                assert_non_null(addresses[i].family);
                assert_non_null(addresses[i].address);
        }
}

/* What a QEMU that hangs does to who asks it for its display. */
static atomic_bool hangs;
static sem_t may_answer;
static atomic_uint n_hanging;

static void let_answer(unsigned n) {
        while (n-- > 0)
                assert_int_equal(sem_post(&may_answer), 0);
}

#define run_until(f, condition)                                                             \
        do {                                                                                \
                for (int i_ = 0; i_ < 1000 && !(condition); i_++)                           \
                        assert_true(sd_event_run((f)->event, 10 * USEC_PER_MSEC) >= 0);     \
                assert_true(condition);                                                     \
        } while (false)

static const VirtHandler handler = {
        .connected = on_connected,
        .disconnected = on_disconnected,
        .changed = on_changed,
};

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        assert_int_equal(sem_init(&may_answer, 0, 0), 0);
        log_set_max_level(LOG_ERR);
        assert_true(sd_event_new(&f->event) >= 0);
        assert_true(worker_pool_new(f->event, 6, &f->workers) >= 0);
        assert_int_equal(virt_new(f->event, f->workers, "test:///default", &handler, f, &f->virt),
                         0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        if (atomic_exchange(&hangs, false))
                let_answer(16);
        virt_free(f->virt);
        worker_pool_free(f->workers);
        sd_event_unref(f->event);
        vm_spec_free(f->spec);
        free(f);
        return 0;
}

static VmSpec *new_spec(void) {
        VmSpec *spec = vm_spec_new();
        VmDevice *d;

        assert_non_null(spec);
        spec->name = strdup("gaming-vm");
        strcpy(spec->uuid, UUID);
        spec->owner = 1000;
        spec->memory = GIB;
        spec->cpus = 2;
        spec->domain_type = strdup("kvm");
        spec->firmware = strdup("uefi");
        spec->network = strdup("user");
        spec->guest_os = strdup("linux");
        spec->disk_path = strdup("/var/lib/vmkit/images/a&b'c.qcow2");
        spec->disk_format = strdup("qcow2");

        d = vm_spec_add_device(spec);
        assert_non_null(d);
        assert_int_equal(pci_address_parse("0000:01:00.0", &d->address), 0);
        d->requested = d->address;
        d->kind = strdup("gpu");
        d->serial = strdup("a\x01\"'<>&\\");
        return spec;
}

typedef int (*Request)(Virt *virt, const char *uuid, VirtDone done, void *userdata, Error *error);

static ErrorCode ask(Fixture *f, Request request, const char *uuid) {
        Answer a = {};

        assert_true(request(f->virt, uuid, on_done, &a, NULL) >= 0);
        run_until(f, a.n > 0);
        return a.code;
}

static void define(Fixture *f) {
        _cleanup_(vm_spec_freep) VmSpec *spec = new_spec();
        _cleanup_free_ char *xml = NULL;
        Answer a = {};

        run_until(f, virt_is_connected(f->virt));
        assert_int_equal(vm_spec_to_xml(spec, &xml), 0);
        assert_true(virt_define(f->virt, xml, on_done, &a, NULL) >= 0);
        run_until(f, a.n > 0 && f->spec);
        assert_int_equal(a.code, ERROR_NONE);
}

static void test_connects(void **state) {
        Fixture *f = *state;

        assert_false(virt_is_connected(f->virt));
        assert_null(virt_capabilities(f->virt));
        assert_string_equal(virt_uri(f->virt), "test:///default");
        run_until(f, f->n_connected > 0);
        assert_true(virt_is_connected(f->virt));
        assert_int_equal(f->n_domains, 0); /* the driver's own domain is not ours */
        assert_true(virt_capabilities(f->virt)->version >= 9000000);
        assert_non_null(virt_capabilities(f->virt)->networks);
        assert_string_equal(virt_capabilities(f->virt)->networks[0], "default");
}

static void test_refused_without_connection(void **state) {
        Fixture *f = *state;
        _cleanup_error_ Error error = ERROR_INIT;
        Answer a = {};

        assert_int_equal(virt_start(f->virt, UUID, on_done, &a, &error),
                         -error_code_errno(ERROR_LIBVIRT_UNAVAILABLE));
        assert_int_equal(error.code, ERROR_LIBVIRT_UNAVAILABLE);
        run_until(f, f->n_connected > 0);
        assert_int_equal(a.n, 0);
}

static void test_life(void **state) {
        Fixture *f = *state;

        define(f);
        assert_string_equal(f->spec->name, "gaming-vm");
        assert_string_equal(f->spec->disk_path, "/var/lib/vmkit/images/a&b'c.qcow2");
        assert_string_equal(f->spec->firmware, "uefi");
        assert_int_equal(f->spec->n_devices, 1);
        assert_string_equal(f->spec->devices[0].serial, "a\x01\"'<>&\\");
        assert_int_equal(f->state, DOMAIN_STOPPED);

        assert_int_equal(ask(f, virt_start, UUID), ERROR_NONE);
        run_until(f, f->state == DOMAIN_RUNNING);
        assert_int_equal(ask(f, virt_start, UUID), ERROR_WRONG_STATE);
        assert_int_equal(ask(f, virt_suspend, UUID), ERROR_NONE);
        run_until(f, f->state == DOMAIN_PAUSED);
        assert_int_equal(ask(f, virt_resume, UUID), ERROR_NONE);
        run_until(f, f->state == DOMAIN_RUNNING);
        assert_int_equal(ask(f, virt_resume, UUID), ERROR_WRONG_STATE);
        assert_int_equal(ask(f, virt_destroy, UUID), ERROR_NONE);
        run_until(f, f->state == DOMAIN_STOPPED);
        assert_string_equal(f->stopped_for, "destroyed");
        assert_int_equal(ask(f, virt_destroy, UUID), ERROR_WRONG_STATE);

        assert_int_equal(ask(f, virt_start, UUID), ERROR_NONE);
        run_until(f, f->state == DOMAIN_RUNNING);
        assert_int_equal(ask(f, virt_shutdown, UUID), ERROR_NONE);
        run_until(f, f->state == DOMAIN_STOPPED);
        assert_string_equal(f->stopped_for, "shutdown");
        assert_false(f->gone);

        assert_int_equal(ask(f, virt_undefine, UUID), ERROR_NONE);
        run_until(f, f->gone);
        assert_int_equal(ask(f, virt_start, UUID), ERROR_NO_SUCH_VM);
        assert_int_equal(ask(f, virt_undefine, UUID), ERROR_NO_SUCH_VM);
        assert_int_equal(f->n_disconnected, 0);
}

/* One that runs on while its definition is removed is gone only when it has stopped. */
static void test_undefined_while_running(void **state) {
        Fixture *f = *state;

        define(f);
        assert_int_equal(ask(f, virt_start, UUID), ERROR_NONE);
        assert_int_equal(ask(f, virt_undefine, UUID), ERROR_NONE);
        for (int i = 0; i < 30; i++)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
        assert_false(f->gone);
        assert_int_equal(f->state, DOMAIN_RUNNING);

        assert_int_equal(ask(f, virt_destroy, UUID), ERROR_NONE);
        run_until(f, f->gone);
        assert_string_equal(f->stopped_for, "destroyed");
}

static void set_autostart(Fixture *f, bool autostart) {
        _cleanup_(vm_spec_freep) VmSpec *spec = new_spec();
        _cleanup_free_ char *metadata = NULL;
        Answer a = {};

        spec->autostart = autostart;
        assert_int_equal(vm_spec_to_metadata(spec, &metadata), 0);
        assert_true(virt_set_metadata(f->virt, UUID, metadata, on_done, &a, NULL) >= 0);
        run_until(f, a.n > 0 && f->spec->autostart == autostart);
        assert_int_equal(a.code, ERROR_NONE);
        assert_string_equal(f->spec->devices[0].serial, "a\x01\"'<>&\\");
        assert_string_equal(f->spec->devices[0].kind, "gpu");
        assert_int_equal(f->spec->owner, 1000);
}

static void test_metadata(void **state) {
        Fixture *f = *state;

        define(f);
        set_autostart(f, true);
        set_autostart(f, false);
        assert_int_equal(ask(f, virt_start, UUID), ERROR_NONE);
        set_autostart(f, true);
        assert_int_equal(ask(f, virt_destroy, UUID), ERROR_NONE);
        set_autostart(f, false);
        assert_int_equal(ask(f, virt_undefine, UUID), ERROR_NONE);
}

/* A new Virt finds what there is; the first keeps the test driver's state alive. */
static void test_found_at_connect(void **state) {
        Fixture *f = *state, second = {};

        define(f);
        assert_int_equal(ask(f, virt_start, UUID), ERROR_NONE);

        assert_int_equal(virt_new(f->event, f->workers, "test:///default", &handler, &second,
                                  &second.virt),
                         0);
        run_until(f, second.n_connected > 0);
        assert_int_equal(second.n_domains, 1);
        assert_string_equal(second.spec->name, "gaming-vm");
        assert_int_equal(second.state, DOMAIN_RUNNING);

        assert_int_equal(ask(f, virt_destroy, UUID), ERROR_NONE);
        run_until(f, second.state == DOMAIN_STOPPED);
        virt_free(second.virt);
        vm_spec_free(second.spec);
        assert_int_equal(ask(f, virt_undefine, UUID), ERROR_NONE);
        run_until(f, f->gone);
}

static void test_bad_definition(void **state) {
        Fixture *f = *state;
        Answer a = {};

        run_until(f, virt_is_connected(f->virt));
        assert_true(virt_define(f->virt, "<domain", on_done, &a, NULL) >= 0);
        run_until(f, a.n > 0);
        assert_true(a.r < 0);
        assert_int_not_equal(a.code, ERROR_NONE);
}

static void test_what_the_test_driver_lacks(void **state) {
        Fixture *f = *state;
        Answer console = { .fd = -1 }, display = { .fd = -1 }, addresses = {};

        define(f);
        assert_int_equal(ask(f, virt_start, UUID), ERROR_NONE);
        assert_true(virt_open_console(f->virt, UUID, on_fd_done, &console, NULL) >= 0);
        assert_true(virt_open_display(f->virt, UUID, on_fd_done, &display, NULL) >= 0);
        assert_true(virt_get_addresses(f->virt, UUID, on_addresses, &addresses, NULL) >= 0);
        run_until(f, console.n > 0 && display.n > 0 && addresses.n > 0);
        assert_int_equal(console.code, ERROR_NOT_SUPPORTED);
        assert_int_equal(console.fd, -EBADF);
        assert_int_equal(display.code, ERROR_NOT_SUPPORTED);
        assert_int_equal(addresses.code, ERROR_NONE);
        assert_int_equal(ask(f, virt_destroy, UUID), ERROR_NONE);
        assert_int_equal(ask(f, virt_undefine, UUID), ERROR_NONE);
}

static void test_many_at_once(void **state) {
        Fixture *f = *state;
        Answer answers[200] = {};
        size_t n;

        define(f);
        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                Request request = i % 3 == 0   ? virt_start
                                  : i % 3 == 1 ? virt_destroy
                                               : virt_suspend;

                assert_true(request(f->virt, i % 5 == 0 ? OTHER_UUID : UUID, on_done, &answers[i],
                                    NULL) >= 0);
        }
        do {
                assert_true(sd_event_run(f->event, 5 * USEC_PER_SEC) >= 0);
                n = 0;
                for (size_t i = 0; i < ELEMENTSOF(answers); i++)
                        n += answers[i].n > 0;
        } while (n < ELEMENTSOF(answers));

        for (int i = 0; i < 20; i++)
                assert_true(sd_event_run(f->event, 5 * USEC_PER_MSEC) >= 0);
        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                assert_int_equal(answers[i].n, 1);
                if (i % 5 == 0)
                        assert_int_equal(answers[i].code, ERROR_NO_SUCH_VM);
        }
        (void) ask(f, virt_destroy, UUID);
        assert_int_equal(ask(f, virt_undefine, UUID), ERROR_NONE);
}

/* Whatever is under way: nobody is called after virt_free(). */
static void test_freed_calls_nobody(void **state) {
        Fixture *f = *state;
        Answer answers[100] = {};
        unsigned n_changed;

        define(f);
        for (size_t i = 0; i < ELEMENTSOF(answers); i++)
                assert_true((i % 2 ? virt_destroy : virt_start)(f->virt, UUID, on_done, &answers[i],
                                                                NULL) >= 0);
        n_changed = f->n_changed;
        f->virt = virt_free(f->virt);
        for (int i = 0; i < 20; i++)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
        for (size_t i = 0; i < ELEMENTSOF(answers); i++)
                assert_int_equal(answers[i].n, 0);
        assert_int_equal(f->n_changed, n_changed);
}

static void test_freed_while_connecting(void **state) {
        Fixture *f = *state;

        f->virt = virt_free(f->virt);
        for (int i = 0; i < 10; i++)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
        assert_int_equal(f->n_connected, 0);
}

typedef struct Freeing {
        Fixture *fixture;
        unsigned n;
} Freeing;

static void free_in_answer(int r, const Error *error, void *userdata) {
        Freeing *freeing = userdata;

        freeing->n++;
        freeing->fixture->virt = virt_free(freeing->fixture->virt);
}

static void test_freed_in_an_answer(void **state) {
        Fixture *f = *state;
        Freeing freeing = { .fixture = f };

        run_until(f, virt_is_connected(f->virt));
        assert_true(virt_start(f->virt, UUID, free_in_answer, &freeing, NULL) >= 0);
        assert_true(virt_start(f->virt, UUID, free_in_answer, &freeing, NULL) >= 0);
        run_until(f, freeing.n > 0);
        for (int i = 0; i < 10; i++)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
        assert_int_equal(freeing.n, 1);
}

/* --- a QEMU that hangs ------------------------------------------------------------------------------------- */

int __real_virDomainOpenGraphicsFD(virDomainPtr domain, unsigned index, unsigned flags);
int __wrap_virDomainOpenGraphicsFD(virDomainPtr domain, unsigned index, unsigned flags);

int __wrap_virDomainOpenGraphicsFD(virDomainPtr domain, unsigned index, unsigned flags) {
        if (!atomic_load(&hangs))
                return __real_virDomainOpenGraphicsFD(domain, index, flags);

        (void) atomic_fetch_add(&n_hanging, 1);
        while (sem_wait(&may_answer) < 0)
                ;
        (void) atomic_fetch_sub(&n_hanging, 1);
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void ask_for_displays(Fixture *f, Answer answers[], size_t n) {
        atomic_store(&hangs, true);
        for (size_t i = 0; i < n; i++)
                assert_true(virt_open_display(f->virt, UUID, on_fd_done, &answers[i], NULL) >= 0);
        run_until(f, atomic_load(&n_hanging) == 4);
}

/* It keeps some of the workers, not all of them, and who waits has a turn later. */
static void test_hanging_display(void **state) {
        Fixture *f = *state;
        Answer answers[7] = {};

        define(f);
        ask_for_displays(f, answers, ELEMENTSOF(answers));
        assert_int_equal(ask(f, virt_suspend, OTHER_UUID), ERROR_NO_SUCH_VM);
        assert_int_equal(atomic_load(&n_hanging), 4);

        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                unsigned n_answered = 0;

                let_answer(1);
                run_until(f, ({
                        n_answered = 0;
                        for (size_t k = 0; k < ELEMENTSOF(answers); k++)
                                n_answered += answers[k].n;
                        n_answered == i + 1;
                }));
                assert_true(atomic_load(&n_hanging) <= 4);
        }
        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                assert_int_equal(answers[i].n, 1);
                assert_int_equal(answers[i].r, 0);
                close_fd(answers[i].fd);
        }
        assert_int_equal(ask(f, virt_undefine, UUID), ERROR_NONE);
}

static void test_freed_while_displays_hang(void **state) {
        Fixture *f = *state;
        Answer answers[6] = {};

        define(f);
        ask_for_displays(f, answers, ELEMENTSOF(answers));
        f->virt = virt_free(f->virt);
        let_answer(ELEMENTSOF(answers));
        run_until(f, atomic_load(&n_hanging) == 0);
        for (size_t i = 0; i < ELEMENTSOF(answers); i++)
                assert_int_equal(answers[i].n, 0);
}

/* It keeps trying, at growing intervals and without turning in circles. */
static void test_nobody_there(void **state) {
        Fixture *f = *state;
        Virt *virt = NULL;
        Fixture lonely = {};
        unsigned n = 0;

        run_until(f, f->n_connected > 0);
        assert_int_equal(virt_new(f->event, f->workers,
                                  "qemu+unix:///system?socket=/nonexistent/socket", &handler,
                                  &lonely, &virt),
                         0);
        for (int i = 0; i < 70; i++) {
                (void) usleep(10 * USEC_PER_MSEC);
                while (sd_event_run(f->event, 0) > 0)
                        n++;
        }
        assert_int_equal(lonely.n_connected, 0);
        assert_false(virt_is_connected(virt));
        assert_in_range(n, 2, 30);
        virt_free(virt);
}

/* The agent, which the guest can put anything in place of, is asked too. */
static void test_addresses_of_guests(void **state) {
        static const char *const bad[] = { "", "localhost", "192.0.2.1\x1b[2J", "192.0.2", "2001:db8::1", "127.0.0.1" };

        assert_true(guest_address_is_wanted(VIR_IP_ADDR_TYPE_IPV4, "192.0.2.1"));
        assert_true(guest_address_is_wanted(VIR_IP_ADDR_TYPE_IPV6, "2001:db8::1"));
        assert_false(guest_address_is_wanted(VIR_IP_ADDR_TYPE_IPV6, "fe80::1"));
        assert_false(guest_address_is_wanted(VIR_IP_ADDR_TYPE_IPV6, "::1"));
        assert_false(guest_address_is_wanted(VIR_IP_ADDR_TYPE_IPV6, "192.0.2.1"));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_false(guest_address_is_wanted(VIR_IP_ADDR_TYPE_IPV4, bad[i]));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_connects),
                TEST(test_refused_without_connection),
                TEST(test_life),
                TEST(test_undefined_while_running),
                TEST(test_metadata),
                TEST(test_found_at_connect),
                TEST(test_bad_definition),
                TEST(test_what_the_test_driver_lacks),
                TEST(test_many_at_once),
                TEST(test_freed_calls_nobody),
                TEST(test_freed_while_connecting),
                TEST(test_freed_in_an_answer),
                TEST(test_hanging_display),
                TEST(test_freed_while_displays_hang),
                TEST(test_nobody_there),
                cmocka_unit_test(test_addresses_of_guests),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
