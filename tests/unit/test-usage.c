/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who uses a device: each reason of the contract that sysfs and procfs can show, with the sentence
 * that names the thing. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/strv.h"
#include "host/usage.h"
#include "tree.h"

#define NQN "nqn.2019-08.org.qemu:nvme0"
#define NVME "0000:01:00.0"
#define GPU "0000:02:00.0"
#define AUDIO "0000:02:00.1"
#define NIC "0000:03:00.0"
#define USB "0000:00:14.0"

typedef int (*Inspect)(int root_fd, const Inventory *inventory, const PciDevice *device,
                       Reasons *reasons);

static void inspect_with(Inspect inspect, Tree *t, const char *address, Reasons *ret) {
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        PciAddress a;

        assert_int_equal(inventory_read(t->fd, &inventory), 0);
        assert_int_equal(pci_address_parse(address, &a), 0);
        assert_int_equal(inspect(t->fd, inventory, inventory_find(inventory, &a), ret), 0);
}

/* "code: detail" of each reason, a line each. */
static char *reasons_to_string(const Reasons *reasons) {
        _cleanup_strv_ char **lines = NULL;

        for (size_t i = 0; i < reasons->n; i++) {
                char *line;
                assert_true(asprintf(&line, "%s: %s", reason_code_to_string(reasons->items[i].code),
                                     reasons->items[i].detail) > 0);
                assert_int_equal(strv_consume(&lines, line), 0);
        }
        return strv_join(lines, "\n");
}

static void expect_with(Inspect inspect, Tree *t, const char *address, const char *expected) {
        _cleanup_reasons_ Reasons reasons = {};
        _cleanup_free_ char *found = NULL;

        inspect_with(inspect, t, address, &reasons);
        found = reasons_to_string(&reasons);
        assert_string_equal(found, expected);
}

#define expect(t, address, expected) expect_with(usage_inspect, t, address, expected)
#define expect_unit(t, address, expected) expect_with(usage_inspect_unit, t, address, expected)
#define expect_deep(t, address, expected) expect_with(usage_inspect_deep, t, address, expected)

/* --- disks ------------------------------------------------------------------------------------ */

static char *add_nvme(Tree *t, const char *address, int group) {
        return tree_add_function(t, &(TreeFunction) { .below = "pci0000:00/0000:00:01.0",
                                                     .address = address,
                                                     .vendor = 0x1b36,
                                                     .device = 0x10,
                                                     .class = 0x010802,
                                                     .driver = "nvme",
                                                     .group = group,
                                                     .reset_method = "flr" });
}

/* A drive with two partitions, nothing on it. */
static Tree *nvme_host(void) {
        Tree *t = tree_new();
        _cleanup_free_ char *path = add_nvme(t, NVME, 1);

        tree_add_controller(t, path, "nvme0", NQN);
        tree_add_namespace(t, path, "nvme0", "nvme0n1", "259:0");
        tree_add_partition(t, "nvme0n1", "nvme0n1p1", "259:1");
        tree_add_partition(t, "nvme0n1", "nvme0n1p2", "259:2");
        return t;
}

static void test_unused(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        expect(t, NVME, "");
        expect_unit(t, NVME, "");
        expect_deep(t, NVME, "");
}

static void test_mounted(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_mount(t, 1, "259:1", "/srv/my\\040data", "ext4", "/dev/nvme0n1p1");
        tree_mount(t, 1, "8:1", "/", "ext4", "/dev/sda1");
        expect(t, NVME, "mounted: /dev/nvme0n1p1 is mounted at /srv/my data");
}

static void test_mounted_whole(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_mount(t, 1, "259:0", "/srv", "xfs", "/dev/disk/by-id/whatever");
        expect(t, NVME, "mounted: /dev/nvme0n1 is mounted at /srv");
}

static void test_other_namespace(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_add_process(t, 300, "bash", "/user.slice", "mnt:[4026531841]");
        tree_mount(t, 300, "259:2", "/not/looked/at", "ext4", "/dev/nvme0n1p2");
        tree_add_process(t, 400, "podman", "/user.slice", "mnt:[4026532500]");
        tree_mount(t, 400, "259:2", "/inside", "ext4", "/dev/nvme0n1p2");
        tree_add_process(t, 401, "podman", "/user.slice", "mnt:[4026532500]");
        tree_add_process(t, 500, "gone", "/user.slice", "mnt:[4026532501]");
        tree_remove(t, "proc/500/mountinfo");
        expect(t, NVME, "mounted: /dev/nvme0n1p2 is mounted at /inside in another mount namespace");

        /* The name that everybody knows comes alone. */
        tree_mount(t, 1, "259:2", "/home", "ext4", "/dev/nvme0n1p2");
        expect(t, NVME, "mounted: /dev/nvme0n1p2 is mounted at /home");
}

static void test_root_and_esp(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_mount(t, 1, "259:1", "/boot/efi", "vfat", "/dev/nvme0n1p1");
        tree_mount(t, 1, "259:2", "/", "ext4", "/dev/nvme0n1p2");
        expect(t, NVME,
               "esp: /dev/nvme0n1p1 is the EFI system partition\n"
               "mounted: /dev/nvme0n1p1 is mounted at /boot/efi\n"
               "root-disk: /dev/nvme0n1p2 holds the host's root file system\n"
               "mounted: /dev/nvme0n1p2 is mounted at /");
}

static void test_swap(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_write(t, "proc/swaps",
                   "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
                   "/swapfile                               file\t\t1048572\t\t0\t\t-3\n"
                   "/dev/nvme0n1p2                          partition\t1048572\t\t0\t\t-2\n");
        expect(t, NVME, "swap: /dev/nvme0n1p2 is used as swap space");
}

static void test_lvm_on_crypt(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_add_holder(t, "nvme0n1p2", "dm-0", "254:0");
        tree_write(t, "sys/block/dm-0/dm/name", "nvme0n1p2_crypt\n");
        tree_write(t, "sys/block/dm-0/dm/uuid", "CRYPT-LUKS2-0123-nvme0n1p2_crypt\n");
        tree_add_holder(t, "dm-0", "dm-1", "254:1");
        tree_write(t, "sys/block/dm-1/dm/name", "vg-root\n");
        tree_write(t, "sys/block/dm-1/dm/uuid", "LVM-abcdef\n");
        tree_add_holder(t, "dm-0", "dm-2", "254:2");
        tree_write(t, "sys/block/dm-2/dm/name", "vg-swap\n");
        tree_write(t, "sys/block/dm-2/dm/uuid", "LVM-abcdeg\n");

        tree_mount(t, 1, "254:1", "/", "ext4", "/dev/mapper/vg-root");
        tree_write(t, "proc/swaps",
                   "Filename Type Size Used Priority\n/dev/dm-2 partition 1 0 -2\n");
        expect(t, NVME,
               "device-mapper: /dev/nvme0n1p2 is unlocked (dm-crypt) as "
               "/dev/mapper/nvme0n1p2_crypt\n"
               "root-disk: /dev/mapper/vg-root (on /dev/nvme0n1p2) holds the host's root file "
               "system\n"
               "mounted: /dev/mapper/vg-root (on /dev/nvme0n1p2) is mounted at /\n"
               "lvm: /dev/mapper/nvme0n1p2_crypt belongs to the LVM volume /dev/mapper/vg-root\n"
               "swap: /dev/mapper/vg-swap (on /dev/nvme0n1p2) is used as swap space\n"
               "lvm: /dev/mapper/nvme0n1p2_crypt belongs to the LVM volume /dev/mapper/vg-swap");
}

static void test_md(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_add_holder(t, "nvme0n1p1", "md127", "9:127");
        tree_mkdir(t, "sys/block/md127/md");
        tree_add_partition(t, "md127", "md127p1", "259:9");
        tree_mount(t, 1, "259:9", "/srv", "ext4", "/dev/md127p1");
        expect(t, NVME,
               "md-raid: /dev/nvme0n1p1 is a member of the array /dev/md127\n"
               "mounted: /dev/md127p1 is mounted at /srv");
}

