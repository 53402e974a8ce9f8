/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmkitd: owns the binding of PCI devices to vfio-pci and the life of VMs, and offers both as
 * org.vmkit.Manager on the system bus. */

#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "base/log.h"
#include "bus/bus.h"
#include "config.h"
#include "core/manager.h"
#include "paths.h"

static const char help_text[] =
        "vmkitd [OPTIONS]\n"
        "\n"
        "Gives virtual machines real PCI devices. Offers org.vmkit.Manager on the system bus.\n"
        "\n"
        "  --libvirt-uri URI          libvirt to use (default: qemu:///system)\n"
        "  --domain-type TYPE         auto, kvm or qemu (default: auto)\n"
        "  --state-dir DIR            images, VMs and claims (default: " VMKIT_STATE_DIR ")\n"
        "  --host-root DIR            read DIR/sys and DIR/proc, for tests (default: /)\n"
        "  --log-level LEVEL          error, warning, notice, info or debug (default: info)\n"
        "  --version                  print the version\n"
        "  --help                     print this text\n"
        "\n"
        "Settings are read from " VMKIT_CONFIG_DIR "/vmkitd.conf and vmkitd.conf.d/*.conf; see\n"
        "vmkitd.conf(5). The bus is the system bus, or what DBUS_SYSTEM_BUS_ADDRESS names.\n";

enum {
        OPTION_HELP = 'h',
        OPTION_VERSION = 256,
        OPTION_LIBVIRT_URI,
        OPTION_DOMAIN_TYPE,
        OPTION_STATE_DIR,
        OPTION_HOST_ROOT,
        OPTION_LOG_LEVEL,
};

static const struct option long_options[] = {
        { "help", no_argument, NULL, OPTION_HELP },
        { "version", no_argument, NULL, OPTION_VERSION },
        { "libvirt-uri", required_argument, NULL, OPTION_LIBVIRT_URI },
        { "domain-type", required_argument, NULL, OPTION_DOMAIN_TYPE },
        { "state-dir", required_argument, NULL, OPTION_STATE_DIR },
        { "host-root", required_argument, NULL, OPTION_HOST_ROOT },
        { "log-level", required_argument, NULL, OPTION_LOG_LEVEL },
        {},
};

static int set_host_root(Config *config, const char *value) {
        if (value[0] != '/')
                return -EINVAL;
        free(config->host_root);
        config->host_root = strdup(value);
        return config->host_root ? 0 : -ENOMEM;
}

static int set_option(Config *config, int option, const char *value) {
        switch (option) {
        case OPTION_LIBVIRT_URI:
                return config_set(config, "Manager", "LibvirtURI", value);
        case OPTION_DOMAIN_TYPE:
                return config_set(config, "Manager", "DomainType", value);
        case OPTION_STATE_DIR:
                return config_set(config, "Manager", "StateDirectory", value);
        case OPTION_LOG_LEVEL:
                return config_set(config, "Manager", "LogLevel", value);
        case OPTION_HOST_ROOT:
                return set_host_root(config, value);
        default:
                return -ENOENT;
        }
}

/* 0: go on; 1: done already. */
static int parse_arguments(Config *config, int argc, char *argv[]) {
        for (int option, index; (option = getopt_long(argc, argv, "h", long_options, &index)) >= 0;) {
                switch (option) {
                case OPTION_HELP:
                        fputs(help_text, stdout);
                        return 1;
                case OPTION_VERSION:
                        puts("vmkitd " VMKIT_VERSION);
                        return 1;
                case '?':
                        return -EINVAL;
                }

                if (set_option(config, option, optarg) < 0) {
                        fprintf(stderr, "vmkitd: '%s' is not a value of --%s\n", optarg,
                                long_options[index].name);
                        return -EINVAL;
                }
        }

        if (optind < argc) {
                fprintf(stderr, "vmkitd: '%s' is not an option; see vmkitd --help\n", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        log_info("Stopping; VMs run on");
        (void) sd_notify(false, "STOPPING=1");
        manager_stop(userdata);
        return 0;
}

static int watch_signals(sd_event *event, Manager *m) {
        int r = sd_event_add_signal(event, NULL, SIGTERM, on_signal, m);

        return r < 0 ? r : sd_event_add_signal(event, NULL, SIGINT, on_signal, m);
}

/* Before any thread exists, so that all of them inherit it. SIGCHLD is seen through pidfds. */
static int block_signals(void) {
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGCHLD);
        signal(SIGPIPE, SIG_IGN);
        return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

/* A list of all objects of a large host takes megabytes for a moment. Left to itself, malloc takes such sizes for
 * usual after the first and keeps them; and it gives each worker a heap of its own. To the kernel the stack of a
 * thread is worth a huge page, of which a few KiB are used. */
static void keep_memory_small(void) {
        (void) mallopt(M_MMAP_THRESHOLD, 256 * 1024);
        (void) mallopt(M_TRIM_THRESHOLD, 256 * 1024);
        (void) mallopt(M_ARENA_MAX, 1);
        (void) prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

static int serve(const Config *config) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(manager_freep) Manager *manager = NULL;
        _cleanup_(bus_freep) Bus *bus = NULL;
        int r;

        r = sd_event_default(&event);
        if (r >= 0)
                r = sd_event_set_watchdog(event, true);
        if (r < 0)
                return log_errno(r, "Could not make the event loop");

        r = manager_new(event, config, &manager);
        if (r >= 0)
                r = watch_signals(event, manager);
        if (r >= 0)
                r = bus_new(manager, &bus);
        if (r >= 0)
                r = manager_start(manager);
        return r < 0 ? r : sd_event_loop(event);
}

static int read_config(int argc, char *argv[], Config **ret) {
        _cleanup_(config_freep) Config *config = NULL;
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        r = config_new(&config);
        if (r < 0)
                return r;

        r = config_read(config, VMKIT_CONFIG_DIR, &error);
        if (r < 0) {
                fprintf(stderr, "vmkitd: %s\n", str_na(error.message));
                return r;
        }

        r = parse_arguments(config, argc, argv);
        if (r == 0)
                *ret = TAKE_PTR(config);
        return r;
}

int main(int argc, char *argv[]) {
        _cleanup_(config_freep) Config *config = NULL;
        int r;

        umask(0022);
        keep_memory_small();
        r = read_config(argc, argv, &config);
        if (r != 0)
                return r < 0 ? 2 : EXIT_SUCCESS;

        log_set_max_level(config->log_level);
        r = block_signals();
        if (r >= 0)
                r = serve(config);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