static void test_other_stacks(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_add_holder(t, "nvme0n1", "dm-7", "254:7");
        tree_write(t, "sys/block/dm-7/dm/name", "mpatha\n");
        tree_write(t, "sys/block/dm-7/dm/uuid", "mpath-36000\n");
        tree_mkdir(t, "sys/block/nvme0n1/nvme0n1p1/bcache");
        tree_add_holder(t, "nvme0n1p2", "drbd0", "147:0");
        expect(t, NVME,
               "bcache: /dev/nvme0n1p1 is registered with bcache\n"
               "multipath: /dev/nvme0n1 is a path of the multipath device /dev/mapper/mpatha\n"
               "device-mapper: /dev/nvme0n1p2 is held by /dev/drbd0");
}

/* A holder of both partitions appears once, and a loop in the links ends. */
static void test_holder_loop(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_add_holder(t, "nvme0n1p1", "dm-0", "254:0");
        tree_add_holder(t, "nvme0n1p2", "dm-0", "254:0");
        tree_add_holder(t, "dm-0", "dm-0", "254:0");
        tree_write(t, "sys/block/dm-0/dm/uuid", "\n");
        expect(t, NVME, "device-mapper: /dev/nvme0n1p1 is mapped by /dev/dm-0");
}

static void test_btrfs(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_link(t, "sys/fs/btrfs/11-22/devices/nvme0n1p1", "sys/class/block/nvme0n1p1");
        tree_link(t, "sys/fs/btrfs/11-22/devices/sdz1", "sys/class/block/sdz1");
        tree_mkdir(t, "sys/fs/btrfs/features");
        tree_mount(t, 1, "0:45", "/home", "btrfs", "/dev/nvme0n1p1");
        expect(t, NVME,
               "mounted: /dev/nvme0n1p1 is mounted at /home\n"
               "mounted: /dev/nvme0n1p1 is part of the mounted btrfs file system 11-22");
}

/* What the mount calls itself says where a file system is that sysfs knows; alone it says nothing.
 * */
static void test_bcachefs(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_mount(t, 1, "0:58", "/tank", "bcachefs", "/dev/sdz1:/dev/nvme0n1p1");
        expect(t, NVME, "");

        tree_link(t, "sys/fs/bcachefs/33-44/dev-0/block", "sys/class/block/sdz1");
        tree_mkdir(t, "sys/fs/bcachefs/33-44/dev-1");
        tree_mkdir(t, "sys/fs/bcachefs/33-44/internal");
        expect(t, NVME, "");

        tree_link(t, "sys/fs/bcachefs/33-44/dev-1/block", "sys/class/block/nvme0n1p1");
        expect(t, NVME,
               "mounted: /dev/nvme0n1p1 is mounted at /tank\n"
               "mounted: /dev/nvme0n1p1 is part of the mounted bcachefs file system 33-44");
}

/* btrfs calls itself by one of its devices: the others are mounted there as well. */
static void test_btrfs_other_member(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_link(t, "sys/fs/btrfs/11-22/devices/sdz1", "sys/class/block/sdz1");
        tree_link(t, "sys/fs/btrfs/11-22/devices/nvme0n1p2", "sys/class/block/nvme0n1p2");
        tree_link(t, "sys/fs/btrfs/33-44/devices/sdy1", "sys/class/block/sdy1");
        tree_mount(t, 1, "0:45", "/", "btrfs", "/dev/sdz1");
        tree_mount(t, 1, "0:46", "/other", "btrfs", "/dev/sdy1");
        expect(t, NVME,
               "root-disk: /dev/nvme0n1p2 holds the host's root file system\n"
               "mounted: /dev/nvme0n1p2 is mounted at /\n"
               "mounted: /dev/nvme0n1p2 is part of the mounted btrfs file system 11-22");
}

/* Logs that are on a drive of their own. */
static void test_journals(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_mkdir(t, "proc/fs/jbd2/nvme0n1p10-8");
        tree_mount(t, 1, "8:17", "/srv", "xfs", "/dev/sdb1 rw,attr2,logdev=/dev/sdc1");
        expect(t, NVME, "");

        tree_mkdir(t, "proc/fs/jbd2/nvme0n1p1");
        tree_mount(t, 1, "8:18", "/films", "xfs",
                   "/dev/sdb2 rw,logdev=/dev/nvme0n1p2,rtdev=/dev/sdd");
        expect(t, NVME,
               "mounted: /dev/nvme0n1p1 holds the journal of a mounted file system\n"
               "mounted: /dev/nvme0n1p2 is the log or realtime part of the XFS at /films");
}

/* Anybody can mount these in a user namespace of his own, from what source he likes. */
static void test_forged_sources(void **state) {
        static const char *const types[] = { "tmpfs",      "fuse",    "fuse.xfs",
                                             "fuse.btrfs", "overlay", "ramfs" };
        _cleanup_tree_ Tree *t = nvme_host();

        tree_link(t, "sys/fs/btrfs/11-22/devices/sdz1", "sys/class/block/sdz1");
        tree_add_process(t, 400, "unshare", "/user.slice", "mnt:[4026532500]");
        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                tree_mount(t, 400, "0:77", "/", types[i], "/dev/nvme0n1 rw,logdev=/dev/nvme0n1");
                tree_mount(t, 1, "0:78", "/home/user/x", types[i], "/dev/nvme0n1p1");
        }
        tree_mount(t, 400, "0:79", "/y", "tmpfs", "/dev/sdz1:/dev/nvme0n1");
        expect(t, NVME, "");
        expect_deep(t, NVME, "");
}

/* A name of udev's for it is as good, since root alone exports disks and swaps on them. */
static void test_links_to_nodes(void **state) {
        const char *namespace = "sys/kernel/config/nvmet/subsystems/nqn.export/namespaces/1/";
        _cleanup_tree_ Tree *t = nvme_host();
        char path[256];

        tree_mkdir(t, "dev");
        if (mknodat(t->fd, "dev/nvme0n1", S_IFBLK | 0600, makedev(259, 0)) < 0)
                skip(); /* not root */
        tree_link(t, "dev/disk/by-id/nvme-0", "dev/nvme0n1");

        snprintf(path, sizeof(path), "%senable", namespace);
        tree_write(t, path, "1\n");
        snprintf(path, sizeof(path), "%sdevice_path", namespace);
        tree_write(t, path, "/dev/disk/by-id/nvme-0\n");
        expect(t, NVME, "nvmet: /dev/nvme0n1 is exported over NVMe as nqn.export");
}

static void test_export(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();
        const char *namespace = "sys/kernel/config/nvmet/subsystems/nqn.export/namespaces/1/";
        char path[256];

        snprintf(path, sizeof(path), "%senable", namespace);
        tree_write(t, path, "1\n");
        snprintf(path, sizeof(path), "%sdevice_path", namespace);
        tree_write(t, path, "/dev/nvme0n1\n");
        expect(t, NVME, "nvmet: /dev/nvme0n1 is exported over NVMe as nqn.export");
}

static void test_resume(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_write(t, "sys/power/resume", "0:0\n");
        expect(t, NVME, "");
        tree_write(t, "sys/power/resume", "259:2\n");
        expect(t, NVME, "resume-device: /dev/nvme0n1p2 is where the host resumes from");
        tree_write(t, "sys/power/resume", "0:0\n");
        tree_write(t, "proc/cmdline", "resume=/dev/sda9 quiet resume=/dev/nvme0n1p1\n");
        expect(t, NVME, "resume-device: /dev/nvme0n1p1 is where the host resumes from");
}

static void expect_disks(Tree *t, const char *address, const char *expected) {
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        _cleanup_strv_ char **disks = NULL;
        _cleanup_free_ char *found = NULL;
        PciAddress a;

        assert_int_equal(inventory_read(t->fd, &inventory), 0);
        assert_int_equal(pci_address_parse(address, &a), 0);
        assert_int_equal(usage_disks(t->fd, inventory_find(inventory, &a), &disks), 0);
        found = strv_join(disks, " ");
        assert_string_equal(found, expected);
}

/* Native multipath: the node that is mounted is not below the controller. */
static void test_multipath(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *path = add_nvme(t, NVME, 1), *other = add_nvme(t, "0000:05:00.0", 2);

        tree_add_controller(t, path, "nvme1", NQN);
        tree_add_multipath_namespace(t, path, "nvme1", NQN, "nvme0c1n1", "nvme0n1", "259:0");
        tree_add_controller(t, other, "nvme3", "nqn.other");
        tree_add_namespace(t, other, "nvme3", "nvme3n1", "259:8");

        tree_mount(t, 1, "259:0", "/srv", "ext4", "/dev/nvme0n1");
        expect_disks(t, NVME, "nvme0n1");
        expect_disks(t, "0000:05:00.0", "nvme3n1");
        expect(t, NVME, "mounted: /dev/nvme0n1 is mounted at /srv");
        expect(t, "0000:05:00.0", "");
}

static void test_shared_namespace(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *a = add_nvme(t, NVME, 1), *b = add_nvme(t, "0000:05:00.0", 2);

        tree_add_controller(t, a, "nvme0", NQN);
        tree_add_controller(t, b, "nvme1", NQN);
        tree_add_multipath_namespace(t, a, "nvme0", NQN, "nvme0c0n1", "nvme0n1", "259:0");
        tree_add_multipath_namespace(t, b, "nvme1", NQN, "nvme0c1n1", "nvme0n1", "259:0");

        expect_disks(t, "0000:05:00.0", "nvme0n1");
        expect(t, NVME,
               "shared-namespace: The controller nvme1 (0000:05:00.0) shares the namespaces of "
               "nvme0");
}

/* That no namespace is seen yet, or any more, does not mean that nothing is in use. */
static void test_controller_that_is_not_live(void **state) {
        static const struct {
                const char *state, *expected;
        } cases[] = {
                { "new", "claimed: The driver of " NVME " is at work on it: nvme0 is new" },
                { "connecting", "claimed: The driver of " NVME " is at work on it: nvme0 is connecting" },
                { "resetting", "claimed: The driver of " NVME " is at work on it: nvme0 is resetting" },
                { "deleting", "claimed: The driver of " NVME " is at work on it: nvme0 is deleting" },
                { "deleting (no IO)",
                  "claimed: The driver of " NVME " is at work on it: nvme0 is deleting (no IO)" },
                { "dead", "wedged: The driver of " NVME " has given it up: nvme0 is dead" },
                { "live", "" },
        };
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *path = add_nvme(t, NVME, 1);

        expect(t, NVME, "claimed: The driver of " NVME " is at work on it: it has no controller yet");
        tree_add_controller(t, path, "nvme0", "(efault)");
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                tree_set_controller(t, path, "nvme0", cases[i].state, "(efault)");
                expect(t, NVME, cases[i].expected);
                expect_unit(t, NVME, cases[i].expected);
        }

        /* What is known of it all the same is said too. */
        tree_set_controller(t, path, "nvme0", "resetting", "S1");
        tree_add_namespace(t, path, "nvme0", "nvme0n1", "259:0");
        tree_mount(t, 1, "259:0", "/srv", "xfs", "/dev/nvme0n1");
        expect(t, NVME,
               "claimed: The driver of " NVME " is at work on it: nvme0 is resetting\n"
               "mounted: /dev/nvme0n1 is mounted at /srv");
}

static int inspect_after_driver_change(int root_fd, const Inventory *inventory, const PciDevice *device,
                                       Reasons *reasons) {
        int fd = open_dir_at(root_fd, "sys/bus/pci/devices/" NVME "/nvme/nvme0");
        int state = openat(fd, "state", O_WRONLY | O_TRUNC | O_CLOEXEC);

        assert_int_equal(write_all(state, "resetting\n", 10), 0);
        (void) close_fd(state);
        (void) close_fd(fd);
        return usage_inspect(root_fd, inventory, device, reasons);
}

/* The inventory is older than the look. */
static void test_controller_that_was_live(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        tree_set_controller(t, "pci0000:00/0000:00:01.0/" NVME, "nvme0", "live", "S1");
        expect_with(inspect_after_driver_change, t, NVME,
                    "claimed: The driver of " NVME " is at work on it: nvme0 is resetting");
}

/* Two whose subsystem the kernel does not know yet are not of one. */
static void test_unknown_subsystems(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *a = add_nvme(t, NVME, 1), *b = add_nvme(t, "0000:05:00.0", 2);

        tree_add_controller(t, a, "nvme0", "(efault)");
        tree_add_controller(t, b, "nvme1", "(efault)");
        expect(t, NVME, "");
        tree_set_controller(t, a, "nvme0", "connecting", "(efault)");
        tree_set_controller(t, b, "nvme1", "connecting", "(efault)");
        expect(t, NVME, "claimed: The driver of " NVME " is at work on it: nvme0 is connecting");
}

static void test_ahci(void **state) {
        _cleanup_tree_ Tree *t = tree_new();
        _cleanup_free_ char *path = tree_add_function(t, &(TreeFunction) {
                .address = "0000:00:17.0", .vendor = 0x8086, .device = 0xa282, .class = 0x010601,
                .driver = "ahci", .group = 1, .reset_method = "pm" });
        char port[128];

        snprintf(port, sizeof(port), "%s/ata1/host0/target0:0:0/0:0:0:0", path);
        tree_add_disk(t, port, "sda", "8:0");
        tree_add_partition(t, "sda", "sda1", "8:1");
        tree_add_disk(t, "pci0000:00/0000:00:17.00", "sdb", "8:16");
        tree_mount(t, 1, "8:1", "/", "ext4", "/dev/sda1");

        expect_disks(t, "0000:00:17.0", "sda");
        expect(t, "0000:00:17.0",
               "root-disk: /dev/sda1 holds the host's root file system\n"
               "mounted: /dev/sda1 is mounted at /");
}

/* --- graphics --------------------------------------------------------------------------------- */

static Tree *gpu_host(const char *boot_vga, unsigned class) {
        Tree *t = tree_new();

        free(tree_add_function(t, &(TreeFunction) { .below = "pci0000:00/0000:00:02.0",
                                                   .address = GPU,
                                                   .vendor = 0x10de,
                                                   .device = 0x1c82,
                                                   .class = class,
                                                   .driver = "nouveau",
                                                   .group = 2,
                                                   .boot_vga = boot_vga,
                                                   .reset_method = "bus" }));
        free(tree_add_function(t, &(TreeFunction) { .below = "pci0000:00/0000:00:02.0",
                                                   .address = AUDIO,
                                                   .vendor = 0x10de,
                                                   .device = 0x0fb9,
                                                   .class = 0x040300,
                                                   .driver = "snd_hda_intel",
                                                   .group = 2,
                                                   .reset_method = "bus" }));
        return t;
}

#define GPU_PATH "sys/devices/pci0000:00/0000:00:02.0/" GPU

static void add_connector(Tree *t, const char *name, const char *status, const char *enabled) {
        char path[256], file[320];

        snprintf(path, sizeof(path), GPU_PATH "/drm/card0/card0-%s", name);
        snprintf(file, sizeof(file), "%s/status", path);
        tree_write(t, file, "%s\n", status);
        snprintf(file, sizeof(file), "%s/enabled", path);
        tree_write(t, file, "%s\n", enabled);
        snprintf(file, sizeof(file), "sys/class/drm/card0-%s", name);
        tree_link(t, file, path);
}

static void add_console(Tree *t, const char *framebuffer, const char *bound) {
        tree_write(t, "sys/class/vtconsole/vtcon0/name", "(S) dummy device\n");
        tree_write(t, "sys/class/vtconsole/vtcon0/bind", "0\n");
        tree_write(t, "sys/class/vtconsole/vtcon1/name", "(M) frame buffer device\n");
        tree_write(t, "sys/class/vtconsole/vtcon1/bind", "%s\n", bound);
        tree_mkdir(t, framebuffer);
        tree_link(t, "sys/class/graphics/fb0", framebuffer);
}

static void test_idle_gpu(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);

        add_connector(t, "DP-1", "disconnected", "disabled");
        add_connector(t, "HDMI-A-1", "connected", "disabled");
        add_console(t, "sys/devices/pci0000:00/0000:00:0f.0/graphics/fb0", "1");
        expect_unit(t, GPU, "");
}

static void test_boot_display(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("1", 0x030000);

        add_connector(t, "DP-1", "connected", "enabled");
        add_console(t, GPU_PATH "/graphics/fb0", "1");
        expect(t, GPU,
               "boot-display: The firmware began with this display\n"
               "framebuffer-console: The host's virtual console is on its framebuffer, and has "
               "no picture until it is back\n"
               "active-connector: The connector DP-1 shows a picture");

        tree_write(t, "sys/class/vtconsole/vtcon1/bind", "0\n");
        expect(t, GPU,
               "boot-display: The firmware began with this display\n"
               "active-connector: The connector DP-1 shows a picture");
}

/* Class 0380 has no boot_vga; its framebuffer may be the firmware's. */
static void test_display_controller(void **state) {
        _cleanup_tree_ Tree *t = gpu_host(NULL, 0x038000);
        static const char iomem[] =
                "00000000-00000fff : Reserved\n"
                "80000000-dfffffff : PCI Bus 0000:00\n"
                "  c0000000-cfffffff : PCI Bus 0000:01\n"
                "    c0000000-cfffffff : %s\n"
                "      c0000000-c02fffff : BOOTFB\n"
                "        c0000000-c02fffff : simpledrm\n"
                "    d0000000-d0ffffff : 0000:04:00.0\n"
                "fee00000-fee00fff : Local APIC\n";

        add_console(t, "sys/devices/platform/simple-framebuffer.0/graphics/fb0", "1");
        expect(t, GPU, "");

        tree_write(t, "proc/iomem", iomem, "0000:09:00.0");
        expect(t, GPU, "");

        tree_write(t, "proc/iomem", iomem, GPU);
        expect(t, GPU,
               "boot-display: The host's console began on this display, and its framebuffer does "
               "not come back before a reboot\n"
               "framebuffer-console: The host's virtual console is on its framebuffer, and has "
               "no picture without it");
}

/* --- network ---------------------------------------------------------------------------------- */

#define NIC_PATH "pci0000:00/0000:00:03.0/" NIC
#define ROUTES                                                                                     \
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

static Tree *nic_host(void) {
        Tree *t = tree_new();

        free(tree_add_function(t, &(TreeFunction) { .below = "pci0000:00/0000:00:03.0",
                                                   .address = NIC,
                                                   .vendor = 0x8086,
                                                   .device = 0x1572,
                                                   .class = 0x020000,
                                                   .driver = "i40e",
                                                   .group = 3,
                                                   .reset_method = "flr" }));
        tree_write(t, "proc/1/net/route", ROUTES);
        return t;
}

static void add_interface(Tree *t, const char *directory, const char *name, const char *flags,
                          const char *operstate) {
        char path[256], file[320];

        snprintf(path, sizeof(path), "sys/devices/%s/net/%s", directory, name);
        snprintf(file, sizeof(file), "%s/flags", path);
        tree_write(t, file, "%s\n", flags);
        snprintf(file, sizeof(file), "%s/operstate", path);
        tree_write(t, file, "%s\n", operstate);
        snprintf(file, sizeof(file), "sys/class/net/%s", name);
        tree_link(t, file, path);
}

static void test_idle_nic(void **state) {
        _cleanup_tree_ Tree *t = nic_host();

        expect(t, NIC, "");
        add_interface(t, NIC_PATH, "enp3s0", "0x1002", "down");
        expect(t, NIC, "");
        /* A network manager brings every link up; without a carrier that means nothing. */
        tree_write(t, "sys/class/net/enp3s0/flags", "0x1003\n");
        expect(t, NIC, "");
}

static void test_network_up(void **state) {
        _cleanup_tree_ Tree *t = nic_host();

        add_interface(t, NIC_PATH, "enp3s0", "0x1003", "up");
        expect(t, NIC, "network-up: The network interface enp3s0 is up");
        tree_write(t, "sys/class/net/enp3s0/operstate", "unknown\n");
        expect(t, NIC, "network-up: The network interface enp3s0 is up");
}

static void test_routes(void **state) {
        _cleanup_tree_ Tree *t = nic_host();

        add_interface(t, NIC_PATH, "enp3s0", "0x1003", "down");
        tree_write(t, "proc/1/net/route", ROUTES
                   "enp3s0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n");
        expect(t, NIC, "network-up: The network interface enp3s0 has an address");

        tree_write(t, "proc/1/net/route", ROUTES
                   "enp3s00\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n");
        expect(t, NIC, "");

        tree_write(t, "proc/1/net/route", ROUTES
                   "enp3s0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n");
        expect(t, NIC,
               "default-route: The host's default route goes through enp3s0\n"
               "network-up: The network interface enp3s0 has an address");
}

static void test_ipv6_default(void **state) {
        _cleanup_tree_ Tree *t = nic_host();

        add_interface(t, NIC_PATH, "enp3s0", "0x1003", "up");
        tree_write(
                t, "proc/1/net/ipv6_route",
                "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 "
                "00000000000000000000000000000000 00000100 00000001 00000000 00000001   enp3s0\n"
                "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
                "fe800000000000000000000000000001 00000400 00000001 00000000 00000003   enp3s0\n"
                "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
                "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n");
        expect(t, NIC,
               "default-route: The host's default route goes through enp3s0\n"
               "network-up: The network interface enp3s0 is up");
}

static void test_bridge_member(void **state) {
        _cleanup_tree_ Tree *t = nic_host();

        add_interface(t, NIC_PATH, "enp3s0", "0x1003", "down");
        tree_mkdir(t, "sys/devices/virtual/net/br0/bridge");
        tree_link(t, "sys/class/net/br0", "sys/devices/virtual/net/br0");
        tree_link(t, "sys/devices/" NIC_PATH "/net/enp3s0/master", "sys/devices/virtual/net/br0");
        expect(t, NIC, "bridge-member: enp3s0 belongs to the bridge br0");
}

static void test_interface_elsewhere(void **state) {
        _cleanup_tree_ Tree *t = nic_host();

        tree_mkdir(t, "sys/devices/" NIC_PATH "/net");
        expect(t, NIC, "network-up: Its network interface is in another network namespace");
}

static void test_virtio_nic(void **state) {
        _cleanup_tree_ Tree *t = tree_new();

        free(tree_add_function(t, &(TreeFunction) { .address = "0000:00:03.0", .vendor = 0x1af4,
                                                    .device = 0x1041, .class = 0x020000,
                                                    .driver = "virtio-pci", .group = 1,
                                                    .reset_method = "flr" }));
        add_interface(t, "pci0000:00/0000:00:03.0/virtio2", "eth0", "0x1003", "up");
        expect(t, "0000:00:03.0", "network-up: The network interface eth0 is up");
}

/* --- USB -------------------------------------------------------------------------------------- */

static void add_keyboard(Tree *t, const char *directory, const char *input, const char *keys) {
        char path[256], file[320];

        snprintf(path, sizeof(path), "sys/devices/%s/input/%s", directory, input);
        snprintf(file, sizeof(file), "%s/capabilities/key", path);
        tree_write(t, file, "%s\n", keys);
        snprintf(file, sizeof(file), "sys/class/input/%s", input);
        tree_link(t, file, path);
}

#define KEYBOARD_KEYS "10000 7 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe"
#define MOUSE_KEYS "ff0000 0 0 0 0"

static void test_usb(void **state) {
        _cleanup_tree_ Tree *t = tree_new();

        free(tree_add_function(t, &(TreeFunction) {
                .address = USB, .vendor = 0x8086, .device = 0xa2af, .class = 0x0c0330,
                .driver = "xhci_hcd", .group = 1, .reset_method = "pm" }));

        add_keyboard(t, "pci0000:00/" USB "/usb1/1-2", "input4", MOUSE_KEYS);
        expect(t, USB, "");

        add_keyboard(t, "pci0000:00/" USB "/usb1/1-1", "input3", KEYBOARD_KEYS);
        add_keyboard(t, "virtual", "input9", KEYBOARD_KEYS);
        expect(t, USB, "only-keyboard: The host's only keyboard is connected to it");

        tree_add_disk(t, "pci0000:00/" USB "/usb1/1-4/host6/target6:0:0/6:0:0:0", "sdc", "8:32");
        tree_mount(t, 1, "8:32", "/media/stick", "vfat", "/dev/sdc");
        add_keyboard(t, "platform/i8042/serio0", "input1", KEYBOARD_KEYS);
        add_interface(t, "pci0000:00/" USB "/usb1/1-5", "usb0", "0x1003", "up");
        expect(t, USB,
               "network-up: The network interface usb0 is up\n"
               "mounted: /dev/sdc is mounted at /media/stick");
}

/* --- structure and units ---------------------------------------------------------------------- */

static void test_structure(void **state) {
        _cleanup_tree_ Tree *t = tree_new();

        free(tree_add_function(t, &(TreeFunction) { .address = "0000:00:1f.0",
                                                   .vendor = 0x8086,
                                                   .device = 1,
                                                   .class = 0x060100,
                                                   .driver = "lpc_ich",
                                                   .group = 9 }));
        free(tree_add_function(t, &(TreeFunction) { .address = "0000:00:1c.0",
                                                   .vendor = 0x8086,
                                                   .device = 1,
                                                   .class = 0x060400,
                                                   .driver = "pcieport",
                                                   .bridge = true,
                                                   .group = 8 }));
        free(tree_add_function(t, &(TreeFunction) { .address = "0000:00:05.0",
                                                   .vendor = 0x8086,
                                                   .device = 1,
                                                   .class = 0x088000 }));
        expect_unit(t, "0000:00:1f.0",
                    "not-endpoint: It is a bridge or part of the chipset (class 0601)");
        expect_unit(t, "0000:00:1c.0",
                    "not-endpoint: It is a bridge or part of the chipset (class 0604)");
        expect_unit(t, "0000:00:05.0",
                    "no-iommu: The IOMMU does not cover it\n"
                    "no-reset: It has no way to be reset");
}

static void test_no_iommu(void **state) {
        _cleanup_tree_ Tree *t = tree_new();

        free(tree_add_function(t, &(TreeFunction) { .address = "0000:00:05.0",
                                                   .vendor = 0x8086,
                                                   .device = 1,
                                                   .class = 0x030000,
                                                   .reset_method = "flr" }));
        expect(t, "0000:00:05.0", "no-iommu: The host has no IOMMU, or it is switched off");
}

static void add_ethernet(Tree *t, const char *address, const char *physfn, const char *driver,
                         int group) {
        free(tree_add_function(t, &(TreeFunction) { .below = "pci0000:00/0000:00:03.0",
                                                   .address = address,
                                                   .vendor = 0x8086,
                                                   .device = 0x1572,
                                                   .class = 0x020000,
                                                   .driver = driver,
                                                   .group = group,
                                                   .physfn = physfn,
                                                   .reset_method = "flr" }));
}

static void test_virtual_functions(void **state) {
        _cleanup_tree_ Tree *t = tree_new();

        add_ethernet(t, "0000:03:00.0", NULL, "i40e", 3);
        add_ethernet(t, "0000:03:02.0", "0000:03:00.0", NULL, 4);
        add_ethernet(t, "0000:04:00.0", NULL, "i40e", 5);
        add_ethernet(t, "0000:04:02.0", "0000:04:00.0", NULL, 5);

        expect_unit(t, "0000:03:00.0", "has-vfs: It has 1 virtual function");
        expect_unit(t, "0000:03:02.0", "");
        /* Without ACS the physical function is in the group, and cannot follow. */
        expect_unit(t, "0000:04:02.0",
                    "group-not-viable: 0000:04:00.0 in the same IOMMU group 5 stays on its driver "
                    "i40e");
}

static void test_sibling_in_use(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        add_ethernet(t, "0000:01:00.1", NULL, NULL, 1);
        tree_mount(t, 1, "259:1", "/srv", "ext4", "/dev/nvme0n1p1");
        expect_unit(t, "0000:01:00.1",
                    "group-not-viable: " NVME " in the same IOMMU group 1 is in use: "
                    "/dev/nvme0n1p1 is mounted at /srv\n"
                    "mounted: " NVME ": /dev/nvme0n1p1 is mounted at /srv");
}

static void test_chipset_in_group(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);

        free(tree_add_function(t, &(TreeFunction) { .address = "0000:00:02.0",
                                                   .vendor = 0x8086,
                                                   .device = 1,
                                                   .class = 0x060400,
                                                   .driver = "pcieport",
                                                   .bridge = true,
                                                   .group = 2 }));
        expect_unit(t, GPU, "");
        free(tree_add_function(t, &(TreeFunction) { .address = "0000:00:1f.0",
                                                   .vendor = 0x8086,
                                                   .device = 1,
                                                   .class = 0x060100,
                                                   .driver = "lpc_ich",
                                                   .group = 2 }));
        expect_unit(t, GPU,
                    "group-not-viable: 0000:00:1f.0 in the same IOMMU group 2 stays on its driver "
                    "lpc_ich");
}

/* Reset with the bus, though in another group. */
static void test_shared_reset(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        free(tree_add_function(t, &(TreeFunction) { .below = "pci0000:00/0000:00:01.0",
                                                   .address = "0000:01:01.0",
                                                   .vendor = 1,
                                                   .device = 1,
                                                   .class = 0x020000,
                                                   .group = 7 }));
        tree_mount(t, 1, "259:1", "/srv", "ext4", "/dev/nvme0n1p1");
        expect_unit(t, "0000:01:01.0",
                    "shared-reset: " NVME ", which is reset together with it, is in use: "
                    "/dev/nvme0n1p1 is mounted at /srv\n"
                    "mounted: " NVME ": /dev/nvme0n1p1 is mounted at /srv");
        expect_unit(t, NVME, "mounted: /dev/nvme0n1p1 is mounted at /srv");
}

/* --- the close look --------------------------------------------------------------------------- */

/* A character device that every host has stands in for one of the function's. */
static void link_node(Tree *t, const char *node, const char *directory, const char *devname) {
        struct stat st;
        char number[32], path[256];

        assert_int_equal(stat(node, &st), 0);
        snprintf(number, sizeof(number), "sys/dev/char/%u:%u", major(st.st_rdev),
                 minor(st.st_rdev));
        snprintf(path, sizeof(path), "%s/uevent", directory);
        tree_write(t, path, "MAJOR=1\nDEVNAME=%s\n", devname);
        tree_link(t, number, directory);
}

static void test_open_by_process(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);

        link_node(t, "/dev/full", GPU_PATH "/drm/renderD128", "dri/renderD128");
        link_node(t, "/dev/null", "sys/devices/pci0000:00/0000:00:0f.0/drm/card7", "dri/card7");

        tree_add_process(t, 4001, "python3",
                         "/user.slice/user-1000.slice/user@1000.service/app.slice/train.scope",
                         "mnt:[4026531841]");
        tree_open(t, 4001, 3, "/dev/null", O_RDWR);
        tree_open(t, 4001, 4, "socket:[12345]", O_RDWR);
        expect_deep(t, GPU, "");

        tree_open(t, 4001, 5, "/dev/full", O_RDWR);
        tree_open(t, 4001, 6, "/dev/full", O_RDWR);
        expect_deep(t, GPU,
                    "drm-in-use: /dev/dri/renderD128 is open in python3 (PID 4001, train.scope)");
        expect_deep(t, AUDIO, "");
}

static int inspect_last(int root_fd, const Inventory *inventory, const PciDevice *device,
                        Reasons *reasons) {
        uint64_t before = now_usec(), looked_at = 0;
        int r = usage_inspect_last(root_fd, inventory, device, reasons, &looked_at);

        assert_true(looked_at >= before && looked_at <= now_usec());
        return r;
}

/* What no lock excludes is looked at once more, at the very end; what is on the disks is not. */
static void test_last_look(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);

        link_node(t, "/dev/full", GPU_PATH "/drm/card0", "dri/card0");
        expect_with(inspect_last, t, GPU, "");

        tree_add_process(t, 4001, "Xorg", "/", "mnt:[4026531841]");
        tree_open(t, 4001, 3, "/dev/full", O_RDWR);
        expect_with(inspect_last, t, GPU,
                    "drm-in-use: /dev/dri/card0 is open in Xorg (PID 4001)");
        tree_close(t, 4001, 3);

        tree_mkdir(t, "sys/bus/pci/devices/" GPU "/virtfn0");
        expect_with(inspect_last, t, GPU, "has-vfs: It has virtual functions by now");
}

/* udev's probing is waited for, but only for so long, and whatever its name is. */
static void test_momentary(void **state) {
        static const char *const names[] = { "(udev-worker)", "vmkit-device" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);
                _cleanup_free_ char *expected = NULL;

                link_node(t, "/dev/full", GPU_PATH "/drm/card0", "dri/card0");
                tree_add_process(t, 4001, names[i], "/", "mnt:[4026531841]");
                tree_open(t, 4001, 3, "/dev/full", O_RDWR);

                pid_t pid = fork();
                assert_true(pid >= 0);
                if (pid == 0) {
                        (void) usleep(250 * USEC_PER_MSEC);
                        tree_close(t, 4001, 3);
                        _exit(0);
                }
                expect_deep(t, GPU, "");
                assert_int_equal(waitpid(pid, NULL, 0), pid);

                tree_open(t, 4001, 3, "/dev/full", O_RDWR);
                assert_true(asprintf(&expected, "drm-in-use: /dev/dri/card0 is open in %s (PID 4001)",
                                     names[i]) > 0);
                expect_deep(t, GPU, expected);
        }
}

static void test_mapped_by_process(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);
        char path[128];

        link_node(t, "/dev/full", GPU_PATH "/drm/card0", "dri/card0");
        tree_add_process(t, 4001, "Xorg", "/", "mnt:[4026531841]");
        tree_map(t, 4001, "55d0-55d1", "/proc/self/exe");
        tree_map(t, 4001, "7f00-7f01", "/dev/null");

        /* A regular file of the node's name, as maps shows it too. */
        tree_write(t, "home/dev/dri/card0", "x");
        snprintf(path, sizeof(path), "%s/home/dev/dri/card0", t->path);
        tree_map(t, 4001, "7f02-7f03", path);
        tree_write(t, "proc/4001/maps",
                   "7f02-7f03 rw-s 00100000 00:06 301                        /dev/dri/card0\n");
        expect_deep(t, GPU, "");

        tree_map(t, 4001, "7f04-7f05", "/dev/full");
        expect_deep(t, GPU, "drm-in-use: /dev/dri/card0 is open in Xorg (PID 4001)");
}

/* To have the path of a node (O_PATH) takes no right to it, and keeps no driver. */
static void test_path_is_no_open(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);

        link_node(t, "/dev/full", GPU_PATH "/drm/card0", "dri/card0");
        tree_add_process(t, 4001, "sh", "/", "mnt:[4026531841]");
        tree_open(t, 4001, 3, "/dev/full", O_PATH);
        tree_open(t, 4001, 4, "/dev/full", O_PATH | O_CLOEXEC);
        expect_deep(t, GPU, "");

        tree_open(t, 4001, 5, "/dev/full", O_WRONLY | O_NONBLOCK);
        expect_deep(t, GPU, "drm-in-use: /dev/dri/card0 is open in sh (PID 4001)");
}

/* Between two looks at a descriptor its owner can put another file in its place, to the end that
 * the path of the node and the right to the other file are taken together. */
static void test_replaced_descriptor(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);

        link_node(t, "/dev/full", GPU_PATH "/drm/card0", "dri/card0");
        tree_add_process(t, 4001, "sh", "/", "mnt:[4026531841]");
        tree_open(t, 4001, 3, "/dev/full", O_RDWR);
        tree_write(t, "proc/4001/fdinfo/3", "pos:\t0\nflags:\t0100002\nmnt_id:\t1073741824\n");
        expect_deep(t, GPU, "");
        tree_write(t, "proc/4001/fdinfo/3", "pos:\t0\nflags:\t0100002\nino:\t1\n");
        expect_deep(t, GPU, "");

        /* Closed meanwhile. */
        tree_remove(t, "proc/4001/fdinfo/3");
        expect_deep(t, GPU, "");
}

#define DENIED "7f0e-7f0f"

int __real_statx(int dir_fd, const char *path, int flags, unsigned mask, struct statx *ret);
int __wrap_statx(int dir_fd, const char *path, int flags, unsigned mask, struct statx *ret);

/* The kernel shows what is mapped to some only. */
int __wrap_statx(int dir_fd, const char *path, int flags, unsigned mask, struct statx *ret) {
        if (streq(path, DENIED)) {
                errno = EPERM;
                return -1;
        }
        return __real_statx(dir_fd, path, flags, mask, ret);
}

/* What may not be seen is not free. */
static void test_mapping_not_seen(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        _cleanup_reasons_ Reasons reasons = {};
        PciAddress address;

        link_node(t, "/dev/full", GPU_PATH "/drm/card0", "dri/card0");
        tree_add_process(t, 4001, "sh", "/", "mnt:[4026531841]");
        tree_map(t, 4001, DENIED, "/dev/null");
        assert_int_equal(inventory_read(t->fd, &inventory), 0);
        assert_int_equal(pci_address_parse(GPU, &address), 0);
        assert_int_equal(usage_inspect_deep(t->fd, inventory, inventory_find(inventory, &address),
                                            &reasons),
                         -EPERM);
}

/* What a process whose first thread has ended has open is seen in another one. */
static void test_first_thread_ended(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);

        link_node(t, "/dev/full", GPU_PATH "/drm/card0", "dri/card0");
        tree_add_process(t, 4001, "trainer", "/", "mnt:[4026531841]");
        tree_mkdir(t, "proc/4001/task/4001/fd");
        tree_mkdir(t, "proc/4001/task/4002/fd");
        tree_symlink(t, "proc/4001/task/4003/fd/7", "/dev/full");
        tree_write(t, "proc/4001/task/4003/fdinfo/7", "pos:\t0\nflags:\t0100002\nmnt_id:\t-1\n");
        expect_deep(t, GPU, "drm-in-use: /dev/dri/card0 is open in trainer (PID 4001)");
}

static void test_sound(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);

        link_node(t, "/dev/full",
                  "sys/devices/pci0000:00/0000:00:02.0/" AUDIO "/sound/card1/controlC1",
                  "snd/controlC1");
        link_node(t, "/dev/null",
                  "sys/devices/pci0000:00/0000:00:02.0/" AUDIO "/sound/card1/input/input9/event9",
                  "input/event9");
        tree_add_process(t, 900, "pipewire",
                         "/user.slice/user-1000.slice/user@1000.service/session.slice/"
                         "pipewire.service",
                         "mnt:[4026531841]");
        tree_open(t, 900, 9, "/dev/null", O_RDWR);
        expect_deep(t, AUDIO, "");
        tree_open(t, 900, 10, "/dev/full", O_RDWR);
        expect_deep(t, AUDIO,
                    "open-by-process: /dev/snd/controlC1 is open in pipewire (PID 900, "
                    "pipewire.service)");
}

static void test_nvidia(void **state) {
        _cleanup_tree_ Tree *t = gpu_host("0", 0x030000);

        tree_set_driver(t, GPU, "nvidia");
        tree_write(t, "proc/driver/nvidia/gpus/" GPU "/information",
                   "Model: \t\t NVIDIA\nIRQ:   \t\t 120\nDevice Minor: \t 0\n");
        tree_add_process(t, 700, "nvidia-persiste", "/system.slice/nvidia-persistenced.service",
                         "mnt:[4026531841]");
        tree_mkdir(t, "dev");
        if (mknodat(t->fd, "dev/nvidia0", S_IFCHR | 0600, makedev(195, 0)) < 0)
                skip(); /* not root */
        tree_symlink(t, "proc/700/map_files/7f02-7f03", "../../../dev/nvidia0");
        expect_deep(t, GPU,
                    "drm-in-use: /dev/nvidia0 is open in nvidia-persiste (PID 700, "
                    "nvidia-persistenced.service)");
}

/* A disk as bytes: an MBR with two partitions, LUKS in the first (UUID 1111…), swap in the
 * second. */
#define DISK_SIZE (4 * MIB)
#define PARTITION_1 (1 * MIB)
#define PARTITION_2 (2 * MIB)
#define LUKS_UUID "11111111-2222-3333-4444-555555555555"

static void put_partition(unsigned char *entry, unsigned char type, uint64_t start, uint64_t size) {
        entry[4] = type;
        for (unsigned i = 0; i < 4; i++) {
                entry[8 + i] = (unsigned char) (start / 512 >> 8 * i);
                entry[12 + i] = (unsigned char) (size / 512 >> 8 * i);
        }
}

static void write_disk(Tree *t, const char *path) {
        _cleanup_free_ unsigned char *disk = calloc(1, DISK_SIZE);

        assert_non_null(disk);
        put_partition(disk + 446, 0x83, PARTITION_1, 1 * MIB);
        put_partition(disk + 462, 0x82, PARTITION_2, 1 * MIB);
        memcpy(disk + 510, "\x55\xaa", 2);
        memcpy(disk + 440, "\x78\x56\x34\x12", 4);

        memcpy(disk + PARTITION_1, "LUKS\xba\xbe\0\1", 8);
        memcpy(disk + PARTITION_1 + 168, LUKS_UUID, sizeof(LUKS_UUID));

        disk[PARTITION_2 + 1024] = 1;     /* version */
        disk[PARTITION_2 + 1028] = 255;   /* last page */
        memcpy(disk + PARTITION_2 + 1052, "paging", 6);
        memcpy(disk + PARTITION_2 + 4086, "SWAPSPACE2", 10);

        tree_write_bytes(t, path, disk, DISK_SIZE);
}

#define DATA                                                            \
        "has-data: partition table with 2 partitions on /dev/nvme0n1\n" \
        "has-data: LUKS encrypted volume on /dev/nvme0n1p1\n"          \
        "has-data: swap space 'paging' on /dev/nvme0n1p2"

static void test_data(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        write_disk(t, "dev/nvme0n1");
        expect_deep(t, NVME, DATA);

        /* What is in use is not "data". */
        tree_mount(t, 1, "259:1", "/srv", "ext4", "/dev/nvme0n1p1");
        expect_deep(t, NVME, "");
}

static void test_no_data(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();
        _cleanup_free_ unsigned char *zeros = calloc(1, DISK_SIZE);

        tree_write_bytes(t, "dev/nvme0n1", zeros, DISK_SIZE);
        expect_deep(t, NVME, "");
}

static void test_references(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        write_disk(t, "dev/nvme0n1");
        tree_write(t, "etc/fstab",
                   "# a comment\n"
                   "UUID=99999999-2222-3333-4444-555555555555 / ext4 defaults 0 1\n"
                   "nonsense\n"
                   "PARTUUID=12345678-01 /boot/efi vfat umask=0077 0 1\n"
                   "/dev/nvme0n1p1 /srv\\040data ext4 noauto 0 2\n"
                   "LABEL=\"paging\" none swap sw 0 0\n");
        tree_write(t, "etc/crypttab",
                   "# name device password\n"
                   "vault UUID=" LUKS_UUID " none luks\n"
                   "other /dev/sda3 none luks\n");
        tree_write(t, "proc/cmdline", "quiet resume=PARTUUID=12345678-02\n");
        expect_deep(t, NVME,
                    "esp: /etc/fstab names /dev/nvme0n1p1 as the EFI system partition\n"
                    "fstab: /etc/fstab mounts /dev/nvme0n1p1 at /srv data\n"
                    "fstab: /etc/fstab names /dev/nvme0n1p2 as swap space\n"
                    "fstab: /etc/crypttab unlocks /dev/nvme0n1p1 as vault\n"
                    "resume-device: The kernel's command line resumes from /dev/nvme0n1p2\n" DATA);
}

/* What is on a disk, its guest may have written: the host knows by number what it boots and resumes
 * from. */
static void test_forged_references(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        write_disk(t, "dev/nvme0n1");
        tree_write(t, "etc/fstab", "LABEL=paging /boot/efi vfat umask=0077 0 1\n");
        tree_write(t, "proc/cmdline", "quiet resume=LABEL=paging\n");
        expect_deep(t, NVME,
                    "esp: /etc/fstab names /dev/nvme0n1p2 as the EFI system partition\n"
                    "resume-device: The kernel's command line resumes from /dev/nvme0n1p2\n" DATA);

        tree_mount(t, 1, "8:1", "/boot/efi", "vfat", "/dev/sda1");
        tree_write(t, "sys/power/resume", "8:2\n");
        expect_deep(t, NVME, "fstab: /etc/fstab mounts /dev/nvme0n1p2 at /boot/efi\n" DATA);
}

/* --- loop devices: the driver is the test's own ------------------------------------------------
 * */

/* What is written in the file that stands for the node: "259:1", "error", or "hangs". */
int __wrap_ioctl(int fd, unsigned long request, struct loop_info64 *info);

int __wrap_ioctl(int fd, unsigned long request, struct loop_info64 *info) {
        char text[32] = "";
        unsigned number_major, number_minor;

        assert_int_equal(request, LOOP_GET_STATUS64);
        if (pread(fd, text, sizeof(text) - 1, 0) < 0)
                return -1;
        if (streq(text, "hangs"))
                (void) pause();
        if (sscanf(text, "%u:%u", &number_major, &number_minor) != 2) {
                errno = ENOTCONN;
                return -1;
        }
        info->lo_rdevice = (number_minor & 0xff) | number_major << 8 |
                           (uint64_t) (number_minor & ~0xffU) << 12;
        return 0;
}

static void add_loop(Tree *t, const char *name, const char *backing_file, const char *answer) {
        char path[128];

        tree_add_disk(t, "virtual", name, "7:3");
        snprintf(path, sizeof(path), "sys/block/%s/loop/backing_file", name);
        tree_write(t, path, "%s\n", backing_file);
        snprintf(path, sizeof(path), "dev/%s", name);
        tree_write(t, path, "%s", answer);
}

#define LOOP "device-mapper: /dev/nvme0n1p2 backs the loop device /dev/loop3"

/* Whatever it was called by whom: what the driver says counts. */
static void test_loop(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();

        write_disk(t, "dev/nvme0n1");
        add_loop(t, "loop3", "/mnt/dev/node (deleted)", "259:2");
        expect(t, NVME, "");
        expect_deep(t, NVME, LOOP);
        /* No lock excludes it either. */
        expect_with(inspect_last, t, NVME, LOOP);

        add_loop(t, "loop3", "/mnt/dev/node", "259:258"); /* only the low byte is the same */
        expect_with(inspect_last, t, NVME, "");
}

/* A file of a user's own can be called like the node, and need not answer. */
static void test_forged_loop(void **state) {
        static const char *const answers[] = { "0:0", "error", "hangs" };

        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                _cleanup_tree_ Tree *t = nvme_host();

                add_loop(t, "loop3", "/dev/nvme0n1p2", answers[i]);
                expect(t, NVME, "");
                expect_deep(t, NVME, "");
        }
}

/* What could not be asked is not known to be free. */
static void test_loop_not_asked(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        _cleanup_reasons_ Reasons reasons = {};

        add_loop(t, "loop3", "/dev/nvme0n1p2", "");
        tree_remove(t, "dev/loop3");
        tree_symlink(t, "dev/loop3", "loop3"); /* cannot be opened: ELOOP */
        assert_int_equal(inventory_read(t->fd, &inventory), 0);
        assert_int_equal(usage_inspect_deep(t->fd, inventory, inventory->devices[0], &reasons),
                         -ELOOP);
}

/* --- locks ------------------------------------------------------------------------------------ */

static void test_locks(void **state) {
        _cleanup_tree_ Tree *t = nvme_host();
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        _cleanup_error_ Error missing = ERROR_INIT, wrong = ERROR_INIT;
        DiskLocks locks = {};

        assert_int_equal(inventory_read(t->fd, &inventory), 0);

        assert_true(disk_locks_acquire(t->fd, inventory->devices[0], &locks, &missing) < 0);
        assert_int_equal(missing.code, ERROR_BIND_FAILED);
        assert_non_null(strstr(missing.message, "/dev/nvme0n1"));

        /* Something else of that name. */
        tree_write(t, "dev/nvme0n1", "x");
        assert_true(disk_locks_acquire(t->fd, inventory->devices[0], &locks, &wrong) < 0);
        assert_int_equal(wrong.code, ERROR_BIND_FAILED);
        assert_int_equal(locks.n, 0);
        disk_locks_release(&locks);
        disk_locks_release(&locks);
}

/* --- reasons ---------------------------------------------------------------------------------- */

static void test_codes(void **state) {
        for (int code = 0; code < _REASON_MAX; code++) {
                const char *name = reason_code_to_string((ReasonCode) code);

                assert_non_null(name);
                assert_int_equal(reason_code_from_string(name), code);
                assert_int_not_equal(reason_code_to_error((ReasonCode) code), ERROR_NONE);
        }
        assert_int_equal(reason_code_from_string("mount"), -EINVAL);
        assert_int_equal(reason_code_from_string(NULL), -EINVAL);
        assert_null(reason_code_to_string(_REASON_MAX));

        assert_false(reason_code_is_overridable(REASON_MOUNTED));
        assert_false(reason_code_is_overridable(REASON_WEDGED));
        assert_true(reason_code_is_overridable(REASON_HAS_DATA));
        assert_true(reason_code_is_overridable(REASON_NO_RESET));
        assert_int_equal(reason_code_to_error(REASON_GROUP_NOT_VIABLE), ERROR_GROUP_NOT_VIABLE);
        assert_int_equal(reason_code_to_error(REASON_NO_IOMMU), ERROR_NO_IOMMU);
        assert_int_equal(reason_code_to_error(REASON_CLAIMED), ERROR_DEVICE_CLAIMED);
        assert_int_equal(reason_code_to_error(REASON_MOUNTED), ERROR_DEVICE_IN_USE);
}

static void test_allowing(void **state) {
        char *allow[] = { (char *) "mounted", (char *) "has-data", NULL };
        _cleanup_reasons_ Reasons reasons = {};

        assert_null(reasons_blocking(&reasons, NULL));
        assert_int_equal(reasons_add(&reasons, REASON_HAS_DATA, "data"), 0);
        assert_int_equal(reasons_add(&reasons, REASON_HAS_DATA, "data"), 0);
        assert_int_equal(reasons.n, 1);
        assert_int_equal(reasons_blocking(&reasons, NULL)->code, REASON_HAS_DATA);
        assert_null(reasons_blocking(&reasons, allow));

        assert_int_equal(reasons_add(&reasons, REASON_MOUNTED, "mounted"), 0);
        assert_int_equal(reasons_blocking(&reasons, allow)->code, REASON_MOUNTED);
}

static void test_details_are_text(void **state) {
        static const struct {
                const char *raw, *shown;
        } cases[] = {
                { "a\nb\x1b[31m", "a?b?[31m" },
                { "Gr\xc3\xbc\xc3\x9f"
                  "e \xe2\x82\xac \xf0\x9f\x98\x80",
                  "Gr\xc3\xbc\xc3\x9f"
                  "e \xe2\x82\xac \xf0\x9f\x98\x80" },
                { "bad \xff\xfe \xc3", "bad ?? ?" },
                { "overlong \xc0\xaf \xe0\x80\xaf", "overlong ?? ???" },
                { "surrogate \xed\xa0\x80", "surrogate ???" },
                { "c1 \xc2\x9b", "c1 ??" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_reasons_ Reasons reasons = {};

                assert_int_equal(reasons_add(&reasons, REASON_MOUNTED, "%s", cases[i].raw), 0);
                assert_string_equal(reasons.items[0].detail, cases[i].shown);
        }

        _cleanup_reasons_ Reasons reasons = {};
        assert_int_equal(reasons_add(&reasons, REASON_MOUNTED, "%04000d", 1), 0);
        assert_true(strlen(reasons.items[0].detail) <= 512);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_unused),              cmocka_unit_test(test_mounted),
                cmocka_unit_test(test_mounted_whole),     cmocka_unit_test(test_other_namespace),
                cmocka_unit_test(test_root_and_esp),      cmocka_unit_test(test_swap),
                cmocka_unit_test(test_lvm_on_crypt),      cmocka_unit_test(test_md),
                cmocka_unit_test(test_other_stacks),      cmocka_unit_test(test_holder_loop),
                cmocka_unit_test(test_btrfs),             cmocka_unit_test(test_btrfs_other_member),
                cmocka_unit_test(test_bcachefs),          cmocka_unit_test(test_journals),
                cmocka_unit_test(test_forged_sources),    cmocka_unit_test(test_links_to_nodes),
                cmocka_unit_test(test_export),            cmocka_unit_test(test_loop),
                cmocka_unit_test(test_forged_loop),       cmocka_unit_test(test_loop_not_asked),
                cmocka_unit_test(test_forged_references), cmocka_unit_test(test_path_is_no_open),
                cmocka_unit_test(test_first_thread_ended),
                cmocka_unit_test(test_replaced_descriptor),
                cmocka_unit_test(test_mapping_not_seen),
                cmocka_unit_test(test_resume),            cmocka_unit_test(test_multipath),
                cmocka_unit_test(test_shared_namespace),
                cmocka_unit_test(test_controller_that_is_not_live),
                cmocka_unit_test(test_controller_that_was_live), cmocka_unit_test(test_unknown_subsystems),
                 cmocka_unit_test(test_ahci),
                cmocka_unit_test(test_idle_gpu),          cmocka_unit_test(test_boot_display),
                cmocka_unit_test(test_display_controller), cmocka_unit_test(test_idle_nic),
                cmocka_unit_test(test_network_up),        cmocka_unit_test(test_routes),
                cmocka_unit_test(test_ipv6_default),      cmocka_unit_test(test_bridge_member),
                cmocka_unit_test(test_interface_elsewhere), cmocka_unit_test(test_virtio_nic),
                cmocka_unit_test(test_usb),               cmocka_unit_test(test_structure),
                cmocka_unit_test(test_no_iommu),          cmocka_unit_test(test_virtual_functions),
                cmocka_unit_test(test_sibling_in_use),    cmocka_unit_test(test_chipset_in_group),
                cmocka_unit_test(test_shared_reset),      cmocka_unit_test(test_open_by_process),
                cmocka_unit_test(test_mapped_by_process), cmocka_unit_test(test_sound),
                cmocka_unit_test(test_nvidia),            cmocka_unit_test(test_data),
                cmocka_unit_test(test_no_data),           cmocka_unit_test(test_references),
                cmocka_unit_test(test_last_look),         cmocka_unit_test(test_momentary),
                cmocka_unit_test(test_locks),
                cmocka_unit_test(test_codes),             cmocka_unit_test(test_allowing),
                cmocka_unit_test(test_details_are_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
